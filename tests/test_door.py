"""Keys and the login: who is let in, by what, and what is told to whom."""

import hashlib
import re
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from dia import door
from dia.door import Caller, Door, Keys, Login, Names

BASE_URL = "http://dia.example"


async def who(request: Request) -> JSONResponse:
    return JSONResponse(request.scope["state"]["caller"].owner)


async def who_calls(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(str(socket.scope["state"]["caller"].owner))
    await socket.close()


@pytest.fixture
def make_client() -> Callable[..., TestClient]:
    def make(users: tuple[str, ...] = ("user-key", "schlüssel"), admins: tuple[str, ...] = ()) -> TestClient:
        pages = [Route(path, who) for path in ("/", "/deep/inside")]
        public = Route("/public", lambda request: JSONResponse(None))
        app = Starlette(routes=[*pages, public, WebSocketRoute("/socket", who_calls)])
        keys = Keys([SecretStr(key) for key in users], [SecretStr(key) for key in admins])
        names = Names("127.0.0.1", ("dia.example", "testserver"), ())
        app.add_middleware(Door, names=names, login=Login(keys, ""), public=frozenset(["/public"]))
        return TestClient(app, base_url=BASE_URL, follow_redirects=False)

    return make


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()


def sign_in(client: TestClient, key: str, **headers: str) -> Any:
    return client.post("/login", data={"key": key}, headers=headers)


def test_without_a_key_there_is_a_form_and_nothing_else(client: TestClient):
    page = client.get("/")
    assert page.status_code == 401
    assert 'type="password"' in page.text
    assert "alert" not in re.sub(r"<style>.*</style>", "", page.text, flags=re.DOTALL)
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/deep/inside", "/nowhere", "/login/x"):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["content-type"] == "application/json"


def test_a_right_key_opens_a_session_whose_cookie_is_no_key(client: TestClient):
    answer = sign_in(client, "  user-key ", origin=BASE_URL)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = SimpleCookie(answer.headers["set-cookie"])[door.COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "lax", "")
    assert "user-key" not in str(answer.headers)
    assert len(cookie.value) == 43  # 256 bits
    assert client.get("/deep/inside").json().startswith("key-")
    other = TestClient(client.app, base_url=BASE_URL, follow_redirects=False)
    assert other.get("/deep/inside").status_code == 401
    assert sign_in(other, "schlüssel").status_code == 303


@pytest.mark.parametrize("key", ["another-key", "user-key2", "user", "\xff\xfe", "x" * 5000, "x" * 20_000, ""])
def test_a_wrong_key_is_told_and_opens_nothing(client: TestClient, key: str, caplog: pytest.LogCaptureFixture):
    answer = sign_in(client, key)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers
    assert client.get("/").status_code == 401
    assert "wrong key" in caplog.text
    assert len(key) < 5 or key not in caplog.text + answer.text


def test_a_key_in_the_address_counts_for_nothing(client: TestClient):
    assert client.get("/?key=user-key").status_code == 401
    assert client.get("/login?key=user-key").text == client.get("/login").text
    assert client.post("/login?key=user-key").status_code == 401


def test_programs_may_still_send_their_key(client: TestClient):
    assert client.get("/deep/inside", headers={"authorization": "Bearer user-key"}).status_code == 200
    assert client.get("/deep/inside", headers={"x-api-key": "wrong"}).status_code == 401


def test_signing_out_ends_the_session_itself(client: TestClient):
    sign_in(client, "user-key")
    word = client.cookies[door.COOKIE]
    assert client.post("/logout").status_code == 204
    assert door.COOKIE not in client.cookies
    assert client.get("/", headers={"cookie": f"{door.COOKIE}={word}"}).status_code == 401


def test_a_session_ends_by_itself_and_the_oldest_make_room(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door, "MAX_SESSIONS", 2)
    words = []
    for _ in range(3):
        sign_in(client, "user-key")
        words.append(client.cookies[door.COOKIE])
        client.cookies.clear()

    def status(word: str) -> int:
        return int(client.get("/", headers={"cookie": f"{door.COOKIE}={word}"}).status_code)

    assert [status(word) for word in [*words, "guess", ""]] == [401, 200, 200, 401, 401]
    monkeypatch.setattr(door, "SESSION_S", -1.0)
    client.headers["cookie"] = ""
    expired = sign_in(client, "user-key").headers["set-cookie"]
    assert status(SimpleCookie(expired)[door.COOKIE].value) == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://dia.example:81", "http://dia.example.evil"])
def test_another_origin_can_use_neither_form_nor_cookie(client: TestClient, origin: str):
    assert sign_in(client, "user-key", origin=origin).status_code == 403
    sign_in(client, "user-key")
    assert client.get("/deep/inside", headers={"origin": origin}).status_code == 401
    client.post("/logout", headers={"origin": origin})
    assert client.get("/deep/inside", headers={"origin": BASE_URL}).status_code == 200


def test_behind_tls_the_cookie_stays_behind_tls(client: TestClient):
    assert "secure" in sign_in(client, "user-key", **{"x-forwarded-proto": "https"}).headers["set-cookie"].lower()


def test_with_admin_keys_alone_all_may_look_and_an_admin_may_sign_in(make_client: Callable[..., TestClient]):
    client = make_client(users=(), admins=("admin-key",))
    assert client.get("/").json() is None
    assert client.get("/login").status_code == 200
    assert sign_in(client, "admin-key").status_code == 303
    assert client.get("/").json().startswith("key-")


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({}, False),
        ({"x-api-key": "wrong"}, False),
        ({"x-api-key": "user-key"}, True),
        ({"x-api-key": "user-key", "host": "dia.example", "origin": BASE_URL}, True),
        ({"x-api-key": "user-key", "origin": "http://evil.example"}, False),
        ({"x-api-key": "user-key", "host": "evil.example"}, False),
    ],
    ids=str,
)
def test_websockets_need_a_key_and_the_right_origin_too(client: TestClient, headers: dict, is_let_in: bool):
    def talk() -> str:
        with client.websocket_connect("/socket", headers=headers) as socket:
            return str(socket.receive_text())

    if is_let_in:
        assert talk().startswith("key-")
    else:
        with pytest.raises(WebSocketDisconnect) as closed:
            talk()
        assert closed.value.code == 1008  # a policy that was broken (RFC 6455)


def test_public_paths_answer_everybody_but_not_by_a_foreign_name(client: TestClient):
    assert client.get("/public").json() is None
    assert client.post("/public").status_code == 405
    assert client.get("/public", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/publics").status_code == 401


def test_without_keys_all_are_let_in_and_there_is_no_login(make_client: Callable[..., TestClient]):
    client = make_client(users=())
    assert client.get("/deep/inside").json() is None
    assert client.get("/login").status_code == 404


def test_who_asks_is_named_by_twelve_digits_of_the_keys_digest(client: TestClient):
    owner = client.get("/", headers={"x-api-key": "user-key"}).json()
    assert owner == "key-" + hashlib.sha256(b"user-key").hexdigest()[:12]


def test_a_session_lives_thirty_days_and_there_are_a_thousand(client: TestClient):
    cookie = SimpleCookie(sign_in(client, "user-key").headers["set-cookie"])[door.COOKIE]
    assert (cookie["max-age"], cookie["path"], door.MAX_SESSIONS) == ("2592000", "/", 1000)


def test_a_form_of_eight_kibibytes_is_read_and_no_byte_more(client: TestClient):
    for size, status in ((8192, 303), (8193, 401)):
        body = b"key=user-key&pad="
        answer = client.post("/login", content=body + b"x" * (size - len(body)))
        assert answer.status_code == status


def test_two_host_or_origin_headers_and_two_keys_are_as_good_as_none(client: TestClient):
    key = ("x-api-key", "user-key")
    twice = [("origin", BASE_URL), ("origin", BASE_URL), key]
    assert client.post("/", headers=twice).status_code == 403
    assert client.get("/", headers=[("host", "dia.example"), ("host", "dia.example"), key]).status_code == 421
    assert client.get("/", headers=[key, key]).status_code == 401


def test_a_request_that_names_no_host_is_refused():
    refusal = Names("0.0.0.0", ("*",), ("*",)).refusal({"type": "http", "method": "GET", "headers": []})
    assert refusal is not None
    assert (refusal.status, refusal.code) == (421, "unknown_host")
    assert "''" in refusal.detail


def test_what_is_refused_is_shown_in_part(client: TestClient):
    long = "x" * 101
    assert f"{'x' * 100!r}" in client.get("/", headers={"host": long}).json()["detail"]
    assert f"{'x' * 100!r}" in client.post("/", headers={"origin": long}).json()["detail"]


@pytest.mark.parametrize(
    ("listens_on", "allowed", "host", "is_known"),
    [
        ("127.0.0.1", (), "127.0.0.1:7860", True),
        ("127.0.0.1", (), "192.168.1.7", False),
        ("::1", (), "[::1]:7860", True),
        ("0.0.0.0", (), "192.168.1.7", True),
        ("::", (), "[fe80::1]", True),
        ("", (), "10.0.0.1", True),
        ("0.0.0.0", (), "name", False),
        ("0.0.0.0", ("*",), "name", True),
        ("127.0.0.1", ("Name",), "name", False),
        ("127.0.0.1", ("name",), "game", False),
        ("127.0.0.1", ("name",), "NAME", True),
        ("127.0.0.1", ("*.example.com",), "a.example.com", True),
        ("127.0.0.1", ("*.example.com",), "a.b.example.com", True),
        ("127.0.0.1", ("*.example.com",), "example.com", False),
        ("127.0.0.1", ("*.example.com",), "anexample.com", False),
        ("127.0.0.1", ("x.example.com",), "y.x.example.com", False),
        ("127.0.0.1", ("*",), "na me", False),
        ("127.0.0.1", ("*",), "name:123456", False),
        ("127.0.0.1", ("*",), "user@name", False),
    ],
)
def test_hosts_are_known_by_their_exact_names(listens_on: str, allowed: tuple[str, ...], host: str, is_known: bool):
    assert Names(listens_on, allowed, ())._is_known_host(host) is is_known


@pytest.mark.parametrize(
    ("origins", "origin", "is_known"),
    [
        ((), None, True),
        ((), "http://DIA.example", True),
        ((), "http://dia.example:81", False),
        ((), "null", False),
        (("null",), "null", True),
        (("*",), "http://any", True),
        (("http://a",), "http://a", True),
        (("http://a",), "http://b", False),
    ],
)
def test_origins_are_known_by_their_exact_names(origins: tuple[str, ...], origin: str | None, is_known: bool):
    assert Names("127.0.0.1", (), origins)._is_known_origin(origin, "dia.example") is is_known


def test_who_may_see_what():
    user, other, admin = Caller("key-a", False), Caller("key-b", False), Caller("key-c", True)
    assert (user.sees, admin.sees, Caller().sees) == ("key-a", None, None)
    assert [caller.may_see("key-a") for caller in (user, other, admin, Caller())] == [True, False, True, True]
    assert not user.may_see(None)


@pytest.mark.parametrize(
    ("users", "admins", "key", "found"),
    [
        ((), (), None, Caller(None, True)),
        ((), (), b"any", Caller(None, True)),
        (("u",), (), None, None),
        (("u",), (), b"", None),
        (("u",), (), b"u", Caller("key-0bfe935e70c3", True)),
        (("u", "v"), ("a",), b"v", Caller("key-4c94485e0c21", False)),
        (("u",), ("a",), b"a", Caller("key-ca978112ca1b", True)),
        (("u",), ("a",), b"x", None),
        ((), ("a",), b"x", Caller(None, False)),
        ((), ("a",), None, Caller(None, False)),
        ((), ("a", "b"), b"a", Caller("key-ca978112ca1b", True)),
    ],
)
def test_keys_and_their_rights(
    users: tuple[str, ...], admins: tuple[str, ...], key: bytes | None, found: Caller | None
):
    keys = Keys([SecretStr(one) for one in users], [SecretStr(one) for one in admins])
    assert keys.are_in_use is bool(users or admins)
    assert keys.caller_of(key) == found


@pytest.mark.parametrize(
    ("method", "path", "status", "is_page"),
    [
        ("GET", "/ui", 401, True),
        ("GET", "/ui/", 401, True),
        ("HEAD", "/ui/", 401, False),
        ("GET", "/ui/login", 200, True),
        ("GET", "/ui/logout", 401, False),
        ("PUT", "/ui/login", 401, False),
        ("POST", "/ui/", 401, False),
    ],
)
def test_a_login_below_a_path(method: str, path: str, status: int, is_page: bool):
    login = Login(Keys([SecretStr("user-key")], []), "/ui")
    answer = TestClient(login, base_url=BASE_URL).request(method, path)
    assert answer.status_code == status
    assert ("<form" in answer.text) is is_page
    if is_page:  # relative, so that a proxy may put the page anywhere
        assert f'action="{"ui/login" if path == "/ui" else "login"}"' in answer.text


@pytest.mark.parametrize(("origin", "status"), [(BASE_URL, 303), ("http://evil.example", 401)])
def test_a_login_itself_takes_no_key_from_a_foreign_form(origin: str, status: int):
    login = Login(Keys([SecretStr("user-key")], []), "/ui")
    client = TestClient(login, base_url=BASE_URL, follow_redirects=False)
    answer = client.post("/ui/login", data={"key": "user-key"}, headers={"origin": origin})
    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) is (status == 303)


def test_what_a_login_covers_and_serves():
    login = Login(Keys([SecretStr("user-key")], []), "/ui")
    assert [login.covers({"path": path}) for path in ("/ui", "/ui/", "/ui/x", "/uix", "/", "/v1/ui")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert [login.serves({"path": path}) for path in ("/ui/login", "/ui/logout", "/ui", "/login")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not Login(Keys([], []), "/ui").serves({"path": "/ui/login"})
