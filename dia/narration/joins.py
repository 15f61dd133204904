"""One finished piece as a segment of the programme: the pause before it, its words at their tempo, soft ends.

A segment depends on its own take alone, never on its neighbours: when one piece is made again, every other sample of
the programme stays. Segments are laid end to end; both sides of every join are room tone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from dia.media.stretch import stretch
from dia.media.trim import fade
from dia.narration.ends import silences
from dia.narration.timing import Phrase
from dia.narration.tone import room_tone

__all__ = ["FADE_IN_S", "FADE_OUT_S", "Segment", "make_segment"]

FADE_IN_S, FADE_OUT_S = 0.008, 0.015
_INNER_FADE_S = 0.004
_REACH_S = 0.15  # of the silence between two speakers from where it is thought to be


@dataclass(frozen=True, slots=True)
class Segment:
    """Float32 samples [samples] and the phrases in them, `start` and `end` counted from the segment's first sample."""

    samples: np.ndarray
    phrases: tuple[Phrase, ...]


def make_segment(
    waveform: np.ndarray,
    sample_rate_hz: int,
    phrases: Sequence[Phrase],
    *,
    pause_s: float,
    pause_after_s: float = 0.0,
    speeds: Mapping[str, float] | None = None,
    turn_gap_s: float = 0.0,
    longest_silence_s: float | None = None,
    seed: int = 0,
) -> Segment:
    """The segment of a take (float samples [samples]) whose words are those of `phrases`, room tone around them.

    Args:
        speeds: tempo by speaker, 0.25 to 4; 1 for those not named.
        turn_gap_s: least seconds between two speakers, where a silence parts them; 0 leaves it as it was said.
        longest_silence_s: longer silences between the words lose their middle.
        seed: of the room tone.
    """
    spoken, moved = _spoken(waveform, sample_rate_hz, phrases, speeds or {})
    if longest_silence_s is not None:
        spoken, moved = _tightened(spoken, sample_rate_hz, moved, longest_silence_s)
    spoken, moved = _parted(spoken, sample_rate_hz, moved, turn_gap_s, seed)
    before, after = round(pause_s * sample_rate_hz), round(pause_after_s * sample_rate_hz)
    kept = waveform[phrases[0].start : phrases[-1].end] if phrases else waveform
    fade_in = min(round(FADE_IN_S * sample_rate_hz), len(spoken))
    fade_out = min(round(FADE_OUT_S * sample_rate_hz), len(spoken))
    tone = room_tone(kept, sample_rate_hz, before + len(spoken) + after, seed)
    # The tone goes on below the fades and is silent below the words, which have a floor of their own.
    tone[: before + fade_in] = fade(tone[: before + fade_in], sample_rate_hz, out_s=FADE_IN_S)
    end = before + len(spoken)
    tone[end - fade_out :] = fade(tone[end - fade_out :], sample_rate_hz, in_s=FADE_OUT_S)
    tone[before + fade_in : end - fade_out] = 0.0
    tone[before:end] += fade(spoken, sample_rate_hz, in_s=FADE_IN_S, out_s=FADE_OUT_S)
    placed = tuple(replace(phrase, start=phrase.start + before, end=phrase.end + before) for phrase in moved)
    return Segment(tone, placed)


def _spoken(
    waveform: np.ndarray, sample_rate_hz: int, phrases: Sequence[Phrase], speeds: Mapping[str, float]
) -> tuple[np.ndarray, list[Phrase]]:
    """The words at their tempo, and where each phrase stands then; speakers of one tempo are stretched in one go."""
    parts: list[np.ndarray] = []
    moved: list[Phrase] = []
    place = 0
    runs = [(speed, list(run)) for speed, run in groupby(phrases, key=lambda phrase: speeds.get(phrase.speaker, 1.0))]
    for number, (speed, run) in enumerate(runs):
        start = run[0].start
        part = stretch(np.asarray(waveform[start : run[-1].end], dtype=np.float32), sample_rate_hz, speed)
        if len(runs) > 1:
            part = fade(
                part,
                sample_rate_hz,
                in_s=_INNER_FADE_S if number else 0.0,
                out_s=_INNER_FADE_S if number + 1 < len(runs) else 0.0,
            )
        for phrase in run:
            low, high = (place + round((edge - start) / speed) for edge in (phrase.start, phrase.end))
            moved.append(replace(phrase, start=low, end=high))
        parts.append(part)
        place += len(part)
    return (np.concatenate(parts) if parts else np.zeros(0, np.float32)), moved


def _tightened(
    spoken: np.ndarray, sample_rate_hz: int, phrases: list[Phrase], longest_s: float
) -> tuple[np.ndarray, list[Phrase]]:
    """The words with the middle of each longer silence left out, its two sides blended; phrases move along."""
    blend = round(_INNER_FADE_S * sample_rate_hz)
    half = round(longest_s * sample_rate_hz / 2)
    gone = [
        (start + half, end - half)
        for start, end in silences(spoken, sample_rate_hz)
        if end - start - 2 * half >= blend
    ]
    parts: list[np.ndarray] = []
    place = 0
    for start, end in gone:
        ramp = np.linspace(0.0, 1.0, blend, dtype=np.float32)
        parts += [
            spoken[place : start - blend],
            (1 - ramp) * spoken[start - blend : start] + ramp * spoken[end - blend : end],
        ]
        place = end

    def moved(edge: int) -> int:
        return edge - sum(min(max(edge - start, 0), end - start) for start, end in gone)

    placed = [replace(phrase, start=moved(phrase.start), end=moved(phrase.end)) for phrase in phrases]
    return np.concatenate([*parts, spoken[place:]]), placed


def _parted(
    spoken: np.ndarray, sample_rate_hz: int, phrases: list[Phrase], gap_s: float, seed: int
) -> tuple[np.ndarray, list[Phrase]]:
    """Room tone in the middle of each silence between two speakers that is shorter than `gap_s`; phrases move along.

    Where no silence is near, the voices stay together: a pause inside a word is worse than none.
    """
    if gap_s <= 0:
        return spoken, phrases
    quiet = silences(spoken, sample_rate_hz)
    parts: list[np.ndarray] = []
    moved = list(phrases)
    place = added = 0
    for number, (before, after) in enumerate(pairwise(phrases), 1):
        silence = None if before.speaker == after.speaker else _near(quiet, after.start, sample_rate_hz)
        missing = 0 if silence is None else round(gap_s * sample_rate_hz) - (silence[1] - silence[0])
        start = after.start + added
        if silence is not None and missing > 0:
            middle = sum(silence) // 2
            moved[number - 1] = replace(moved[number - 1], end=middle + added)
            parts += [spoken[place:middle], room_tone(spoken, sample_rate_hz, missing, seed + number)]
            place, added = middle, added + missing
            start = middle + added
        moved[number] = replace(after, start=start, end=after.end + added)
    return np.concatenate([*parts, spoken[place:]]), moved


def _near(quiet: Sequence[tuple[int, int]], wanted: int, sample_rate_hz: int) -> tuple[int, int] | None:
    """The silence nearest to a sample, if one is within reach."""

    def distance(silence: tuple[int, int]) -> int:
        return max(silence[0] - wanted, wanted - silence[1], 0)

    nearest = min(quiet, key=distance, default=None)
    return nearest if nearest is not None and distance(nearest) <= _REACH_S * sample_rate_hz else None
