"""`dia serve`, `python fastapi_server.py` and `python start_server.py`: the API, with the page at /ui.

Server and page are rooms beside each other; here, above both, they are put together. Where the extra `ui` is not
installed, or with --no-page, the API is served alone.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dia.cli.extras import run_script
from dia.packages import is_installed

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dia.service.build import Service

__all__ = ["APP", "add_page", "check_and_serve", "create_app", "main", "serve_directly"]

APP = "dia.cli.serve:create_app"


def main(argv: Sequence[str] | None = None) -> int:
    """`dia serve`; gives the exit code."""
    from dia.server.main import main as serve

    return serve(argv, app=APP, prog="dia serve")


def serve_directly(argv: Sequence[str] | None = None) -> int:
    """`python fastapi_server.py`; gives the exit code."""

    def serve() -> int:
        from dia.server.main import main

        return main(argv, app=APP)

    return run_script(serve)


def check_and_serve(argv: Sequence[str] | None = None) -> int:
    """`python start_server.py`; gives the exit code."""

    def check() -> int:
        from dia.server.launch import main

        return main(argv, app=APP)

    return run_script(check)


def create_app() -> "FastAPI":
    """The application by the settings of the environment, made by name in every process that serves.

    Raises: as `dia.server.app.create_app`.
    """
    from dia.server.app import create_app as create_api
    from dia.service.settings import load_settings

    settings = load_settings()
    has_page = settings.page and is_installed("gradio")
    return create_api(settings, extend=add_page if has_page else None)


def add_page(app: "FastAPI", service: "Service") -> None:
    """Put the page into the server's application, behind its guard."""
    from starlette.responses import RedirectResponse

    from dia.server.guards import PAGE_PATH
    from dia.ui.app import mount

    app.add_route(PAGE_PATH, lambda request: RedirectResponse("ui/"), include_in_schema=False)
    # Keys are asked for by the server's own guard, which stands before everything that is mounted.
    mount(app, service, path=PAGE_PATH)
