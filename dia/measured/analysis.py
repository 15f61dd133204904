"""Sound as a codec's frames say it: where the voice stands in its period, and the shape of the spectrum.

A decoder of convolutions moves with its frames: from frames that repeat it makes sound that repeats with the frame rate
(31.25 Hz, 40 Hz …), whatever the pitch. So the frames themselves must say where in its period the voice is, which a
codec that is trained from nothing finds out last. Here it is measured, and written as one code a frame: the phase
at the frame's start, in twelfths, and how many twelfths the frame advances it. The next frame's phase follows
from this code alone, so a model that writes codes keeps the voice whole by knowing its own last code.

Legend: `T` frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dia.measured.mel import mel_filters
from dia.measured.pitch import track_voice


@dataclass(frozen=True)
class AnalysisShape:
    """What a frame holds; `voice_values` is even. With the defaults 40 frames a second, 1,008 voiced codes for 53 to 330 Hz, and 4 x 80 bands."""

    sample_rate_hz: int = 16_000
    hop_samples: int = 400
    codebook_size: int = 1024
    phases: int = 12
    least_advance: int = 16
    most_advance: int = 99
    slices: int = 4
    bands: int = 80
    window_samples: int = 400
    transform_samples: int = 512
    floor: float = 10**-4.5
    voice_values: int = 128

    @property
    def advances(self) -> int:
        return self.most_advance - self.least_advance + 1

    @property
    def voiceless(self) -> int:
        """The code of a frame without voice."""
        return self.phases * self.advances


@dataclass(frozen=True)
class Analysis:
    """`voice` int64 [T], one code a frame; `spectra` float32 [T, slices * bands], log10 of mel magnitudes."""

    voice: np.ndarray
    spectra: np.ndarray


def analyse(waveform: np.ndarray, shape: AnalysisShape) -> Analysis:
    """Measure float [samples], padded with silence to whole frames."""
    sound = np.pad(np.asarray(waveform, np.float64), (0, -len(waveform) % shape.hop_samples))
    return Analysis(voice_codes(sound, shape), spectra(sound, shape))


def voice_codes(sound: np.ndarray, shape: AnalysisShape) -> np.ndarray:
    """Code of phase and advance per frame, int64 [T]; `shape.voiceless` where the voice does not last the frame."""
    track = track_voice(sound, shape.sample_rate_hz)
    starts = np.arange(0, len(sound), shape.hop_samples)
    ends = np.minimum(starts + shape.hop_samples, len(sound) - 1)
    turns = shape.phases / (2 * np.pi)
    begin, end = track.phase[starts] * turns, track.phase[ends] * turns
    whole = np.isfinite(begin) & np.isfinite(end)
    first, last = (np.round(np.where(whole, phase, 0.0)).astype(np.int64) for phase in (begin, end))
    advance = last - first
    voiced = whole & (advance >= 0.8 * shape.least_advance) & (advance <= 1.1 * shape.most_advance)
    advance = np.clip(advance, shape.least_advance, shape.most_advance)
    codes = first % shape.phases * shape.advances + advance - shape.least_advance
    return np.where(voiced, codes, shape.voiceless)


def voice_vectors(shape: AnalysisShape) -> np.ndarray:
    """What a decoder hears for each voice code: float32 [codebook size, voice values].

    Cosine and sine of the first harmonics at sixteen places of the frame, the logarithm of the frequency, and
    whether there is a voice.
    """
    code = np.arange(shape.codebook_size)
    start, advance = (
        code // shape.advances / shape.phases,
        (code % shape.advances + shape.least_advance) / shape.phases,
    )
    pairs = (shape.voice_values - 2) // 2
    columns: list[np.ndarray] = []
    for pair in range(pairs):
        harmonic, place = 1 + pair // 16, (pair % 16 + 0.5) / 16
        angle = 2 * np.pi * harmonic * (start + advance * place)
        columns += [np.cos(angle), np.sin(angle)]
    frequency = advance * shape.sample_rate_hz / shape.hop_samples
    columns += [2 * (np.log2(frequency) - 7), np.ones(len(code))]
    vectors = np.stack(columns, 1)
    vectors[shape.voiceless :] = 0.0
    vectors[shape.voiceless :, -1] = -3.0
    return vectors.astype(np.float32)


def spectra(sound: np.ndarray, shape: AnalysisShape) -> np.ndarray:
    """Log10 mel magnitudes [T, slices * bands], the slices of a frame one after the other; a full-scale sine gives
    about -0.6 in its band."""
    filters = mel_filters(shape.sample_rate_hz, shape.transform_samples, shape.bands).numpy()
    spacing, window = shape.hop_samples // shape.slices, shape.window_samples
    centres = np.arange(len(sound) // spacing) * spacing + spacing // 2
    padded = np.pad(sound, (window // 2, window))
    taper = np.hanning(window)
    rows = np.empty((len(centres), shape.bands), np.float32)
    for start in range(0, len(centres), 4096):
        pieces = padded[centres[start : start + 4096, None] + np.arange(window)] * taper
        magnitude = np.abs(np.fft.rfft(pieces, shape.transform_samples)).astype(np.float32) * (2 / window)
        rows[start : start + 4096] = magnitude @ filters.T
    return np.log10(np.maximum(rows, shape.floor)).reshape(-1, shape.slices * shape.bands)
