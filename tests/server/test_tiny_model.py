"""The tiny real model behind HTTP: many at once, cancelled ones beside others, and the same bytes alone and together."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.live import LiveServer, served
from tests.service.conftest import make_settings

TEXT = "[S1] A line for the model number {}."


@pytest.fixture(scope="module")
def live(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    settings = make_settings(tmp_path_factory.mktemp("tiny"), model=str(bundle), device="cpu", port=0, workers=4)
    with served(settings) as server:
        yield server


def test_alone_and_together_and_streamed_are_the_same_bytes(live: LiveServer, promise: Any):
    """R14, F2, F3 of the first server: four threads with one seed gave four results."""
    bodies = [{"text": TEXT.format(n), "seed": n, "response_format": "pcm", "max_tokens": 100} for n in range(4)]
    with live.client(timeout=60) as client:
        alone = [client.post("/generate", json=body) for body in bodies]
    assert all(answer.status_code == 200 for answer in alone), alone[0].text
    assert len({answer.content for answer in alone}) == 4

    async def together() -> list[Any]:
        async with httpx.AsyncClient(base_url=live.url, timeout=60, verify=False) as client:

            async def leave() -> None:
                with pytest.raises(httpx.ReadTimeout):
                    await client.post("/generate", json={**bodies[3], "max_tokens": 250}, timeout=0.1)

            spoken = [client.post("/generate", json={**body, "stream": n == 1}) for n, body in enumerate(bodies[:3])]
            return await asyncio.gather(*spoken, leave())

    mixed = asyncio.run(together())
    for one, other in zip(mixed[:3], alone[:3], strict=True):
        assert one.content == other.content
    promise("R14", "three requests beside one that was cancelled: sample for sample as when alone, whole and streamed")


def test_a_clone_and_a_frozen_voice_are_spoken_by_the_real_codec(live: LiveServer):
    from tests.service.conftest import wav

    with live.client(timeout=60) as client:
        files = {"audio_file": ("me.wav", wav(1.0))}
        assert (
            client.post(
                "/audio_prompts/upload", data={"prompt_id": "me", "transcript": "Yes."}, files=files
            ).status_code
            == 200
        )
        assert client.post("/voice_mappings", json={"voice_id": "me", "audio_prompt": "me"}).status_code == 200
        answer = client.post("/generate", json={"text": "Hi.", "voice": "me", "max_tokens": 100})
        assert answer.status_code == 200, answer.text
        effective = client.get("/config").json()["effective"]
        assert effective["model_state"] == "ready"
        assert (effective["device"], effective["dtype"]) == ("cpu", "float32")
