"""From a manifest to decoded sound, with a report of what was left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import soxr

from dia.train.manifest import ClipLimits, ManifestRow, clip_problem, folder_manifest, read_clips, read_manifest
from dia.train.sound import is_held_out, write_corpus

Progress = Callable[[int, int], None]


@dataclass
class Report:
    """What went in and what was left out, and why."""

    utterances: int = 0
    kept: int = 0
    minutes: float = 0.0
    held_out: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    minutes_by_speaker: dict[str, float] = field(default_factory=dict)
    pace_percentiles: dict[str, float] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report for people."""
        out = [f"{self.kept} of {self.utterances} utterances kept, {self.minutes:.1f} min, {self.held_out} held out"]
        out += [f"left out: {count} {reason}" for reason, count in sorted(self.left_out.items())]
        out += [f"{name}: {minutes:.1f} min" for name, minutes in sorted(self.minutes_by_speaker.items())]
        if self.pace_percentiles:
            shown = ", ".join(f"{name} {value:.1f}" for name, value in self.pace_percentiles.items())
            out.append(f"characters a second: {shown}")
        return out

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def prepare_sound(
    source: Path | Sequence[Path],
    out_dir: Path,
    sample_rate_hz: int,
    limits: ClipLimits,
    progress: Progress | None = None,
    *,
    speeds: Sequence[float] = (),
) -> Report:
    """Check, decode and resample all utterances of manifests (or folders of clips) into one sound file.

    Writes `sound.npy`, `index.json` and `report.json` into `out_dir`.

    `speeds`: every utterance that is not held out is also taken at these speeds, its pitch and formants with it, as
    another voice, `name@speed` (speed perturbation, Ko et al. 2015): from a few hours a model learns the sounds of
    sentences by heart, which it can't so well where one sentence has several. The report counts recordings only.

    Raises:
        BadInput: an unreadable manifest. BadPrompt: an unreadable audio file.
    """
    sources = [source] if isinstance(source, Path) else list(source)
    parts = [(folder_manifest(one), one) if one.is_dir() else (read_manifest(one), one.parent) for one in sources]
    report = Report(utterances=sum(len(rows) for rows, _ in parts))
    reasons: Counter[str] = Counter()
    paces: list[float] = []
    minutes: Counter[str] = Counter()

    def kept() -> Iterator[tuple[str, str, np.ndarray]]:
        read = chain.from_iterable(read_clips(rows, folder, sample_rate_hz) for rows, folder in parts)
        for number, (row, waveform) in enumerate(read, 1):
            if progress is not None:
                progress(number, report.utterances)
            problem = clip_problem(row.text, waveform, sample_rate_hz, limits)
            if problem is not None:
                reasons[problem] += 1
                continue
            _count(report, row, waveform, sample_rate_hz, minutes, paces)
            text = row.text.strip()
            yield text, row.speaker, waveform
            if not is_held_out(text):
                for speed in speeds:
                    yield text, f"{row.speaker}@{speed:g}", at_speed(waveform, speed)

    write_corpus(out_dir, sample_rate_hz, kept())
    report.left_out = dict(reasons)
    report.minutes_by_speaker = {name: round(value, 2) for name, value in minutes.items()}
    if paces:
        report.pace_percentiles = {f"p{p}": round(float(np.percentile(paces, p)), 2) for p in (1, 50, 99)}
    report.save(out_dir / "report.json")
    return report


def at_speed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """Float32 [samples / speed]: played `speed` times as fast, pitch and formants with it."""
    return np.asarray(soxr.resample(waveform, speed, 1.0), np.float32)


def _count(
    report: Report,
    row: ManifestRow,
    waveform: np.ndarray,
    sample_rate_hz: int,
    minutes: Counter[str],
    paces: list[float],
) -> None:
    seconds = len(waveform) / sample_rate_hz
    report.kept += 1
    report.held_out += is_held_out(row.text.strip())
    report.minutes += seconds / 60
    minutes[row.speaker] += seconds / 60  # type: ignore[assignment]  # Counter adds floats as well
    paces.append(len(row.text) / seconds)
