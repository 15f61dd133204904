"""Start the server: flags become settings, and uvicorn builds the application by name, also when it reloads.

Exit codes: 0 stopped as asked, 1 the model or an installation is wrong, 2 flags, settings or the data folder are wrong,
3 the data folder or the port is in use.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import dia
from dia.door import keyless
from dia.errors import BadParameter, DataFolderInUse, DiaError, StoreUnavailable
from dia.memory import bound_kept_memory
from dia.server.flags import add_server_flags, export, resolve_gpus
from dia.server.logformat import configure_logging
from dia.service.settings import Settings, load_settings
from dia.service.stopping import hush_stop

__all__ = ["main", "serve"]

APP = "dia.server.app:create_app"
_logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, *, app: str = APP, prog: str = "fastapi_server.py") -> int:
    """`python fastapi_server.py`: serve until stopped; returns the exit code. `app` as in `serve`."""
    parser = argparse.ArgumentParser(prog=prog, description="Run the HTTP server.")
    add_server_flags(parser)
    args = parser.parse_args(argv)
    resolve_gpus(parser, args)
    export(args)
    return serve(app=app, reload=args.reload)


def serve(*, app: str = APP, reload: bool = False) -> int:
    """Serve by the settings of the environment until a signal comes; returns the exit code.

    Args:
        app: `module:factory` of the application.
    """
    bound_kept_memory()
    try:
        settings = load_settings()
    except BadParameter as error:
        return _complain(error, 2)
    configure_logging()
    hush_stop()
    if not settings.is_loopback and not settings.api_keys:
        _logger.warning("%s", keyless(settings.host))
    try:
        return _run_reloading(app, settings) if reload else _run(app, settings)
    except DataFolderInUse as error:
        return _complain(error, 3)
    except StoreUnavailable as error:
        return _complain(error, 2)
    except DiaError as error:
        return _complain(error, 1)


def _run(app: str, settings: Settings) -> int:
    from dia.server.wire import DrainingServer, make_config

    server = DrainingServer(make_config(app, settings, factory=True))
    try:
        server.run()
    except SystemExit as stop:  # uvicorn's way to say that it could not start; the reason is in the log
        return int(stop.code or 0)
    return 0 if server.started else 3


def _run_reloading(app: str, settings: Settings) -> int:
    from uvicorn.supervisors import ChangeReload

    from dia.server.wire import DrainingServer, make_config

    config = make_config(app, settings, factory=True, reload=True, watched=Path(dia.__file__).parent)
    socket = config.bind_socket()
    ChangeReload(config, target=DrainingServer(config).run, sockets=[socket]).run()
    return 0


def _complain(error: Exception, code: int) -> int:
    sys.stderr.write(f"dia: {error}\n")
    return code
