"""How a take ends and how long it is: audible span, end of the last word, sound after it, pace against a reference."""

from __future__ import annotations

import numpy as np

from dia.errors import BadParameter

__all__ = ["DEFAULT_PACE", "audible_span_s", "length_ratio", "trailing_junk_s", "word_end_s"]

AUDIBLE_BELOW_LOUD_DB = 40.0
"""Sound more than this below the loud parts of a take is background. A neural codec's silence lies around -60 dB."""

DEFAULT_PACE = 15.0
"""Characters of English text a second, where no recordings of a voice say better."""

_FRAME_S = 0.010
_QUIETEST_DBFS = -80.0
_GAP_S = 0.15
"""Stops inside a word are silent for up to a tenth of a second; a longer gap ends it."""
_WORD_LEAST_S, _WORD_PER_LETTER_S = 0.35, 0.09
"""A last word may be drawn out to this much: over the recordings of a clear voice, recognisers place its end
0.1 to 0.3 s early, and up to 0.8 s where they shorten a long word."""


def audible_frames(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Which 10 ms frames lie within 40 dB of the loud parts (their 95th percentile): bool [frames].

    `waveform` is float [samples].
    """
    frame = max(1, round(sample_rate_hz * _FRAME_S))
    whole = np.asarray(waveform, dtype=np.float64)[: len(waveform) // frame * frame]
    if not len(whole):
        return np.zeros(0, dtype=bool)
    levels = np.sqrt(np.square(whole.reshape(-1, frame)).mean(axis=1))
    relative = float(np.percentile(levels, 95)) * 10 ** (-AUDIBLE_BELOW_LOUD_DB / 20)
    audible: np.ndarray = levels > max(relative, 10 ** (_QUIETEST_DBFS / 20))
    return audible


def audible_span_s(audible: np.ndarray) -> tuple[float, float]:
    """(begin, end) in seconds of everything audible; (0, 0) for silence. `audible` from `audible_frames`."""
    loud = np.flatnonzero(audible)
    return (float(loud[0]) * _FRAME_S, float(loud[-1] + 1) * _FRAME_S) if len(loud) else (0.0, 0.0)


def word_end_s(audible: np.ndarray, start_s: float, end_s: float, letters: int) -> float:
    """Where a word really ends: its sound goes on past the recogniser's mark, up to the next gap, if long enough for it.

    Args:
        audible: from `audible_frames`.
        start_s, end_s: the recogniser's marks.
        letters: length of the word, which bounds how long it can last (0.35 s and 0.09 s a letter).
    """
    latest_s = start_s + _WORD_LEAST_S + _WORD_PER_LETTER_S * letters
    gap = round(_GAP_S / _FRAME_S)
    place = round(end_s / _FRAME_S)
    end = place
    while place < len(audible) and place - end < gap and (place + 1) * _FRAME_S <= latest_s:
        place += 1
        if audible[place - 1]:
            end = place
    return max(end_s, end * _FRAME_S)


def trailing_junk_s(last_word_end_s: float | None, audible_end_s: float) -> float:
    """Seconds of sound after the last word that was asked for; all of it if none of the words was heard."""
    return max(0.0, audible_end_s - (last_word_end_s or 0.0))


def length_ratio(speech_s: float, text: str, pace: float) -> float:
    """Length over what the text takes at `pace` characters a second: 1 as usual, above it slow, repeated or drawn out.

    Raises:
        BadParameter: a pace that is not positive.
    """
    if pace <= 0:
        raise BadParameter(f"pace is {pace} characters a second; it must be positive; English needs about 15")
    return speech_s * pace / max(1, len(text))
