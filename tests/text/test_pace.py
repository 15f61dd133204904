"""Estimates of time, and how they learn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.errors import BadParameter
from dia.text.pace import FASTEST, SLOWEST, Pace, count_units


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", 0),
        ("abc", 3),
        ("a b", 3),
        ("[S1] a [S2] b", 3),
        ("(laughs)", 0),
        ("a (laughs) b", 3),
        ("42", 8),
        ("你好", 6),
    ],
)
def test_units_are_letters_as_spoken(text, units):
    assert count_units(text) == units


def test_the_first_guess_is_thirteen_letters_a_second_and_sounds_have_their_own_time():
    assert Pace().estimate_s("x" * 53) == pytest.approx(4.0)
    assert Pace().estimate_s("(laughs)") == pytest.approx(0.8)
    assert Pace().estimate_s("[S1]") == 0


def test_a_prompt_moves_the_guess_towards_its_own_rate():
    slow, fast = Pace.from_prompt("x" * 100, 10.0), Pace.from_prompt("x" * 200, 10.0)
    assert slow.units_per_s == pytest.approx((13.25 + 10) / 2)
    assert fast.units_per_s > Pace().units_per_s
    assert slow.heard_s == pytest.approx(10.0)


def test_a_steady_voice_is_learned_within_a_minute_and_a_half():
    pace = Pace()
    for _ in range(15):
        pace = pace.learned("x" * 100, 10.0)
    assert pace.units_per_s == pytest.approx(10.0, abs=0.3)


def test_the_last_minute_outweighs_the_past():
    pace = Pace(units_per_s=18.0, heard_s=10_000.0)
    for _ in range(18):
        pace = pace.learned("x" * 120, 10.0)
    assert pace.units_per_s == pytest.approx(12.0, abs=0.5)


def test_the_time_of_sounds_is_not_counted_as_words():
    assert Pace().learned("x" * 100 + " (laughs)", 10.8).units_per_s == pytest.approx(
        Pace().learned("x" * 100, 10).units_per_s, abs=0.1
    )
    assert Pace().learned("ab (laughs)", 0.4).heard_s == pytest.approx(0.2)


def test_a_piece_without_words_teaches_nothing():
    assert Pace().learned("[S1] (laughs)", 1.0) == Pace()


@given(st.text(alphabet="abc 1(laughs)"), st.floats(1e-3, 1e6))
def test_the_rate_stays_in_its_range(text, duration_s):
    assert SLOWEST <= Pace().learned(text, duration_s).units_per_s <= FASTEST


@pytest.mark.parametrize("duration_s", [0, -1, float("nan"), float("inf")])
def test_a_duration_that_is_none_is_refused(duration_s):
    with pytest.raises(BadParameter, match="duration is"):
        Pace().learned("hello", duration_s)


@pytest.mark.parametrize("values", [{"units_per_s": 8.9}, {"units_per_s": 20.1}, {"units_per_s": float("nan")}])
def test_a_rate_outside_its_range_is_refused(values):
    with pytest.raises(BadParameter, match="pace is"):
        Pace(**values)


@pytest.mark.parametrize("values", [{"nonverbal_s": -1}, {"heard_s": -1}, {"heard_s": float("nan")}])
def test_negative_times_are_refused(values):
    with pytest.raises(BadParameter, match="0 or more seconds"):
        Pace(**values)


@pytest.mark.parametrize("rate", [SLOWEST, FASTEST])
def test_the_edges_of_the_range_are_allowed(rate):
    assert Pace(units_per_s=rate).units_per_s == rate
