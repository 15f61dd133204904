"""Takes: pieces of speech with what should be said in them; read from folders and corpora, written beside a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dia.codec import Codec
from dia.media.encode import write_audio
from dia.media.read import resample
from dia.train.manifest import ManifestRow, folder_manifest, read_clips

__all__ = ["Generation", "Take", "read_folder", "read_rows", "through_codec", "write_take"]

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class Generation:
    """How a take was made: seconds by the clock, seconds of processor time, and whether it ended by itself."""

    wall_s: float
    cpu_s: float
    ended: bool
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """Float32 samples and what should be heard in them.

    Attributes:
        text: with tags for a dialogue, else without.
        voice: who should be heard (in a dialogue, as S1), None if that is open.
        second_voice: who should be heard as S2.
        generation: None for recordings.
    """

    name: str
    text: str
    waveform: np.ndarray
    sample_rate_hz: int
    voice: str | None = None
    second_voice: str | None = None
    generation: Generation | None = None

    @property
    def duration_s(self) -> float:
        return len(self.waveform) / self.sample_rate_hz

    def at(self, sample_rate_hz: int) -> np.ndarray:
        """The samples at another rate."""
        if sample_rate_hz == self.sample_rate_hz:
            return self.waveform
        return resample(self.waveform, self.sample_rate_hz, sample_rate_hz)


class TakeRow(ManifestRow):
    """A manifest line that may also tell how its sound was made."""

    name: str | None = None
    second_speaker: str | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    ended: bool | None = None
    seed: int | None = None

    def take(self, waveform: np.ndarray, sample_rate_hz: int) -> Take:
        made = None
        if self.wall_s is not None and self.ended is not None:
            made = Generation(self.wall_s, self.cpu_s or self.wall_s, self.ended, self.seed or 0)
        voice = None if self.speaker == "speaker" else self.speaker
        name = self.name or (Path(self.audio).stem if self.duration is None else f"{self.speaker}-{self.start:.2f}")
        return Take(name, self.text, waveform, sample_rate_hz, voice, self.second_speaker, made)


def read_rows(rows: Sequence[ManifestRow], folder: Path, sample_rate_hz: int) -> Iterator[Take]:
    """Recordings of a manifest at one rate; errors as in `dia.train.manifest.read_clips`."""
    for row, waveform in read_clips(list(rows), folder, sample_rate_hz):
        full = row if isinstance(row, TakeRow) else TakeRow.model_validate(row.model_dump(by_alias=False))
        yield full.take(waveform, sample_rate_hz)


def read_folder(folder: Path, sample_rate_hz: int, limit: int | None = None) -> Iterator[Take]:
    """Takes of a folder: a manifest.jsonl in it, or sound files each with a .txt of the same name.

    Raises:
        BadInput: no such folder, no manifest and no transcripts, an unreadable line. BadPrompt: unreadable sound.
    """
    if (folder / MANIFEST).is_file():
        lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
        folder_manifest(folder)  # refuses damaged lines by their number
        rows: Sequence[ManifestRow] = [TakeRow.model_validate(json.loads(line)) for line in lines if line.strip()]
    else:
        rows = folder_manifest(folder)
    return read_rows(rows[:limit], folder, sample_rate_hz)


def write_take(take: Take, folder: Path) -> None:
    """Add a take to a folder: NAME.wav and a line of its manifest, in the form that `read_folder` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_audio(folder / f"{take.name}.wav", take.waveform, take.sample_rate_hz)
    row: dict[str, object] = {"file": f"{take.name}.wav", "name": take.name, "text": take.text}
    if take.voice is not None:
        row["voice"] = take.voice
    if take.second_voice is not None:
        row["second_speaker"] = take.second_voice
    if take.generation is not None:
        made = take.generation
        row |= {"wall_s": made.wall_s, "cpu_s": made.cpu_s, "ended": made.ended, "seed": made.seed}
    with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
        manifest.write(json.dumps(row) + "\n")


def through_codec(takes: Iterable[Take], codec: Codec) -> Iterator[Take]:
    """Each take encoded and decoded again: the best that a model speaking this codec's codes can sound."""
    for take in takes:
        waveform = take.at(codec.sample_rate_hz)
        sound = codec.decode(codec.encode(waveform))[: len(waveform)]
        yield Take(take.name, take.text, sound, codec.sample_rate_hz, take.voice, take.second_voice)
