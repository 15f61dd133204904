"""The ends of a waveform: where sound begins and ends, cutting silence off, short fades."""

import numpy as np

from dia.errors import BadParameter

__all__ = ["fade", "sound_span", "trim_silence"]

_FRAME_S = 0.010


def sound_span(waveform: np.ndarray, sample_rate_hz: int, threshold_dbfs: float = -50.0) -> tuple[int, int]:
    """First sample and end (exclusive) of what is louder than the threshold, by RMS over 10 ms; (0, 0) if nothing is.

    Raises:
        BadParameter: a threshold outside -120 to 0 dBFS.
    """
    if not -120.0 <= threshold_dbfs <= 0.0:
        raise BadParameter(f"silence threshold is {threshold_dbfs} dBFS; it must be -120 to 0; speech needs about -50")
    if not len(waveform):
        return 0, 0
    frame = max(1, round(sample_rate_hz * _FRAME_S))
    starts = np.arange(0, len(waveform), frame)
    energy = np.add.reduceat(np.square(waveform, dtype=np.float64), starts)
    sizes = np.minimum(frame, len(waveform) - starts)
    power = energy / sizes
    loud = np.flatnonzero(power > 10.0 ** (threshold_dbfs / 10.0))
    if not len(loud):
        return 0, 0
    return int(loud[0]) * frame, min(len(waveform), (int(loud[-1]) + 1) * frame)


def trim_silence(
    waveform: np.ndarray, sample_rate_hz: int, *, threshold_dbfs: float = -50.0, keep_s: float = 0.1
) -> np.ndarray:
    """The waveform without the silence before and after, but for `keep_s` of it; empty if there is no sound."""
    start, end = sound_span(waveform, sample_rate_hz, threshold_dbfs)
    keep = round(sample_rate_hz * keep_s)
    return waveform[max(0, start - keep) : end + keep] if end > start else waveform[:0]


def fade(waveform: np.ndarray, sample_rate_hz: int, *, in_s: float = 0.0, out_s: float = 0.0) -> np.ndarray:
    """The waveform, float32, with raised-cosine fades; a fade longer than the waveform is shortened to it."""
    faded = np.array(waveform, dtype=np.float32)
    for span_s, part in ((in_s, faded), (out_s, faded[::-1])):
        length = min(len(part), round(sample_rate_hz * span_s))
        part[:length] *= np.sin(0.5 * np.pi * (np.arange(length) + 0.5) / max(1, length)).astype(np.float32) ** 2
    return faded
