"""Where the words of a take begin and end: silence, clicks, bursts, breath and invented sound around them are cut off.

By energy in 10 ms frames and by how long the words should take; nothing listens to what is said, so whatever could be a
word is kept: a cut needs a silence before it or a level far below the speech, and enough sound left for the words.
Every cut of more than a click is told. numpy only.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dia.narration.timing import quietest
from dia.text.plan import Carrier

__all__ = ["Ends", "end_of_wanted", "find_ends", "silences", "stops_abruptly"]

_FRAME_S = 0.01
_UNDER_SPEECH_DB = 35.0  # quieter than that below the speech is silence
_QUIETEST_DBFS, _LOUDEST_DBFS = -65.0, -40.0  # bounds of that threshold
_JOIN_S = 0.06  # closures of plosives are no silence
_CLICK, _CLICK_S = "a click", 0.03
_BURST_S, _BURST_GAP_S = 0.25, 0.18  # users cut by hand: a plop shorter than this after a silence longer than that
_BREATH_DB, _BREATH_GAP_S = 15.0, 0.1
_LATE_GAP_S = 0.25
_SHORT_S = 4.0
_FADING_DB = 22.0
_KEEP_BEFORE_S, _KEEP_AFTER_S = 0.03, 0.06  # soft onsets and decays lie under the threshold
_ALONE_S = 0.25  # a word said alone takes so much longer than one among others
_PARTING_S, _LONG_GAP_S = (
    0.1,
    0.6,
)  # a pause between two speakers is longer than the first; more than the second is no better
_LAST_FRAMES, _LOUD_DB, _SOFT_DB = (
    4,
    12.0,
    20.0,
)  # whole takes end 24 to 46 dB below the speech (27 of the small model)
_LEAST_WORD_S, _FAR_OFF = 0.08, math.log(3.0)


@dataclass(frozen=True, slots=True)
class Ends:
    """Samples `start` to `end` (half open) hold the words; `cuts` says what was left out, in words for people."""

    start: int
    end: int
    cuts: tuple[str, ...] = ()


def find_ends(waveform: np.ndarray, sample_rate_hz: int, expected_s: float, num_sentences: int = 1) -> Ends:
    """The ends of the words in float samples [samples] that should take about `expected_s` seconds.

    Of a short passage every one of its `num_sentences` may be a sound of its own: as many loud ones stay.
    (0, 0) where nothing is louder than silence.
    """
    level_db = _levels(waveform, sample_rate_hz)
    islands = _islands(level_db)
    if not islands:
        return Ends(0, 0)
    speech_db = _speech_db(level_db)
    cuts: list[str] = []
    while len(islands) > 1 and _is_click(islands[0]):
        islands = islands[1:]
    least = num_sentences if expected_s < _SHORT_S else 1
    while len(islands) > 1 and (reason := _junk(islands, level_db, speech_db, expected_s, least)):
        if reason != _CLICK:
            cuts.append(f"{reason} of {_seconds(islands[-1]):.2f} s after the words")
        islands = islands[:-1]
    first, last = islands[0][0], islands[-1][1]
    faded = _fading_end(level_db, first, last, speech_db, expected_s)
    if faded < last:
        cuts.append(f"a faint sound of {(last - faded) * _FRAME_S:.2f} s after the words")
    frame = sample_rate_hz * _FRAME_S
    start = max(0, round((first * _FRAME_S - _KEEP_BEFORE_S) * sample_rate_hz))
    end = min(len(waveform), round(faded * frame + _KEEP_AFTER_S * sample_rate_hz))
    return Ends(start, end, tuple(cuts))


def end_of_wanted(waveform: np.ndarray, sample_rate_hz: int, ends: Ends, carrier: Carrier) -> tuple[int, bool]:
    """The sample at which the wanted words are over, and whether a pause parts them from the carrier's.

    Of the pauses the one that is long and lies where the share of the letters puts it; without any the quietest place
    there.
    """
    sound = waveform[ends.start : ends.end]
    islands = _islands(_levels(sound, sample_rate_hz))
    whole_s = sum(_seconds(island) for island in islands)
    tempo = min(max(whole_s / carrier.estimated_s, 0.5), 2.0)
    wanted_s = (carrier.wanted_s + _ALONE_S) * tempo
    best, best_end, said_s = 0.0, None, 0.0
    for island, following in zip(islands, islands[1:], strict=False):
        said_s += _seconds(island)
        gap_s = (following[0] - island[1]) * _FRAME_S
        off = abs(math.log(said_s / wanted_s))
        worth = min(gap_s, _LONG_GAP_S) * math.exp(-2.0 * off * off)
        if gap_s >= _PARTING_S and off < _FAR_OFF and said_s >= _LEAST_WORD_S and worth > best:
            best, best_end = worth, island[1] * _FRAME_S + min(_KEEP_AFTER_S, gap_s / 2)
    if best_end is not None:
        return ends.start + round(best_end * sample_rate_hz), True
    low, guess, high = (ends.start + round(share * wanted_s * sample_rate_hz) for share in (0.5, 1.0, 2.0))
    limit = ends.start + round(0.9 * len(sound))
    return quietest(waveform, sample_rate_hz, low, min(high, limit), min(guess, limit)), False


def stops_abruptly(waveform: np.ndarray, sample_rate_hz: int) -> bool:
    """Whether float samples [samples] stop at the level of speech, though they are soft elsewhere: inside a word."""
    level_db = _levels(waveform, sample_rate_hz)
    if not len(level_db):
        return False
    speech_db = _speech_db(level_db)
    is_soft = bool((level_db < speech_db - _SOFT_DB).any())
    return is_soft and float(level_db[-_LAST_FRAMES:].min()) > speech_db - _LOUD_DB


def silences(waveform: np.ndarray, sample_rate_hz: int) -> list[tuple[int, int]]:
    """Samples [start, end) of each silence between two sounds; closures of plosives are none."""
    frame = max(1, round(sample_rate_hz * _FRAME_S))
    return [
        (before[1] * frame, after[0] * frame)
        for before, after in pairwise(_islands(_levels(waveform, sample_rate_hz)))
    ]


def _levels(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """RMS of each 10 ms in dBFS, -120 at least."""
    frame = max(1, round(sample_rate_hz * _FRAME_S))
    starts = np.arange(0, len(waveform), frame)
    if not len(starts):
        return np.zeros(0)
    energy = np.add.reduceat(np.square(waveform, dtype=np.float64), starts)
    power = energy / np.minimum(frame, len(waveform) - starts)
    levels: np.ndarray = 10.0 * np.log10(np.maximum(power, 1e-12))
    return levels


def _speech_db(level_db: np.ndarray) -> float:
    """The level of the speech: what its louder half reaches."""
    return float(np.percentile(level_db[level_db > level_db.max() - 30.0], 75))


def _islands(level_db: np.ndarray) -> list[tuple[int, int]]:
    """Frames [start, end) of each stretch of sound; gaps of up to 60 ms belong to it."""
    if not len(level_db) or level_db.max() < _QUIETEST_DBFS:
        return []
    threshold = min(max(_speech_db(level_db) - _UNDER_SPEECH_DB, _QUIETEST_DBFS), _LOUDEST_DBFS)
    loud = np.flatnonzero(level_db > threshold)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > round(_JOIN_S / _FRAME_S))
    starts = [loud[0], *loud[breaks + 1]]
    ends = [*(loud[breaks] + 1), loud[-1] + 1]
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _junk(
    islands: list[tuple[int, int]], level_db: np.ndarray, speech_db: float, expected_s: float, least: int
) -> str | None:
    """What the last stretch of sound is, if it is no speech."""
    before, last = islands[-2], islands[-1]
    gap_s, length_s = (last[0] - before[1]) * _FRAME_S, _seconds(last)
    said_s = (before[1] - islands[0][0]) * _FRAME_S
    whole_s = (last[1] - islands[0][0]) * _FRAME_S
    if _is_click(last):
        return _CLICK
    is_spare = len(islands) > least
    if is_spare and length_s < _BURST_S and gap_s > _BURST_GAP_S and said_s >= 0.85 * expected_s:
        return "a burst"
    weakness_db = speech_db - float(np.percentile(level_db[last[0] : last[1]], 75))
    if weakness_db > _BREATH_DB and gap_s >= _BREATH_GAP_S and said_s >= 0.8 * expected_s:
        return "a breath"
    if is_spare and gap_s >= _LATE_GAP_S and said_s >= expected_s and whole_s > 1.35 * expected_s + 0.5:
        return "a sound"
    return None


def _fading_end(level_db: np.ndarray, first: int, last: int, speech_db: float, expected_s: float) -> int:
    """The frame after which nothing comes near the speech any more, if that is long and the words are over by then."""
    near = np.flatnonzero(level_db[first:last] > speech_db - _FADING_DB)
    end = first + int(near[-1]) + 1
    is_long = (last - end) * _FRAME_S >= 0.3
    return end if is_long and (end - first) * _FRAME_S >= 0.8 * expected_s else last


def _is_click(island: tuple[int, int]) -> bool:
    return _seconds(island) < _CLICK_S


def _seconds(island: tuple[int, int]) -> float:
    return (island[1] - island[0]) * _FRAME_S
