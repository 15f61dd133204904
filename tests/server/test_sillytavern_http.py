"""The requests that SillyTavern's providers send, as recorded from their sources, and what each reads in the answer."""

import pytest
from starlette.testclient import TestClient

from tests.service.conftest import wav

ORIGIN = {"Origin": "http://localhost:8000"}


@pytest.mark.parametrize("path", ["/generate", "/v1/audio/speech"])
def test_openai_compatible(client: TestClient, path: str):
    body = {
        "input": "She smiles. “Hello!” *waves* — how are you?",
        "response_format": "mp3",
        "voice": " nova",
        "speed": 1,
        "model": "tts-1",
    }
    for headers in ({"Authorization": "Bearer "}, {"Authorization": "Bearer key"}, {}):
        answer = client.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert "readable" not in client.post(path, json={**body, "voice": "nobody"}).json()["error"]["message"]


def test_silero(client: TestClient):
    speakers = client.get("/speakers", headers=ORIGIN).json()
    assert [set(speaker) for speaker in speakers[:1]] == [{"name", "voice_id", "preview_url"}]
    assert (
        client.get(speakers[0]["preview_url"].replace("http://localhost:7860", "")).headers["content-type"]
        == "audio/wav"
    )
    assert client.post("/session", json={"path": "sillytavern"}, headers=ORIGIN).status_code == 200
    body = {"text": "Hello there.", "speaker": speakers[0]["voice_id"], "session": "sillytavern"}
    answer = client.post("/generate", json=body, headers=ORIGIN)
    assert answer.headers["content-type"].startswith("audio/")
    assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]


@pytest.mark.parametrize("stream", [True, False])
def test_tts_webui(client: TestClient, stream: bool):
    voices = client.get("/v1/audio/voices/chatterbox", headers=ORIGIN).json()["voices"]
    assert {"value", "label"} <= set(voices[0])
    body = {
        "model": "chatterbox", "voice": voices[0]["value"], "input": "Hello there.", "response_format": "wav", "speed": 1,
        "stream": stream, "params": {"exaggeration": 0.5, "cfg_weight": 0.5, "seed": -1, "chunked": True},
    }  # fmt: skip
    answer = client.post("/v1/audio/speech", json=body, headers={**ORIGIN, "Cache-Control": "no-cache"})
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content[:4] == b"RIFF"
    assert int.from_bytes(answer.content[24:28], "little") == (24_000 if stream else 44_100)
    assert answer.content[22:24] == b"\x01\x00"


def test_chatterbox(client: TestClient):
    assert client.get("/api/ui/initial-data", headers=ORIGIN).json()
    voices = client.get("/get_predefined_voices").json()
    assert {"display_name", "filename", "voice_id"} <= set(voices[0])
    assert client.get("/get_reference_files").json() == []
    body = {
        "text": "Hello there.", "voice_mode": "predefined", "predefined_voice_id": voices[0]["filename"],
        "temperature": 0.8, "exaggeration": 0.5, "cfg_weight": 0.5, "seed": 0, "speed_factor": 1.2, "language": "en",
        "split_text": True, "chunk_size": 120, "output_format": "opus",
    }  # fmt: skip
    answer = client.post("/tts", json=body, headers=ORIGIN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/ogg")
    assert client.post("/tts", json={**body, "predefined_voice_id": "nobody"}).status_code == 404


def test_xtts(client: TestClient):
    assert client.post("/set_tts_settings", json={"stream_chunk_size": 100}, headers=ORIGIN).status_code == 200
    body = {"text": "Hello there.", "speaker_wav": "nova", "language": "en"}
    answer = client.post("/tts_to_audio/", json=body, headers=ORIGIN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    streamed = client.get("/tts_stream/", params=body)
    assert streamed.content[40:44] == b"\xff\xff\xff\xff"
    assert client.get("/tts_stream/", params={"text": ""}).status_code == 400


def test_the_first_dia_provider_speaks_v1(client: TestClient):
    assert client.get("/health").json()["model_loaded"] is True
    files = {"audio_file": ("me.wav", wav(2.0))}
    assert client.post("/v1/audio_prompts/upload", data={"prompt_id": "me_1"}, files=files).status_code == 200
    body = {"voice_id": "me_1", "style": "custom", "primary_speaker": "S1", "audio_prompt": "me_1"}
    assert client.post("/v1/voice_mappings", json=body).json()["voice_config"]["audio_prompt"] == "me_1"
    assert "me_1" in client.get("/v1/voice_mappings").json()
    body = {"model": "dia", "input": "[S2] Hello there. [S2]", "voice": "me_1", "response_format": "wav", "speed": 1}
    assert client.post("/v1/audio/speech", json=body).headers["content-type"] == "audio/wav"
    assert client.delete("/v1/voice_mappings/me_1").status_code == 200


def test_the_second_dia_provider_speaks_bare_paths(client: TestClient):
    for path in ("/health", "/voices", "/voice_mappings", "/gpu/status", "/config", "/queue/stats", "/logs?limit=10",
                 "/audio_prompts", "/audio_prompts/metadata", "/whisper/status"):  # fmt: skip
        assert client.get(path, headers=ORIGIN).status_code == 200, path
    assert all(voice["voice_id"] for voice in client.get("/voices").json()["voices"])
    body = {
        "text": "Hello there.", "voice_id": "alloy", "role": "assistant", "response_format": "wav", "speed": 1.2,
        "temperature": 0.8, "cfg_scale": 4, "top_p": 0.8, "max_tokens": 2000, "voice_seed": 4711,
    }  # fmt: skip
    assert client.post("/generate", json=body, headers=ORIGIN).status_code == 200
    job = client.post("/generate?async_mode=true", json=body, headers=ORIGIN).json()
    assert job["job_id"]
    assert {"status", "error_message"} <= set(client.get(f"/jobs/{job['job_id']}").json())
    made = client.post(
        "/voice_mappings", json={"voice_id": "seeded", "style": "x", "primary_speaker": "S2", "voice_seed": 99}
    )
    assert made.json()["voice_config"]["voice_seed"] == 99
    stats = client.get("/queue/stats").json()
    assert {
        "pending_jobs",
        "processing_jobs",
        "completed_jobs",
        "failed_jobs",
        "total_workers",
        "active_workers",
        "memory_pressure",
    } <= set(stats)
    gpu = client.get("/gpu/status").json()
    assert {"gpu_mode", "gpu_count", "allowed_gpus", "use_multi_gpu", "models_loaded"} <= set(gpu)
    assert client.post("/cleanup").json()["message"] == "Cleanup completed"


def test_probes_of_other_servers_are_not_answered(client: TestClient):
    """A client that guesses the kind of server takes one that answers these for LocalAI or Kokoro."""
    for path in ("/readyz", "/test"):
        assert client.get(path).status_code == 404


def test_roleplay_is_switched_on_for_providers_that_cannot_ask_for_it(client: TestClient):
    """None of SillyTavern's providers sends a field of ours, so the configuration decides."""
    text = '<think>Hm.</think>*She opens the door.* "Come in," she says.'
    assert client.post("/plan", json={"text": text}).json()["speakers"] == ["S1"]
    config = client.put("/config", json={"roleplay": "chat", "narrator_voice": "onyx"}).json()["config"]
    assert (config["roleplay"], config["narrator_voice"]) == ("chat", "onyx")
    plan = client.post("/plan", json={"text": text}).json()
    assert plan["speakers"] == ["Narrator", "S1"]
    assert plan["pieces"][0]["text"] == "[S1] She opens the door. [S2] Come in, she says. [S1]"
    answer = client.post("/generate", json={"text": text, "speaker": "alloy", "session": "sillytavern"})
    assert answer.status_code == 200 and answer.headers["X-Script-Format"] == "plain"
    assert client.post("/plan", json={"text": text, "roleplay": "off"}).json()["speakers"] == ["S1"]
    assert client.post("/plan", json={"text": text, "roleplay": "loud"}).status_code == 422
    assert client.put("/config", json={"roleplay": "loud"}).status_code == 422


def test_ids_that_are_too_long_are_refused_and_no_fault(client: TestClient):
    for path, body in (("/tts", {"predefined_voice_id": "x" * 201}), ("/tts_to_audio/", {"speaker_wav": "x" * 201})):
        assert client.post(path, json={"text": "Hello.", **body}).status_code == 422
