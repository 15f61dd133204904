"""Whether a voice stays what it was: pace, pitch and level of each speaker, first third of his phrases against the last;
and the pitch of each piece against that of the voice's prompt.

Estimates, from the phrases' places and an autocorrelation; good enough to tell a drift from none. numpy only.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dia.narration.timing import Phrase
from dia.text.pace import count_units

__all__ = ["Drift", "Heard", "Stray", "drifts", "hear", "pitch_hz", "strays"]

_LEAST_PHRASES, _LEAST_S = 6, 12.0
"""With less nothing can be said: one phrase differs from the next by more than a voice drifts."""

_LOWEST_HZ, _HIGHEST_HZ = 70.0, 400.0
_WINDOW_S = 0.04
_AS_HIGH = 0.93
_VOICED = 0.5  # of the energy: what repeats less is no voiced sound
_STRAY_SEMITONES = 7.0  # moods move a voice by less; a man's and a woman's are about twelve apart
_LEAST_STRAY_S, _LEAST_PIECES = 1.0, 3
_PACE_SHARE, _PITCH_SEMITONES, _LEVEL_DB = 0.2, 2.5, 4.0  # beyond, people notice


@dataclass(frozen=True, slots=True)
class Heard:
    """One phrase as it sounds: units of text per second (see `dia.text.pace`), pitch in Hz (0 where none was found), and
    level in dBFS."""

    speaker: str
    seconds: float
    pace: float
    pitch_hz: float
    level_db: float


@dataclass(frozen=True, slots=True)
class Drift:
    """How a speaker's last third differs from his first: pace as a factor, pitch in semitones, level in dB."""

    speaker: str
    pace: float
    pitch_semitones: float
    level_db: float

    @property
    def is_heard(self) -> bool:
        """Whether it is more than people overhear."""
        return (
            abs(math.log(self.pace)) > math.log1p(_PACE_SHARE)
            or abs(self.pitch_semitones) > _PITCH_SEMITONES
            or abs(self.level_db) > _LEVEL_DB
        )

    def __str__(self) -> str:
        return (
            f"{self.speaker} from first to last third: pace {100 * (self.pace - 1):+.0f} %, pitch "
            f"{self.pitch_semitones:+.1f} semitones, level {self.level_db:+.1f} dB"
        )


@dataclass(frozen=True, slots=True)
class Stray:
    """A piece in which a speaker is so many semitones above (or below, if negative) his voice."""

    piece_idx: int
    speaker: str
    semitones: float

    def __str__(self) -> str:
        side = "above" if self.semitones > 0 else "below"
        return (
            f"piece {self.piece_idx + 1}: {self.speaker} speaks {abs(self.semitones):.0f} semitones {side} his voice and "
            "may have another; dia redo makes the piece again"
        )


def hear(samples: np.ndarray, sample_rate_hz: int, phrases: Iterable[Phrase]) -> list[Heard]:
    """What the phrases of float samples [samples] sound like; those of less than a quarter second are left out."""
    found = []
    for phrase in phrases:
        part = np.asarray(samples[phrase.start : phrase.end], dtype=np.float64)
        seconds, units = len(part) / sample_rate_hz, count_units(phrase.text)
        if seconds >= 0.25 and units:
            level_db = 10.0 * math.log10(float(np.mean(part**2)) + 1e-12)
            pitch = pitch_hz(part, sample_rate_hz)
            found.append(Heard(phrase.speaker, seconds, units / seconds, pitch, level_db))
    return found


def drifts(heard: Sequence[Heard]) -> tuple[Drift, ...]:
    """The drift of each speaker who said enough to tell."""
    found = []
    for name in dict.fromkeys(one.speaker for one in heard):
        own = [one for one in heard if one.speaker == name]
        if len(own) >= _LEAST_PHRASES and sum(one.seconds for one in own) >= _LEAST_S:
            third = len(own) // 3
            found.append(_drift(name, own[:third], own[-third:]))
    return tuple(found)


def strays(pieces: Sequence[Sequence[Heard]], prompts_hz: Mapping[str, float]) -> tuple[Stray, ...]:
    """Where a speaker is far from the pitch of his voice, by what is heard of each piece: that of his prompt (`prompts_hz`
    by name), or of what he says in all pieces, if these are three or more."""
    voices: dict[str, list[tuple[int, float]]] = {}
    for piece_idx, heard in enumerate(pieces):
        for name in dict.fromkeys(one.speaker for one in heard):
            own = [one for one in heard if one.speaker == name and one.pitch_hz]
            if sum(one.seconds for one in own) >= _LEAST_STRAY_S:
                voices.setdefault(name, []).append((piece_idx, float(np.median([one.pitch_hz for one in own]))))
    found = []
    for name, places in voices.items():
        own_hz = float(np.median([hz for _, hz in places])) if len(places) >= _LEAST_PIECES else 0.0
        voice_hz = prompts_hz.get(name) or own_hz
        for piece_idx, hz in places if voice_hz else ():
            semitones = 12.0 * math.log2(hz / voice_hz)
            if abs(semitones) > _STRAY_SEMITONES:
                found.append(Stray(piece_idx, name, semitones))
    return tuple(sorted(found, key=lambda stray: stray.piece_idx))


def _drift(name: str, first: Sequence[Heard], last: Sequence[Heard]) -> Drift:
    def rate(part: Sequence[Heard]) -> float:
        return sum(one.pace * one.seconds for one in part) / sum(one.seconds for one in part)

    pitches = [[one.pitch_hz for one in part if one.pitch_hz] for part in (first, last)]
    semitones = 12.0 * math.log2(np.median(pitches[1]) / np.median(pitches[0])) if all(pitches) else 0.0
    levels = [float(np.mean([one.level_db for one in part])) for part in (first, last)]
    return Drift(name, rate(last) / rate(first), float(semitones), levels[1] - levels[0])


def pitch_hz(samples: np.ndarray, sample_rate_hz: int) -> float:
    """Of float64 samples [samples]: the median over voiced windows of the lag that repeats best; 0 where nothing does."""
    size = round(_WINDOW_S * sample_rate_hz)
    low, high = round(sample_rate_hz / _HIGHEST_HZ), round(sample_rate_hz / _LOWEST_HZ)
    if len(samples) < 2 * size or high >= size:
        return 0.0
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::size] * np.hanning(size)
    spectrum = np.fft.rfft(windows - windows.mean(axis=1, keepdims=True), 2 * size, axis=1)
    repeats = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, : high + 1]
    # The window itself fades with the lag, which would favour short ones.
    fading = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)[: high + 1]
    shares = repeats[:, low:] / np.maximum(repeats[:, :1], 1e-12) * (fading[0] / fading[low:])
    # What repeats after one period does so after two: the first peak counts that is about as high as the highest.
    is_peak = np.zeros(shares.shape, bool)
    is_peak[:, 1:-1] = (shares[:, 1:-1] >= shares[:, :-2]) & (shares[:, 1:-1] > shares[:, 2:])
    is_high = is_peak & (shares >= _AS_HIGH * shares.max(axis=1, keepdims=True))
    best = np.where(is_high.any(axis=1), is_high.argmax(axis=1), shares.argmax(axis=1))
    loud = repeats[:, 0] > 0.05 * repeats[:, 0].max()
    voiced = loud & (shares[np.arange(len(best)), best] > _VOICED)
    return float(sample_rate_hz / np.median(best[voiced] + low)) if voiced.any() else 0.0
