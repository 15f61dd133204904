"""The official `openai` package against a real server: every format, streaming, events, voices, every error."""

import io
import threading
import wave
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.server.live import LiveServer
from tests.service.conftest import wav
from tests.service.tone import ToneModel

TEXT = "Plain prose — with “quotes”, an emoji 🙂,\nand no tag at all."
STARTS = {
    "mp3": (b"ID3", b"\xff\xfb"),
    "opus": (b"OggS",),
    "aac": (b"\xff\xf1",),
    "flac": (b"fLaC",),
    "wav": (b"RIFF",),
}


@pytest.fixture
def make_openai() -> Iterator[Callable[..., openai.OpenAI]]:
    made: list[openai.OpenAI] = []

    def make(live: LiveServer, **options: Any) -> openai.OpenAI:
        http = httpx.Client(verify=False)
        client = openai.OpenAI(**{"base_url": live.url + "/v1", "api_key": "sk-any", "http_client": http, **options})
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


def test_q10_every_format_streaming_events_and_listings(live: LiveServer, make_openai: Any, promise: Any):
    client = make_openai(live)
    for name in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
        answer = client.audio.speech.create(model="gpt-4o-mini-tts", voice="marin", input=TEXT, response_format=name)
        assert answer.response.headers["content-type"].startswith("audio/")
        assert name == "pcm" or answer.content.startswith(STARTS[name])
    assert client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT).content[:3] in (
        b"ID3",
        b"\xff\xfb\x90",
    )
    named = client.audio.speech.create(
        model="tts-1", voice={"id": "onyx"}, input=TEXT, instructions="Whisper.", speed=1.5
    )
    assert "instructions" in named.response.headers["x-dia-warnings"]
    with client.audio.speech.with_streaming_response.create(
        model="tts-1-hd", voice="ash", input=TEXT, response_format="pcm"
    ) as stream:
        samples = np.frombuffer(b"".join(stream.iter_bytes()), "<i2")
    assert abs(len(samples) / 24_000 - len(TEXT) * 512 / 44_100) < 0.2
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="coral", input=TEXT, stream_format="sse"
    ) as stream:
        lines = [line for line in stream.iter_lines() if line]
    assert all(line.startswith("data: {") for line in lines)
    models = {model.id: model for model in client.models.list()}
    assert {"dia", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"} <= set(models)
    assert isinstance(client.models.retrieve("tts-1").created, int)
    promise("Q10", "openai client: 6 formats, streaming, events, voice objects, models, 6 kinds of error")


def test_wav_is_exact_when_whole_and_24_khz_when_streamed(live: LiveServer, make_openai: Any):
    client = make_openai(live)
    whole = client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format="wav").content
    with wave.open(io.BytesIO(whole)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (44_100, 1, 2)
        assert file.getnframes() * 2 == len(whole) - 44
    streamed = client.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format="wav", extra_body={"stream": True}
    ).content
    assert (streamed[24:28], streamed[40:44]) == ((24_000).to_bytes(4, "little"), b"\xff\xff\xff\xff")


def test_each_error_is_the_clients_own(make_live: Any, make_openai: Any, model: ToneModel):
    live = make_live(api_keys="right", workers=1, queue_capacity=0)
    client = make_openai(live, api_key="right", max_retries=0)
    say = client.audio.speech.create
    with pytest.raises(openai.AuthenticationError):
        make_openai(live, api_key="wrong", max_retries=0).audio.speech.create(model="dia", voice="alloy", input="Hi.")
    with pytest.raises(openai.NotFoundError, match="known are alloy"):
        say(model="dia", voice="nobody", input="Hi.")
    with pytest.raises(openai.UnprocessableEntityError, match="speed"):
        say(model="dia", voice="alloy", input="Hi.", speed=9.0)
    with pytest.raises(openai.BadRequestError) as caught:
        say(model="dia", voice="alloy", input=" ")
    assert caught.value.request_id == caught.value.body["request_id"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    model.fail_with = RuntimeError("boom")
    with pytest.raises(openai.InternalServerError):
        say(model="dia", voice="alloy", input="Hi.")
    model.fail_with = None
    model.gate.close()
    with live.client() as plain:
        plain.post("/generate?async_mode=true", json={"text": "Hi."}, headers={"X-API-Key": "right"})
    with pytest.raises(openai.RateLimitError) as limited:
        say(model="dia", voice="alloy", input="Hi.")
    assert int(limited.value.response.headers["retry-after"]) >= 1


def test_a_failed_generation_is_not_asked_for_three_times(live: LiveServer, make_openai: Any, model: ToneModel):
    model.fail_with = RuntimeError("boom")
    with pytest.raises(openai.InternalServerError):
        make_openai(live).audio.speech.create(model="dia", voice="alloy", input="Hi.")
    assert len(model.streams) == 1


def test_a_full_queue_is_waited_for(make_live: Any, make_openai: Any, model: ToneModel):
    live = make_live(workers=1, queue_capacity=0)
    model.gate.close()
    with live.client() as plain:
        job = plain.post("/generate?async_mode=true", json={"text": "Hi."}).json()["job_id"]
        release = threading.Timer(0.3, model.gate.open)
        release.start()
        live.service.admission._mean_run_s = 0.1  # so that Retry-After is its least, 1 s
        assert make_openai(live).audio.speech.create(model="dia", voice="alloy", input="Hi.").content
        assert plain.get(f"/jobs/{job}").json()["status"] == "completed"
        release.join()


def test_a_voice_is_made_from_a_recording_and_deleted(live: LiveServer):
    files = {"audio_sample": ("me.wav", wav(3.0), "audio/wav")}
    with live.client() as client:
        made = client.post("/v1/audio/voices", data={"name": "My Own Voice!", "consent": "cons_1"}, files=files)
        assert made.status_code == 200, made.text
        assert (made.json()["object"], made.json()["id"]) == ("audio.voice", "my_own_voice")
        assert client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "my_own_voice"}).status_code == 200
        assert client.delete("/v1/audio/voices/my_own_voice").json()["deleted"] is True
        assert client.get("/audio_prompts").json() == {}
        assert client.delete("/v1/audio/voices/my_own_voice").status_code == 404
        assert client.delete("/v1/audio/voices/alloy").status_code == 400
