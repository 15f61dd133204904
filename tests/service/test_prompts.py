"""Audio prompts: what is taken in, what is made of it, what survives."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dia.errors import BadParameter, BadPrompt, Conflict, MissingExtra, NotFound, OperatorError
from dia.media.encode import encode_audio
from dia.media.read import read_audio
from dia.service.asr import Transcriber
from dia.service.build import Service
from dia.service.speech import SpeechRequest
from dia.service.trimming import cut_at_pause, cut_transcript
from tests.service.conftest import RATE_HZ, speechlike, wav
from tests.service.tone import ToneModel


@pytest.mark.parametrize("format", ["wav", "mp3", "flac", "opus", "aac", "m4a"])
def test_every_promised_container_is_taken_in(service: Service, format: str):
    info = service.prompts.upload("mine", encode_audio(speechlike(3.0), RATE_HZ, format), transcript=" some\nwords ")
    assert info.duration_s == pytest.approx(3.0, abs=0.1)
    assert (info.sample_rate_hz, info.transcript, info.transcript_source) == (44_100, "some words", "manual")
    assert info.report["duration_s"] == info.duration_s
    assert len(read_audio(service.prompts.audio_path("mine"), sample_rate_hz=44_100)) == round(
        info.duration_s * 44_100
    )


def test_what_came_is_kept_beside_what_is_used(service: Service):
    stereo_rate = encode_audio(speechlike(2.0, sample_rate_hz=16_000), 16_000, "wav")
    info = service.prompts.upload("mine", io.BytesIO(stereo_rate), name="My voice", language="en")
    assert (info.original_sample_rate_hz, info.name, info.language, info.source) == (
        16_000,
        "My voice",
        "en",
        "upload",
    )
    assert service.folder.place("prompts", "mine", "original").read_bytes() == stereo_rate
    assert json.loads(service.folder.place("prompts", "mine", "prompt.json").read_bytes())["sha256"] == info.sha256


@pytest.mark.parametrize(("duration_s", "fine"), [(0.49, False), (0.5, True), (60.0, True), (60.2, False)])
def test_half_a_second_to_a_minute(service: Service, duration_s: float, fine: bool):
    if fine:
        assert service.prompts.upload("mine", wav(duration_s)).duration_s == pytest.approx(duration_s)
    else:
        with pytest.raises(BadPrompt):
            service.prompts.upload("mine", wav(duration_s))
        assert not service.prompts.exists("mine")


@pytest.mark.parametrize(
    "junk", [b"", b"x", b"ffconcat version 1.0\nfile victim.wav\n", b"v=0\r\nm=audio 45454 RTP/AVP 0\r\n", b"<html>"]
)
def test_what_is_no_sound_leaves_nothing_behind(service: Service, junk: bytes):
    with pytest.raises(BadPrompt):
        service.prompts.upload("mine", junk)
    assert list(service.folder.room("prompts").iterdir()) == []


def test_silence_is_refused(service: Service):
    with pytest.raises(BadPrompt, match="silent"):
        service.prompts.upload("mine", encode_audio(np.zeros(RATE_HZ * 2, np.float32), RATE_HZ, "wav"))


def test_an_upload_over_the_limit_is_refused_before_decoding(make_service: Callable[..., Service]):
    service = make_service(max_upload_bytes=200_000)
    service.prompts.upload("fits", wav(2.0))
    with pytest.raises(BadPrompt, match="200000 bytes"):
        service.prompts.upload("large", io.BytesIO(wav(3.0)))


def test_faults_are_reported_and_the_level_repaired(service: Service):
    quiet = service.prompts.upload("quiet", encode_audio(speechlike(3.0) * 0.012, RATE_HZ, "flac"))
    assert any("loudness" in warning for warning in quiet.warnings)
    heard = read_audio(service.prompts.audio_path("quiet"), sample_rate_hz=RATE_HZ)
    assert np.abs(heard).max() > 0.05
    fine = service.prompts.upload("fine", wav(4.0))
    original = read_audio(service.folder.place("prompts", "fine", "original"), sample_rate_hz=RATE_HZ)
    assert np.array_equal(read_audio(service.prompts.audio_path("fine"), sample_rate_hz=RATE_HZ), original)
    assert fine.warnings == ()


def test_words_that_cannot_be_those_are_reported(service: Service):
    info = service.prompts.upload("mine", wav(3.0), transcript="word " * 100)
    assert any("characters for each second" in warning for warning in info.warnings)
    assert service.prompts.upload("other", wav(3.0), transcript="A sentence of a usual length.").warnings == ()


def test_an_existing_prompt_is_replaced_only_when_asked(service: Service, model: ToneModel):
    service.prompts.upload("mine", wav(2.0))
    before = service.prompts.codes("mine", model, 20.0)
    with pytest.raises(Conflict, match="overwrite"):
        service.prompts.upload("mine", wav(3.0))
    service.prompts.upload("mine", wav(3.0), overwrite=True)
    assert service.prompts.get("mine").duration_s == pytest.approx(3.0)
    assert len(service.prompts.codes("mine", model, 20.0)) > len(before)


def test_prompts_survive_a_restart(make_service: Callable[..., Service]):
    first = make_service()
    first.prompts.upload("mine", wav(2.0), transcript="words")
    first.prompts.set_transcript("mine", "other words")
    (first.folder.room("prompts") / "broken").mkdir()
    (first.folder.room("prompts") / "broken" / "prompt.json").write_text("{")
    infos = first.prompts.all()
    first.close(0)
    second = make_service()
    assert second.prompts.all() == infos
    assert second.prompts.get("mine").transcript == "other words"


def test_codes_are_made_once_for_each_content_and_model(make_service: Callable[..., Service], model: ToneModel):
    service = make_service()
    service.prompts.upload("mine", wav(2.0))
    first = service.prompts.codes("mine", model, 20.0)
    service.close(0)
    service = make_service()
    assert np.array_equal(service.prompts.codes("mine", model, 20.0), first)
    assert model.prompts_encoded == 1
    other = ToneModel(name="other")
    service.prompts.codes("mine", other, 20.0)
    assert other.prompts_encoded == 1


def test_a_long_prompt_is_cut_at_a_pause_and_its_words_with_it(service: Service, model: ToneModel):
    words = "One two three four. " * 10
    service.prompts.upload("long", wav(40.0), transcript=words)
    used_s = service.prompts.used_duration_s("long", 20.0)
    assert 10.0 <= used_s <= 20.0
    assert used_s % 0.6 == pytest.approx(0.55, abs=0.06)  # the middle of a pause
    heard = service.prompts.transcript_for_use("long", 20.0)
    assert heard is not None
    assert heard.endswith("four.")
    assert len(heard) / len(words) == pytest.approx(used_s / 40.0, abs=0.1)
    assert len(service.prompts.codes("long", model, 20.0)) == int(used_s * RATE_HZ) // 512
    assert service.prompts.transcript_for_use("long", 60.0) == words.strip()


def test_a_deleted_prompt_is_gone_with_its_files(service: Service):
    service.prompts.upload("mine", wav(2.0))
    service.prompts.delete("mine")
    assert list(service.folder.room("prompts").iterdir()) == []
    for call in (service.prompts.get, service.prompts.delete, service.prompts.audio_path):
        with pytest.raises(NotFound):
            call("mine")


def test_transcripts_are_bounded_and_can_be_taken_away(service: Service):
    service.prompts.upload("mine", wav(2.0), transcript="words")
    assert service.prompts.set_transcript("mine", None).transcript_source is None
    assert service.prompts.set_transcript("mine", "x" * 4096).transcript == "x" * 4096
    with pytest.raises(BadParameter, match="4097"):
        service.prompts.set_transcript("mine", "x" * 4097)


def test_the_watched_folder_is_taken_in_with_its_sidecars(service: Service):
    folder = service.settings.watched_prompts_dir
    folder.mkdir()
    for name in ("a.wav", "b.wav", "c.wav", "bad name.wav"):
        (folder / name).write_bytes(wav(2.0, pitch_hz=100 + ord(name[0])))
    (folder / "a.txt").write_text("plain words")
    (folder / "a.reference.txt").write_text("better words")
    (folder / "b.txt").write_text("plain words")
    (folder / "noise.wav").write_bytes(b"no sound")
    (folder / "link.wav").symlink_to(folder / "a.wav")
    found = service.prompts.discover()
    assert {info.id: info.transcript for info in found.discovered} == {
        "a": "better words",
        "b": "plain words",
        "c": None,
    }
    assert set(found.refused) == {"bad name.wav", "noise.wav"}
    assert service.prompts.get("a").transcript_source == "reference"
    assert service.prompts.discover().discovered == ()
    (folder / "b.txt").write_text("new words")
    (folder / "c.wav").write_bytes(wav(3.0))
    again = service.prompts.discover()
    assert {info.id for info in again.discovered} == {"b", "c"}
    assert service.prompts.get("b").transcript == "new words"
    assert again.total_prompts == 3


def test_an_uploaded_prompt_is_not_overwritten_by_a_file_of_its_name(service: Service):
    service.prompts.upload("mine", wav(2.0))
    service.settings.watched_prompts_dir.mkdir()
    (service.settings.watched_prompts_dir / "mine.wav").write_bytes(wav(3.0))
    assert "mine.wav" in service.prompts.discover().refused
    assert service.prompts.get("mine").duration_s == pytest.approx(2.0)


def test_transcribing_without_the_extra_says_what_to_install(service: Service, monkeypatch: pytest.MonkeyPatch):
    service.prompts.upload("mine", wav(2.0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not service.prompts.transcriber.is_available
    with pytest.raises(MissingExtra, match="pip install 'faster-whisper"):
        service.prompts.transcribe("mine")


def test_a_transcription_model_that_is_not_here_is_named_and_nothing_is_downloaded():
    pytest.importorskip("faster_whisper")
    transcriber = Transcriber(offline=True)
    with pytest.raises(OperatorError, match="'tiny'"):
        transcriber.load("tiny")
    with pytest.raises(OperatorError, match="whisper/load"):
        transcriber.transcribe(np.zeros(16_000, np.float32))
    assert transcriber.loaded_size is None


def test_a_prompt_without_words_is_used_and_reported(service: Service, model: ToneModel):
    service.prompts.upload("mine", wav(2.0))
    service.voices.create("me", {"audio_prompt": "mine"})
    with service.speech.open(SpeechRequest("Hello.", voice="me")) as speech:
        speech.read()
    assert any("no transcript" in warning for warning in speech.warnings)
    assert model.streams[-1].prompt is not None
    assert model.streams[-1].prompt.transcript == ""


@pytest.mark.parametrize("max_s", [0.3, 1.0, 2.0])
def test_a_cut_is_never_longer_than_allowed_nor_shorter_than_half(max_s: float):
    waveform = speechlike(3.0)
    kept = cut_at_pause(waveform, RATE_HZ, max_s)
    assert max_s / 2 * RATE_HZ <= kept <= max_s * RATE_HZ
    assert cut_at_pause(waveform, RATE_HZ, 3.0) == len(waveform)


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (1.0, "[S1] One two. Three four five six seven eight."),
        (0.3, "[S1] One two."),
        (0.7, "[S1] One two. Three four five six"),
        (0.0, "[S1] One"),
    ],
)
def test_words_are_cut_at_a_sentence_or_a_word(share: float, kept: str):
    assert cut_transcript("[S1] One two. Three four five six seven eight.", share) == kept


def test_original_files_are_never_named_by_the_user(service: Service):
    service.prompts.upload("mine", wav(2.0), name="../../evil")
    names = {path.relative_to(service.folder.root).as_posix() for path in service.folder.room("prompts").rglob("*")}
    assert names == {"prompts/mine", "prompts/mine/original", "prompts/mine/audio.wav", "prompts/mine/prompt.json"}
    assert isinstance(service.prompts.audio_path("mine"), Path)
