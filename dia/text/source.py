"""One turn as somebody wrote it, and the paragraphs of a text: what every reader of a format gives."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["SourceTurn", "blocks"]

_BLANK_LINE = re.compile(r"\n[ \t\r\f\v]*(?=\n)")


@dataclass(frozen=True, slots=True)
class SourceTurn:
    """What one named speaker says, as written.

    `span` is where it stands in the input, in characters, or None when the input is no running text (JSON).
    `new_paragraph` says that the same speaker goes on after a break. `start_s` is the time of a subtitle.
    """

    speaker: str
    text: str
    span: tuple[int, int] | None = None
    new_paragraph: bool = False
    pause_before_s: float = 0.0
    start_s: float | None = None


def blocks(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Start and end of each stretch of `text[start:end]` between blank lines, without outer white space."""
    edges = [start, *(match.start() for match in _BLANK_LINE.finditer(text, start, end)), end]
    for a, b in zip(edges, edges[1:], strict=False):
        part = text[a:b]
        if part.strip():
            yield a + len(part) - len(part.lstrip()), b - len(part) + len(part.rstrip())
