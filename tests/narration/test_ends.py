"""Ends of takes on made sound: what is junk goes, what could be a word stays, and every cut is told."""

from collections.abc import Callable

import numpy as np
import pytest

from dia.narration.ends import Ends, end_of_wanted, find_ends
from dia.narration.judge import badness, find_problems
from dia.text.plan import Carrier
from tests.narration.conftest import RATE_HZ

Speech = Callable[..., np.ndarray]


def ends(waveform: np.ndarray, expected_s: float) -> tuple[float, float, tuple[str, ...]]:
    found = find_ends(waveform, RATE_HZ, expected_s)
    return found.start / RATE_HZ, found.end / RATE_HZ, found.cuts


def test_silence_before_and_after_goes_but_for_a_little(speech: Speech):
    start, end, cuts = ends(speech(("silence", 0.8), ("say", 2.0), ("silence", 0.7)), 2.0)
    assert start == pytest.approx(0.77, abs=0.03)
    assert end == pytest.approx(2.86, abs=0.03)
    assert cuts == ()


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        ((("silence", 0.3), ("burst", 0.15)), "a burst of 0.1"),
        ((("silence", 0.15), ("breath", 0.4)), "a breath of 0.4"),
        ((("silence", 0.4), ("say", 1.6)), "a sound of 1.6"),
        ((("faint", 0.6),), "a faint sound"),
        ((("silence", 0.3), ("burst", 0.1), ("silence", 0.3), ("burst", 0.1)), "a burst"),
    ],
)
def test_what_follows_the_words_is_cut_and_told(speech: Speech, tail: tuple[tuple[str, float], ...], told: str):
    start, end, cuts = ends(speech(("say", 2.0), *tail), 2.0)
    assert (start, end) == (0.0, pytest.approx(2.06, abs=0.04))
    assert told in cuts[0]


@pytest.mark.parametrize(
    ("parts", "expected_s"),
    [
        ((("say", 1.0), ("silence", 0.3), ("say", 0.2)), 1.6),  # a short last word, and not enough without it
        ((("say", 1.0), ("silence", 0.5), ("say", 1.0)), 2.4),
        ((("say", 2.0), ("silence", 0.1), ("burst", 0.2)), 2.0),  # too close to be anything but a consonant
        ((("say", 3.0),), 1.0),
    ],
)
def test_what_could_be_a_word_stays(speech: Speech, parts: tuple[tuple[str, float], ...], expected_s: float):
    _, end, cuts = ends(speech(*parts), expected_s)
    assert end == pytest.approx(sum(seconds for _, seconds in parts), abs=0.02)
    assert cuts == ()


def test_the_last_of_three_short_turns_stays(speech: Speech):
    """Said one by one, "Hi! Yes. OK." takes twice as long as its letters tell, and its last word was taken for junk."""
    take = speech(("say", 0.4), ("silence", 0.4), ("say", 0.7), ("silence", 0.6), ("say", 0.3))
    assert find_ends(take, RATE_HZ, 0.9).end / RATE_HZ == pytest.approx(1.56, abs=0.03)
    assert find_ends(take, RATE_HZ, 0.9, 3).end / RATE_HZ == pytest.approx(2.4, abs=0.03)


def test_clicks_are_cut_without_a_word(speech: Speech):
    take = speech(("click", 0.01), ("silence", 0.3), ("say", 1.5), ("silence", 0.2), ("click", 0.01))
    start, end, cuts = ends(take, 1.5)
    assert start == pytest.approx(0.28, abs=0.03) and end == pytest.approx(1.87, abs=0.03)
    assert cuts == ()


def test_silence_has_no_ends():
    for waveform in (np.zeros(0, np.float32), np.zeros(RATE_HZ, np.float32), np.full(RATE_HZ, 1e-5, np.float32)):
        assert find_ends(waveform, RATE_HZ, 2.0) == Ends(0, 0)


CARRIED_S = 5.0  # of the added words


@pytest.mark.parametrize(
    ("wanted_s", "parts", "end"),
    [
        (0.2, (("say", 0.4), ("silence", 0.4), ("say", 4.5)), 0.46),  # "No."
        (0.2, (("say", 0.35), ("silence", 0.15), ("say", 0.5), ("silence", 0.12), ("say", 4.0)), 0.41),
        (0.5, (("say", 0.9), ("silence", 0.2), ("say", 3.9)), 0.96),
        (1.2, (("say", 0.3), ("silence", 0.2), ("say", 1.0), ("silence", 0.3), ("say", 4.5)), 1.56),  # "Yes, you are."
        (0.2, (("say", 0.3), ("silence", 0.35), ("say", 0.6), ("silence", 0.4), ("say", 4.0)), 0.36),
    ],
)
def test_added_words_are_cut_at_the_pause_before_them(
    speech: Speech, wanted_s: float, parts: tuple[tuple[str, float], ...], end: float
):
    """The place was guessed from the letters, which fell into the word where that was short."""
    waveform = speech(*parts)
    carrier = Carrier("Added words.", 2, 9, wanted_s=wanted_s, estimated_s=wanted_s + CARRIED_S)
    found, is_parted = end_of_wanted(waveform, RATE_HZ, Ends(0, len(waveform)), carrier)
    assert is_parted
    assert found / RATE_HZ == pytest.approx(end, abs=0.03)


def test_words_that_run_into_the_added_ones_make_a_bad_take(speech: Speech):
    waveform = speech(("say", 5.5))
    carrier = Carrier("Added words.", 2, 9, wanted_s=0.3, estimated_s=5.3)
    end, is_parted = end_of_wanted(waveform, RATE_HZ, Ends(0, len(waveform)), carrier)
    assert not is_parted and 0.2 < end / RATE_HZ < 1.2
    assert badness(("run together",)) > 0


@pytest.mark.parametrize(
    ("seconds", "expected_s", "is_filled", "problems"),
    [
        (2.0, 2.0, False, ()),
        (2.0, 2.0, True, ("endless",)),
        (4.5, 2.0, False, ("too long",)),
        (0.7, 2.0, False, ("too short",)),
        (0.7, 1.0, False, ()),
        (0.9, 0.25, False, ()),
        (1.7, 0.25, False, ("too long",)),
        (0.05, 2.0, False, ("empty",)),
    ],
)
def test_bad_takes_are_recognised(
    speech: Speech, seconds: float, expected_s: float, is_filled: bool, problems: tuple[str, ...]
):
    waveform = speech(("say", seconds))
    found = find_problems(waveform, RATE_HZ, Ends(0, len(waveform)), expected_s, is_filled=is_filled)
    assert found == problems
    assert (badness(found) == 0) == (not problems)


def test_a_take_that_stops_inside_a_word_is_bad(speech: Speech):
    """A last word that was swallowed in the middle went out as it was, unless Whisper heard it."""
    parts = (("say", 1.0), ("silence", 0.3), ("say", 1.0))
    cut, whole = speech(*parts), speech(*parts, ("faint", 0.06))
    assert find_problems(cut, RATE_HZ, find_ends(cut, RATE_HZ, 2.0), 2.0, is_filled=False) == ("cut off",)
    assert find_problems(whole, RATE_HZ, find_ends(whole, RATE_HZ, 2.0), 2.0, is_filled=False) == ()
    assert badness(("cut off",)) > badness(("clipped",))


def test_a_clipped_take_is_bad_and_a_cut_off_tail_forgives_an_endless_one(speech: Speech):
    loud = np.clip(speech(("say", 2.0)) * 20, -1, 1)
    assert find_problems(loud, RATE_HZ, Ends(0, len(loud)), 2.0, is_filled=False) == ("clipped",)
    noisy = speech(("say", 2.0), ("silence", 0.4), ("say", 2.0))
    assert find_problems(noisy, RATE_HZ, find_ends(noisy, RATE_HZ, 2.0), 2.0, is_filled=True) == ()
