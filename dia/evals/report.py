"""What an evaluation found: kept as JSON, shown as a table and as a picture."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dia.errors import BadInput, MissingExtra
from dia.evals.packages import INSTALL
from dia.evals.scoring import TakeScore
from dia.evals.speakers import Baselines
from dia.evals.summary import Interval, Summary, summarise, verdicts

__all__ = ["Report", "draw", "table"]

REFERENCE_GROUPS = ("teacher", "codec")
"""Ceilings, in every report first: recordings, and recordings through the codec."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured.

    Attributes:
        setup: what was judged and how: model, threads, sampling, seed.
        scores: {group: scores of its takes}; the groups "teacher" and "codec" are ceilings.
        baselines: what similarity means among the voices used, None without them.
    """

    setup: Mapping[str, Any]
    scores: Mapping[str, Sequence[TakeScore]]
    baselines: Baselines | None = None
    notes: tuple[str, ...] = field(default=())

    def summaries(self) -> dict[str, Summary]:
        """Figures by group; the groups of single voices follow the one they are part of."""
        found = {name: summary for name, scores in self.scores.items() if (summary := summarise(scores))}
        voices = sorted({score.voice for score in self.scores.get("sentences", ()) if score.voice})
        for voice in voices:
            summary = summarise([score for score in self.scores["sentences"] if score.voice == voice])
            if summary is not None:
                found[f"voice {voice}"] = summary
        return found

    def as_json(self, *, with_takes: bool = True) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        summaries = self.summaries()
        body: dict[str, Any] = {
            "setup": dict(self.setup),
            "groups": {name: dataclasses.asdict(summary) for name, summary in summaries.items()},
            "baselines": None if self.baselines is None else dataclasses.asdict(self.baselines),
            "notes": list(self.notes),
        }
        if "sentences" in summaries:
            body["limits"] = [dataclasses.asdict(verdict) for verdict in verdicts(summaries["sentences"])]
        if with_takes:
            body["takes"] = {
                name: [dataclasses.asdict(score) for score in group] for name, group in self.scores.items()
            }
        plain: dict[str, Any] = _plain(body)
        return plain

    def save(self, path: Path) -> None:
        """Write the JSON, takes included."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")


def read_scores(path: Path) -> tuple[dict[str, list[TakeScore]], Baselines | None]:
    """Scores by group and the baselines of a report that was saved before.

    Raises:
        BadInput: no report, or one of another version.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        groups = {name: [TakeScore(**row) for row in rows] for name, rows in body["takes"].items()}
        known = body["baselines"]
        return groups, None if known is None else Baselines(**{k: _number(v) for k, v in known.items()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path.name} is no report of this version ({error}); measure it again") from error


def table(report: Report) -> list[str]:
    """The report for people: a line for each group, then baselines, limits and notes."""
    columns = (
        "group",
        "takes",
        "WER %",
        "MOS",
        "similar",
        "nearest %",
        "ended %",
        "clean %",
        "junk s",
        "length",
        "RTF",
    )
    rows = [columns, *(_row(name, summary) for name, summary in report.summaries().items())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    known = report.baselines
    if known is not None:
        lines.append(
            f"similarity among recordings: same voice {known.same_mean:.2f} ± {known.same_std:.2f}, other voices "
            f"{known.other_mean:.2f} ± {known.other_std:.2f}, equal error {100 * known.equal_error:.1f} % "
            f"at {known.threshold:.2f}"
        )
    sentences = report.summaries().get("sentences")
    if sentences is not None:
        for verdict in verdicts(sentences):
            found = "not measured" if verdict.value is None else f"{verdict.value:.3f}"
            word = {True: "met", False: "MISSED", None: "open"}[verdict.met]
            lines.append(f"{word}: {verdict.label} {found} (wanted {verdict.wanted})")
    return [*lines, *report.notes]


def _row(name: str, summary: Summary) -> tuple[str, ...]:
    right = summary.nearest if summary.nearest is not None else summary.turns
    likeness = summary.similarity if summary.similarity is not None else summary.turn_similarity
    return (
        name,
        str(summary.takes),
        _spread(summary.wer, 100, 1),
        _spread(summary.mos, 1, 2),
        _shown(likeness, 1, 2),
        _shown(right, 100, 0),
        _shown(summary.ended, 100, 0),
        _shown(summary.clean, 100, 0),
        f"{summary.worst_junk_s:.2f}",
        f"{summary.length_ratio:.2f}",
        _shown(summary.rtf, 1, 2),
    )


def _spread(interval: Interval, factor: float, digits: int) -> str:
    if math.isnan(interval.value):
        return "-"
    low, high = (f"{factor * end:.{digits}f}" for end in (interval.low, interval.high))
    return f"{factor * interval.value:.{digits}f} ({low}-{high})"


def _shown(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"


def draw(report: Report, path: Path) -> None:
    """A PNG of the groups side by side, with the limits as lines, and every take as a dot.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra(f"the picture needs matplotlib; install it with: {INSTALL}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = {name: scores for name, scores in report.scores.items() if scores}
    figure = Figure(figsize=(13, 7), layout="constrained")
    FigureCanvasAgg(figure)
    wordy = {name: [100 * score.errors / max(1, score.words) for score in rows] for name, rows in groups.items()}
    panels: tuple[tuple[str, dict[str, list[float]], float | None], ...] = (
        ("word errors in %, each take", wordy, 12.0),
        ("DistillMOS", {name: [score.mos for score in rows] for name, rows in groups.items()}, 3.0),
        ("similarity to the voice asked for", {name: _likeness(rows) for name, rows in groups.items()}, None),
        (
            "sound after the last word, s",
            {name: [score.junk_s for score in rows] for name, rows in groups.items()},
            0.5,
        ),
        (
            "length over usual length",
            {name: [score.length_ratio for score in rows] for name, rows in groups.items()},
            1.0,
        ),
        ("seconds of work per second of sound", {name: _factors(rows) for name, rows in groups.items()}, 0.5),
    )
    for place, (title, values, limit) in enumerate(panels, 1):
        axes = figure.add_subplot(2, 3, place)
        _dots(axes, values)
        if limit is not None:
            axes.axhline(limit, linestyle="--", linewidth=0.8, color="gray")
        if title.startswith("similarity") and report.baselines is not None:
            for height in (report.baselines.same_mean, report.baselines.other_mean):
                axes.axhline(height, linestyle=":", linewidth=0.8, color="gray")
        axes.set_title(title)
        axes.grid(alpha=0.3, axis="y")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _dots(axes: Any, values: Mapping[str, Sequence[float]]) -> None:
    """One column of dots a group, its mean as a bar."""
    for place, numbers in enumerate(values.values()):
        spread = [place + 0.5 * ((17 * number) % 31 / 31 - 0.5) for number in range(len(numbers))]
        axes.plot(spread, numbers, ".", markersize=4, alpha=0.6)
        if numbers:
            axes.plot([place - 0.35, place + 0.35], [sum(numbers) / len(numbers)] * 2, color="black", linewidth=1.5)
    axes.set_xticks(range(len(values)), list(values), rotation=20)
    axes.set_xlim(-0.5, len(values) - 0.5)


def _likeness(rows: Sequence[TakeScore]) -> list[float]:
    return [score.similarity for score in rows if score.similarity is not None]


def _factors(rows: Sequence[TakeScore]) -> list[float]:
    return [score.wall_s / score.duration_s for score in rows if score.wall_s is not None and score.duration_s]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
