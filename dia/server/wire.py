"""uvicorn with deadlines and a drain. Loaded by name when a server starts, so that nothing else imports uvicorn.

uvicorn times idle connections only: half a request, or a reader that has stopped reading, would hold one for ever.
"""

import asyncio
import socket
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn  # noqa: TID253  # see the module's docstring
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: TID253

from dia.service.settings import Settings
from dia.service.stopping import OrderlyServer, end_process

__all__ = ["DeadlineProtocol", "DrainingServer", "make_config"]

_GRACE_S = 2  # for answers that are written when the drain is over
_KEEP_ALIVE_S = 75
"""How long an idle connection stays open. Longer than clients and proxies keep theirs, or a request now and then meets
a connection that is just being closed: httpx and OpenAI's clients 5 s (uvicorn's own default), aiohttp 15, nginx 60."""


class DeadlineProtocol(HttpToolsProtocol):
    """Closes a connection whose request is not whole, or whose answer is not read, in time."""

    _receive_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    @property
    def _settings(self) -> Settings:
        settings: Settings = self.app_state["settings"]
        return settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._receive_timer)
        _stop(self._write_timer)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_request()

    def on_message_complete(self) -> None:
        _stop(self._receive_timer)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # A request that was refused before its end keeps nobody waiting; the keep-alive timer goes on.
        _stop(self._receive_timer)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        _stop(self._write_timer)
        self._write_timer = self.loop.call_later(self._settings.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        _stop(self._write_timer)
        super().resume_writing()

    def _await_request(self) -> None:
        _stop(self._receive_timer)
        self._receive_timer = self.loop.call_later(self._settings.receive_timeout_s, self.transport.close)


class DrainingServer(OrderlyServer):
    """First signal: drain, still answering. Second: close at once. Either way the exit is an ordinary one."""

    signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.signals += 1
        if self.signals > 1 or not self.started:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        drain = self.lifespan.state.get("drain")
        if self.signals and drain is not None:
            drain.begin()
            self.should_exit = self.should_exit or drain.is_over
        return await super().on_tick(counter)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets)
        if self.started:
            end_process()


def make_config(
    app: Any, settings: Settings, *, factory: bool, reload: bool = False, watched: Path | None = None
) -> uvicorn.Config:
    """How uvicorn serves this application: `app` is one, or the name of its factory; `watched` is whose changes
    restart it."""
    return uvicorn.Config(
        app, factory=factory, host=settings.host, port=settings.port, reload=reload,
        reload_dirs=[str(watched)] if watched else None, http=DeadlineProtocol, ws="none", lifespan="on",
        limit_concurrency=settings.max_connections, timeout_graceful_shutdown=_GRACE_S, server_header=False,
        proxy_headers=False, log_config=None, access_log=False, backlog=512, timeout_keep_alive=_KEEP_ALIVE_S,
    )  # fmt: skip


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
