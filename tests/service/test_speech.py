"""Speech: decided before it starts, given out as it is made, cancelled at once, logged whatever happens."""

import dataclasses
import gc
import io
import threading
import time
import wave
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dia.errors import (
    BadParameter,
    BadScript,
    Cancelled,
    CodecFailed,
    DeadlineExceeded,
    EngineStopped,
    GenerationFailed,
    OutOfMemory,
    QueueFull,
    UnknownFormat,
    UnknownVoice,
)
from dia.media.encode import FORMATS
from dia.media.read import read_audio
from dia.service.build import Service, build
from dia.service.logs import LogFilter
from dia.service.speech import SpeechRequest
from tests.service.conftest import make_settings, wav
from tests.service.tone import ToneModel

HELLO = SpeechRequest("Hello there, this is a test.", seed=7)
LONG = " ".join(f"This is sentence number {number} of a long text that nobody wants to hear." for number in range(40))


def until(claim: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run it elsewhere; what it returns or raises ends up in the list."""
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append(call())
        except Exception as error:  # noqa: BLE001  # handed to the test
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ended


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_that_format_whole_and_streamed(service: Service, format: str):
    request = dataclasses.replace(HELLO, format=format)
    with service.speech.open(request) as speech:
        whole = speech.read()
        assert speech.content_type == FORMATS[format].content_type
    with service.speech.open(request) as speech:
        streamed = b"".join(speech.encoded())
        rate, seconds = speech.sample_rate_hz, speech.audio_duration_s
    if format == "pcm":
        assert streamed == whole
        assert len(whole) / 2 / 24_000 == pytest.approx(seconds, abs=0.01)
        return
    for data in (whole, streamed):
        assert len(read_audio(data, sample_rate_hz=rate)) / rate == pytest.approx(seconds, abs=0.1)


def test_a_whole_wav_has_exact_sizes(service: Service):
    with service.speech.open(HELLO) as speech, wave.open(io.BytesIO(speech.read())) as file:
        assert file.getnframes() == round(speech.audio_duration_s * 44_100)


def test_sound_leaves_while_the_model_works(service: Service, model: ToneModel):
    model.gate.close()
    model.gate.allow(20)
    with service.speech.open(HELLO) as speech:
        chunks = speech.encoded()
        got = len(next(chunks)) + len(next(chunks))
        assert got > 44
        assert model.gate.steps <= 3
        assert 0 < speech.progress().percent < 50
        model.gate.open()
        assert sum(len(chunk) for chunk in chunks) > 10_000
    assert speech.progress().percent == 100.0


@pytest.mark.parametrize("way", ["whole", "left", "failed"])
def test_an_ended_speech_is_let_go_of_at_once(service: Service, model: ToneModel, way: str):
    """In no cycle: collections that find those are rare in a large process, and it holds all that was made."""
    model.fail_with, model.fail_at_step = (GenerationFailed("broke") if way == "failed" else None), 3
    gc.collect()
    gc.disable()
    try:
        with service.speech.open(HELLO) as speech:
            held = weakref.ref(speech)
            sound = speech.waveforms()
            with suppress(GenerationFailed):
                next(sound)
                if way == "whole":
                    list(sound)
            sound.close()
            del sound
        del speech
        until(lambda: held() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("speed", [0.25, 0.8, 1.5, 4.0])
def test_speed_changes_length_and_not_pitch(service: Service, speed: float):
    with service.speech.open(HELLO) as speech:
        plain = speech.read_waveform()
    with service.speech.open(dataclasses.replace(HELLO, speed=speed)) as speech:
        changed = speech.read_waveform()
    assert len(changed) / len(plain) == pytest.approx(1 / speed, rel=0.05)
    assert _pitch(changed) == pytest.approx(_pitch(plain), rel=0.02)


def _pitch(waveform: np.ndarray) -> float:
    middle = waveform[len(waveform) // 4 : 3 * len(waveform) // 4]
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 18))
    return float(np.argmax(power)) * 44_100 / (1 << 18)


def test_the_same_seed_gives_the_same_bytes_and_is_told(service: Service):
    def speak(**changes: Any) -> tuple[bytes, int]:
        with service.speech.open(dataclasses.replace(HELLO, **changes)) as speech:
            return speech.read(), speech.seed

    assert speak() == speak()
    assert speak(seed=8)[0] != speak()[0]
    service.voices.create("free", {})
    drawn, seed = speak(seed=None, voice="free")
    assert speak(seed=seed, voice="free")[0] == drawn


def test_a_voice_without_prompt_is_anchored_by_its_seed_unless_told_otherwise(service: Service):
    service.voices.create("free", {})
    service.voices.create("held", {"voice_seed": 99})

    def seed(**changes: Any) -> int:
        return service.speech.plan(SpeechRequest("Hello.", **changes)).seed

    assert seed(voice="alloy") == seed(voice="alloy") != seed(voice="nova")
    assert seed(voice="free") != seed(voice="free")
    assert seed(voice="held") == 99
    assert seed(voice="held", voice_seed=5) == 5
    assert seed(voice="held", voice_seed=5, seed=0) == 0


def test_defaults_come_from_checkpoint_then_server_then_voice_then_request(make_service: Callable[..., Service]):
    service = make_service(temperature=1.0, top_p=0.5)
    service.voices.create("hot", {"defaults": {"temperature": 1.9, "speed": 2.0}})
    plan = service.speech.plan(SpeechRequest("Hello.", voice="hot"))
    assert (plan.params.temperature, plan.params.top_p, plan.params.cfg_scale, plan.speed) == (1.9, 0.5, 3.0, 2.0)
    asked = service.speech.plan(SpeechRequest("Hello.", voice="hot", temperature=0.0, top_p=0.0, speed=1.0))
    assert (asked.params.temperature, asked.params.top_p, asked.speed) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"text": "  \n"}, BadScript),
        ({"text": "x" * 4097}, BadScript),
        ({"text": "[S1] [S2]"}, BadScript),
        ({"voice": "nobody"}, UnknownVoice),
        ({"format": "banana"}, UnknownFormat),
        ({"speed": 0.24}, BadParameter),
        ({"speed": 4.01}, BadParameter),
        ({"temperature": -1.0}, BadParameter),
        ({"top_p": 1.1}, BadParameter),
        ({"seed": -1}, BadParameter),
        ({"format": "opus", "sample_rate_hz": 44_100}, BadParameter),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_happens(
    service: Service, model: ToneModel, changes: dict[str, Any], error: type[Exception]
):
    with pytest.raises(error):
        service.speech.open(dataclasses.replace(HELLO, **changes))
    assert model.streams == []
    assert service.logs.page(LogFilter()).total == 0
    assert service.admission.numbers().running == 0


def test_an_unknown_voice_may_fall_back_with_a_warning(make_service: Callable[..., Service]):
    service = make_service(unknown_voice="fallback")
    plan = service.speech.plan(dataclasses.replace(HELLO, voice="nobody"))
    assert plan.voice.id == "alloy"
    assert any("nobody" in warning for warning in plan.warnings)


def test_no_model_yet_is_said_so(tmp_path: Path):
    service = build(make_settings(tmp_path / "data"))
    service.start()
    assert service.speech.model_state == "loading"
    with pytest.raises(EngineStopped, match="loading"):
        service.speech.open(HELLO)
    service.speech.model_failed(OutOfMemory("needs 7 GB"))
    with pytest.raises(EngineStopped, match="needs 7 GB"):
        service.speech.open(HELLO)
    service.speech.attach(ToneModel())
    with service.speech.open(HELLO) as speech:
        assert speech.read()
    service.close(0)
    with pytest.raises(EngineStopped):
        service.speech.open(HELLO)


def test_cancel_stops_the_model_within_a_step(service: Service, model: ToneModel):
    model.gate.close()
    model.gate.allow(5)
    speech = service.speech.open(HELLO)
    thread, ended = in_thread(speech.read)
    until(lambda: model.gate.steps == 5)
    speech.cancel()
    thread.join(5)
    assert isinstance(ended[0], Cancelled)
    assert model.gate.steps <= 6
    assert service.admission.numbers().running == 0
    assert service.logs.get(speech.id).status == "cancelled"
    model.gate.open()


def test_a_listener_who_leaves_frees_the_model(service: Service, model: ToneModel):
    model.gate.close()
    model.gate.allow(6)
    with service.speech.open(HELLO) as speech:
        chunks = speech.encoded()
        next(chunks)
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
    assert model.streams[-1].is_stopped
    assert (speech.status, service.admission.numbers().running) == ("cancelled", 0)
    assert service.speech.speeches() == ()


def test_one_that_waits_and_is_cancelled_never_reaches_the_model(
    make_service: Callable[..., Service], model: ToneModel
):
    service = make_service(workers=1)
    model.gate.close()
    first = service.speech.open(HELLO)
    thread, _ = in_thread(first.read)
    until(lambda: len(model.streams) == 1)
    waiting = [service.speech.open(HELLO) for _ in range(5)]
    threads = [in_thread(speech.read) for speech in waiting]
    assert waiting[-1].progress().position == 4
    for speech in waiting:
        speech.cancel()
    for each, ended in threads:
        each.join(5)
        assert isinstance(ended[0], Cancelled)
    model.gate.open()
    thread.join(5)
    assert len(model.streams) == 1
    assert first.status == "completed"


def test_closing_without_iterating_gives_everything_back(service: Service, model: ToneModel):
    with service.speech.open(HELLO) as speech:
        pass
    assert (speech.status, model.streams, service.admission.numbers().running) == ("cancelled", [], 0)
    with pytest.raises(Cancelled):
        next(speech.waveforms())


def test_queue_time_counts_against_the_deadline_and_the_model_is_never_asked(
    make_service: Callable[..., Service], model: ToneModel
):
    service = make_service(workers=1)
    model.gate.close()
    first = service.speech.open(HELLO)
    thread, _ = in_thread(first.read)
    until(lambda: len(model.streams) == 1)
    with service.speech.open(dataclasses.replace(HELLO, timeout_s=0.05)) as late, pytest.raises(DeadlineExceeded):
        late.read()
    assert (len(model.streams), late.status) == (1, "failed")
    assert service.logs.get(late.id).error_code == "deadline_exceeded"
    model.gate.open()
    thread.join(5)


def test_a_running_one_stops_at_its_deadline(service: Service, model: ToneModel):
    model.gate.close()
    model.gate.allow(2)
    with service.speech.open(dataclasses.replace(HELLO, timeout_s=0.1)) as speech, pytest.raises(DeadlineExceeded):
        speech.read()
    assert model.gate.steps <= 4
    assert service.admission.numbers().running == 0


@pytest.mark.parametrize(
    ("failure", "raised", "code"),
    [
        (OutOfMemory("no memory for this request"), OutOfMemory, "out_of_memory"),
        (RuntimeError("secret /path"), RuntimeError, "engine_error"),
        (MemoryError(), OutOfMemory, "out_of_memory"),
    ],
)
def test_a_failure_ends_one_request_and_the_next_goes_well(
    service: Service, model: ToneModel, failure: Exception, raised: type[Exception], code: str
):
    model.fail_with, model.fail_at_step = failure, 3
    with service.speech.open(HELLO) as speech, pytest.raises(raised):
        speech.read()
    entry = service.logs.get(speech.id)
    assert (entry.status, entry.error_code) == ("failed", code)
    assert "secret" not in (entry.error_message or "")
    assert service.counters.value("engine_failures_total", code) == 1
    model.fail_with = None
    with service.speech.open(HELLO) as speech:
        assert speech.read()


def test_sound_that_is_no_number_is_a_failure_and_no_file(service: Service, model: ToneModel, monkeypatch):
    real = type(model.stream("x")).__next__

    def broken(self: Any) -> np.ndarray:
        chunk = real(self)
        chunk[3] = np.nan
        return chunk

    monkeypatch.setattr("tests.service.tone.ToneStream.__next__", broken)
    with service.speech.open(HELLO) as speech, pytest.raises(CodecFailed):
        speech.read()


def test_no_sound_at_all_is_a_failure_and_no_empty_file(service: Service, model: ToneModel):
    model.frames_per_char = 0.0
    with service.speech.open(HELLO) as speech, pytest.raises(GenerationFailed, match="came out empty"):
        speech.read()
    assert service.logs.get(speech.id).error_code == "generation_failed"
    assert service.jobs.wait(service.jobs.submit(HELLO).job.id, 10).error_code == "generation_failed"


def test_a_full_queue_refuses_with_a_time_and_leaves_no_row(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1, queue_capacity=1)
    opened = [service.speech.open(HELLO), service.speech.open(HELLO)]
    with pytest.raises(QueueFull) as refused:
        service.speech.open(HELLO)
    assert refused.value.retry_after_s
    assert service.logs.page(LogFilter()).total == 2
    assert service.counters.value("rejected_total", "queue_full") == 1
    for speech in opened:
        speech.close()


def test_the_log_tells_what_was_made(make_service: Callable[..., Service]):
    service = make_service(save_outputs=True, show_prompts=True)
    request = dataclasses.replace(HELLO, format="mp3", request_id="r-1", owner="key-1", speed=2.0)
    with service.speech.open(request) as speech:
        speech.read()
    entry = service.logs.get(speech.id)
    assert (entry.status, entry.voice, entry.format, entry.seed, entry.request_id, entry.owner) == (
        "completed", "alloy", "mp3", 7, "r-1", "key-1",
    )  # fmt: skip
    assert entry.text == HELLO.text
    assert entry.processed_text == f"[S1] {HELLO.text} [S1]"
    assert entry.audio_duration_s == pytest.approx(speech.audio_duration_s)
    assert entry.frames and entry.first_byte_s and entry.generation_s and entry.real_time_factor
    path = service.logs.file_path(speech.id)
    assert path.name.endswith(f"_{speech.id[:8]}_alloy.wav")
    assert (path.stat().st_size, path.parent) == (entry.file_size, service.folder.room("outputs"))
    saved = read_audio(path, sample_rate_hz=44_100)
    assert len(saved) / 44_100 == pytest.approx(speech.audio_duration_s)


def test_text_is_in_no_file_unless_shown(make_service: Callable[..., Service]):
    canary = "Canary4711 sings in the coal mine"
    service = make_service(save_outputs=True)
    with service.speech.open(SpeechRequest(canary)) as speech:
        speech.read()
    job = service.jobs.submit(SpeechRequest(canary + " again")).job
    assert service.jobs.wait(job.id, 10).status == "completed"
    until(lambda: service.jobs.stats().active_workers == 0)
    doomed = service.jobs.submit(SpeechRequest(canary + " never", voice="nova")).job
    service.jobs.wait(doomed.id, 10)
    service.close(0)
    for path in service.folder.root.rglob("*"):
        assert not path.is_file() or b"Canary4711" not in path.read_bytes(), path


def test_a_log_that_cannot_be_kept_is_a_warning_and_not_the_end(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
):
    service = make_service(save_outputs=True)

    def full(path: Path, data: bytes) -> None:
        from dia.errors import DiskFull

        raise DiskFull("no room")

    monkeypatch.setattr("dia.service.logs.write_file", full)
    with service.speech.open(HELLO) as speech:
        assert speech.read()
    assert any("no room" in warning for warning in speech.warnings)
    assert service.counters.value("log_failures_total", "disk_full") == 1
    entry = service.logs.get(speech.id)
    assert (entry.status, entry.file_name) == ("completed", None)


def test_many_at_once_each_get_their_own_sound(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=4)

    def speak(seed: int) -> bytes:
        with service.speech.open(dataclasses.replace(HELLO, seed=seed, format="pcm")) as speech:
            return speech.read()

    alone = [speak(seed) for seed in range(8)]
    threads = [in_thread(lambda seed=seed: speak(seed)) for seed in range(8)]
    for thread, _ in threads:
        thread.join(20)
    assert [ended[0] for _, ended in threads] == alone
    assert len(set(alone)) > 4


def test_a_long_text_is_said_in_pieces_that_lose_no_word_and_keep_the_voice(service: Service, model: ToneModel):
    with service.speech.open(SpeechRequest(LONG, seed=3)) as speech:
        waveform = speech.read_waveform()
    assert len(speech.plan.pieces) > 5
    said = " ".join(turn.written for piece in speech.plan.pieces for turn in piece.turns)
    assert said == LONG
    first, *others = model.streams
    assert first.prompt is None
    # The first piece is the voice of the rest; behind it stands the end of the piece before.
    for before, stream in pairwise(model.streams[1:]):
        prompt, end = stream.prompt.codes, len(before.codes)
        anchor = len(others[0].prompt.codes)
        assert np.array_equal(prompt[:anchor], first.codes[:anchor])
        recent = len(prompt) - anchor
        assert recent > 86 and any(
            np.array_equal(prompt[anchor:], before.codes[stop - recent : stop]) for stop in range(recent, end + 1)
        )
    assert len({stream.seed for stream in model.streams}) == len(model.streams)
    pauses = sum(piece.pause_before_s for piece in speech.plan.pieces)
    assert len(waveform) == sum(stream.frames_done for stream in model.streams) * 512 + round(pauses * 44_100)
    assert len(service.takes.get(speech.id).pieces) == len(model.streams)


def test_a_bad_take_of_a_later_piece_is_made_again_and_what_stays_bad_is_told(service: Service, model: ToneModel):
    with service.speech.open(SpeechRequest(LONG, seed=3)) as speech:
        for _ in speech.waveforms():
            # From now on far too short for the words.
            model.frames_per_char = 0.5
    pieces = len(speech.plan.pieces)
    assert len(model.streams) == 1 + 3 * (pieces - 1)
    assert len({stream.seed for stream in model.streams}) == len(model.streams)
    assert len(service.takes.get(speech.id).pieces) == pieces
    assert speech.text.count("[S1] This is sentence") == pieces
    assert sum("too short" in warning for warning in speech.warnings) == pieces - 1


def test_silence_around_the_words_is_cut_off(service: Service, model: ToneModel, monkeypatch: pytest.MonkeyPatch):
    real = type(ToneModel().stream("x")).__next__
    quiet_frames = 30

    def padded(self: Any) -> np.ndarray:
        chunk = real(self)
        is_quiet = self.frames_done <= quiet_frames or self.frames_done > self.frames_wanted - quiet_frames
        return chunk * np.float32(1e-5) if is_quiet else chunk

    monkeypatch.setattr("tests.service.tone.ToneStream.__next__", padded)
    with service.speech.open(HELLO) as speech:
        waveform = speech.read_waveform()
    frames = service.takes.get(speech.id).pieces[0].codes.shape[0]
    total = model.streams[-1].frames_wanted
    assert len(waveform) < (total - 2 * quiet_frames) * 512 + 0.15 * 44_100
    assert total - 2 * quiet_frames <= frames < total - 2 * quiet_frames + 14


def test_a_long_text_can_be_cancelled_between_its_pieces(service: Service, model: ToneModel):
    speech = service.speech.open(SpeechRequest(LONG))

    def cancel_in_the_third() -> None:
        for _ in speech.waveforms():
            if len(model.streams) == 3:
                speech.cancel()

    with pytest.raises(Cancelled):
        cancel_in_the_third()
    assert len(model.streams) == 3


def test_a_cloned_voice_says_its_transcript_first(service: Service, model: ToneModel):
    service.prompts.upload("p1", wav(2.0), transcript="My own words.")
    service.voices.create("mine", {"audio_prompt": "p1"})
    with service.speech.open(SpeechRequest("Hello.", voice="mine")) as speech:
        speech.read()
    assert speech.text == "[S1] My own words. Hello. [S1]"
    prompt = model.streams[-1].prompt
    assert prompt is not None
    assert np.array_equal(prompt.codes, service.prompts.codes("p1", model, 20.0))
    assert service.logs.get(speech.id).prompt_id == "p1"


def test_max_tokens_does_not_count_the_prompt_and_never_exceeds_the_model(service: Service, model: ToneModel):
    service.prompts.upload("p1", wav(5.0), transcript="My own words, which are a few.")
    service.voices.create("mine", {"audio_prompt": "p1"})
    prompt_rows = len(service.prompts.codes("p1", model, 20.0))
    text = "A sentence that takes about four seconds to say."

    def rows(max_tokens: int | None) -> int:
        with service.speech.open(SpeechRequest(text, voice="mine", max_tokens=max_tokens)) as speech:
            speech.read()
        return int(model.streams[-1].params.max_tokens or 0)

    assert rows(600) == prompt_rows + 600
    # Without a limit a take may last more than twice as long as expected, and no longer than the model can.
    assert prompt_rows + 600 < rows(None) == rows(10_000) < 3072


def test_shutting_down_lets_the_running_finish_and_refuses_the_rest(
    make_service: Callable[..., Service], model: ToneModel
):
    service = make_service(workers=1)
    model.gate.close()
    running = service.speech.open(HELLO)
    thread, ended = in_thread(running.read)
    until(lambda: len(model.streams) == 1)
    waiting = service.speech.open(HELLO)
    waiter, refused = in_thread(waiting.read)
    closer, _ = in_thread(lambda: service.close(10))
    until(lambda: _is_refused(service))
    model.gate.open()
    for each in (thread, closer, waiter):
        each.join(10)
    assert isinstance(ended[0], bytes)
    assert isinstance(refused[0], (Cancelled, EngineStopped))
    assert model.is_closed


def _is_refused(service: Service) -> bool:
    try:
        service.admission.reserve("interactive").leave()
    except EngineStopped:
        return True
    return False


def test_progress_never_runs_backwards_over_the_pieces(service: Service, model: ToneModel):
    model.frames_per_char = 0.3
    with service.speech.open(SpeechRequest(LONG)) as speech:
        seen = [speech.progress().percent for _ in speech.waveforms()]
        assert seen == sorted(seen)
        assert len(set(seen)) > len(speech.plan.pieces)
        assert seen[-1] < 100 == speech.progress().percent


def test_after_a_storm_of_listeners_who_left_the_next_one_is_served_at_once(
    make_service: Callable[..., Service], model: ToneModel
):
    service = make_service(workers=4, queue_capacity=200)
    model.step_s = 0.005
    storm = [service.speech.open(HELLO) for _ in range(60)]
    threads = [in_thread(speech.read) for speech in storm]
    until(lambda: model.gate.steps > 20)
    for speech in storm:
        speech.cancel()
    for thread, ended in threads:
        thread.join(10)
        assert isinstance(ended[0], Cancelled)
    asked = 60 * model.streams[0].frames_wanted
    assert model.gate.steps < 0.05 * asked
    model.step_s = 0.0
    with service.speech.open(HELLO) as speech:
        assert speech.read()
    numbers = service.admission.numbers()
    assert (numbers.running, numbers.waiting, service.speech.speeches()) == (0, 0, ())
    assert {entry.status for entry in service.logs.page(LogFilter(limit=200)).entries} == {"cancelled", "completed"}
