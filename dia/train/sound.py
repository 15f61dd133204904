"""The decoded corpus: every clip as int16 mono in one memory-mapped file, and what is known of each."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SOUND_FILE = "sound.npy"
INDEX_FILE = "index.json"
INT16_SCALE = 32767.0


@dataclass(frozen=True)
class Clip:
    """One utterance in the decoded corpus; `offset` and `samples` count samples of the sound file."""

    text: str
    voice: str
    offset: int
    samples: int


def is_held_out(text: str, one_in: int = 50) -> bool:
    """Whether an utterance belongs to validation: decided by its text alone, so every run agrees."""
    return zlib.crc32(text.encode("utf-8")) % one_in == 0


@dataclass(frozen=True)
class SoundCorpus:
    """Decoded clips; `sound` is int16 [samples], usually a memory map."""

    sample_rate_hz: int
    clips: tuple[Clip, ...]
    sound: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> SoundCorpus:
        """Open a folder written by `write_corpus` without reading the sound into memory."""
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        clips = tuple(Clip(**row) for row in index["clips"])
        return cls(int(index["sample_rate_hz"]), clips, np.load(folder / SOUND_FILE, mmap_mode="r"))

    def waveform(self, clip: Clip) -> np.ndarray:
        """Float32 samples in [-1, 1] of one clip."""
        piece = self.sound[clip.offset : clip.offset + clip.samples]
        return piece.astype(np.float32) / np.float32(INT16_SCALE)

    def split(self) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
        """(training clips, held-out clips)."""
        training = tuple(clip for clip in self.clips if not is_held_out(clip.text))
        held_out = tuple(clip for clip in self.clips if is_held_out(clip.text))
        return training, held_out


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Float samples to int16, rounded and clipped."""
    return np.clip(np.round(waveform * INT16_SCALE), -32768, 32767).astype(np.int16)


def write_corpus(folder: Path, sample_rate_hz: int, clips: Iterator[tuple[str, str, np.ndarray]]) -> SoundCorpus:
    """Store (text, voice, float waveform) triples one after another; returns the opened corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[np.ndarray] = []
    index: list[Clip] = []
    position = 0
    for text, voice, waveform in clips:
        parts.append(to_int16(waveform))
        index.append(Clip(text, voice, position, len(waveform)))
        position += len(waveform)
    np.save(folder / SOUND_FILE, np.concatenate(parts) if parts else np.zeros(0, np.int16))
    body = {"sample_rate_hz": sample_rate_hz, "clips": [asdict(clip) for clip in index]}
    (folder / INDEX_FILE).write_text(json.dumps(body), encoding="utf-8")
    return SoundCorpus.open(folder)


class CropSampler:
    """Random crops, balanced over voices: the batch of step n is a pure function of (seed, n).

    A voice is drawn with probability proportional to the square root of its sound, then a clip by
    length, then a place. Clips shorter than the crop are padded with silence at the end.
    """

    def __init__(self, corpus: SoundCorpus, clips: Sequence[Clip], crop_samples: int, seed: int) -> None:
        self._corpus = corpus
        self._crop = crop_samples
        self._seed = seed
        by_voice: dict[str, list[Clip]] = {}
        for clip in clips:
            by_voice.setdefault(clip.voice, []).append(clip)
        self._voices = [by_voice[name] for name in sorted(by_voice)]
        lengths = [np.array([clip.samples for clip in group], dtype=np.float64) for group in self._voices]
        self._clip_odds = [group / group.sum() for group in lengths]
        totals = np.sqrt(np.array([group.sum() for group in lengths]))
        self._voice_odds = totals / totals.sum()

    def batch(self, step: int, size: int) -> np.ndarray:
        """Float32 [size, 1, crop]."""
        rng = np.random.default_rng((self._seed, step))
        crops = [self._crop_one(rng) for _ in range(size)]
        return np.stack(crops)[:, None, :]

    def _crop_one(self, rng: np.random.Generator) -> np.ndarray:
        voice = int(rng.choice(len(self._voices), p=self._voice_odds))
        clip = self._voices[voice][int(rng.choice(len(self._voices[voice]), p=self._clip_odds[voice]))]
        waveform = self._corpus.waveform(clip)
        slack = len(waveform) - self._crop
        if slack <= 0:
            return np.pad(waveform, (0, -slack))
        start = int(rng.integers(0, slack + 1))
        return waveform[start : start + self._crop]
