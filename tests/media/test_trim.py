"""Silence is found and cut at the ends; fades start and end at nothing."""

import numpy as np
import pytest

from dia.errors import BadParameter
from dia.media.trim import fade, sound_span, trim_silence
from tests.media.signals import RATE, tone


def padded(before_s: float, after_s: float) -> np.ndarray:
    silence = np.random.default_rng(0).standard_normal(round(RATE * (before_s + after_s))) * 1e-4
    cut = round(RATE * before_s)
    return np.concatenate([silence[:cut], tone(1.0), silence[cut:]]).astype(np.float32)


def test_the_span_of_sound_is_found_within_a_frame() -> None:
    start, end = sound_span(padded(0.7, 0.4), RATE)
    assert start == pytest.approx(0.7 * RATE, abs=450)
    assert end == pytest.approx(1.7 * RATE, abs=450)


def test_trimming_keeps_a_little_and_never_the_middle() -> None:
    waveform = np.concatenate([padded(0.5, 0.5), padded(0.5, 0.5)])
    trimmed = trim_silence(waveform, RATE, keep_s=0.1)
    assert len(trimmed) == pytest.approx(3.2 * RATE, abs=900)
    assert np.abs(trimmed[: RATE // 20]).max() < 1e-2


def test_sound_to_the_ends_is_left_alone() -> None:
    assert np.array_equal(trim_silence(tone(1.001), RATE, keep_s=0.0), tone(1.001))


@pytest.mark.parametrize("length", [0, 1, 100, RATE])
def test_silence_has_no_span(length: int) -> None:
    assert sound_span(np.zeros(length, np.float32), RATE) == (0, 0)
    assert len(trim_silence(np.zeros(length, np.float32), RATE)) == 0


def test_the_threshold_has_a_range() -> None:
    with pytest.raises(BadParameter, match="-120 to 0"):
        sound_span(tone(0.1), RATE, 1.0)


def test_fades_reach_nothing_at_the_ends_and_leave_the_middle() -> None:
    waveform = np.ones(1000, np.float32)
    faded = fade(waveform, 1000, in_s=0.1, out_s=0.2)
    assert faded[0] < 1e-3
    assert faded[-1] < 1e-3
    assert np.all(faded[100:800] == 1)
    assert np.all(np.diff(faded[:100]) > 0)
    assert np.all(waveform == 1)


def test_a_fade_longer_than_the_sound_is_shortened() -> None:
    assert len(fade(np.ones(10, np.float32), 1000, in_s=1.0, out_s=1.0)) == 10
    assert len(fade(np.zeros(0, np.float32), 1000, in_s=1.0)) == 0
