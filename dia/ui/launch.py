"""`python app.py`: the page alone, with a service of its own, on the first free port.

Gradio's environment names are honoured: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT. Everything else is a setting, so
DIA_* and a settings file count as they do for the server.
"""

import argparse
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from dia.door import Door, Keys, Login, Names, keyless
from dia.errors import BadInput, BadParameter, DiaError, OperatorError
from dia.service.build import Service, build
from dia.service.settings import LOOPBACK_HOSTS, Settings, load_settings
from dia.service.stopping import OrderlyServer, end_process, hush_stop
from dia.ui.app import mount

__all__ = ["Address", "build_app", "choose_address", "main"]

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860
MAX_PORT = 65_535
PORTS_TRIED = 100
SHARE_HOSTS = "*.gradio.live"
HEALTH_PATH = "/health/live"
"""As the server has it, so that one health check does for both."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: `sock` is bound already, so nobody else can take the port."""

    host: str
    port: int
    sock: socket.socket


def main(argv: Sequence[str] | None = None, *, prog: str = "app.py") -> int:
    """Show the page until it is interrupted, then end the process; gives 2 for wrong arguments, 1 where it cannot start."""
    flags = _parser(prog).parse_args(argv)
    try:
        settings = page_settings(device=flags.device, model=flags.model)
        address = choose_address(os.environ, flags.host, flags.port)
        if not settings.api_keys:
            _warn_of_no_key(address.host, share=flags.share)
        _say("Starting the page.")
        return _serve(settings, address, share=flags.share)
    except DiaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, BadInput) else 1


def _warn_of_no_key(host: str, *, share: bool) -> None:
    if host not in LOOPBACK_HOSTS:
        sys.stderr.write(f"warning: {keyless(host)}\n")
    if share:
        words = (
            "everybody who has the public address may speak, read and delete; set DIA_API_KEYS to let in who has a key"
        )
        sys.stderr.write(f"warning: {words}\n")


def page_settings(**flags: Any) -> Settings:
    """Settings for the page alone: it keeps sounds and texts for its history, unless somebody said otherwise.

    Raises:
        BadParameter: a setting out of range.
    """
    given = load_settings(**flags)
    kept = {name: True for name in ("save_outputs", "show_prompts") if name not in given.model_fields_set}
    return load_settings(**flags, **kept)


def choose_address(environment: Mapping[str, str], host: str | None = None, port: int | None = None) -> Address:
    """Bind to what flag or environment names; where no port is named, to 7860 or the next free one.

    Raises:
        BadParameter: a port that is none.
        OperatorError: the named port, or every port tried, is taken; the host is no address of this machine.
    """
    host = host or environment.get("GRADIO_SERVER_NAME") or DEFAULT_HOST
    if port is None and environment.get("GRADIO_SERVER_PORT"):
        try:
            port = int(environment["GRADIO_SERVER_PORT"])
        except ValueError:
            raise BadParameter("GRADIO_SERVER_PORT is not a number; give a port such as 7861") from None
    if port is not None and not 0 <= port <= MAX_PORT:
        raise BadParameter(f"port {port} is none; give one from 1 to {MAX_PORT}, or 0 for any free one")
    tried = range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED) if port is None else (port,)
    for candidate in tried:
        sock = _bound(host, candidate)
        if sock is not None:
            return Address(host, sock.getsockname()[1], sock)
    taken = f"port {port} is" if port is not None else f"ports {DEFAULT_PORT} to {tried[-1]} are"
    raise OperatorError(f"{taken} not free on {host}; choose another by --port or GRADIO_SERVER_PORT")


def build_app(service: Service, host: str, *, share: bool = False, begin: Callable[[], None] | None = None) -> FastAPI:
    """The application with the page at its root, behind the server's own rules of names, origins and keys.

    `begin` is called when it starts, after the service.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        service.start()
        if begin is not None:
            begin()
        yield

    settings = service.settings
    keys = Keys(settings.api_keys, settings.admin_keys)
    allowed = (*LOOPBACK_HOSTS, *settings.allowed_hosts, *([SHARE_HOSTS] if share else []))
    names = Names(host, allowed, settings.cors_origins)
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route(HEALTH_PATH, lambda: {"status": "alive"})
    app.add_middleware(Door, names=names, login=Login(keys, ""), public=frozenset([HEALTH_PATH]))
    # With it in place Gradio adds no rules of its own.
    app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins)
    return mount(app, service, path="")


def _serve(settings: Settings, address: Address, *, share: bool) -> int:
    service = build(settings)
    failures: list[BaseException] = []

    def begin() -> None:
        """Once signals are heard and the page answers: say where it is, and load the model meanwhile."""
        _say(f"Dia is at http://{_shown(address.host)}:{address.port} and loads its model.")
        threading.Thread(target=_load, args=(service, failures, server), name="dia-load", daemon=True).start()
        if share:
            threading.Thread(target=_tell_share, args=(address,), name="dia-share", daemon=True).start()

    try:
        server = OrderlyServer(_config(build_app(service, address.host, share=share, begin=begin)))
        server.run(sockets=[address.sock])
    finally:
        if share:
            _end_share()
        service.close(0.0)
    code = 0
    if failures:
        sys.stderr.write(f"error: {failures[0]}\n")
        code = 1
    end_process(code)
    return code


def _config(app: FastAPI) -> Any:
    import uvicorn

    # An open tab holds a connection for as long as it is open; a page that is told to stop does not wait for it.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
    hush_stop()
    return config


def _load(service: Service, failures: list[BaseException], server: Any) -> None:
    """Load the model; a page that can never speak is closed, and the reason is the process's last word."""
    try:
        service.load_model()
    except OperatorError as error:
        failures.append(error)
        server.should_exit = True
    else:
        _say("The model is loaded.")


def _tell_share(address: Address) -> None:
    """Say the public address, or why there is none; the page itself goes on either way."""
    try:
        _say(f"and, for anybody who has this address, at {_share(address)}")
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).rstrip(".")
        sys.stderr.write(f"no public address: {reason}; check the connection and start again\n")


def _share(address: Address) -> str:
    """A public address, from Gradio's tunnel service."""
    import secrets

    from gradio import networking

    return str(
        networking.setup_tunnel(
            local_host=_shown(address.host),
            local_port=address.port,
            share_token=secrets.token_urlsafe(32),
            share_server_address=None,
            share_server_tls_certificate=None,
        )  # fmt: skip
    )


def _end_share() -> None:
    """Gradio ends its tunnels when Python ends in order, which may not be."""
    from gradio.tunneling import CURRENT_TUNNELS

    for tunnel in CURRENT_TUNNELS:
        tunnel.kill()


def _bound(host: str, port: int) -> socket.socket | None:
    """A socket bound there; None if another one has the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        said = f"cannot listen on {host}, port {port}: {error.strerror}"
        raise OperatorError(
            f"{said}; choose others by --host and --port, or by GRADIO_SERVER_NAME and _PORT"
        ) from None
    return sock


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Open the page in the browser.")
    parser.add_argument("--device", help="auto, cpu, mps, cuda or cuda:N (default: auto)")
    parser.add_argument("--share", action="store_true", help="also give a public address, by Gradio's tunnel")
    parser.add_argument("--model", help="hub repository or checkpoint folder (default: the best one at hand)")
    parser.add_argument("--host", help=f"address to listen on (default: GRADIO_SERVER_NAME, else {DEFAULT_HOST})")
    parser.add_argument(
        "--port", type=int, help=f"port (default: GRADIO_SERVER_PORT, else {DEFAULT_PORT} or the next free one)"
    )
    return parser
