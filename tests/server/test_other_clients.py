"""What other programs send, recorded from their sources, and what each needs in the answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

PROSE = "“Well,” she said — “it’s done.”\n\n* It rained; 24 °C at 5:30 pm. 🙂 " * 8


@pytest.mark.parametrize(
    ("name", "body", "headers", "kind"),
    [
        ("Open WebUI", {"model": "tts-1", "voice": "alloy", "input": PROSE, "speed": 1.1, "extra": {"a": 1}}, {}, "audio/mpeg"),
        ("LibreChat", {"input": PROSE, "model": "tts-1", "voice": "nova", "backend": "x"}, {"Authorization": "Bearer k"}, "audio/mpeg"),
        ("Home Assistant", {"model": "tts-1", "input": PROSE, "voice": "shimmer", "response_format": "mp3", "speed": 1.0,
                            "instructions": "Calm."}, {}, "audio/mpeg"),
        ("Home Assistant streaming", {"model": "tts-1", "input": PROSE, "voice": "shimmer", "response_format": "opus"}, {}, "audio/ogg"),
        ("Pipecat", {"model": "gpt-4o-mini-tts", "input": PROSE, "voice": "ballad", "response_format": "pcm"},
         {"Accept": "application/octet-stream", "X-Stainless-Lang": "python"}, "audio/pcm"),
        ("LiveKit", {"model": "gpt-4o-mini-tts", "input": PROSE, "voice": "ash", "response_format": "mp3", "speed": 1.0,
                     "stream_format": "sse"}, {}, "text/event-stream"),
        ("LiveKit, older models", {"model": "tts-1", "input": PROSE, "voice": "ash", "stream_format": "audio"}, {}, "audio/mpeg"),
        ("RealtimeTTS", {"model": "tts-1", "input": PROSE, "voice": "cedar", "instructions": None, "response_format": "mp3"}, {}, "audio/mpeg"),
        ("a form's content type", {"input": PROSE, "voice": "verse"}, {"Content-Type": "text/plain"}, "audio/mpeg"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)  # fmt: skip
def test_recorded_requests_are_answered(client: TestClient, name: str, body: dict, headers: dict, kind: str):
    answer = client.post("/v1/audio/speech", json=body, headers={"Authorization": "Bearer ", **headers})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(kind)
    assert len(answer.content) > 2000


def test_a_bridge_asks_for_several_sentences_at_once(client: TestClient):
    bodies = [
        {"model": "tts-1", "voice": "alloy", "input": f"Sentence {n}.", "response_format": "wav"} for n in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: client.post("/v1/audio/speech", json=body), bodies))
    assert all(answer.content[:4] == b"RIFF" for answer in answers)


def test_listings_are_readable_without_a_key(make_client):
    client = make_client(api_keys="secret")
    for path in ("/v1/audio/voices", "/v1/audio/models", "/v1/audio/voices/tts-1"):
        assert client.get(path).status_code == 200
    assert client.get("/v1/models").status_code == 401
