"""Adapters over HTTP with the tiny real model: listed, named by requests and voices, mixed, and refused where unknown."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.live import LiveServer, eventually, served
from tests.service.conftest import make_settings
from tests.tiny import tiny_model, write_adapter

BODY = {"text": "[S1] A line for the model.", "seed": 3, "response_format": "pcm", "max_tokens": 100}


@pytest.fixture(scope="module")
def live(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("adapters")
    for name, seed in (("anna", 1), ("ben", 2)):
        write_adapter(folder / "adapters" / f"{name}.safetensors", seed)
    write_adapter(folder / "adapters" / "stranger.safetensors", 1, tiny_model(seed=9))
    with served(make_settings(folder, model=str(bundle), device="cpu", port=0, workers=4)) as server:
        yield server


def test_requests_with_adapters_are_spoken_together_as_alone(live: LiveServer):
    with live.client(timeout=120) as client:
        assert client.post("/voice_mappings", json={"voice_id": "anna", "adapter": "anna"}).status_code == 200
        listed = client.get("/v1/adapters").json()["adapters"]
        assert [(one["id"], one["voices"]) for one in listed] == [("anna", ["anna"]), ("ben", []), ("stranger", [])]
        assert client.get("/voice_mappings").json()["anna"]["adapter"] == "anna"
        plain = client.post("/generate", json=BODY).content
        anna = client.post("/generate", json={**BODY, "adapter": "anna"}).content
        ben = client.post("/generate", json={**BODY, "adapter": "ben"}).content
        assert len({plain, anna, ben}) == 3
        # How OpenAI's clients speak with an adapter: through a voice.
        spoken = client.post(
            "/v1/audio/speech", json={**BODY, "input": BODY["text"], "voice": "anna", "model": "tts-1"}
        )
        assert spoken.content == client.post("/generate", json={**BODY, "voice": "anna"}).content

        def speak(adapter: str | None) -> bytes:
            return client.post("/generate", json={**BODY, "adapter": adapter}).content

        with ThreadPoolExecutor(4) as pool:
            mixed = list(pool.map(speak, ["anna", None, "ben", "anna", None, "ben"]))
        assert mixed == [anna, plain, ben, anna, plain, ben]

        job = client.post("/generate?async_mode=true", json={**BODY, "adapter": "ben"}).json()["job_id"]
        assert eventually(lambda: client.get(f"/jobs/{job}").json()["status"] == "completed", 60)
        assert client.get(f"/jobs/{job}").json()["adapter"] == "ben"
        assert client.get(f"/jobs/{job}/result").content == ben
        assert client.post("/plan", json={**BODY, "voice": "anna"}).json()["adapter"] == "anna"


def test_what_cannot_be_spoken_with_is_refused(live: LiveServer):
    with live.client(timeout=60) as client:
        unknown = client.post("/generate", json={**BODY, "adapter": "carl"})
        assert unknown.status_code == 404 and "known are anna, ben, stranger" in unknown.text
        assert client.post("/generate?async_mode=true", json={**BODY, "adapter": "carl"}).status_code == 404
        assert client.post("/voice_mappings", json={"voice_id": "carl", "adapter": "carl"}).status_code == 404
        path = client.post("/generate", json={**BODY, "adapter": "../adapters/anna"})
        assert path.status_code in (400, 422) and "is not allowed" in path.text
        wrong = client.post("/generate", json={**BODY, "adapter": "stranger"})
        assert wrong.status_code == 503 and "trained beside other weights" in wrong.text
