"""Room tone: the noise floor of a recording, made longer, so that a pause is quiet and not dead.

Noise with the spectrum of the quietest moments of the piece itself and random phases from a seed, overlapped and added.
"""

import numpy as np

__all__ = ["room_tone"]

_WINDOW_S = 0.046
_SHARE, _LEAST_FRAMES = 0.08, 4
_QUIETEST_DBFS, _LOUDEST_DBFS = -84.0, -58.0
"""Below, there is nothing to hear; above, it is no floor but the voice itself."""


def room_tone(waveform: np.ndarray, sample_rate_hz: int, num_samples: int, seed: int) -> np.ndarray:
    """Noise, float32 [num_samples], as quiet as the quietest moments of float samples [samples]."""
    size = max(16, 2 * round(_WINDOW_S * sample_rate_hz / 2))
    hop = size // 2
    if num_samples <= 0:
        return np.zeros(0, np.float32)
    spectrum = _quiet_spectrum(np.asarray(waveform, dtype=np.float64), size)
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size)
    frames = num_samples // hop + 2
    phases = np.random.Generator(np.random.PCG64(seed)).random((frames, len(spectrum))) * 2.0 * np.pi
    noise = np.fft.irfft(spectrum * np.exp(1j * phases), size, axis=1) * window
    # Halves of neighbours overlap: sine windows keep the power even.
    joined = (noise[:-1, hop:] + noise[1:, :hop]).ravel()[:num_samples]
    level = 10.0 ** (_level_db(waveform, size) / 20.0)
    rms = float(np.sqrt(np.mean(noise**2)) * np.sqrt(2.0))
    tone: np.ndarray = (joined * (level / rms)).astype(np.float32)
    return tone


def _frames(samples: np.ndarray, size: int) -> np.ndarray:
    """Frames [n, size], half overlapping; the whole, filled up with silence, where it is shorter than one."""
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    framed: np.ndarray = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2]
    return framed


def _quiet_frames(samples: np.ndarray, size: int) -> np.ndarray:
    frames = _frames(samples, size)
    order = np.argsort((frames**2).mean(axis=1), kind="stable")
    chosen: np.ndarray = frames[order[: max(_LEAST_FRAMES, round(len(frames) * _SHARE))]]
    return chosen


def _quiet_spectrum(samples: np.ndarray, size: int) -> np.ndarray:
    quiet = _quiet_frames(samples, size) * np.hanning(size)
    spectrum: np.ndarray = np.abs(np.fft.rfft(quiet, axis=1)).mean(axis=0)
    # Digital silence has no colour: white, at the level below.
    return spectrum + 1e-9


def _level_db(waveform: np.ndarray, size: int) -> float:
    power = float((_quiet_frames(np.asarray(waveform, dtype=np.float64), size) ** 2).mean())
    return float(np.clip(10.0 * np.log10(max(power, 1e-12)), _QUIETEST_DBFS, _LOUDEST_DBFS))
