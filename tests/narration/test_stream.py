"""Narration as a stream: threads change nothing, the next piece is made while one is heard, leaving stops everything."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dia.errors import BadParameter, BadScript, Cancelled, UnknownVoice
from dia.narration.ahead import Ahead
from dia.narration.delivery import Delivery
from dia.narration.live import LiveSegment
from dia.narration.stream import Narration, narrate
from dia.prompts import VoicePrompt
from tests.narration.conftest import PLAY, RATE_HZ, SMALL

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.sampling import SamplingParams

Speech = Callable[..., np.ndarray]


def until(happened: Callable[[], bool], within_s: float = 60.0) -> None:
    give_up = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.01)


def heard(narration: Narration) -> np.ndarray:
    with narration:
        return np.concatenate(list(narration))


def test_an_engine_with_a_thread_of_its_own_gives_the_same_samples(small: "Dia", params: "SamplingParams"):
    inline = heard(narrate(small, PLAY, params=params, making=SMALL))
    small.start()
    assert np.array_equal(heard(narrate(small, PLAY, params=params, making=SMALL)), inline)
    other = heard(narrate(small, PLAY, params=params.updated(seed=6), making=SMALL))
    assert not np.array_equal(other[:RATE_HZ], inline[:RATE_HZ])


def test_the_next_piece_is_made_before_the_first_is_heard_to_its_end(small: "Dia", params: "SamplingParams"):
    with narrate(small, PLAY, params=params, making=SMALL) as narration:
        first = next(narration)
        assert 0 < len(first) < RATE_HZ
        until(lambda: narration.pieces_made >= 2)
        assert len(narration.plan.pieces) == 4


def test_the_first_sound_of_a_long_script_comes_as_soon_as_that_of_one_piece(small: "Dia", params: "SamplingParams"):
    """In steps of the engine, which no other load on the machine can change."""
    sentence = "Alice: Good morning, how are you today?\nBob: Very well, thank you."
    # A thousand words, no two alike, so that planning is not helped by any cache.
    long = "\n".join(f"{sentence} This is the {number}th time." for number in range(80))
    assert len(long.split()) > 1000

    def steps_to_first_sound(text: str) -> int:
        before = small.engine.steps
        with narrate(small, text, params=params, making=SMALL, ahead_s=1.0) as narration:
            next(narration)
            return small.engine.steps - before

    assert steps_to_first_sound(long) <= 1.2 * steps_to_first_sound(long.splitlines()[0]) + 2


def test_leaving_stops_the_engine_and_frees_the_thread(small: "Dia", params: "SamplingParams"):
    small.start()
    narration = narrate(small, PLAY, params=params, making=SMALL)
    next(narration)
    narration.close()
    until(lambda: small.engine.num_running == 0 and small.engine.num_waiting == 0)
    with pytest.raises(Cancelled):
        next(narration)


def test_what_can_be_refused_is_refused_before_anything_is_made(small: "Dia", params: "SamplingParams"):
    voice = VoicePrompt(np.zeros((20, 9), np.int16), "Some words.")
    with pytest.raises(BadScript):
        narrate(small, "  ")
    with pytest.raises(UnknownVoice):
        narrate(small, PLAY, voices={"Dora": voice})
    with pytest.raises(BadParameter, match="Dora"):
        narrate(small, PLAY, delivery=Delivery(speeds={"Dora": 1.1}))
    with pytest.raises(BadParameter, match="ahead_s"):
        narrate(small, PLAY, ahead_s=0.0)
    assert small.engine.num_running == small.engine.num_waiting == 0


def test_voices_levels_and_tempos_hold_in_a_stream(small: "Dia", params: "SamplingParams"):
    voices = {name: VoicePrompt(np.full((16, 9), 7, np.int16), "So be it.") for name in ("Alice", "Bob", "Carl")}
    text = "Alice: Good morning to you all.\nBob: And to you.\nCarl: Yes."
    short = dataclasses.replace(SMALL, floor_s=0.5)
    plain = heard(narrate(small, text, voices=voices, params=params, making=short))
    delivery = Delivery(speeds={"Alice": 2.0}, loudness_lufs=-20.0)
    fast = heard(narrate(small, text, voices=voices, params=params, making=short, delivery=delivery))
    assert len(fast) < len(plain)


def test_a_short_text_is_cut_away_from_its_added_words(small: "Dia", params: "SamplingParams"):
    narration = narrate(small, "Yes.", params=params.updated(max_tokens=90), making=SMALL)
    sound = heard(narration)
    assert narration.plan.pieces[0].carrier is not None
    assert len(sound) < 0.5 * (90 - 16) * small.codec.hop_samples  # type: ignore[union-attr]
    assert any("cut away again" in warning for warning in narration.warnings)


def test_a_live_piece_loses_the_silence_before_it_and_its_junk_after_it(speech: Speech):
    take = speech(("silence", 0.6), ("say", 2.0), ("silence", 0.25), ("burst", 0.1))
    for size in (64, 1000, 7000):
        live = LiveSegment(RATE_HZ, 2.0, 1.0, 0.0, -1.0)
        parts = [live.push(take[place : place + size]) for place in range(0, len(take), size)]
        assert np.array_equal(live.waveform(), take)
        sound = np.concatenate([*parts, live.finish(round(2.65 * RATE_HZ))])
        assert len(sound) == pytest.approx(2.08 * RATE_HZ, abs=0.03 * RATE_HZ)
        assert abs(sound[-1]) < 1e-3 and abs(sound[0]) < 1e-3
        if size == 64:
            first = sound
        assert np.array_equal(sound, first)


def test_a_stream_waits_for_its_listener_and_hands_on_what_went_wrong(tmp_path: Path):
    made = []

    def produce():
        for number in range(10):
            made.append(number)
            yield np.full(100, number, np.float32)
        raise BadScript("the end is missing")

    ahead = Ahead(produce, 250, lambda: None)
    ahead.start()
    until(lambda: len(made) >= 3)
    time.sleep(0.05)
    assert len(made) <= 4
    chunks = [ahead.take() for _ in range(10)]
    assert [int(chunk[0]) for chunk in chunks if chunk is not None] == list(range(10))
    with pytest.raises(BadScript, match="missing"):
        ahead.take()
