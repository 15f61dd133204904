"""Voices and prompts over HTTP: the seed's way, cloning, freezing, export and import, previews, both client generations."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dia.evals.hearing import MODULES, load_whisper
from dia.service.bundled import FOLDER as VOICES
from tests.service.conftest import wav
from tests.service.tone import ToneModel

BUILTINS = ["alloy", "echo", "fable", "nova", "onyx", "shimmer"]


def upload(client: Any, prompt_id: str, data: bytes | None = None, **fields: str) -> Any:
    files = {"audio_file": ("voice.wav", data if data is not None else wav(3.0))}
    return client.post("/audio_prompts/upload", data={"prompt_id": prompt_id, **fields}, files=files)


def test_six_voices_are_listed_for_every_kind_of_client(client: TestClient):
    voices = client.get("/voices").json()["voices"]
    assert [voice["voice_id"] for voice in voices] == [voice["id"] for voice in voices] == BUILTINS
    assert all(voice["lang"] == "en-US" and voice["preview_url"] == f"/preview/{voice['id']}" for voice in voices)
    plain = client.get("/v1/voices").json()
    assert [voice["voice_id"] for voice in plain] == BUILTINS
    union = client.get("/v1/audio/voices").json()["voices"]
    assert set(union[0]) == {"id", "name", "voice_id", "value", "label"}
    assert client.get("/v1/audio/voices/dia").json()["voices"] == union
    assert client.get("/v1/audio/voices?legacy=true").json()["voices"] == BUILTINS
    assert list(client.get("/voice_mappings").json()) == BUILTINS
    assert client.get("/voice_mappings").json()["fable"]["primary_speaker"] == "S2"
    assert client.get("/models").json()["models"][0]["id"] == "dia"
    assert [item["id"] for item in client.get("/v1/audio/models").json()["models"]][:2] == ["dia", "tts-1"]


def test_a_voice_is_cloned_as_the_seed_shows(client: TestClient, model: ToneModel):
    answer = upload(client, "my_voice", transcript="These are my words, spoken plainly.")
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["sample_rate"], report["channels"], report["transcript"]) == (
        44_100,
        "mono",
        "These are my words, spoken plainly.",
    )
    assert report["duration"] == pytest.approx(3.0, abs=0.05)
    body = {"voice_id": "custom_voice", "style": "friendly", "primary_speaker": "S1", "audio_prompt": "my_voice"}
    made = client.post("/voice_mappings", json=body)
    assert made.json()["voice_config"]["audio_prompt"] == "my_voice"
    assert client.post("/voice_mappings", json=body).status_code == 409
    assert client.post("/voice_mappings?overwrite=true", json=body).status_code == 200
    assert client.post("/generate", json={"text": "Hello.", "voice_id": "custom_voice"}).status_code == 200
    assert model.streams[-1].prompt is not None
    assert "These are my words" in model.streams[-1].text
    changed = client.put(
        "/voice_mappings/custom_voice", json={"style": "calm", "voice_seed": 7, "defaults": {"speed": 1.5}}
    )
    config = changed.json()["voice_config"]
    assert (config["style"], config["seed"], config["audio_prompt"]) == ("calm", 7, "my_voice")
    assert (
        client.put("/voice_mappings/custom_voice", json={"audio_prompt": None}).json()["voice_config"]["audio_prompt"]
        is None
    )
    assert client.put("/voice_mappings/custom_voice", json={"voice_id": "other"}).status_code == 422
    assert client.delete("/voice_mappings/custom_voice").status_code == 200
    assert client.delete("/audio_prompts/my_voice").status_code == 200
    assert client.get("/audio_prompts").json() == {}


def test_what_may_not_be_a_voice_is_refused(client: TestClient):
    upload(client, "used")
    client.post("/voice_mappings", json={"voice_id": "user", "audio_prompt": "used"})
    for body, status in (
        ({"voice_id": "v", "audio_prompt": "unknown"}, 422), ({"voice_id": "v", "primary_speaker": "S9"}, 422),
        ({"voice_id": "../v"}, 422), ({"style": "calm"}, 422), ({"voice_id": "alloy"}, 409),
        ({"voice_id": "v", "defaults": {"speed": 9}}, 422),
    ):  # fmt: skip
        assert client.post("/voice_mappings", json=body).status_code == status, body
    assert client.put("/voice_mappings/nobody", json={}).status_code == 404
    assert client.delete("/voice_mappings/alloy").status_code == 400
    assert client.put("/voice_mappings/alloy", json={"style": "wild"}).status_code == 200
    assert client.post("/voice_mappings/alloy/restore").json()["voice_config"]["style"] == "neutral"
    assert client.post("/voice_mappings/user/restore").status_code == 409
    in_use = client.delete("/audio_prompts/used")
    assert (in_use.status_code, "user" in in_use.json()["detail"]) == (409, True)
    assert client.delete("/audio_prompts/used?force=true").json()["detached_voices"] == ["user"]


def test_prompts_are_listed_heard_and_transcribed_by_hand(client: TestClient):
    upload(client, "one", name="First")
    assert upload(client, "one").status_code == 409
    assert upload(client, "one", overwrite="true").status_code == 200
    listed = client.get("/audio_prompts").json()["one"]
    assert listed["exists"] is True
    assert client.get(listed["file_path"]).content[:4] == b"RIFF"
    assert client.get("/audio_prompts/one/audio", headers={"Range": "bytes=0-3"}).content == b"RIFF"
    done = client.put("/audio_prompts/one/transcript", json={"transcript": "Said by hand."})
    assert done.json()["updated_voices"] == []
    for path in ("/audio_prompts/metadata/one", "/audio_prompts/one"):
        assert client.get(path).json()["transcript"] == "Said by hand."
    assert client.get("/audio_prompts/metadata").json()["one"]["transcript_source"] == "manual"
    assert client.put("/audio_prompts/one/transcript", json={"transcript": "x", "prompt_id": "two"}).status_code == 422
    assert client.put("/audio_prompts/none/transcript", json={"transcript": "x"}).status_code == 404
    assert client.post("/audio_prompts/discover").json()["total_prompts"] == 1
    status = client.get("/whisper/status").json()
    assert set(status) == {"available", "model_loaded", "model_size", "auto_transcribe"}


def test_a_name_that_no_id_may_be_is_given_one(client: TestClient):
    """`Upload` was refused with a word about ids that its sender never chose."""
    made = client.post("/v1/audio/voices", data={"name": "Upload"}, files={"audio_sample": ("a.wav", wav(3.0))})
    assert (made.status_code, made.json().get("id")) == (200, "upload_voice")


def test_whisper_from_a_folder_writes_the_words_of_a_recording(make_client: Callable[..., TestClient], tmp_path: Path):
    """At the upload, and afterwards where none are wanted then."""
    for name in MODULES:
        pytest.importorskip(name)
    load_whisper(1, tmp_path)
    (folder,) = tmp_path.glob("whisper-*")
    client = make_client(whisper_folder=folder, auto_transcribe=True)
    assert client.get("/whisper/status").json()["model_loaded"] is False
    recording = (VOICES / "nova.opus").read_bytes()
    told = upload(client, "nova_again", recording).json()
    assert "enters with his hat on" in told["transcript"] and told["transcript_source"] == "whisper", told
    assert client.put("/config", json={"auto_transcribe": False}).status_code == 200
    assert not upload(client, "unheard", recording).json()["transcript"]
    assert "hat on" in client.post("/audio_prompts/unheard/transcribe").json()["transcript"]
    assert client.post("/whisper/load").json()["model_size"] == folder.name
    assert client.get("/whisper/status").json() == {
        "available": True, "model_loaded": True, "model_size": folder.name, "auto_transcribe": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 422), (b"x", 415), (wav(0.4), 422), (wav(0.5), 200), (wav(3.0, sample_rate_hz=8000), 200),
     (b"ffconcat version 1.0\nfile /etc/passwd\n", 415), (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 45454 RTP/AVP 0\r\n", 415),
     (b"#EXTM3U\nhttp://127.0.0.1:9/x.ts\n", 415), (b"PK\x03\x04" + b"\0" * 100, 415), (b"<svg></svg>" * 20, 415),
     (b"\x7fELF" + b"\0" * 200, 415), (wav(3.0)[:60], 422)],
    ids=["empty", "one byte", "too short", "just long enough", "8 kHz", "concat", "sdp", "m3u8", "zip", "svg", "elf", "cut"],
)  # fmt: skip
def test_s03_only_sound_is_taken_in(client: TestClient, data: bytes, status: int):
    """Traps 1 and 2: a text that is no sound made the decoder read other files or wait on the network."""
    answer = upload(client, "p", data)
    assert answer.status_code == status, answer.text
    assert client.get("/audio_prompts").json() == {} or status == 200


def test_s02_sixty_seconds_are_the_most_and_bombs_are_cheap(client: TestClient):
    """Trap 3: half a megabyte of FLAC unpacks to an hour of silence."""
    import numpy as np

    from dia.media.encode import encode_audio

    bomb = encode_audio(np.zeros(44_100 * 90, np.float32), 44_100, "flac")
    assert len(bomb) < 600_000
    answer = upload(client, "bomb", bomb)
    assert answer.status_code == 422
    assert "60 s" in answer.json()["detail"]


def test_a_liked_take_is_frozen_exported_and_taken_in_again(client: TestClient, model: ToneModel):
    said = client.post(
        "/generate", json={"text": "[S1] A sentence to be kept, a good deal longer than half a second.", "seed": 9}
    )
    frozen = client.post(
        f"/voices/from-log/{said.headers['x-generation-id']}", json={"voice_id": "kept", "style": "liked"}
    )
    assert frozen.status_code == 200, frozen.text
    assert client.post("/generate", json={"text": "And again.", "voice": "kept"}).status_code == 200
    assert "A sentence to be kept" in model.streams[-1].text
    archive = client.get("/voices/export?ids=kept")
    assert archive.headers["content-type"] == "application/zip"
    taken = client.post("/voices/import", files={"archive": ("voices.zip", io.BytesIO(archive.content))})
    assert taken.status_code == 409
    client.delete("/voice_mappings/kept")
    client.delete("/audio_prompts/kept")
    taken = client.post("/voices/import", files={"archive": ("voices.zip", io.BytesIO(archive.content))})
    assert taken.json()["voices"] == ["kept"]
    assert client.post("/voices/import", files={"archive": ("x.zip", b"no zip")}).status_code == 422
    assert client.post("/voices/from-log/none", json={"voice_id": "v"}).status_code == 404
    assert client.get("/voices/export?ids=nobody").status_code == 404


def test_a_preview_is_spoken_once_until_the_voice_changes(client: TestClient, model: ToneModel):
    """F37 of the first server: each look at a preview cost a generation."""
    first, second = (client.get("/preview/alloy") for _ in range(2))
    assert (first.headers["x-preview"], second.headers["x-preview"]) == ("new", "kept")
    assert first.content == second.content
    assert "filename=preview_alloy.wav" in first.headers["content-disposition"]
    made = len(model.streams)
    client.put("/voice_mappings/alloy", json={"seed": 5})
    assert client.get("/v1/preview/alloy").headers["x-preview"] == "new"
    assert len(model.streams) == 2 * made
    assert client.get("/preview/nobody").status_code == 404
