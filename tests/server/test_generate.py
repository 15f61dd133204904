"""POST /generate: every spelling, every format truly that format, every refusal before the model is asked."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from dia.errors import BadParameter
from dia.media.encode import FORMATS
from dia.media.read import read_audio
from dia.media.sniff import sniff
from dia.server.app import create_app
from dia.service.build import build
from dia.text.numbers import spell_number
from tests.server.conftest import BASE_URL
from tests.service.conftest import make_settings
from tests.service.tone import ToneModel

SEED_BODY = {
    "model": "dia", "input": "[S1] Text to convert to speech", "voice": "alloy", "response_format": "wav",
    "speed": 1.0, "temperature": 1.2, "cfg_scale": 3.0, "top_p": 0.95,
}  # fmt: skip
TYPES = {
    "wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac",
    "pcm": "audio/pcm", "m4a": "audio/mp4", "m4b": "audio/mp4",
}  # fmt: skip
CONTAINERS = {
    "wav": "wav", "mp3": "mp3", "opus": "ogg", "aac": "aac", "flac": "flac", "m4a": "mp4", "m4b": "mp4",
}  # fmt: skip
TEXT = "[S1] A sentence that is long enough to be heard in full. [S2] And an answer to it."


@pytest.fixture(scope="module")
def model() -> ToneModel:
    return ToneModel(frames_per_char=0.5)


@pytest.fixture(scope="module")
def client(model: ToneModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for all tests of this file, none of which changes it."""
    service = build(make_settings(tmp_path_factory.mktemp("generate")), model=model)
    service.start()
    yield TestClient(create_app(service=service), base_url=BASE_URL)
    service.close(0)


@pytest.fixture(autouse=True)
def _nothing_said(model: ToneModel) -> None:
    model.streams.clear()


def pitch_hz(waveform: np.ndarray, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum) * rate_hz / len(waveform))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_every_format_is_what_its_content_type_says(client: TestClient, name: str, stream: bool):
    answer = client.post("/generate", json={"text": TEXT, "response_format": name, "stream": stream, "seed": 7})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == TYPES[name]
    whole = client.post("/generate", json={"text": TEXT, "response_format": "wav", "seed": 7})
    wanted = read_audio(whole.content, sample_rate_hz=24_000)
    if name == "pcm":
        got = np.frombuffer(answer.content, "<i2").astype(np.float32) / 32768
    else:
        assert CONTAINERS[name] in sniff(io.BytesIO(answer.content)).name.lower()
        got = read_audio(answer.content, sample_rate_hz=24_000)
    assert abs(len(got) - len(wanted)) < 0.12 * 24_000
    assert pitch_hz(got, 24_000) == pytest.approx(pitch_hz(wanted, 24_000), rel=0.02)
    assert f"filename=speech{FORMATS[name].extension}" in answer.headers["content-disposition"]


def test_whole_wav_has_exact_sizes_and_a_streamed_one_says_that_it_does_not_know(client: TestClient):
    whole = client.post("/generate", json={"text": TEXT}).content
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8
    assert (whole[36:40], int.from_bytes(whole[40:44], "little")) == (b"data", len(whole) - 44)
    streamed = client.post("/generate", json={"text": TEXT, "stream": True}).content
    assert (streamed[4:8], streamed[40:44]) == (b"\xff\xff\xff\xff", b"\xff\xff\xff\xff")
    assert streamed[44:] == whole[44:]
    assert streamed[22:24] == b"\x01\x00"


@pytest.mark.parametrize(
    "path", ["/generate", "/v1/generate", "/v1/audio/speech", "/audio/speech", "/api/tts/generate"]
)
@pytest.mark.parametrize(
    "body",
    [
        SEED_BODY,
        {"text": "Hello there", "voice_id": "alloy", "response_format": "wav"},
        {"input": "Hello there", "voice": {"id": "alloy"}, "response_format": "wav"},
        {"text": "Hello there", "speaker": " alloy ", "session": "sillytavern", "response_format": "wav"},
        {"text": "Hello there", "input": "Hello there", "voice": "Alloy", "nonsense": [1], "response_format": "wav"},
    ],
)  # fmt: skip
def test_every_spelling_speaks_on_every_path(client: TestClient, path: str, body: dict):
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["content-type"], answer.content[:4]) == ("audio/wav", b"RIFF")
    assert client.get(f"/logs/{answer.headers['x-generation-id']}").json()["voice"] == "alloy"


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_the_body_is_json_whatever_its_content_type(client: TestClient, content_type: str | None):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = client.post("/generate", content=b'{"text": "Hello!", "voice_id": "alloy"}', headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"text": "  "}, 400, None),
        ({}, 400, None),
        ({"text": "x" * 4097}, 422, "input"),
        ({"text": "a", "input": "b"}, 422, None),
        ({"text": "a", "voice": "alloy", "voice_id": "echo"}, 422, None),
        ({"text": "a", "voice": "nobody"}, 404, "voice"),
        ({"text": "a", "voice": 3}, 422, "voice"),
        ({"text": "a", "response_format": "banana"}, 422, "response_format"),
        ({"text": "a", "speed": 0.24}, 422, "speed"),
        ({"text": "a", "speed": 4.01}, 422, "speed"),
        ({"text": "a", "temperature": 0.09}, 422, "temperature"),
        ({"text": "a", "temperature": 2.1}, 422, "temperature"),
        ({"text": "a", "cfg_scale": 0.9}, 422, "cfg_scale"),
        ({"text": "a", "cfg_scale": 10.1}, 422, "cfg_scale"),
        ({"text": "a", "top_p": -0.1}, 422, "top_p"),
        ({"text": "a", "top_p": 1.1}, 422, "top_p"),
        ({"text": "a", "max_tokens": 99}, 422, "max_tokens"),
        ({"text": "a", "max_tokens": 10_001}, 422, "max_tokens"),
        ({"text": "a", "seed": 2**63}, 422, "seed"),
        ({"text": "a", "stream_format": "video"}, 422, "stream_format"),
        ({"text": "a", "sample_rate": 11_000, "response_format": "opus"}, 422, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_before_the_model_is_asked(
    client: TestClient, model: ToneModel, body: dict, status: int, param: str | None
):
    answers = {path: client.post(path, json=body) for path in ("/generate", "/v1/audio/speech")}
    for path, answer in answers.items():
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code", "request_id"}
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert error["message"] and error["request_id"] == answer.headers["x-request-id"]
        assert ("detail" in answer.json()) == (path == "/generate")
    assert model.streams == []


@pytest.mark.parametrize("body", [b"{bad", b"", b"[]", b'"text"', b'{"text": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_400(client: TestClient, body: bytes):
    for path in ("/generate", "/v1/audio/speech", "/voice_mappings", "/plan"):
        assert client.post(path, content=body).status_code == 400


def test_the_edges_of_every_range_are_spoken(client: TestClient):
    for body in (
        {"speed": 0.25, "temperature": 0.1, "cfg_scale": 1.0, "top_p": 0.0, "max_tokens": 100, "seed": 0},
        {"speed": 4.0, "temperature": 2.0, "cfg_scale": 10.0, "top_p": 1.0, "max_tokens": 10_000, "seed": -1},
    ):
        answer = client.post("/generate", json={"text": "Hello there.", **body})
        assert answer.status_code == 200, answer.text
    assert client.post("/plan", json={"text": "x " * 2048}).status_code == 200


def test_a_legal_zero_is_not_replaced_by_a_default(client: TestClient, model: ToneModel):
    client.post("/generate", json={"text": "Hello there.", "top_p": 0.0, "seed": 0})
    assert (model.streams[-1].params.top_p, model.streams[-1].params.seed) == (0.0, 0)


def test_speed_changes_the_tempo_and_not_the_pitch(client: TestClient):
    sounds = {
        speed: read_audio(
            client.post("/generate", json={"text": TEXT, "speed": speed, "seed": 3}).content, sample_rate_hz=44_100
        )
        for speed in (0.5, 1.0, 2.0)
    }
    for speed, sound in sounds.items():
        assert len(sound) == pytest.approx(len(sounds[1.0]) / speed, rel=0.05)
        assert pitch_hz(sound, 44_100) == pytest.approx(pitch_hz(sounds[1.0], 44_100), rel=0.03)


def test_sounds_that_the_model_has_not_learnt_are_counted_once_for_all_pieces(client: TestClient):
    speech = client.app.state.service.speech
    limits = speech.limits
    speech.attach(speech.model, replace(limits, knows_sounds=False))
    text = f"[S1] (laughs) {'A sentence of a few words. ' * 20}[S2] And an answer. (sighs)"
    answer = client.post("/generate", json={"text": text})
    speech.attach(speech.model, limits)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-dia-warnings"].count("has not learnt") == 1
    log = client.get(f"/logs/{answer.headers['x-generation-id']}").json()
    said = [warning for warning in log["warnings"] if "has not learnt" in warning]
    assert len(said) == 1 and said[0].endswith(": 2 ((laughs), (sighs))")


def test_few_tokens_for_a_long_dialogue_are_taken(client: TestClient):
    """What a piece goes on from counted as part of them, and nothing was left: 422 with -1.5 s for a piece."""
    text = f"[S1] {'A sentence of a few words. ' * 20}[S2] And an answer."
    assert client.post("/generate", json={"text": text, "max_tokens": 100}).status_code == 200


def test_headers_tell_seed_duration_and_warnings(client: TestClient):
    answer = client.post(
        "/generate", json={"text": TEXT, "instructions": "Whisper, please.", "use_torch_compile": True}
    )
    headers = answer.headers
    assert float(headers["x-audio-duration"]) == pytest.approx((len(answer.content) - 44) / 88_200, abs=1e-3)
    assert "instructions are not followed" in headers["x-dia-warnings"]
    assert "use_torch_compile" in headers["x-dia-warnings"]
    log = client.get(f"/logs/{headers['x-generation-id']}").json()
    assert (log["seed"], log["status"]) == (int(headers["x-seed"]), "completed")
    assert log["request_id"] == headers["x-request-id"]
    again = client.post("/generate", json={"text": TEXT, "seed": int(headers["x-seed"])})
    assert again.content == answer.content


def test_a_voice_without_a_prompt_is_held_by_its_seed(client: TestClient):
    first, second = (client.post("/generate", json={"text": TEXT, "voice": "fable"}) for _ in range(2))
    other = client.post("/generate", json={"text": TEXT, "voice": "echo"})
    assert first.content == second.content != other.content


def test_role_chooses_the_speaker_of_untagged_text(client: TestClient, model: ToneModel):
    for role, speaker in (("user", "[S1]"), ("assistant", "[S1]"), (None, "[S1]")):
        client.post("/generate", json={"text": "Hello there my friend", "role": role})
        assert model.streams[-1].text.startswith(speaker)  # labels are relative: a text always begins with [S1]


def test_headerless_sound_of_another_rate_names_it(client: TestClient):
    for stream in (False, True):
        body = {"text": TEXT, "response_format": "pcm", "sample_rate": 16_000, "stream": stream}
        assert client.post("/generate", json=body).headers["content-type"] == "audio/pcm;rate=16000"


def test_events_are_pieces_of_one_file(client: TestClient):
    answer = client.post("/v1/audio/speech", json={"input": TEXT, "stream_format": "sse", "seed": 5})
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    events = [json.loads(line[6:]) for line in lines]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    joined = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert joined == client.post("/v1/audio/speech", json={"input": TEXT, "seed": 5}).content


def test_words_of_ones_own_remarks_and_tempo_by_speaker_are_fields(client: TestClient, model: ToneModel):
    body = {
        "input": "[S1] (nods) SQL is slow today, I say. [S2] It is, it is.",
        "dictionary": {"SQL": "sequel"},
        "remarks": "drop",
    }
    planned = client.post("/v1/plan", json=body).json()
    assert planned["pieces"][0]["text"].startswith("[S1] Sequel is slow")
    slower = client.post("/v1/plan", json={**body, "speeds": {"S1": 0.5, "S2": 0.5}}).json()
    assert slower["estimated_seconds"] == pytest.approx(2 * planned["estimated_seconds"], abs=0.02)
    sounds = [
        read_audio(client.post("/generate", json={**body, "seed": 3, **more}).content, sample_rate_hz=24_000)
        for more in ({}, {"speeds": {"S2": 0.5}}, {"speeds": {"S2": 0.5}, "longest_silence": 0.5})
    ]
    assert len(sounds[1]) > 1.2 * len(sounds[0]) and len(sounds[2]) <= len(sounds[1])


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ({"speeds": {"Eve": 2}}, "'Eve', who does not speak; the script has S1"),
        ({"speeds": {"S1": 9}}, "speeds"),
        ({"dictionary": {"": "x"}}, "cannot be looked up"),
        ({"dictionary": ["SQL"]}, "dictionary"),
        ({"remarks": "warn"}, "remarks"),
        ({"longest_silence": 0}, "longest_silence"),
    ],
)
def test_such_fields_are_refused_by_name(client: TestClient, field: dict, complaint: str):
    answer = client.post("/v1/plan", json={"input": "[S1] Hello there.", **field})
    assert answer.status_code in (400, 422) and complaint in answer.text


def test_a_server_has_words_of_its_own(tmp_path: Path):
    own = tmp_path / "own.txt"
    own.write_text("SQL -> sequel\nnginx -> engine x\n")
    service = build(make_settings(tmp_path / "data", dictionary=own), model=ToneModel())
    client = TestClient(create_app(service=service), base_url=BASE_URL)
    body = {"input": "nginx and SQL, both of them.", "dictionary": {"SQL": "squeal"}}
    assert "Engine x and squeal" in client.post("/v1/plan", json=body).json()["pieces"][0]["text"]
    service.close(0)
    own.write_text("SQL sequel")
    with pytest.raises(BadParameter, match="line 1 is no entry"):
        build(make_settings(tmp_path / "other", dictionary=own), model=ToneModel())


def test_a_plan_tells_what_would_be_spoken_and_speaks_nothing(client: TestClient, model: ToneModel):
    answer = client.post("/v1/plan", json={"input": TEXT * 20, "voice": "nova"})
    planned = answer.json()
    assert planned["estimated_seconds"] > 20
    assert len(planned["pieces"]) > 1
    assert model.streams == []
    assert client.post("/plan", json={"text": "a", "voice": "nobody"}).status_code == 404


def test_a_long_message_is_spoken_in_full(client: TestClient, model: ToneModel):
    text = "A sentence number {} of a long message, with a word or two more. "
    words = "".join(text.format(number) for number in range(55))
    model.frames_per_char = 0.2
    answer = client.post("/v1/audio/speech", json={"input": words[:4000], "response_format": "wav"})
    model.frames_per_char = 0.5
    assert answer.status_code == 200, answer.text
    spoken = " ".join(stream.text for stream in model.streams)
    assert all(f"number {spell_number(number)} of" in spoken for number in range(55))
