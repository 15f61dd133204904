"""The OpenAPI document says what happens: every status that occurs, on every route (trap 17; promise Q01)."""

import random
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.conftest import BASE_URL
from tests.server.test_guards import all_routes
from tests.service.tone import ToneModel

OUR_OWN = {"/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"}
VALUES: list[Any] = [
    None, True, 0, -1, 1, 2**63, 1.5, -0.0, 1e308, "", " ", "alloy", "Hello there.", "x" * 5000, "\0", "\u202e[S1]", "[S2] (laughs)",
    "../x", "some-id", "wav", "mp3", "sse", [], [1], {}, {"id": "echo"}, {"S1": {"prompt": "p"}}, "\U0001f642" * 50, "S1", "S9",
]  # fmt: skip
METHODS = ("get", "put", "post", "delete")


@pytest.fixture
def client(make_service: Any) -> TestClient:
    from dia.server.app import create_app

    service = make_service(max_text_chars=300)
    # An exception that escapes must come out as 500 here, as it does for users.
    return TestClient(create_app(service=service), base_url=BASE_URL, raise_server_exceptions=False)


def test_every_route_is_described_and_every_described_one_is_there(client: TestClient):
    document = client.get("/openapi.json").json()
    described = {
        (method.upper(), path.replace("{job_id}", "some-id").replace("{log_id}", "some-id").replace("{voice_id}", "some-id")
         .replace("{prompt_id}", "some-id").replace("{model_id}", "some-id"))
        for path, operations in document["paths"].items() for method in operations
    }  # fmt: skip
    served = {(method, path) for method, path in all_routes(client.app) if method != "HEAD" and path not in OUR_OWN}
    hidden = {("POST", "/tts_to_audio"), ("GET", "/tts_stream")}  # the same without their slash
    assert described <= served
    assert {route for route in served - described if not route[1].startswith("/v1/")} == hidden
    twins = {(method, f"/v1{path}") for method, path in described if not path.startswith("/v1/") and path != "/"}
    assert twins <= served, "every path is served under /v1 too"
    assert document["info"]["title"] == "Dia TTS Server"


def test_references_inside_the_document_lead_somewhere(client: TestClient):
    document = client.get("/openapi.json").json()

    def references(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for reference in references(document):
        assert reference.split("/")[-1] in document["components"]["schemas"], reference
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def _body(draw: random.Random, operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        names = list(content["multipart/form-data"]["schema"]["properties"])
        files = {draw.choice(names): ("f", draw.choice([b"", b"RIFF", b"\0" * 100]))}
        return {"files": files, "data": {name: str(draw.choice(VALUES)) for name in names if draw.random() < 0.6}}
    if "application/json" not in content:
        return {}
    if draw.random() < 0.1:
        return {"content": draw.choice([b"", b"{", b"[]", b"null", b"\xff", b'{"a":1e999}'])}
    names = list(content["application/json"]["schema"].get("properties", {}))
    body = {name: draw.choice(VALUES) for name in names if draw.random() < 0.25}
    if "text" in names and draw.random() < 0.6:
        body["text"] = draw.choice(["Hello there.", "[S2] Hi. (laughs)"])
        body.pop("input", None)
    import json

    return {"content": json.dumps(body).encode("utf-8", "surrogatepass")}


def _fuzz(client: TestClient, cases: int, seed: int) -> dict[int, int]:
    draw = random.Random(seed)
    document = client.get("/openapi.json").json()
    operations = [(path, method, op) for path, ops in document["paths"].items() for method, op in ops.items()]
    seen: dict[int, int] = {}
    for number in range(cases):
        path, method, operation = operations[number % len(operations)]
        for name in ("job_id", "log_id", "voice_id", "prompt_id", "model_id"):
            path = path.replace("{" + name + "}", draw.choice(["some-id", "alloy", "p", "x" * 70, "%00", "tts-1"]))
        params = {
            item["name"]: str(draw.choice(VALUES))[:200]
            for item in operation.get("parameters", []) if item["in"] == "query" and draw.random() < 0.4
        }  # fmt: skip
        answer = client.request(method.upper(), path, params=params, **_body(draw, operation))
        documented = operation["responses"]
        assert str(answer.status_code) in documented, (method, path, answer.status_code, answer.text[:300])
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["error"]["message"]
        assert answer.status_code not in (500, 507), (method, path, answer.text)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
    return seen


def test_q01_random_requests_meet_no_fault_and_no_undocumented_status(
    client: TestClient, model: ToneModel, promise: Any
):
    model.frames_per_char = 0.2
    seen = _fuzz(client, 400, seed=1)
    assert seen[200] > 50
    promise(
        "Q01",
        f"400 random requests over every operation: no 5xx fault, no undocumented status; {dict(sorted(seen.items()))}",
    )


@pytest.mark.slow
def test_q01_ten_thousand_random_requests(client: TestClient, model: ToneModel, promise: Any):
    model.frames_per_char = 0.2
    seen = _fuzz(client, 10_000, seed=2)
    promise("Q01+", f"10,000 random requests: no 5xx fault, no undocumented status; {dict(sorted(seen.items()))}")


def test_a_wrong_method_is_405_with_the_right_ones(client: TestClient):
    answer = client.patch("/generate")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["code"] == "method_not_allowed"
