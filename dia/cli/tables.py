"""Lists for people as a table, and for programs as JSON, both on stdout."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from dia.cli.terminal import printable

__all__ = ["print_json", "print_table"]


def print_json(value: Any) -> None:
    """The value for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; what users wrote is escaped, never interpreted."""
    cells = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
