"""The outermost layer: request ids, security headers, the access log, and the one place that catches what nobody did.

Pure ASGI, so that streams pass untouched and a client that leaves is seen. Texts and keys are never logged.
"""

import logging
import re
import time
import uuid
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dia.door import header_values
from dia.server.metrics import Metrics
from dia.server.problems import describe, respond

__all__ = ["Edge"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CLIENT_LEFT = 499
_SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_access_logger = logging.getLogger("dia.server.access")
_logger = logging.getLogger(__name__)


class Edge:
    """Wraps every request in its id, its headers, its log line and a last resort."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        self._metrics.began()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass  # in the middle of its body: nobody's fault, and nobody is there to be told
        except Exception as error:
            _logger.exception("request %s failed", exchange.request_id)
            if not exchange.has_started:
                await respond(describe(error), scope["path"], exchange.request_id)(
                    scope, exchange.receive, exchange.send
                )
        finally:
            # Sent whole, or never seen by anybody, or cut off in the middle.
            status = exchange.status if exchange.is_complete or not exchange.client_left else _CLIENT_LEFT
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.ended(route, scope["method"], status, exchange.age_s)
            exchange.log(route, status)


class _Exchange:
    """One request on its way: what was said to the client so far."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began_at = time.perf_counter()
        self._size_bytes = 0
        self.request_id = _request_id(scope)
        self.status = 500
        self.has_started = False
        self.is_complete = False
        self.client_left = False
        scope.setdefault("state", {})["request_id"] = self.request_id

    @property
    def age_s(self) -> float:
        return time.perf_counter() - self._began_at

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.is_complete:
            self.client_left = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body":
            self._size_bytes += len(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)
        await self._send(message)

    def log(self, route: str, status: int) -> None:
        client = self._scope.get("client")
        _access_logger.info(
            "%s %s %d", self._scope["method"], route, status,
            extra={
                "request_id": self.request_id, "client": client[0] if client else None,
                "path": self._scope["path"][:200], "duration_s": round(self.age_s, 4), "bytes_out": self._size_bytes,
            },
        )  # fmt: skip


def _request_id(scope: Scope) -> str:
    """The client's own id if it is a plain word, else a new one."""
    given = header_values(scope, b"x-request-id")
    text = given[0].decode("latin-1") if len(given) == 1 else ""
    return text if _REQUEST_ID.fullmatch(text) else uuid.uuid4().hex
