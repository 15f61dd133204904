"""The page as a whole: built over a service, and mounted into somebody's web application with its traps closed.

Gradio is imported when the page is built, not with this file. What is closed here: uploads are limited in size, the
page asks nobody outside for fonts or scripts, sends no statistics, and its sounds have names nobody can guess. Cross
origin rules and keys are the application's: Gradio leaves the former to a `CORSMiddleware` if there is one, and
`auth_dependency` guards all of its routes.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI
from starlette.requests import Request

from dia.door import Caller
from dia.service.build import Service
from dia.service.settings import Settings
from dia.ui.archive import Archive
from dia.ui.desk import MAX_SESSIONS, Access, Desk
from dia.ui.layout import build_layout
from dia.ui.library import Library
from dia.ui.shelf import AuthDependency, Shelf, make_routes
from dia.ui.show_lists import voice_choices
from dia.ui.track import Track
from dia.ui.wiring import Rooms, wire

if TYPE_CHECKING:
    import gradio

__all__ = ["Access", "build_page", "mount"]

STATIC = Path(__file__).parent / "static"
TITLE = "Dia"
Made = TypeVar("Made")
AccessOf = Callable[[Any], Access]


def access_of(request: Any) -> Access:
    """Who sits at the page, as the door before it noted in the request; without a door everybody is the operator."""
    caller = request.scope.get("state", {}).get("caller") or Caller()
    return Access(caller.owner, sees_all=caller.is_admin, manages=caller.is_admin)


def build_page(services: Service, shelf: Shelf | None = None, access: AccessOf = access_of) -> "gradio.Blocks":
    """The page over a service, whose model may still be loading.

    Args:
        services: as `dia.service.build.build` makes it.
        shelf: where the page's sounds are put; the application must serve it by `make_routes`, as `mount` does.
        access: from Starlette's request to who sits there; whom the door let in, if not given.
    """
    return _in_a_loop(lambda: _build(services, shelf or Shelf(), access))


def _build(services: Service, shelf: Shelf, access: AccessOf) -> "gradio.Blocks":
    import gradio as gr

    library = Library(services, shelf)
    settings = services.settings
    # Uploads are copied by Gradio to a folder of its own; there they live for an hour.
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as blocks:
        voices = voice_choices(library.all())
        widgets = build_layout(settings.max_text_chars, voices, can_transcribe=library.can_transcribe)
        blocks.state_session_capacity = MAX_SESSIONS
        wire(blocks, widgets, Rooms(Desk(services, shelf), library, Archive(services, shelf), access))
    return blocks


def mount(
    app: FastAPI,
    services: Service,
    settings: Settings | None = None,
    *,
    path: str = "/ui",
    access: AccessOf = access_of,
    auth_dependency: AuthDependency | None = None,
) -> FastAPI:
    """Put the page into an application at `path`; its start and stop become part of the application's.

    Args:
        app: give it a `CORSMiddleware`, or Gradio will answer any origin where the host is not this machine.
        settings: of the deployment; those of the service if not given.
        access: who sits at the page, see `build_page`.
        auth_dependency: the user's name, or None to refuse (401), from the request.
    """
    settings = settings or services.settings
    return _in_a_loop(lambda: _mount(app, services, settings, path, access, auth_dependency))


def _mount(
    app: FastAPI, services: Service, settings: Settings, path: str, access: AccessOf, auth: AuthDependency | None
) -> FastAPI:
    import gradio as gr

    shelf = Shelf()
    archive = Archive(services, shelf)

    def history(log_id: str, request: Request) -> Track:
        return archive.track(log_id, access(request))

    return gr.mount_gradio_app(
        app, build_page(services, shelf, access), path, footer_links=[], run_history=False, show_error=False,
        max_file_size=settings.max_upload_bytes, auth_dependency=auth, ssr_mode=False, pwa=False,
        enable_monitoring=False, mcp_server=False, app_kwargs={"routes": make_routes(shelf, history, auth)},
        theme=make_theme(), css=(STATIC / "page.css").read_text("utf-8"), head=_head(),
    )  # fmt: skip


def _in_a_loop(make: Callable[[], Made]) -> Made:
    """Call it inside an event loop: where none runs, Gradio makes one for each of its locks and drops it unclosed."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:

        async def call() -> Made:
            return make()

        return asyncio.run(call())
    return make()


def make_theme() -> Any:
    """Quiet colours, and fonts that every machine has: nothing is fetched."""
    import gradio as gr

    theme = gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="md",
        spacing_size="sm",
        font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    # White on teal, and grey on white, dark enough to read: 4.5 to 1 at least.
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_padding="0",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_background_color_selected="*primary_900",
        input_border_width="1px",
        input_border_color="*neutral_300",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        slider_color="*primary_700",
        # In the dark the main button stays the brightest, also under the pointer.
        button_secondary_background_fill_hover_dark="*neutral_500",
        button_cancel_background_fill_dark="*neutral_600",
        button_cancel_background_fill_hover_dark="*neutral_500",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def _head() -> str:
    scripts = "\n".join(
        (STATIC / name).read_text("utf-8") for name in ("session.js", "player.js", "editor.js", "news.js")
    )
    return f'<meta name="viewport" content="width=device-width, initial-scale=1"><script>{scripts}</script>'
