"""Keys, scopes, hosts, origins, rates (traps 6, 7, 8; promises S11 to S14, S19)."""

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dia.server.guards import RateLimit, client_address, is_admin_only, is_public

KEYS: dict[str, Any] = {"api_keys": "user-key,other-key,schlüssel", "admin_keys": "admin-key"}


def _basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


USER = {"Authorization": "Bearer user-key"}
OTHER = {"Authorization": "Bearer other-key"}
ADMIN = {"Authorization": "Bearer admin-key"}


def all_routes(app: Any) -> Iterator[tuple[str, str]]:
    """Every method and path that the application answers, with ids filled in, by its own list of routes."""

    def walk(routes: Any, prefix: str) -> Iterator[tuple[str, str]]:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from walk(inner.routes, prefix + getattr(route.include_context, "prefix", ""))
            elif isinstance(route, Mount):
                yield "GET", prefix + route.path + "/anything"
            else:
                path = prefix + route.path
                for part in ("job_id", "log_id", "voice_id", "prompt_id", "model_id", "model_id:path"):
                    path = path.replace("{" + part + "}", "some-id")
                for method in route.methods or {"GET"}:
                    yield method, path

    yield from walk(app.routes, "")


def test_the_walk_sees_all_routes(client: TestClient):
    seen = set(all_routes(client.app))
    assert {("POST", "/generate"), ("POST", "/v1/generate"), ("DELETE", "/v1/jobs/some-id"), ("GET", "/docs")} <= seen
    assert len(seen) > 120


def test_s11_without_a_key_every_route_but_the_public_ones_is_401(
    make_client: Callable[..., TestClient], promise: Any
):
    """Trap 8: a server whose key covered a part of its routes."""
    client = make_client(**KEYS)
    refused = 0
    for method, path in sorted(set(all_routes(client.app))):
        status = client.request(method, path).status_code
        if is_public(method, path):
            assert status == 200, (method, path)
        else:
            assert status == 401, (method, path)
            refused += 1
    assert client.get("/nowhere").status_code == 401
    promise(
        "S11",
        f"{refused} of {len(set(all_routes(client.app)))} routes are 401 without a key; the rest is health and lists",
    )


def test_the_public_list_is_this():
    listed = [
        "/",
        "/health",
        "/health/live",
        "/health/ready",
        "/audio/voices",
        "/audio/models",
        "/v1/audio/voices/tts-1",
    ]
    assert all(is_public("GET", path) for path in listed)
    assert not any(is_public("POST", path) for path in listed)
    assert not any(
        is_public("GET", path) for path in ("/healthz", "/voices", "/logs", "/metrics", "/docs", "/health/x")
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "user-key"},
        {"Authorization": "Basic user-key"},
        {"Authorization": _basic("anna:wrong")},
        {"Authorization": _basic("user-key:")},
        {"Authorization": _basic("user-key")},
        {"Authorization": _basic("anna:user-key").replace("YW5u", "YW*5u")},
        {"Authorization": b"Bearer \xff\xfe\xc3\x28"},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"X-API-Key": "wrong"},
        {"X-API-Key": "user-key", "Authorization": "Bearer user-key"},
    ],
    ids=str,
)  # fmt: skip
def test_s11_every_wrong_way_to_send_a_key_is_401(make_client: Callable[..., TestClient], headers: dict):
    """Trap 7: comparing text that is not ASCII raised, and the answer was 500."""
    answer = make_client(**KEYS).get("/v1/voices", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        USER,
        {"Authorization": "bearer other-key"},
        {"X-API-Key": "user-key"},
        {"Authorization": "Bearer schlüssel".encode()},
        {"Authorization": _basic("anna:user-key")},
        {"Authorization": _basic(":schlüssel")},
        ADMIN,
    ],
    ids=str,
)
def test_every_right_way_to_send_a_key_is_let_in(make_client: Callable[..., TestClient], headers: dict):
    assert make_client(**KEYS).get("/voices", headers=headers).status_code == 200


def test_a_browser_is_asked_for_the_key_where_people_look(make_client: Callable[..., TestClient]):
    client = make_client(**KEYS)
    answer = client.get("/docs")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Basic realm="Dia"')
    # The page has a login of its own; a browser must not put its window before it.
    for path in ("/ui", "/ui/", "/ui/config", "/voices", "/uix", "/v1/models"):
        assert client.get(path).status_code == 401
        assert client.get(path).headers["www-authenticate"] == "Bearer", path
    assert 'action="login"' in client.get("/ui/").text
    assert client.get("/docs", auth=("anna", "user-key")).status_code == 200
    evil = client.post(
        "/generate", json={"text": "Hi."}, auth=("a", "user-key"), headers={"Origin": "http://evil.org"}
    )
    assert evil.status_code == 403


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sk-anything"}])
def test_without_configured_keys_any_key_and_none_are_let_in(client: TestClient, headers: dict):
    assert client.post("/generate", json={"text": "Hi."}, headers=headers).status_code == 200


def test_a_key_appears_nowhere(make_client: Callable[..., TestClient], caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    client = make_client(**KEYS)
    client.post("/generate", json={"text": "Hi."}, headers=USER)
    client.get("/voices", headers={"Authorization": "Bearer wrong-key-value"})
    shown = "".join(
        client.get(path, headers=ADMIN).text for path in ("/config", "/logs", "/jobs", "/metrics", "/openapi.json")
    )
    for key in ("user-key", "admin-key", "wrong-key-value"):
        assert key not in shown
        assert key not in caplog.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/config"), ("DELETE", "/logs"), ("DELETE", "/logs/x"), ("POST", "/cleanup"), ("POST", "/whisper/load"),
     ("DELETE", "/jobs"), ("POST", "/audio_prompts/discover")],
)  # fmt: skip
def test_s12_what_changes_the_server_needs_an_admin_key(
    make_client: Callable[..., TestClient], method: str, path: str
):
    client = make_client(**KEYS)
    for prefix in ("", "/v1"):
        assert client.request(method, prefix + path, headers=USER).status_code == 403
        assert client.request(method, prefix + path, headers=ADMIN).status_code not in (401, 403)
        assert is_admin_only(method, prefix + path)


def test_s12_admin_keys_alone_leave_speaking_open(make_client: Callable[..., TestClient]):
    client = make_client(admin_keys="admin-key")
    assert client.post("/generate", json={"text": "Hi."}).status_code == 200
    assert client.post("/cleanup").status_code == 403
    assert client.post("/cleanup", headers=ADMIN).status_code == 200


def test_jobs_and_logs_of_one_key_are_hidden_from_another(make_client: Callable[..., TestClient]):
    client = make_client(**KEYS, save_outputs=True)
    job = client.post("/generate?async_mode=true", json={"text": "Mine."}, headers=USER).json()["job_id"]
    log = client.post("/generate", json={"text": "Mine."}, headers=USER).headers["x-generation-id"]
    paths = [f"/jobs/{job}", f"/logs/{log}", f"/logs/{log}/download"]
    for path in paths:
        assert client.get(path, headers=OTHER).status_code == 404
        assert client.get(path, headers=USER).status_code == client.get(path, headers=ADMIN).status_code == 200
    assert client.delete(f"/jobs/{job}", headers=OTHER).status_code == 404
    assert client.post(f"/voices/from-log/{log}", json={"voice_id": "stolen"}, headers=OTHER).status_code == 404
    assert client.get("/jobs", headers=OTHER).json()["jobs"] == client.get("/logs", headers=OTHER).json()["logs"] == []
    assert client.get("/logs", headers=ADMIN).json()["filtered"] == 2


@pytest.mark.parametrize(
    "host", ["evil.example", "1.2.3.4:7860", "localhost.evil", "", "a b", "127.0.0.1.evil:7860", "[::1"]
)
def test_s13_a_foreign_host_name_is_refused_everywhere(client: TestClient, host: str):
    """Somebody else's domain name that resolves to this machine makes a visitor's browser its tool."""
    for method, path in sorted(set(all_routes(client.app)))[::7]:
        assert client.request(method, path, headers={"Host": host}).status_code == 421


def test_s13_known_hosts_pass(make_client: Callable[..., TestClient], client: TestClient):
    for host in ("localhost", "localhost:7860", "127.0.0.1:1", "[::1]:7860", "LOCALHOST"):
        assert client.get("/voices", headers={"Host": host}).status_code == 200
    client.app.state.service.close(0)
    open_to_all = make_client(host="0.0.0.0", allowed_hosts="tts.lan")
    for host, status in (("192.168.1.7:7860", 200), ("tts.lan:7860", 200), ("evil.example", 421)):
        assert open_to_all.get("/voices", headers={"Host": host}).status_code == status


def test_s13_two_host_headers_are_refused(client: TestClient):
    assert client.get("/voices", headers=[("Host", "localhost"), ("Host", "localhost")]).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8000.evil", "http://localhost:9"])
def test_s14_foreign_origins_get_no_leave_and_may_not_post(client: TestClient, origin: str):
    """F18 of the first server: any page that a user visited could drive it."""
    headers = {"Origin": origin}
    preflight = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    assert "access-control-allow-origin" not in client.options("/generate", headers=preflight).headers
    assert "access-control-allow-origin" not in client.get("/voices", headers=headers).headers
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json"):
        answer = client.post(
            "/generate?async_mode=true", content=b'{"text": "Hi."}', headers={**headers, "Content-Type": content_type}
        )
        assert answer.status_code == 403
    assert client.get("/jobs").json()["total"] == 0


def test_s14_sillytavern_is_let_in_with_any_header(client: TestClient):
    origin = {"Origin": "http://localhost:8000"}
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "cache-control,content-type,authorization",
    }
    preflight = client.options("/v1/audio/speech", headers={**origin, **asked})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:8000"
    assert "cache-control" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in preflight.headers
    answer = client.post("/generate", json={"text": "Hi."}, headers=origin)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:8000"
    assert "X-Seed" in answer.headers["access-control-expose-headers"]
    refused = client.post("/generate", json={"text": ""}, headers=origin)
    assert refused.headers["access-control-allow-origin"] == "http://localhost:8000"


def test_s14_the_page_of_the_server_itself_may_post(client: TestClient):
    same = {"Origin": "http://localhost:7860"}
    assert client.post("/generate", json={"text": "Hi."}, headers=same).status_code == 200


def test_s14_a_star_lets_all_in_without_credentials(make_client: Callable[..., TestClient]):
    anybody = make_client(cors_origins="*")
    answer = anybody.post("/generate", json={"text": "Hi."}, headers={"Origin": "http://any.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in answer.headers


def test_s19_the_rate_limit_lets_a_burst_through_and_tells_when_to_come_back(
    make_client: Callable[..., TestClient], promise: Any
):
    client = make_client(rate_limit_per_minute=60, rate_limit_burst=10)
    answers = [client.get("/voices") for _ in range(30)]
    statuses = [answer.status_code for answer in answers]
    assert 10 <= statuses.count(200) <= 12
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
    assert client.get("/health").status_code == 200
    promise("S19", f"30 requests at once, burst 10: {statuses.count(200)} let through, {statuses.count(429)} x 429")


def test_s19_the_table_of_callers_is_bounded():
    limit = RateLimit(60, 10, max_callers=100)
    assert all(limit.wait_s(f"caller {number}") == 0 for number in range(10_000))
    assert len(limit._buckets) == 100


def test_s19_the_bucket_fills_at_its_rate_and_to_its_brim(monkeypatch: pytest.MonkeyPatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = RateLimit(per_minute=30, burst=2)
    assert [limit.wait_s("a") for _ in range(4)] == [0.0, 0.0, 2.0, 2.0]
    now[0] += 1.5
    assert limit.wait_s("a") == pytest.approx(0.5)
    now[0] += 0.5
    assert limit.wait_s("a") == 0.0
    assert limit.wait_s("a") == pytest.approx(2.0)
    assert limit.wait_s("b") == 0.0
    now[0] += 3600
    assert [limit.wait_s("a") for _ in range(3)] == [0.0, 0.0, 2.0]


@pytest.mark.parametrize("per_minute", [0.0, -1.0])
def test_s19_no_rate_is_no_limit(per_minute: float):
    limit = RateLimit(per_minute, 1)
    assert [limit.wait_s("a") for _ in range(5)] == [0.0] * 5
    assert len(limit._buckets) == 0
    assert RateLimit(0.6, 1).wait_s("a") == 0.0


def test_s19_who_was_longest_silent_makes_room():
    limit = RateLimit(1, 1, max_callers=2)
    for caller in ("a", "b", "a", "c"):
        limit.wait_s(caller)
    assert list(limit._buckets) == ["a", "c"]


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        (None, [], "unknown"),
        (("10.1.1.1", 5), ["10.9.9.9"], "10.1.1.1"),
        (("10.0.0.1", 5), [], "10.0.0.1"),
        (("10.0.0.1", 5), ["10.9.9.9"], "10.9.9.9"),
        (("10.0.0.1", 5), ["1.1.1.1, 10.9.9.9"], "10.9.9.9"),
        (("10.0.0.1", 5), ["1.1.1.1", "::1 "], "::1"),
        (("10.0.0.1", 5), ["10.9.9.9, nonsense"], "10.0.0.1"),
        (("unix", 0), ["10.9.9.9"], "unix"),
    ],
)
def test_s19_the_last_word_of_a_trusted_proxy_counts(client: Any, forwarded: list[str], address: str):
    """What stands before it may have been written by the client."""
    headers = [(b"X-Forwarded-For", value.encode()) for value in forwarded]
    assert client_address({"client": client, "headers": headers}, ["10.0.0.1"]) == address


def test_s19_keys_have_a_bucket_each_and_the_page_none(make_client: Callable[..., TestClient]):
    client = make_client(**KEYS, rate_limit_per_minute=1, rate_limit_burst=1)
    assert [client.get("/voices", headers=who).status_code for who in (USER, OTHER, USER, OTHER)] == [
        200, 200, 429, 429,
    ]  # fmt: skip
    answer = client.get("/voices", headers=USER)
    assert 55 <= int(answer.headers["retry-after"]) <= 60
    assert answer.json()["error"]["code"] == "rate_limited"
    assert {client.get("/ui/nothing", headers=USER).status_code for _ in range(3)} == {404}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"host": "evil.example"}, "unknown_host"),
        ({"host": "localhost", "origin": "http://evil.example"}, "unknown_origin"),
        ({"host": "localhost"}, "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/ui", "/ui/queue", "/generate"])
def test_s11_a_websocket_is_closed_and_told_why(
    make_client: Callable[..., TestClient], headers: dict, reason: str, path: str
):
    client = make_client(**KEYS)
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(path, headers=headers):
        pass
    assert (closed.value.code, closed.value.reason) == (1008, reason)  # a policy that was broken (RFC 6455)


def test_s11_the_page_shows_its_login_and_what_is_below_it_is_refused_plainly(make_client: Callable[..., TestClient]):
    client = make_client(**KEYS)
    for path, status, is_form in (
        ("/ui", 401, True), ("/ui/", 401, True), ("/ui/login", 200, True), ("/ui/config", 401, False),
        ("/voices", 401, False),
    ):  # fmt: skip
        answer = client.get(path)
        assert (answer.status_code, "<form" in answer.text) == (status, is_form), path
    assert client.get("/ui", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/voices").json()["error"]["message"].endswith("send it as Authorization: Bearer KEY")
    assert "as the password" in client.get("/docs").json()["detail"]


def test_s19_what_a_proxy_says_counts_only_if_it_is_trusted(make_client: Callable[..., TestClient]):
    client = make_client(rate_limit_per_minute=1, rate_limit_burst=1)
    statuses = [client.get("/voices", headers={"X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(3)]
    assert statuses == [200, 429, 429]
    client.app.state.service.close(0)
    trusting = make_client(rate_limit_per_minute=1, rate_limit_burst=1, trusted_proxies="testclient")
    statuses = [trusting.get("/voices", headers={"X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(3)]
    assert statuses == [200, 200, 200]


def test_request_ids_are_kept_if_they_are_plain_words(client: TestClient):
    assert client.get("/voices", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for odd in ("a b", "x" * 65, "é", ""):
        given = client.get("/voices", headers={"X-Request-ID": odd.encode()}).headers["x-request-id"]
        assert given != odd
        assert len(given) == 32


def test_s21_every_answer_has_its_security_headers(client: TestClient):
    for path in ("/voices", "/nowhere", "/health", "/docs"):
        headers = client.get(path).headers
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert "server" not in headers
