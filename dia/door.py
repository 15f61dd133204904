"""Who may come in: by which host names and from which web origins, with which API keys, and the login by which people
show one to the page. Knows no route of the server.

A key is compared by its SHA-256 with every known one in constant time, so neither odd bytes nor timing tell anything.
Programs send it with every request. People type it once, into a form: it travels in a body, never in an address, and
the browser keeps a word of no meaning instead, in a cookie that no script and no other site can use.
"""

import base64
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = [
    "Caller",
    "Door",
    "Keys",
    "Login",
    "Names",
    "Refusal",
    "given_key",
    "header_values",
    "is_address",
    "keyless",
]

COOKIE = "dia_session"
SESSION_S = 30 * 86_400.0
MAX_SESSIONS = 1000
_MAX_FORM_BYTES = 8192
_SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
_ANY_ADDRESS = frozenset(["0.0.0.0", "::", ""])
_NO_KEY = "A key is needed here."
_WRONG_KEY = "This key is not known here. Look for spaces and missing letters, or ask whoever runs this server."

_logger = logging.getLogger(__name__)


def keyless(host: str) -> str:
    """The warning to whoever opens a door to others that asks for no key."""
    return (
        f"listening on {host} without an API key: everybody who reaches this address may speak, read and delete; "
        "set DIA_API_KEYS, or --host 127.0.0.1"
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in: HTTP status, a sentence, and a word for programs."""

    status: int
    detail: str
    code: str


@dataclass(frozen=True, slots=True)
class Names:
    """By which host names a door answers, and to the pages of which web origins.

    Attributes:
        host: the address listened on; on every network a bare address is fine, for only names can be pointed at us by
            somebody else's DNS.
        allowed: host names besides; `*` is any, `*.example.com` any below it.
        origins: web origins besides the door's own; `*` is any.
    """

    host: str
    allowed: Sequence[str]
    origins: Sequence[str]

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request by that name or from that origin is not let in, or None."""
        host = _one(header_values(scope, b"host"))
        if host is None or not self._is_known_host(host):
            said = f"host {(host or '')[:100]!r} is not served here; set DIA_ALLOWED_HOSTS"
            return Refusal(421, said, "unknown_host")
        origin = _one(header_values(scope, b"origin"))
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not self._is_known_origin(origin, host):
            said = f"web origin {(origin or '')[:100]!r} may not do this; add it to DIA_CORS_ORIGINS"
            return Refusal(403, said, "unknown_origin")
        return None

    def _is_known_host(self, host: str) -> bool:
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", host)
        if match is None:
            return False
        name = match.group(1).strip("[]").lower()
        if name == self.host or (self.host in _ANY_ADDRESS and is_address(name)):
            return True
        return any(
            allowed in ("*", name) or (allowed.startswith("*.") and name.endswith(allowed[1:]))
            for allowed in self.allowed
        )

    def _is_known_origin(self, origin: str | None, host: str) -> bool:
        if origin is None or "*" in self.origins or origin in self.origins:
            return True
        return origin != "null" and urlsplit(origin).netloc.lower() == host.lower()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `owner` names the API key (never the key itself), None where no keys are in use."""

    owner: str | None = None
    is_admin: bool = True

    @property
    def sees(self) -> str | None:
        """Whose jobs and logs may be listed; None is everybody's."""
        return None if self.is_admin else self.owner

    def may_see(self, owner: str | None) -> bool:
        return self.is_admin or owner == self.owner


class Keys:
    """The known keys, as digests."""

    def __init__(self, user_keys: Sequence[SecretStr], admin_keys: Sequence[SecretStr]) -> None:
        self._user = [_digest(key.get_secret_value().encode()) for key in user_keys]
        self._admin = [_digest(key.get_secret_value().encode()) for key in admin_keys]

    @property
    def are_in_use(self) -> bool:
        return bool(self._user or self._admin)

    def caller_of(self, key: bytes | None) -> Caller | None:
        """Who holds the key; None if nobody is let in with it."""
        digest = _digest(key or b"")
        is_admin = _is_among(digest, self._admin)
        is_user = _is_among(digest, self._user)
        if key is not None and (is_admin or is_user):
            owner = "key-" + digest.hex()[:12]
            return Caller(owner, is_admin or not self._admin)
        # With admin keys alone, speaking is open and only the changing of the server is not.
        return None if self._user else Caller(None, not self._admin)


class Login:
    """The login of the page under `path`: who is signed in, and an ASGI application for signing in and out.

    Sessions live in memory: a server that starts again asks again. Any thread may call.
    """

    def __init__(self, keys: Keys, path: str) -> None:
        self._keys = keys
        self._path = path
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    def covers(self, scope: Scope) -> bool:
        """Whether the request is for the page, or for something below it."""
        path: str = scope["path"]
        return path == self._path or path.startswith(self._path + "/")

    def serves(self, scope: Scope) -> bool:
        """Whether the request is for the login itself, which is open to everybody."""
        return self._keys.are_in_use and scope["path"] in (f"{self._path}/login", f"{self._path}/logout")

    def caller_of(self, scope: Scope) -> Caller | None:
        """Who asks, by session or by key; None if nobody is let in so."""
        return self._signed_in(scope) or self._keys.caller_of(given_key(scope))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sign in or out where that is asked for; otherwise show the login, or 401 to what is not for people."""
        request = Request(scope, receive)
        leaf = scope["path"].removeprefix(self._path)
        if request.method == "POST" and leaf == "/login":
            answer = await self._sign_in(request)
        elif request.method == "POST" and leaf == "/logout":
            answer = self._sign_out(request)
        elif request.method in ("GET", "HEAD") and leaf in ("", "/", "/login"):
            answer = self._form(request, "", 200 if leaf == "/login" else 401)
        else:
            answer = JSONResponse({"detail": _NO_KEY}, 401)
        await answer(scope, receive, send)

    async def _sign_in(self, request: Request) -> Response:
        key = await _posted_key(request)
        caller = self._keys.caller_of(key) if key and _is_own_origin(request.headers) else None
        if caller is None or caller.owner is None:
            _logger.warning("a wrong key was typed at the page's login, from %s", _address(request))
            return self._form(request, _WRONG_KEY if key else _NO_KEY, 401)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(COOKIE, self._open(caller), max_age=int(SESSION_S), **self._cookie_options(request))
        return answer

    def _sign_out(self, request: Request) -> Response:
        answer = Response(status_code=204)
        if _is_own_origin(request.headers):
            with self._lock:
                for word in _cookies(request.headers):
                    self._sessions.pop(_digest(word.encode()), None)
            answer.delete_cookie(COOKIE, **self._cookie_options(request))
        return answer

    def _open(self, caller: Caller) -> str:
        """A new session's word; the oldest sessions make room."""
        word = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_digest(word.encode())] = (time.monotonic() + SESSION_S, caller)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return word

    def _signed_in(self, scope: Scope) -> Caller | None:
        """Found by its digest, whose place in a table tells nothing of the word."""
        headers = Headers(scope=scope)
        if not self._keys.are_in_use or not _is_own_origin(headers):
            return None
        with self._lock:
            for word in _cookies(headers):
                until, caller = self._sessions.get(_digest(word.encode()), (0.0, None))
                if until > time.monotonic():
                    return caller
        return None

    def _cookie_options(self, request: Request) -> dict[str, Any]:
        # A proxy that ends TLS says so. Who lies about it keeps a cookie from himself, nothing else.
        is_secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        return {"httponly": True, "samesite": "lax", "secure": is_secure, "path": "/"}

    def _form(self, request: Request, message: str, status: int) -> Response:
        # At the page's own address without its slash, an address beside it starts one step higher.
        is_bare = self._path != "" and request.scope["path"] == self._path
        action = f"{self._path.rsplit('/', 1)[-1]}/login" if is_bare else "login"
        alert = f'<p class="alert" role="alert">{escape(message)}</p>' if message else ""
        headers = {
            "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "WWW-Authenticate": "Bearer",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'",
            # Without it a browser hides where the form comes from, and a form from nowhere is refused.
            "Referrer-Policy": "same-origin",
        }  # fmt: skip
        return HTMLResponse(_FORM.replace("ACTION", action).replace("ALERT", alert), status, headers)


class Door:
    """Middleware around a page that stands alone: nothing but `public` paths answers to who is not let in.

    The caller is noted in the scope's state, as the server's guard notes it.
    """

    def __init__(self, app: ASGIApp, *, names: Names, login: Login, public: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._names = names
        self._login = login
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._names.refusal(scope)
        caller = self._login.caller_of(scope)
        if scope["type"] == "websocket" and (refusal is not None or caller is None):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif refusal is not None:
            await JSONResponse({"detail": refusal.detail}, refusal.status)(scope, receive, send)
        elif scope["path"] in self._public:
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and (caller is None or self._login.serves(scope)):
            await self._login(scope, receive, send)
        else:
            scope.setdefault("state", {})["caller"] = caller
            await self._app(scope, receive, send)


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a header, named in lower case."""
    return [value for key, value in scope["headers"] if key.lower() == name]


def is_address(name: str) -> bool:
    """Whether a host is given as an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _one(values: Sequence[bytes]) -> str | None:
    """The one value; two of them are as good as none, except that an origin sent twice is a foreign one."""
    if len(values) > 1:
        return "null"
    return values[0].decode("latin-1") if values else None


def given_key(scope: Scope) -> bytes | None:
    """The key that a program sends, None if there is none or if it is given in two ways."""
    bearers = header_values(scope, b"authorization")
    plain = header_values(scope, b"x-api-key")
    if len(bearers) + len(plain) != 1:
        return None
    if plain:
        return plain[0].strip()
    scheme, _, given = bearers[0].partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    return _password(given) if scheme.lower() == b"basic" else None


def _password(given: bytes) -> bytes | None:
    """The key that a browser sends as a password, whatever the user's name (RFC 7617)."""
    try:
        _, colon, key = base64.b64decode(given.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return key if colon else None


async def _posted_key(request: Request) -> bytes | None:
    """What was typed into the form; None if nothing was, or if this is no such form."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                return None
    except ClientDisconnect:
        return None
    typed = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="replace").get("key", [""])
    return typed[0].strip().encode() or None


def _cookies(headers: Headers) -> list[str]:
    found = [cookie_parser(line).get(COOKIE) for line in headers.getlist("cookie")]
    return [word for word in found if word]


def _is_own_origin(headers: Headers) -> bool:
    """Whether the request comes from the page's own origin, or from no page at all."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _is_among(digest: bytes, known: Sequence[bytes]) -> bool:
    found = False
    for candidate in known:  # to the end, whatever is found
        found = hmac.compare_digest(digest, candidate) or found
    return found


_FORM = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dia: sign in</title><style>
  :root { color-scheme: light dark; --ink: #1e293b; --quiet: #64748b; --paper: #f8fafc; --card: #fff; --line: #cbd5e1;
    --teal: #0f766e; --bad: #b91c1c; }
  @media (prefers-color-scheme: dark) { :root { --ink: #f1f5f9; --quiet: #94a3b8; --paper: #0f172a; --card: #1e293b;
    --line: #475569; --teal: #2dd4bf; --bad: #fca5a5; } }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 16px; color: var(--ink);
    background: var(--paper); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
  form { width: 100%; max-width: 380px; padding: 28px; border: 1px solid var(--line); border-radius: 14px;
    background: var(--card); }
  h1 { margin: 0; font-size: 28px; letter-spacing: -0.02em; color: var(--teal); }
  h1 + p { margin: 0 0 20px; color: var(--quiet); }
  label { display: block; margin-bottom: 6px; font-weight: 600; }
  input, button { width: 100%; padding: 10px 12px; border-radius: 8px; font: inherit; }
  input { border: 1px solid var(--line); background: var(--paper); color: var(--ink); }
  button { margin-top: 14px; border: 0; background: #0f766e; color: #fff; font-weight: 600; cursor: pointer; }
  :focus-visible { outline: 2px solid var(--teal); outline-offset: 2px; }
  .alert { margin: 0 0 14px; padding: 8px 12px; border-left: 3px solid; border-radius: 6px; color: var(--bad);
    background: var(--paper); }
</style></head><body><main><form method="post" action="ACTION">
  <h1>Dia</h1><p>This server asks for a key.</p>
  ALERT
  <label for="key">API key</label>
  <input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
  <button type="submit">Sign in</button>
</form></main></body></html>
"""
