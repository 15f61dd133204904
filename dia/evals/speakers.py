"""Who is speaking, from embeddings: similarities, the baselines that give them meaning, the nearest voice.

An embedding is a vector of length one, float [dimensions]; similarity is the cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Baselines", "baselines", "centroid", "equal_error_rate", "nearest_voice", "similarity"]


@dataclass(frozen=True, slots=True)
class Baselines:
    """What similarity means among these recordings: pairs of one voice, pairs of two, and how well they part.

    `equal_error` is the share of pairs misjudged at `threshold`, where both kinds are misjudged equally often.
    NaN where there are no such pairs.
    """

    same_mean: float
    same_std: float
    other_mean: float
    other_std: float
    equal_error: float
    threshold: float


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of two vectors; 0 if one of them is zero."""
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.dot(first, second)) / length if length else 0.0


def centroid(embeddings: np.ndarray) -> np.ndarray:
    """The mean of embeddings [n, dimensions], at length one."""
    mean = np.asarray(embeddings, dtype=np.float64).mean(axis=0)
    length = float(np.linalg.norm(mean))
    return mean / length if length else mean


def nearest_voice(embedding: np.ndarray, voices: Mapping[str, np.ndarray]) -> str:
    """Name of the most similar voice."""
    return max(voices, key=lambda name: similarity(embedding, voices[name]))


def baselines(by_voice: Mapping[str, np.ndarray]) -> Baselines:
    """Over all pairs of recordings in {voice: embeddings [n, dimensions]}."""
    rows = np.concatenate([np.asarray(group, dtype=np.float64) for group in by_voice.values()])
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    labels = np.repeat(np.arange(len(by_voice)), [len(group) for group in by_voice.values()])
    first, second = np.triu_indices(len(rows), 1)
    cosines = np.einsum("nd,nd->n", rows[first], rows[second])
    is_same = labels[first] == labels[second]
    same, other = cosines[is_same], cosines[~is_same]
    error, threshold = equal_error_rate(same, other)
    return Baselines(*_mean_std(same), *_mean_std(other), error, threshold)


def _mean_std(values: np.ndarray) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (float("nan"), float("nan"))


def equal_error_rate(same: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """(rate, threshold) at which pairs of one voice fall below the threshold as often as pairs of two reach it.

    With finitely many pairs the two rates rarely meet: the threshold is taken where they are closest, the rate is
    their mean there. NaN if either kind is missing.
    """
    if not len(same) or not len(other):
        return float("nan"), float("nan")
    thresholds = np.unique(np.concatenate([same, other]))
    missed = np.searchsorted(np.sort(same), thresholds, side="left") / len(same)
    false = 1.0 - np.searchsorted(np.sort(other), thresholds, side="left") / len(other)
    best = int(np.argmin(np.abs(missed - false)))
    return float(missed[best] + false[best]) / 2, float(thresholds[best])
