"""Talking to a Dia server: over HTTP, or to the same application in this process, working in a data folder.

One rule for every command: `--server URL` says whom to ask (default http://127.0.0.1:7860, or DIA_SERVER), and
DIA_API_KEY is sent if it is set. `--data-dir FOLDER` needs no server: the application itself is asked, in this process,
and the folder is locked meanwhile, so that a running server and a command never write the same files.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from dia.errors import (
    BadInput,
    BadParameter,
    Conflict,
    DiaError,
    EngineStopped,
    GenerationFailed,
    NotFinished,
    NotFound,
    QueueFull,
    ResultGone,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["DEFAULT_SERVER", "FolderFlag", "Remote", "ServerFlag", "connected", "segment"]

DEFAULT_SERVER = "http://127.0.0.1:7860"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CONNECT_S = 10.0
_ANSWER_S = 120.0
_ERRORS: Mapping[int, type[DiaError]] = {
    404: NotFound,
    409: Conflict,
    410: ResultGone,
    425: NotFinished,
    429: QueueFull,
    503: EngineStopped,
}

ServerFlag = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="DIA_SERVER",
        show_envvar=False,
        help=f"Address of the server (default: DIA_SERVER, else {DEFAULT_SERVER}).",
    ),
]
FolderFlag = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Work in this data folder itself, which no server may be using."),
]


class Remote:
    """A server's routes. Every failure is one of our errors, with the server's own words."""

    def __init__(self, url: str, open_client: "Callable[[], httpx.AsyncClient]") -> None:
        self.url = url
        self._open_client = open_client

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The JSON object that a route answers."""
        answer = self.request(method, path, **options)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise BadParameter(f"what answers at {self.url} is no Dia server; name its address with --server")
        return found

    def request(self, method: str, path: str, *, patient: bool = False, **options: Any) -> "httpx.Response":
        """One request.

        Args:
            patient: wait for the answer as long as the server works on it.
            options: what httpx takes: json, params, data, files.

        Raises:
            EngineStopped: nothing answers, or the server is not ready. Others by the answer's status, see `_ERRORS`;
            BadParameter for any other 4xx, GenerationFailed for any other 5xx.
        """
        import httpx

        timeout = httpx.Timeout(None if patient else _ANSWER_S, connect=_CONNECT_S)
        try:
            answer = asyncio.run(self._send(method, path, timeout=timeout, **options))
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise BadParameter(f"{self.url!r} is no address of a server; write it as in {DEFAULT_SERVER}") from error
        except httpx.TransportError as error:
            raise EngineStopped(
                f"no server answers at {self.url} ({type(error).__name__}); start one with dia serve, or name another "
                "with --server"
            ) from error
        if answer.status_code >= 400:
            raise _error(answer)
        return answer

    async def _send(self, method: str, path: str, **options: Any) -> "httpx.Response":
        async with self._open_client() as client:
            return await client.request(method, path, **options)


@contextmanager
def connected(server: str | None, data_dir: Path | None = None) -> Iterator[Remote]:
    """The server that the flags name, or the application over a data folder.

    Raises:
        BadParameter: both are named. DataFolderInUse, StoreUnavailable: the folder cannot be used.
    """
    if data_dir is None:
        yield _over_http((server or DEFAULT_SERVER).rstrip("/"))
        return
    if server is not None:
        raise BadParameter("both --server and --data-dir are given; a server has a folder of its own; use one of them")
    with _in_folder(data_dir) as remote:
        yield remote


def _over_http(url: str) -> Remote:
    import httpx

    key = os.environ.get("DIA_API_KEY", "").split(",")[0].strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # A proxy of the environment cannot reach this machine's loopback.
    trusts = urlsplit(url).hostname not in _LOOPBACK
    return Remote(url, lambda: httpx.AsyncClient(base_url=url, headers=headers, trust_env=trusts))


@contextmanager
def _in_folder(folder: Path) -> Iterator[Remote]:
    import httpx

    from dia.server.app import create_app
    from dia.service.build import build
    from dia.service.bundled import bundle_voices
    from dia.service.settings import load_settings

    # Whoever may write the folder needs no key.
    service = build(load_settings(data_dir=folder, api_keys=(), admin_keys=(), offline=True))
    try:
        bundle_voices(service.voices, service.prompts)
        app = create_app(service=service)
        try:
            transport = httpx.ASGITransport(app)
            yield Remote(DEFAULT_SERVER, lambda: httpx.AsyncClient(transport=transport, base_url=DEFAULT_SERVER))
        finally:
            app.state.pool.shutdown()
    finally:
        service.close(0.0)


def segment(value: str) -> str:
    """A value as one part of a path, whatever it holds."""
    return quote(value, safe="")


def _error(answer: "httpx.Response") -> DiaError:
    """What the server complains of, in its own words."""
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"the server answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code == 401:
        message = "the server asks for an API key; put it into DIA_API_KEY"
    kind = _ERRORS.get(answer.status_code, BadParameter if answer.status_code < 500 else GenerationFailed)
    assert issubclass(kind, (BadInput, DiaError))
    return kind(str(message))
