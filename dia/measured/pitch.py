"""Where a voice stands in its period: fundamental frequency and phase of mono speech, sample by sample.

Frequency: the cumulative mean normalised difference of YIN (de Cheveigné and Kawahara 2002) gives candidates every
5 ms, a shortest path through them the track. Phase: the sound is shifted down by the track and low-passed, what is left
turns slowly and corrects it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP_S = 0.005
LOWEST_HZ, HIGHEST_HZ = 55.0, 440.0
CANDIDATES = 5
VOICELESS_COST = 0.6
"""What a step without voice costs: a candidate's cost is its normalised difference, 0 for a perfect period."""
JUMP_COST = 1.2
"""Per octave of a jump between neighbouring steps."""
SWITCH_COST = 0.25
"""For a voice that begins or ends."""
QUIET = 10 ** (-55 / 20)
"""Root mean square below which nothing is a voice."""
SHORTEST_STEPS = 5


@dataclass(frozen=True)
class VoiceTrack:
    """Per sample: `frequency_hz` (0 where there is no voice) and `phase` in radians, unwrapped within a voiced
    stretch (NaN where there is no voice); 0 is the crest of the fundamental."""

    frequency_hz: np.ndarray
    phase: np.ndarray


def track_voice(waveform: np.ndarray, sample_rate_hz: int) -> VoiceTrack:
    """Frequency and phase of float [samples]."""
    sound = np.asarray(waveform, dtype=np.float64)
    track = _frequencies(sound, sample_rate_hz)
    step = round(STEP_S * sample_rate_hz)
    frequency = np.zeros(len(sound))
    phase = np.full(len(sound), np.nan)
    edges = np.diff(np.concatenate([[0], (track > 0).astype(np.int8), [0]]))
    for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if end - begin < SHORTEST_STEPS:
            continue
        # Two steps more on either side: the first and last periods lie half outside of the steps that were called voiced.
        first = max(0, int((begin - 2.5) * step))
        last = min(len(sound), int((end + 1.5) * step))
        places = np.arange(first, last)
        frequency[first:last] = np.interp(places, np.arange(begin, end) * step, track[begin:end])
        phase[first:last] = _phase(sound[first:last], frequency[first:last], sample_rate_hz)
    return VoiceTrack(frequency, phase)


def _phase(sound: np.ndarray, frequency: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    turned = 2 * np.pi * np.cumsum(frequency) / sample_rate_hz
    span = int(sample_rate_hz * np.clip(3.0 / np.median(frequency), 0.012, 0.04)) | 1
    taper = np.hanning(span + 2)[1:-1]
    slow = _convolve(sound * np.exp(-1j * turned), taper)
    return turned + np.unwrap(np.angle(slow))


def _convolve(signal: np.ndarray, taper: np.ndarray) -> np.ndarray:
    """Same-size convolution of a complex signal by FFT."""
    size = 1 << (len(signal) + len(taper) - 2).bit_length()
    full = np.fft.ifft(np.fft.fft(signal, size) * np.fft.fft(taper, size))
    start = (len(taper) - 1) // 2
    return full[start : start + len(signal)]


def _frequencies(sound: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Hz every 5 ms (step k is at k * 5 ms), 0 without voice."""
    step = round(STEP_S * sample_rate_hz)
    longest, shortest = int(sample_rate_hz / LOWEST_HZ) + 2, int(sample_rate_hz / HIGHEST_HZ)
    difference, loud = _differences(sound, step, longest)
    steps = len(difference)
    costs = np.full((steps, CANDIDATES + 1), 9.0)
    values = np.ones((steps, CANDIDATES + 1))
    costs[:, CANDIDATES] = VOICELESS_COST
    inner = difference[:, shortest : longest - 1]
    valley = (inner < difference[:, shortest - 1 : longest - 2]) & (inner <= difference[:, shortest + 1 : longest])
    # A slight favour for short periods: every multiple of a period is one as well.
    scored = np.where(valley & loud[:, None], inner + 0.05 * np.linspace(0, 1, inner.shape[1]), 9.0)
    order = np.argsort(scored, axis=1)[:, :CANDIDATES]
    rows = np.arange(steps)[:, None]
    costs[:, :CANDIDATES] = scored[rows, order]
    lags = order + shortest
    before, here, after = (difference[rows, lags + shift] for shift in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / np.maximum(bend, 1e-6)
    values[:, :CANDIDATES] = sample_rate_hz / (lags + np.clip(shift, -0.5, 0.5))
    return _cheapest_path(costs, values)


def _differences(sound: np.ndarray, step: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised difference [steps, longest + 1] of the sound with itself some samples later, and which steps are loud.

    A window of 1.2 longest periods, centred on the step.
    """
    half = round(0.6 * longest)
    padded = np.pad(sound, (half + longest, half + 2 * longest + step))
    steps = len(sound) // step + 1
    size = 1 << (2 * half + longest).bit_length()
    results = np.empty((steps, longest + 1), dtype=np.float32)
    loud = np.empty(steps, dtype=bool)
    squares = np.concatenate([[0.0], np.cumsum(padded**2)])
    for start in range(0, steps, 512):
        places = np.arange(start, min(start + 512, steps))
        # Window and shifted window together are centred on the step, for the lag of a middle voice.
        begins = places * step + longest - longest // 5
        wide = padded[begins[:, None] + np.arange(2 * half + longest)]
        narrow = wide.copy()
        narrow[:, 2 * half :] = 0
        product = np.fft.irfft(np.fft.rfft(wide, size) * np.fft.rfft(narrow, size).conj(), size)[:, : longest + 1]
        lags = np.arange(longest + 1)
        energy = squares[begins[:, None] + lags + 2 * half] - squares[begins[:, None] + lags]
        difference = energy[:, :1] + energy - 2 * product
        total = np.cumsum(difference[:, 1:], axis=1)
        results[places, 0] = 1.0
        results[places, 1:] = difference[:, 1:] * lags[1:] / np.maximum(total, 1e-9)
        loud[places] = energy[:, 0] > 2 * half * QUIET**2
    return results, loud


def _cheapest_path(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Viterbi over the candidates; the last one of each step stands for no voice."""
    steps, width = costs.shape
    octaves = np.log2(values)
    silent = np.arange(width) == width - 1
    switch = SWITCH_COST * (silent[:, None] != silent[None]).astype(np.float64)
    both = ~silent[:, None] & ~silent[None]
    back = np.empty((steps, width), dtype=np.int64)
    total = costs[0].astype(np.float64)
    for step in range(1, steps):
        move = total[:, None] + np.where(
            both, JUMP_COST * np.abs(octaves[step - 1][:, None] - octaves[step][None]), switch
        )
        back[step] = move.argmin(0)
        total = move[back[step], np.arange(width)] + costs[step]
    track = np.zeros(steps)
    place = int(total.argmin())
    for step in range(steps - 1, -1, -1):
        track[step] = 0.0 if silent[place] else values[step, place]
        place = int(back[step, place]) if step else place
    return track
