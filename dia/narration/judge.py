"""Whether a take is fit to be kept: empty, silent, endless, cut short or clipped ones, and such as end inside a word, are made again."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dia.narration.ends import Ends, stops_abruptly
from dia.text.alignment import align
from dia.text.words import normalise

__all__ = ["Problem", "badness", "count_wrong_words", "find_problems"]

Problem = Literal[
    "failed", "empty", "endless", "too long", "too short", "cut off", "clipped", "run together", "misread"
]

_BADNESS: dict[Problem, int] = {
    "failed": 100,
    "empty": 100,
    "endless": 20,
    "too short": 15,
    "too long": 10,
    "run together": 8,
    "cut off": 8,
    "clipped": 5,
    "misread": 0,  # by the number of words
}
_MOST_WRONG = 60  # fewer than make a take of no use
_LEAST_S = 0.12  # "a" takes that long
_QUIET_PEAK = 1e-3
_TOO_LONG, _TOO_SHORT = 2.2, 0.4  # of what is expected; outside, words are repeated or swallowed
_SURE_S, _UNSURE_S = 1.5, 0.9  # a shorter estimate says little, and may be too short by that
_CLIPPED_SHARE, _FULL_SCALE = 1e-3, 0.999


def find_problems(
    waveform: np.ndarray, sample_rate_hz: int, ends: Ends, expected_s: float, *, is_filled: bool
) -> tuple[Problem, ...]:
    """What is wrong with a take of float samples [samples]; `is_filled` says that the model never came to an end."""
    kept_s = (ends.end - ends.start) / sample_rate_hz
    if kept_s < _LEAST_S or float(np.abs(waveform).max(initial=0.0)) < _QUIET_PEAK:
        return ("empty",)
    problems: list[Problem] = []
    # Where the sound around the words could be cut off, the model's end does not matter.
    is_cut = ends.end < len(waveform) - round(0.25 * sample_rate_hz)
    if is_filled and not is_cut:
        problems.append("endless")
    elif kept_s > _TOO_LONG * expected_s + (0.0 if expected_s >= _SURE_S else _UNSURE_S):
        problems.append("too long")
    if expected_s >= _SURE_S and kept_s < _TOO_SHORT * expected_s:
        problems.append("too short")
    if not is_filled and not is_cut and stops_abruptly(waveform, sample_rate_hz):
        problems.append("cut off")
    if np.count_nonzero(np.abs(waveform) >= _FULL_SCALE) > _CLIPPED_SHARE * len(waveform):
        problems.append("clipped")
    return tuple(problems)


def badness(problems: Sequence[Problem], wrong_words: int = 0) -> int:
    """0 for a good take; the least bad of several is kept, a clipped one being as bad as five wrong words. 100 and more
    is of no use at all."""
    return sum(_BADNESS[problem] for problem in problems) + min(wrong_words, _MOST_WRONG)


def count_wrong_words(text: str, heard: str) -> int:
    """How many words of a text were heard as others, not at all, or besides; at most as many as it has.

    Spelling does not count: both are brought to plain words first (`dia.text.words`).
    """
    return align(normalise(text), normalise(heard)).clipped_errors
