"""The figures in a model card, written from a report: nobody copies numbers by hand, and a test compares the two.

    python -m dia.evals.card evaluation/report.json docs/model-card.md

The figures are kept beside the card as JSON (model-card.json), so that the card can be checked without the report.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dia.errors import BadInput, DiaError

__all__ = ["BEGIN", "END", "NOT_MEASURED", "fill", "main", "render"]

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
"""Between these lines of the card everything is generated."""

NOT_MEASURED = "No figures yet: the shipped weights have not been judged."

_COLUMNS = (
    "group",
    "takes",
    "WER %",
    "DistillMOS",
    "similarity",
    "right voice %",
    "ends by itself %",
    "clean end %",
    "worst junk s",
    "length ratio",
    "RTF",
)


def render(figures: Mapping[str, Any] | None) -> str:
    """The generated part of a card, from the JSON of a report; takes in it are ignored.

    Raises:
        BadInput: not the JSON of a report.
    """
    if figures is None:
        return NOT_MEASURED
    try:
        lines = [_setup(figures["setup"]), "", *_table(figures["groups"]), "", *_baselines(figures["baselines"])]
        lines += [_limit(limit) for limit in figures.get("limits", ())]
        lines += [f"- Note: {note}" for note in figures["notes"]]
    except (KeyError, TypeError) as error:
        raise BadInput(f"the figures are not those of a report (missing or unlike: {error}); measure again") from error
    return "\n".join(lines)


def fill(card: str, figures: Mapping[str, Any] | None) -> str:
    """The card with its generated part replaced.

    Raises:
        BadInput: the card lacks the lines that mark the part. Others as `render`.
    """
    head, begin, rest = card.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise BadInput(f"the card has no part to fill; put the lines {BEGIN!r} and {END!r} into it")
    return f"{head}{BEGIN}\n{render(figures)}\n{END}{tail}"


def main(argv: Sequence[str]) -> int:
    """REPORT CARD: fill the card and keep the figures beside it."""
    if len(argv) != 2:
        print("usage: python -m dia.evals.card REPORT.json CARD.md", file=sys.stderr)
        return 2
    report, card = map(Path, argv)
    try:
        figures = {name: value for name, value in json.loads(report.read_text("utf-8")).items() if name != "takes"}
        filled = fill(card.read_text("utf-8"), figures)
    except (OSError, ValueError, DiaError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    card.write_text(filled, encoding="utf-8")
    card.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def _setup(setup: Mapping[str, Any]) -> str:
    sampling = ", ".join(f"{name} {value}" for name, value in setup.get("sampling", {}).items() if value is not None)
    model = f"`{setup['model']}` ({setup['model_hash']}, {setup['parameters'] / 1e6:.1f} M parameters)"
    return f"Measured on {model}, {setup['device']}, {setup['threads']} threads, seed {setup['seed']}; {sampling}."


def _table(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_row(name, group) for name, group in groups.items())]
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(name: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    likeness = group["similarity"] if group["similarity"] is not None else group["turn_similarity"]
    right = group["nearest"] if group["nearest"] is not None else group["turns"]
    return (
        name,
        str(group["takes"]),
        _interval(group["wer"], 100, 1),
        _interval(group["mos"], 1, 2),
        _number(likeness, 1, 2),
        _number(right, 100, 0),
        _number(group["ended"], 100, 0),
        _number(group["clean"], 100, 0),
        _number(group["worst_junk_s"], 1, 2),
        _number(group["length_ratio"], 1, 2),
        _number(group["rtf"], 1, 2),
    )


def _baselines(known: Mapping[str, Any] | None) -> list[str]:
    if known is None:
        return []
    return [
        f"Similarity among recordings: same voice {_number(known['same_mean'], 1, 2)}, other voices "
        f"{_number(known['other_mean'], 1, 2)}, equal error rate {_number(known['equal_error'], 100, 1)} %.",
        "",
    ]


def _limit(limit: Mapping[str, Any]) -> str:
    word = {True: "reached", False: "**not reached**", None: "not measured"}[limit["met"]]
    value = "" if limit["value"] is None else f" {limit['value']:.3g}"
    return f"- {limit['label']}:{value}, wanted {limit['wanted']}: {word}"


def _interval(figure: Mapping[str, Any], factor: float, digits: int) -> str:
    if figure["value"] is None:
        return "-"
    value, low, high = (f"{factor * figure[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
