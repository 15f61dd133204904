"""The decoded corpus: every clip as int16 mono in one memory-mapped file, and what is known of each."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
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
