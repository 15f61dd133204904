"""Keys and the login: who is let in, by what, and what is told to whom."""

import re
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dia import door
from dia.door import Door, Keys, Login, Names

BASE_URL = "http://dia.example"


async def who(request: Request) -> JSONResponse:
    return JSONResponse(request.scope["state"]["caller"].owner)


@pytest.fixture
def make_client() -> Callable[..., TestClient]:
    def make(users: tuple[str, ...] = ("user-key", "schlüssel"), admins: tuple[str, ...] = ()) -> TestClient:
        app = Starlette(routes=[Route(path, who) for path in ("/", "/deep/inside")])
        keys = Keys([SecretStr(key) for key in users], [SecretStr(key) for key in admins])
        names = Names("127.0.0.1", ("dia.example", "testserver"), ())
        app.add_middleware(Door, names=names, login=Login(keys, ""))
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


def test_websockets_need_a_key_too(client: TestClient):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/deep/inside"):
        pass
