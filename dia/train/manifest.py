"""Reading a corpus: the manifest's lines, and what is wrong with a clip before anyone trains on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from dia.errors import BadInput
from dia.media.read import read_audio
from dia.text.tokens import count_bytes


class ManifestRow(BaseModel):
    """One line: an audio file (relative to the manifest), what is said in it, and by whom.

    `start` and `duration` in seconds pick one utterance out of a long file; without them the whole file is one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    audio: str = Field(validation_alias=AliasChoices("audio", "file", "path", "audio_filepath"), min_length=1)
    text: str
    speaker: str = Field(default="speaker", validation_alias=AliasChoices("speaker", "voice"), min_length=1)
    start: float = Field(default=0.0, ge=0)
    duration: float | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class ClipLimits:
    """What a clip must keep to; times in seconds, pace in characters a second."""

    min_duration_s: float = 0.4
    max_duration_s: float = 30.0
    min_pace: float = 4.0
    max_pace: float = 30.0
    max_clipped_share: float = 0.002
    min_level: float = 0.003
    max_bytes: int = 400


def read_manifest(path: Path) -> list[ManifestRow]:
    """All lines of a JSON-lines manifest.

    Raises:
        BadInput: the file is missing, or a line cannot be read; the message has its number.
    """
    if not path.is_file():
        raise BadInput(f"{path} does not exist; give a manifest with one JSON object a line")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(ManifestRow.model_validate(json.loads(line)))
        except (ValueError, ValidationError) as error:
            raise BadInput(f"line {number} of {path.name}: {str(error)[:300]}") from error
    if not rows:
        raise BadInput(f"{path.name} holds no utterance")
    return rows


def folder_manifest(folder: Path) -> list[ManifestRow]:
    """Rows for a folder of clips, each with a transcript of the same name ending in .txt.

    Raises:
        BadInput: no such folder, or a clip without its transcript.
    """
    if (folder / "manifest.jsonl").is_file():
        return read_manifest(folder / "manifest.jsonl")
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder of clips with transcripts")
    suffixes = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm"}
    rows, bare = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes:
            continue
        transcript = path.with_suffix(".txt")
        if transcript.is_file():
            rows.append(ManifestRow(audio=path.name, text=transcript.read_text(encoding="utf-8").strip()))
        else:
            bare.append(path.name)
    if bare or not rows:
        missing = f"{len(bare)} clips have no .txt beside them: {', '.join(bare[:5])}" if bare else "no audio files"
        raise BadInput(f"{folder.name}: {missing}; put each transcript beside its clip under the same name")
    return rows


def clip_problem(text: str, waveform: np.ndarray, sample_rate_hz: int, limits: ClipLimits) -> str | None:
    """Why a clip must not be trained on, as one of a few fixed reasons, or None.

    `text` without speaker tags: joining puts them in; `waveform` float [samples].
    """
    if not text.strip():
        return "no text"
    if "[S1]" in text or "[S2]" in text:
        return "speaker tags in a single sentence"
    if count_bytes(text) > limits.max_bytes:
        return f"text longer than {limits.max_bytes} bytes"
    seconds = len(waveform) / sample_rate_hz
    if seconds < limits.min_duration_s:
        return f"shorter than {limits.min_duration_s} s"
    if seconds > limits.max_duration_s:
        return f"longer than {limits.max_duration_s} s"
    if float(np.abs(waveform).max()) < limits.min_level:
        return "silent"
    if float((np.abs(waveform) >= 0.999).mean()) > limits.max_clipped_share:
        return "clipped"
    pace = len(text) / seconds
    if not limits.min_pace <= pace <= limits.max_pace:
        return f"pace outside {limits.min_pace:.0f} to {limits.max_pace:.0f} characters a second"
    return None


def read_clips(rows: list[ManifestRow], folder: Path, sample_rate_hz: int) -> Iterator[tuple[ManifestRow, np.ndarray]]:
    """Each row with its float32 waveform; a file that holds many utterances is decoded once.

    Raises:
        BadPrompt: an audio file cannot be read. BadInput: an utterance lies behind its file's end.
    """
    by_file: dict[str, list[ManifestRow]] = {}
    for row in rows:
        by_file.setdefault(row.audio, []).append(row)
    for name, group in by_file.items():
        sound = read_audio(folder / name, sample_rate_hz=sample_rate_hz, time_limit_s=600.0)
        for row in group:
            first = round(row.start * sample_rate_hz)
            last = len(sound) if row.duration is None else first + round(row.duration * sample_rate_hz)
            # Tolerates what lossy containers round off, not a wrong manifest.
            if first >= len(sound) or last > len(sound) + sample_rate_hz // 10:
                end = last / sample_rate_hz
                raise BadInput(f"{name} is {len(sound) / sample_rate_hz:.2f} s long; an utterance ends at {end:.2f} s")
            yield row, sound[first:last]
