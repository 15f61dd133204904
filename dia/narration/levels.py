"""The loudness of a whole programme: one gain for everything, and a limiter that holds peaks below a true-peak limit.

One gain, because a gain for each sentence is heard as jumps. Loudness is ITU-R BS.1770's (`dia.media.loudness`). The
limiter differs from that of `dia.media.loudness.normalise` in that it works on a stream of any length and gives the
same samples however the stream is cut.
"""

import math
from collections.abc import Iterable

import numpy as np

from dia.errors import BadParameter
from dia.media.loudness import block_powers, gated_loudness

__all__ = ["Limiter", "check_levels", "limit", "programme_gain_db"]

_MAX_GAIN_DB = 30.0  # more would lift the noise of a near-silent take to the level of speech
_BLOCK_S = 0.005
_RELEASE_DB = 0.25  # per block: 50 dB a second, slow enough to leave the wave form of a voice alone
_PHASES = 4  # BS.1770-4, annex 2, oversamples four times
_TAPS = 32  # its twelve coefficients for each phase miss half a decibel of noise up to the band's edge
_SAFE = 0.5  # a block whose samples are 6 dB below the ceiling is not interpolated


def check_levels(target_lufs: float | None, true_peak_dbtp: float) -> None:
    """Refuse targets out of range. Raises BadParameter."""
    if target_lufs is not None and not -50.0 <= target_lufs <= -5.0:
        raise BadParameter(
            f"loudness is {target_lufs:g} LUFS; it must be -50 to -5; speech is usual at -18, podcasts at -16"
        )
    if not -20.0 <= true_peak_dbtp <= 0.0:
        raise BadParameter(f"true-peak limit is {true_peak_dbtp:g} dBTP; it must be -20 to 0; -1 is usual")


def programme_gain_db(
    segments: Iterable[np.ndarray], sample_rate_hz: int, target_lufs: float, true_peak_dbtp: float
) -> float:
    """The gain in dB that brings the segments, one after another, to the target, what the limiter takes included.

    Each segment is measured in blocks of its own, so that memory holds one at a time; `segments` is gone through up
    to three times. 0 for silence.
    """
    gain_db = 0.0
    for attempt in range(3):
        powers = [
            _powers(segment, sample_rate_hz, gain_db if attempt else None, true_peak_dbtp) for segment in segments
        ]
        loudness = gated_loudness(np.concatenate(powers)) if powers else -math.inf
        if math.isinf(loudness):
            return 0.0
        missing_db = target_lufs - loudness
        if attempt and abs(missing_db) < 0.1:
            break
        gain_db = min(gain_db + missing_db, _MAX_GAIN_DB)
    return round(gain_db, 4)


def _powers(segment: np.ndarray, sample_rate_hz: int, gain_db: float | None, true_peak_dbtp: float) -> np.ndarray:
    samples = np.asarray(segment)
    if gain_db is not None:
        samples = limit(samples, sample_rate_hz, gain_db, true_peak_dbtp)
    return block_powers(samples, sample_rate_hz)


def limit(samples: np.ndarray, sample_rate_hz: int, gain_db: float, true_peak_dbtp: float) -> np.ndarray:
    """Float samples [samples] with a gain, held below the limit; float32 of the same length."""
    limiter = Limiter(sample_rate_hz, gain_db, true_peak_dbtp)
    return np.concatenate([limiter.push(samples), limiter.flush()])


class Limiter:
    """A gain with look-ahead limiting, in blocks of 5 ms: `push` gives what is ready, `flush` the rest.

    The gain at each border of two blocks is the lower need of the two, and runs straight between borders, so no block
    ever has more than it needs; after a peak it rises by a quarter of a decibel a block. Runs 10 ms behind.
    """

    def __init__(self, sample_rate_hz: int, gain_db: float, true_peak_dbtp: float = -1.0) -> None:
        self._gain = 10.0 ** (gain_db / 20.0)
        # Gains that move and the interpolator's own ripple lift peaks by a few hundredths of a decibel.
        self._ceiling = 10.0 ** ((true_peak_dbtp - 0.1) / 20.0)
        self._size = max(_TAPS, round(sample_rate_hz * _BLOCK_S))
        self._ramp = np.arange(self._size) / self._size
        self._release = 10.0 ** (_RELEASE_DB / 20.0)
        self._input = np.zeros(0)  # from the block that is to go out next
        self._before = np.zeros(_TAPS)  # the samples before it
        self._allowed = self._gain  # of the block that went out last
        self._border: float | None = None  # the gain where the next block begins

    def push(self, chunk: np.ndarray) -> np.ndarray:
        """Takes float samples [samples]; returns float32 samples, possibly none."""
        self._input = np.concatenate([self._input, np.asarray(chunk, dtype=np.float64)])
        # A block needs the one after it, and that one the samples of its interpolation.
        return self._emit((len(self._input) - _TAPS) // self._size - 1)

    def flush(self) -> np.ndarray:
        """Returns the last samples, float32."""
        left = len(self._input)
        blocks = -(-left // self._size)
        self._input = np.pad(self._input, (0, (blocks + 1) * self._size + _TAPS - left))
        return self._emit(blocks)[:left]

    def _emit(self, blocks: int) -> np.ndarray:
        if blocks < 1:
            return np.zeros(0, np.float32)
        needs = self._needs(blocks + 1)
        used = blocks * self._size
        if self._border in (None, self._gain) and float(needs.min()) >= self._gain:
            out = self._input[:used] * self._gain
            self._border = self._gain
        else:
            out = np.concatenate(
                [
                    self._input[block * self._size : (block + 1) * self._size]
                    * self._gains(float(needs[block]), float(needs[block + 1]))
                    for block in range(blocks)
                ]
            )
        self._before = np.concatenate([self._before, self._input[:used]])[-_TAPS:]
        self._input = self._input[used:]
        return out.astype(np.float32)

    def _gains(self, need: float, following: float) -> np.ndarray:
        """The gain over one block, from the border before it to the one after it."""
        start = need if self._border is None else self._border
        self._allowed = min(need, self._allowed * self._release)
        self._border = min(self._allowed, following)
        curve: np.ndarray = start + (self._border - start) * self._ramp
        return curve

    def _needs(self, blocks: int) -> np.ndarray:
        """The highest gain that each block may have."""
        used = blocks * self._size
        around = np.concatenate([self._before, self._input[: used + _TAPS]])
        if len(around) < used + 2 * _TAPS:
            around = np.pad(around, (0, used + 2 * _TAPS - len(around)))
        windows = np.lib.stride_tricks.sliding_window_view(around, self._size + 2 * _TAPS)[:: self._size][:blocks]
        peaks = np.abs(windows).max(axis=1)
        close = np.flatnonzero(peaks * self._gain > _SAFE * self._ceiling)
        if len(close):
            peaks[close] = _oversampled_peaks(windows[close])
        needs: np.ndarray = np.minimum(self._gain, self._ceiling / np.maximum(peaks, 1e-9))
        return needs


def _oversampled_peaks(windows: np.ndarray) -> np.ndarray:
    """The highest magnitude at and up to one sample around the inner samples of each window [windows, samples].

    Sums of shifted samples, and no library's convolution, so that a value never depends on its place in memory.
    """
    inner = windows.shape[1] - 2 * _TAPS
    peaks = np.abs(windows[:, _TAPS : _TAPS + inner]).max(axis=1)
    for phase in range(1, _PHASES):
        point = np.zeros((len(windows), inner + 1))  # after the sample before the first, … after the last
        for tap, weight in enumerate(_interpolator(phase / _PHASES)):
            start = _TAPS - _TAPS // 2 + tap
            point += weight * windows[:, start : start + inner + 1]
        peaks = np.maximum(peaks, np.abs(point).max(axis=1))
    return peaks


def _interpolator(offset: float) -> np.ndarray:
    """Weights of the samples around a point `offset` (0 to 1) after the middle one: a sinc under a Hann window."""
    places = np.arange(_TAPS) - (_TAPS // 2 - 1) - offset
    weights: np.ndarray = np.sinc(places) * np.cos(np.pi * places / (_TAPS + 1)) ** 2
    return weights / weights.sum()
