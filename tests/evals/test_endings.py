"""Ends of takes made of tones: how long they are, what follows the last word."""

import numpy as np
import pytest

from dia.errors import BadParameter
from dia.evals.endings import audible_frames, audible_span_s, length_ratio, trailing_junk_s, word_end_s

RATE_HZ = 16_000


def tone(seconds: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 220 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def test_the_audible_span_leaves_silence_and_codec_noise_out():
    noise = np.random.default_rng(0).normal(0, 3e-4, round(0.5 * RATE_HZ)).astype(np.float32)
    audible = audible_frames(np.concatenate([quiet(0.2), tone(1.0), noise]), RATE_HZ)
    assert audible_span_s(audible) == pytest.approx((0.2, 1.2), abs=0.011)


def test_silence_and_nothing_have_no_span():
    assert audible_span_s(audible_frames(quiet(1), RATE_HZ)) == (0, 0)
    assert audible_span_s(audible_frames(quiet(0), RATE_HZ)) == (0, 0)


def test_the_last_word_lasts_to_the_next_gap():
    audible = audible_frames(np.concatenate([tone(1.0), quiet(0.3), tone(0.5)]), RATE_HZ)
    assert word_end_s(audible, 0.5, 0.7, letters=8) == pytest.approx(1.0, abs=0.011)


def test_a_stop_inside_a_word_does_not_end_it():
    audible = audible_frames(np.concatenate([tone(0.8), quiet(0.09), tone(0.1), quiet(1)]), RATE_HZ)
    assert word_end_s(audible, 0.5, 0.7, letters=8) == pytest.approx(0.99, abs=0.011)


def test_a_short_word_cannot_swallow_a_long_hum():
    audible = audible_frames(tone(4.0), RATE_HZ)
    assert word_end_s(audible, 0.5, 0.7, letters=2) == pytest.approx(0.5 + 0.35 + 0.18, abs=0.011)


def test_the_recognisers_mark_is_never_moved_forward():
    assert word_end_s(audible_frames(tone(1.0), RATE_HZ), 0.1, 0.9, letters=1) == 0.9


def test_junk_is_what_sounds_after_the_last_word():
    assert trailing_junk_s(1.5, 2.25) == pytest.approx(0.75)
    assert trailing_junk_s(1.5, 1.4) == 0
    assert trailing_junk_s(None, 2.0) == 2.0


def test_length_is_compared_with_the_usual_pace():
    assert length_ratio(2.0, "x" * 30, 15.0) == pytest.approx(1)
    assert length_ratio(4.0, "x" * 30, 15.0) == pytest.approx(2)
    with pytest.raises(BadParameter, match="pace is 0"):
        length_ratio(1.0, "x", 0.0)
