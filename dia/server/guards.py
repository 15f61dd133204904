"""Who may come in: host names, web origins, API keys with two scopes, and how often. Pure ASGI; denies by default.

Programs send their key as a bearer. At the page people sign in with it once, and a cookie lets them in there, nowhere
else. At /docs the browser asks for it, as a password.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from dia.door import Keys, Login, Names, given_key, header_values, is_address
from dia.server.problems import Problem, asks_for_password, respond
from dia.service.settings import LOOPBACK_HOSTS, Settings

__all__ = ["PAGE_PATH", "AdminRule", "Guard", "RateLimit", "is_admin_only", "is_public"]

PAGE_PATH = "/ui"
# Readable without a key: health for supervisors, and the lists that Open WebUI fetches without one.
_PUBLIC = re.compile(r"(/v1)?/(health(/live|/ready)?|audio/(voices(/[^/]*)?|models))|/")
# What changes or empties the whole server.
_ADMIN = re.compile(
    r"PUT /config|DELETE /logs(/[^/]*)?|POST /cleanup|DELETE /jobs|POST /whisper/load|POST /audio_prompts/discover"
)
AdminRule = re.Pattern[str]


def is_public(method: str, path: str) -> bool:
    """Whether a path may be read by anybody."""
    return method in ("GET", "HEAD") and _PUBLIC.fullmatch(path) is not None


def is_admin_only(method: str, path: str) -> bool:
    """Whether a path asks for an admin key where there is one."""
    return _ADMIN.fullmatch(f"{method} {path.removeprefix('/v1')}") is not None


class RateLimit:
    """A token bucket for each caller, in a table of bounded size."""

    def __init__(self, per_minute: float, burst: int, max_callers: int = 10_000) -> None:
        self._per_s = per_minute / 60.0
        self._burst = float(burst)
        self._max_callers = max_callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take a token: 0 if there was one, else how long until there is."""
        if self._per_s <= 0:
            return 0.0
        now = time.monotonic()
        tokens, at = self._buckets.pop(caller, (self._burst, now))
        tokens = min(tokens + (now - at) * self._per_s, self._burst)
        allowed = tokens >= 1.0
        self._buckets[caller] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._max_callers:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self._per_s


class Guard:
    """Lets a request in or answers it: host, origin, key, scope, rate, in that order.

    The page's own requests do not count against the rate: opening it takes dozens, and it asks on while it speaks.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        allowed = (*LOOPBACK_HOSTS, *settings.allowed_hosts)
        self._names = Names(settings.host, allowed, settings.cors_origins)
        self._keys = Keys(settings.api_keys, settings.admin_keys)
        self._login = Login(self._keys, PAGE_PATH)
        self._rate = RateLimit(settings.rate_limit_per_minute, settings.rate_limit_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = self._refusal(scope)
        if self._asks_people(scope, problem):
            await self._login(scope, receive, send)
        elif problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": problem.code})
        else:
            request_id = scope.get("state", {}).get("request_id")
            await respond(problem, scope["path"], request_id)(scope, receive, send)

    def _asks_people(self, scope: Scope, problem: Problem | None) -> bool:
        """Whether the login answers: it was asked for, or somebody who is not let in opens the page."""
        if scope["type"] != "http" or not self._login.covers(scope):
            return False
        if problem is None:
            return self._login.serves(scope)
        return problem.status == 401 and scope["path"].rstrip("/") == PAGE_PATH

    def _refusal(self, scope: Scope) -> Problem | None:
        """Why the request is not let in, or None; the caller is noted in the scope."""
        method, path = scope.get("method", "GET"), scope["path"]
        refusal = self._names.refusal(scope)
        if refusal is not None:
            return Problem(refusal.status, refusal.detail, refusal.code)
        if is_public(method, path) or self._login.serves(scope):
            return None
        is_page = self._login.covers(scope)
        caller = self._login.caller_of(scope) if is_page else self._keys.caller_of(given_key(scope))
        if caller is None:
            how = "as the password, with any user name" if asks_for_password(path) else "as Authorization: Bearer KEY"
            return Problem(401, f"no such API key; send it {how}", "invalid_api_key")
        if is_admin_only(method, path) and not caller.is_admin:
            return Problem(403, "this needs an admin key", "admin_key_needed")
        scope.setdefault("state", {})["caller"] = caller
        if is_page:
            return None
        wait_s = self._rate.wait_s(caller.owner or client_address(scope, self._settings.trusted_proxies))
        if wait_s > 0:
            return Problem(429, f"too many requests; wait {wait_s:.1f} s", "rate_limited", retry_after_s=wait_s)
        return None


def client_address(scope: Scope, trusted_proxies: Sequence[str]) -> str:
    """Who connects; what a proxy says of its client counts only if that proxy is trusted."""
    client = scope.get("client")
    address = client[0] if client else "unknown"
    if address in trusted_proxies:
        forwarded = b",".join(header_values(scope, b"x-forwarded-for")).decode("latin-1").split(",")
        last = forwarded[-1].strip()
        return last if is_address(last) else address
    return str(address)
