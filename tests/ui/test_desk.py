"""What the page does, without a browser: speak, stop, keep, clone, replay, each within what the caller may."""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dia.errors import BadParameter, Conflict, NotAudio, NotFound, Protected, UnknownVoice
from dia.service.build import Service
from dia.ui.archive import Archive
from dia.ui.desk import Access, Desk, Form, voice_id
from dia.ui.library import Library
from dia.ui.live import LiveSpeech
from dia.ui.shelf import Shelf
from dia.ui.track import Track
from tests.service.conftest import wav
from tests.service.tone import ToneModel

FORM = Form("[S1] Hello. [S2] Hi there.", "alloy", 1.2, 3.0, 0.95, 45, None, 1.0, "voice")
STRANGER = Access(owner="b", sees_all=False, manages=False)


def until(claim: Callable[[], Any], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


def spoken(desk: Desk, form: Form = FORM, access: Access | None = None) -> tuple[LiveSpeech, str]:
    live, token = desk.speak("session", form, access or Access())
    until(lambda: live.track.is_done)
    return live, token


@pytest.fixture
def desk(service: Service) -> Desk:
    return Desk(service, Shelf())


def test_the_page_speaks_what_the_service_would(desk: Desk):
    live, token = spoken(desk)
    with desk.service.speech.open(FORM.request()) as speech:
        expected = speech.read_waveform()
    assert live.status == "completed"
    assert live.failure is None
    assert np.abs(desk.shelf.find(token).waveform() - expected).max() < 1 / 32_000


def test_seeds_are_the_voices_new_or_locked(desk: Desk):
    seeds = [spoken(desk)[0].speech.seed for _ in range(2)]
    assert seeds[0] == seeds[1] == desk.service.voices.get("alloy").seed
    new = {spoken(desk, dataclasses.replace(FORM, seed_mode="new"))[0].speech.seed for _ in range(2)}
    assert len(new) == 2
    assert spoken(desk, dataclasses.replace(FORM, seed_mode="locked", seed=" 5 "))[0].speech.seed == 5
    assert dataclasses.replace(FORM, seed_mode="locked", seed=str(2**63 - 1)).request().seed == 2**63 - 1
    for seed in ("", "-1", "1.5", "seven", str(2**63), "9" * 40):
        with pytest.raises(BadParameter, match="seed"):
            dataclasses.replace(FORM, seed_mode="locked", seed=seed).request()


def test_stop_ends_the_model_and_only_the_sessions_own(desk: Desk, model: ToneModel):
    model.gate.close()
    mine, _ = desk.speak("mine", FORM, Access())
    other, _ = desk.speak("other", FORM, Access())
    desk.stop("mine")
    until(lambda: mine.track.is_done)
    assert mine.status == "cancelled"
    assert mine.failure is None
    assert not other.track.is_done
    desk.stop("other")


def test_a_stop_that_overtakes_its_speech_ends_it_and_no_later_one(desk: Desk, model: ToneModel):
    """Stop within a tenth of a second of Speak came before it, found nothing to stop, and had to be pressed again."""
    model.gate.close()
    desk.stop("session", 1)
    first, _ = desk.speak("session", FORM, Access(), 1)
    until(lambda: first.track.is_done)
    assert first.status == "cancelled"
    second, _ = desk.speak("session", FORM, Access(), 2)
    desk.stop("session", 1)
    assert not second.track.is_done
    desk.stop("session", 2)
    until(lambda: second.track.is_done)
    assert second.status == "cancelled"


def test_a_speech_ends_when_nobody_listens_any_more(desk: Desk, model: ToneModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dia.ui.desk.UNHEARD_S", 0.3)
    model.gate.close()
    live, _ = desk.speak("session", FORM, Access())

    async def hear() -> None:
        first, second = live.track.follow(), live.track.follow()
        heard = [asyncio.ensure_future(anext(one)) for one in (first, second)]
        await asyncio.sleep(0.5)
        model.gate.allow(20)
        await asyncio.gather(*heard)
        await first.aclose()
        await asyncio.sleep(0.5)
        model.gate.allow(20)
        await anext(second)
        assert live.status == "processing"
        await second.aclose()
        await asyncio.sleep(0.5)

    asyncio.run(hear())
    model.gate.allow(20)
    until(lambda: live.track.is_done)
    assert live.status == "cancelled"


def test_a_take_is_there_although_the_next_speech_began_at_once(desk: Desk):
    for _ in range(8):
        spoken(desk)
    assert [take.number for take in desk.takes("session")] == [3, 4, 5, 6, 7, 8]
    assert desk.takes("nobody") == ()


def test_sessions_whose_sound_is_forgotten_are_too(service: Service):
    desk = Desk(service, Shelf(max_bytes=1))
    spoken(desk)
    desk.stop("another")
    assert desk.spoken("session") is not None
    live, _ = desk.speak("another", FORM, Access())
    until(lambda: live.track.is_done)
    assert desk.spoken("session") is None


def test_speaking_again_stops_the_speech_before(desk: Desk, model: ToneModel):
    model.gate.close()
    first, _ = desk.speak("session", FORM, Access())
    second, _ = desk.speak("session", FORM, Access())
    until(lambda: first.track.is_done)
    assert first.status == "cancelled"
    assert not second.track.is_done
    desk.stop("session")


def test_a_failure_is_told_without_its_insides(desk: Desk, model: ToneModel, caplog: pytest.LogCaptureFixture):
    model.fail_with = RuntimeError("secret")
    live, _ = spoken(desk)
    assert live.status == "failed"
    assert "secret" not in str(live.failure)
    assert "secret" in caplog.text


def test_defaults_come_from_checkpoint_server_and_voice(make_service: Callable[..., Service]):
    service = make_service(top_p=0.8)
    service.voices.create("fast", {"defaults": {"speed": 1.5, "temperature": 0.7}})
    desk = Desk(service, Shelf())
    plain, fast = desk.settled("alloy"), desk.settled("fast")
    assert (plain.temperature, plain.top_p, plain.top_k, plain.speed) == (1.2, 0.8, 45, 1.0)
    assert (fast.temperature, fast.speed) == (0.7, 1.5)


def test_estimates_never_raise_for_what_was_typed(desk: Desk):
    assert desk.estimate("  ", "alloy", 1.0).plan is None
    assert desk.estimate("[S1] Hi.", "nobody", 1.0).problem is not None
    assert "at most" in str(desk.estimate("a" * 5000, "alloy", 1.0).problem)


def test_a_take_is_kept_under_a_made_up_id(desk: Desk):
    live, _ = spoken(desk, dataclasses.replace(FORM, text="Hello there, this is long enough to keep."))
    voice = desk.keep(live.speech.id, " Grandma  Ännchen! ", Access())
    assert (voice.id, voice.name) == ("grandma_annchen", "Grandma  Ännchen!")
    with pytest.raises(Conflict):
        desk.keep(live.speech.id, "grandma annchen", Access())


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Zoë", "zoe"), ("Łukasz Straße", "lukasz_strasse"), ("안나", "anna"), ("あんな", "anna"), ("花子", "82b15b50"),
        ("Анна", "aenena"), ("नेहा", "naha"), ("5. Stimme", "5_stimme"), ("É" * 200, "e" * 64),
    ],
)  # fmt: skip
def test_a_name_in_any_script_makes_an_id(name: str, made: str):
    """Names without a letter from A to Z were refused as if there were none."""
    assert voice_id(name) == made


def test_a_name_without_a_letter_or_digit_is_refused():
    for name in ("", " ?! ", "😀"):
        with pytest.raises(BadParameter, match="no name"):
            voice_id(name)


def test_other_peoples_takes_and_logs_are_not_found(desk: Desk):
    live, _ = spoken(desk, access=Access(owner="a", sees_all=False))
    archive = Archive(desk.service, desk.shelf)
    with pytest.raises(NotFound):
        desk.keep(live.speech.id, "mine", STRANGER)
    with pytest.raises(NotFound):
        archive.replay(live.speech.id, STRANGER)
    assert archive.entries(STRANGER) == ()
    assert len(archive.entries(Access())) == 1


def test_strangers_do_not_see_or_cancel_what_runs(desk: Desk, model: ToneModel):
    model.gate.close()
    live, _ = desk.speak("session", FORM, Access(owner="a"))
    archive = Archive(desk.service, desk.shelf)
    assert archive.queue(STRANGER).speeches == ()
    assert not archive.cancel(live.speech.id, STRANGER)
    assert archive.cancel(live.speech.id, Access())
    until(lambda: live.track.is_done)


@pytest.mark.parametrize("save_outputs", [True, False])
def test_replay_gives_the_sound_back_from_file_or_memory(make_service: Callable[..., Service], save_outputs: bool):
    service = make_service(save_outputs=save_outputs, show_prompts=True)
    desk = Desk(service, Shelf())
    live, _ = spoken(desk)
    entry, token = Archive(service, desk.shelf).replay(live.speech.id, Access())
    track = desk.shelf.find(token)
    assert entry.text == FORM.text
    soft = round(0.02 * live.speech.sample_rate_hz)
    again, heard = track.waveform(), live.track.waveform()
    assert len(again) == len(heard)
    # From memory it comes without the fades at its ends.
    assert np.abs(again - heard)[soft:-soft].max() < 1e-3
    assert [mark["speaker"] for mark in track.about["marks"]] == ["S1", "S2"]
    assert track.about["marks"][1]["start_s"] < track.duration_s


def test_a_recording_becomes_a_voice_or_leaves_nothing_behind(service: Service, tmp_path: Path):
    library = Library(service, Shelf())
    path = tmp_path / "a.wav"
    path.write_bytes(wav(4.0))
    voice, info = library.clone("Anna", str(path), "what is said in the recording, word for word")
    assert (voice.id, voice.audio_prompt, info.transcript_source) == ("anna", "anna", "manual")
    with pytest.raises(Conflict):
        library.clone("anna", str(path), "")
    with pytest.raises(BadParameter, match="no recording"):
        library.clone("ben", None, "")
    path.write_bytes(b"no sound at all")
    with pytest.raises(NotAudio):
        library.clone("ben", str(path), "")
    assert set(service.prompts.all()) == {"anna"}


def test_deleting_a_voice_takes_its_recording_and_needs_the_right_to(service: Service, tmp_path: Path):
    library = Library(service, Shelf())
    path = tmp_path / "a.wav"
    path.write_bytes(wav(4.0))
    library.clone("anna", str(path), "")
    with pytest.raises(Protected):
        library.delete("anna", STRANGER)
    with pytest.raises(Protected):
        library.delete("alloy", Access())
    library.delete("anna", Access())
    assert service.prompts.all() == {}
    with pytest.raises(UnknownVoice):
        library.delete("anna", Access())


def test_previews_are_the_recording_or_one_spoken_sentence(service: Service, tmp_path: Path, model: ToneModel):
    library = Library(service, Shelf())
    path = tmp_path / "a.wav"
    path.write_bytes(wav(4.0))
    library.clone("anna", str(path), "")
    recorded = library.preview("anna", Access())
    assert recorded.is_recording
    assert library.shelf.find(recorded.token).duration_s == pytest.approx(4.0, abs=0.01)
    first = library.preview("echo", Access())
    until(lambda: library.shelf.find(first.token).is_done)
    assert library.preview("echo", Access()) == first
    assert len(model.streams) == 1
    assert Archive(service, library.shelf).entries(Access()) == ()


def test_a_follower_hears_everything_from_the_beginning():
    track = Track("x", 44_100)

    async def follow() -> bytes:
        return b"".join([data async for data in track.follow()])

    async def listen() -> list[bytes]:
        track.append(np.array([0.5, -2.0], np.float32))
        listeners = [asyncio.create_task(follow()) for _ in range(2)]
        await asyncio.sleep(0.01)
        await asyncio.to_thread(track.append, np.array([1, 2], np.int16))
        await asyncio.to_thread(track.finish, {})
        return list(await asyncio.gather(*listeners))

    expected = np.array([16383, -32767, 1, 2], "<i2").tobytes()
    assert asyncio.run(listen()) == [expected, expected]


def test_the_shelf_forgets_the_oldest_finished_sounds_only():
    shelf = Shelf(max_bytes=2500)
    growing = Track("live", 44_100)
    growing.append(np.zeros(500, np.int16))
    live = shelf.add(growing)
    sounds = [shelf.add(Track.finished("x", np.zeros(500, np.int16), 44_100, {})) for _ in range(3)]
    assert shelf.find(live) is growing
    assert shelf.find(sounds[0]) is None
    assert shelf.find(sounds[2]) is not None
    assert len(set(sounds)) == 3
