"""From scores of takes to figures of a system: means with their uncertainty, limits met or missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dia.evals.scoring import TakeScore

__all__ = ["JUNK_LIMIT_S", "LIMITS", "Interval", "Limit", "Summary", "Verdict", "summarise", "verdicts"]

JUNK_LIMIT_S = 0.5
"""More sound than this after the last word is junk that people notice."""

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and where 95 % of bootstrap resamples of the takes put it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a group of takes; None where no take has the score.

    Attributes:
        wer: word error rate, 0 … 1, each take counted at 1 at most.
        nearest: share of takes whose nearest voice is the one that was asked for.
        turns: share of dialogues whose two turns are by the right voices. turn_similarity: mean between the turns.
        ended: share that ended by itself. clean: share with at most half a second of junk.
        rtf: seconds of work per second of sound, by the clock; cpu_rtf: by processor time, over all cores.
    """

    takes: int
    seconds: float
    wer: Interval
    mos: Interval
    similarity: float | None
    nearest: float | None
    turn_similarity: float | None
    turns: float | None
    ended: float | None
    clean: float
    worst_junk_s: float
    silence_s: float
    length_ratio: float
    rtf: float | None
    cpu_rtf: float | None


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure of `Summary` should reach."""

    figure: str
    label: str
    at_most: float | None = None
    at_least: float | None = None


LIMITS = (
    Limit("wer", "word error rate", at_most=0.12),
    Limit("mos", "DistillMOS", at_least=3.0),
    Limit("nearest", "right voice nearest", at_least=0.9),
    Limit("ended", "takes that end by themselves", at_least=1.0),
    Limit("clean", f"takes with at most {JUNK_LIMIT_S} s of junk", at_least=1.0),
    Limit("rtf", "real-time factor", at_most=0.5),
)
"""What the bundled model is built to reach."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A limit and whether it is met; `met` is None where the figure was not measured."""

    label: str
    wanted: str
    value: float | None
    met: bool | None


def summarise(scores: Sequence[TakeScore]) -> Summary | None:
    """Figures of a group, None for an empty one."""
    if not scores:
        return None
    words = np.array([score.words for score in scores], dtype=np.float64)
    errors = np.array([score.errors for score in scores], dtype=np.float64)
    mos = np.array([score.mos for score in scores], dtype=np.float64)
    generated = [score for score in scores if score.wall_s is not None]
    sound_s = sum(score.duration_s for score in generated)
    asked = [score.nearest == score.voice for score in scores if None not in (score.nearest, score.similarity)]
    return Summary(
        takes=len(scores),
        seconds=sum(score.duration_s for score in scores),
        wer=_interval(errors, words),
        mos=_interval(mos, np.ones_like(mos)),
        similarity=_mean([score.similarity for score in scores]),
        nearest=_mean(asked),
        turn_similarity=_mean([score.turn_similarity for score in scores]),
        turns=_mean([score.turns_right for score in scores]),
        ended=_mean([score.ended for score in scores]),
        clean=float(np.mean([score.junk_s <= JUNK_LIMIT_S for score in scores])),
        worst_junk_s=max(score.junk_s for score in scores),
        silence_s=float(np.mean([score.silence_s for score in scores])),
        length_ratio=float(np.median([score.length_ratio for score in scores])),
        rtf=sum(score.wall_s or 0.0 for score in generated) / sound_s if sound_s else None,
        cpu_rtf=sum(score.cpu_s or 0.0 for score in generated) / sound_s if sound_s else None,
    )


def verdicts(summary: Summary, limits: Sequence[Limit] = LIMITS) -> list[Verdict]:
    """Each limit against the figures."""
    return [_verdict(limit, getattr(summary, limit.figure)) for limit in limits]


def _verdict(limit: Limit, figure: Interval | float | None) -> Verdict:
    value = figure.value if isinstance(figure, Interval) else figure
    wanted = f"at most {limit.at_most:g}" if limit.at_most is not None else f"at least {limit.at_least:g}"
    if value is None or math.isnan(value):
        return Verdict(limit.label, wanted, None, None)
    met = value <= limit.at_most if limit.at_most is not None else value >= (limit.at_least or 0.0)
    return Verdict(limit.label, wanted, value, bool(met))


def _mean(values: Sequence[float | bool | None]) -> float | None:
    present = [float(value) for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _interval(parts: np.ndarray, wholes: np.ndarray) -> Interval:
    """Ratio of sums, resampled over takes with a fixed seed."""
    if not wholes.sum():
        return Interval(math.nan, math.nan, math.nan)
    picks = np.random.default_rng(0).integers(0, len(parts), (_RESAMPLES, len(parts)))
    ratios = parts[picks].sum(axis=1) / np.maximum(wholes[picks].sum(axis=1), 1.0)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Interval(float(parts.sum() / wholes.sum()), float(low), float(high))
