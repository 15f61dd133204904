"""How loud a mono waveform is, and making it a wanted loudness under a true-peak limit.

Loudness: ITU-R BS.1770-4 (integrated, gated), one channel of weight 1: a 997 Hz sine at 0 dBFS measures -3.01 LUFS.
True peak: the same recommendation's annex 2, four times oversampled.
"""

import math

import numpy as np
import soxr

from dia.errors import BadParameter

__all__ = ["block_powers", "gated_loudness", "integrated_loudness", "normalise", "true_peak"]

_BLOCK_S, _STEP_S = 0.4, 0.1
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0
_OFFSET_DB = -0.691
# Analogue prototypes behind the recommendation's 48 kHz coefficients, so that any rate can be measured: B. De Man,
# "Evaluation of implementations of the EBU R128 loudness measurement", AES Convention 145 (2018).
_SHELF_HZ, _SHELF_GAIN_DB, _SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
_OVERSAMPLING = 4
_LIMITER_REACH_S = 0.005


def integrated_loudness(waveform: np.ndarray, sample_rate_hz: int) -> float:
    """Integrated loudness in LUFS of float samples [samples]; -inf for silence.

    A sound shorter than one block of 0.4 s is measured as one block of its own length, where the recommendation
    says nothing.

    Raises:
        BadParameter: a rate below 8,000 Hz.
    """
    return gated_loudness(block_powers(waveform, sample_rate_hz))


def block_powers(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Mean squares of the weighted float samples [samples] in blocks of 0.4 s, one every 0.1 s: [blocks].

    What a long programme is measured from part by part: powers of its parts, joined, are those of the whole but for
    the blocks across joins.

    Raises:
        BadParameter: a rate below 8,000 Hz.
    """
    if sample_rate_hz < 8_000:
        raise BadParameter(f"loudness at {sample_rate_hz} Hz is not defined; resample to at least 8000 Hz")
    samples = np.asarray(waveform, dtype=np.float64)
    if not len(samples):
        return np.zeros(0)
    step = round(sample_rate_hz * _STEP_S)
    steps_in_block = round(_BLOCK_S / _STEP_S)
    energy = np.concatenate([[0.0], np.cumsum(_k_weighted(samples, sample_rate_hz) ** 2)])
    if len(samples) < step * steps_in_block:
        return np.array([energy[-1] / len(samples)])
    starts = np.arange(0, len(samples) - step * steps_in_block + 1, step)
    powers: np.ndarray = (energy[starts + step * steps_in_block] - energy[starts]) / (step * steps_in_block)
    return powers


def gated_loudness(powers: np.ndarray) -> float:
    """Integrated loudness in LUFS of block powers [blocks], gated; -inf for silence."""
    return _loudness(_gated_mean(powers))


def true_peak(waveform: np.ndarray, sample_rate_hz: int) -> float:
    """The highest level between and at the samples, in dBTP (0 = full scale); -inf for silence."""
    peak = float(_peaks(np.asarray(waveform, dtype=np.float32), sample_rate_hz).max(initial=0.0))
    return _decibels(peak)


def normalise(
    waveform: np.ndarray, sample_rate_hz: int, target_lufs: float = -18.0, true_peak_dbtp: float = -1.0
) -> np.ndarray:
    """The waveform, float32 [samples], at the target loudness, with peaks held under the limit.

    Where plain gain would lift peaks over the limit, a look-ahead limiter (5 ms) holds them, and the gain is raised to
    make up for what that takes away, by at most 6 dB in all. Silence comes back as it is.

    Raises:
        BadParameter: target outside -70 to 0 LUFS, limit outside -20 to 0 dBTP.
    """
    if not -70.0 <= target_lufs <= 0.0:
        raise BadParameter(
            f"target loudness is {target_lufs} LUFS; it must be -70 to 0; speech is usual at -23 to -14"
        )
    if not -20.0 <= true_peak_dbtp <= 0.0:
        raise BadParameter(f"true-peak limit is {true_peak_dbtp} dBTP; it must be -20 to 0; -1 is usual")
    samples = np.asarray(waveform, dtype=np.float32)
    loudness = integrated_loudness(samples, sample_rate_hz)
    if math.isinf(loudness):
        return samples
    ceiling = 10.0 ** (true_peak_dbtp / 20.0)
    gain_db = target_lufs - loudness
    most_db = gain_db + 6.0
    peaks = _peaks(samples, sample_rate_hz)
    while True:
        result = _limited(samples, peaks, 10.0 ** (gain_db / 20.0), ceiling, sample_rate_hz)
        missing_db = target_lufs - integrated_loudness(result, sample_rate_hz)
        if missing_db < 0.1 or gain_db >= most_db:
            return result
        gain_db = min(gain_db + missing_db, most_db)


def _k_weighted(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Both filters of the recommendation, applied block by block as a product of spectra.

    Their impulse response falls below 1e-15 within a third of a second, the time each block leaves for it.
    """
    block = 4 * sample_rate_hz
    size = 1 << (block + sample_rate_hz - 1).bit_length()
    response = _response(size, sample_rate_hz)
    weighted = np.zeros(len(samples) + size)
    for start in range(0, len(samples), block):
        spectrum = np.fft.rfft(samples[start : start + block], size)
        weighted[start : start + size] += np.fft.irfft(spectrum * response, size)
    return weighted[: len(samples)]


def _response(size: int, sample_rate_hz: int) -> np.ndarray:
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    total: np.ndarray = np.ones_like(z)
    for b, a in (_shelf(sample_rate_hz), _high_pass(sample_rate_hz)):
        total *= (b[0] + b[1] * z + b[2] * z * z) / (1.0 + a[0] * z + a[1] * z * z)
    return total


def _shelf(sample_rate_hz: int) -> tuple[tuple[float, float, float], tuple[float, float]]:
    k = math.tan(math.pi * _SHELF_HZ / sample_rate_hz)
    high = 10.0 ** (_SHELF_GAIN_DB / 20.0)
    band = high**0.4996667741545416
    norm = 1.0 + k / _SHELF_Q + k * k
    b = (
        (high + band * k / _SHELF_Q + k * k) / norm,
        2.0 * (k * k - high) / norm,
        (high - band * k / _SHELF_Q + k * k) / norm,
    )
    return b, _poles(k, _SHELF_Q)


def _high_pass(sample_rate_hz: int) -> tuple[tuple[float, float, float], tuple[float, float]]:
    return (1.0, -2.0, 1.0), _poles(math.tan(math.pi * _HIGH_PASS_HZ / sample_rate_hz), _HIGH_PASS_Q)


def _poles(k: float, q: float) -> tuple[float, float]:
    norm = 1.0 + k / q + k * k
    return 2.0 * (k * k - 1.0) / norm, (1.0 - k / q + k * k) / norm


def _gated_mean(power: np.ndarray) -> float:
    """Mean power of the blocks over the absolute gate, then of those over the relative one; 0 if none."""
    loud = power[power > 10.0 ** ((_ABSOLUTE_GATE_LUFS - _OFFSET_DB) / 10.0)]
    if not len(loud):
        return 0.0
    return float(loud[loud > loud.mean() * 10.0 ** (_RELATIVE_GATE_LU / 10.0)].mean())


def _loudness(power: float) -> float:
    return _OFFSET_DB + 10.0 * math.log10(power) if power > 0.0 else -math.inf


def _decibels(amplitude: float) -> float:
    return 20.0 * math.log10(amplitude) if amplitude > 0.0 else -math.inf


def _peaks(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """For each sample the highest magnitude of it and the oversampled points around it."""
    if not len(samples):
        return np.zeros(0)
    padded = np.concatenate([samples, np.zeros(1, np.float32)])
    between = np.abs(soxr.resample(padded, sample_rate_hz, sample_rate_hz * _OVERSAMPLING, quality="HQ"))
    groups: np.ndarray = between[: len(samples) * _OVERSAMPLING].reshape(-1, _OVERSAMPLING).max(axis=1)
    groups = np.maximum(groups, np.abs(samples))
    # A point between two samples is held by the gain of both.
    groups[1:] = np.maximum(groups[1:], groups[:-1])
    return groups


def _limited(samples: np.ndarray, peaks: np.ndarray, gain: float, ceiling: float, sample_rate_hz: int) -> np.ndarray:
    """Gain, lowered smoothly around peaks: the lowest need within reach, then its mean over the same reach."""
    if float(peaks.max()) * gain <= ceiling:
        return samples * np.float32(gain)
    need = np.minimum(1.0, ceiling / np.maximum(peaks * gain, 1e-12))
    reach = round(sample_rate_hz * _LIMITER_REACH_S)
    lowest = _sliding_minimum(need, reach)
    padded = np.concatenate([np.full(reach, lowest[0]), lowest, np.full(reach, lowest[-1])])
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    curve = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
    result: np.ndarray = (samples * (gain * np.minimum(curve, lowest.max()))).astype(np.float32)
    # The curve itself moves, which can lift a point between samples by some hundredths of a decibel.
    over = float(_peaks(result, sample_rate_hz).max()) / ceiling
    return result / np.float32(over) if over > 1.0 else result


def _sliding_minimum(values: np.ndarray, reach: int) -> np.ndarray:
    """The minimum of values[i - reach : i + reach + 1], by running minima forwards and backwards over blocks
    (van Herk 1992, Gil and Werman 1993)."""
    width = 2 * reach + 1
    blocks = math.ceil((len(values) + 2 * reach) / width)
    padded = np.full(blocks * width, np.inf)
    padded[reach : reach + len(values)] = values
    grid = padded.reshape(blocks, width)
    forwards = np.minimum.accumulate(grid, axis=1).ravel()
    backwards = np.minimum.accumulate(grid[:, ::-1], axis=1)[:, ::-1].ravel()
    starts = np.arange(len(values))
    minima: np.ndarray = np.minimum(backwards[starts], forwards[starts + width - 1])
    return minima
