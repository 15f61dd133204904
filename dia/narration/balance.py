"""Bringing the speakers of a recording to one level: each by one gain for all that he says, so that nothing jumps."""

from collections.abc import Mapping, Sequence

import numpy as np

from dia.media.loudness import block_powers, gated_loudness
from dia.narration.timing import Phrase

__all__ = ["SpeakerLevels", "balanced"]

_MOST_DB = 9.0  # more would lift a speaker's noise with his voice
_HALF_RAMP_S = 0.01


class SpeakerLevels:
    """How loud each speaker is, by ITU-R BS.1770 over all his phrases; `add` segment after segment."""

    def __init__(self) -> None:
        self._powers: dict[str, list[np.ndarray]] = {}

    def add(self, samples: np.ndarray, sample_rate_hz: int, phrases: Sequence[Phrase]) -> None:
        for phrase in phrases:
            part = block_powers(samples[phrase.start : phrase.end], sample_rate_hz)
            self._powers.setdefault(phrase.speaker, []).append(part)

    def gains_db(self) -> dict[str, float]:
        """By speaker, from his loudness to the mean of all; at most 9 dB."""
        loudness = {name: gated_loudness(np.concatenate(powers)) for name, powers in self._powers.items()}
        heard = {name: lufs for name, lufs in loudness.items() if np.isfinite(lufs)}
        mean = float(np.mean(list(heard.values()))) if heard else 0.0
        return {name: round(float(np.clip(mean - lufs, -_MOST_DB, _MOST_DB)), 2) for name, lufs in heard.items()}


def balanced(
    samples: np.ndarray, sample_rate_hz: int, phrases: Sequence[Phrase], gains_db: Mapping[str, float]
) -> np.ndarray:
    """Float32 samples [samples] with the gain of whoever speaks; between two speakers it changes within 20 ms."""
    half = round(_HALF_RAMP_S * sample_rate_hz)
    places: list[int] = []
    gains: list[float] = []
    for phrase in phrases:
        start = min(phrase.start + half, phrase.end)
        places += [start, max(phrase.end - half, start)]
        gains += [gains_db.get(phrase.speaker, 0.0)] * 2
    if not any(gains):
        return samples
    curve_db = np.interp(np.arange(len(samples)), places, gains)
    return (samples * 10.0 ** (curve_db / 20.0)).astype(np.float32)
