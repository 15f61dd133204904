"""Lines for people, on stderr, never through a markup language: what a user wrote is shown as he wrote it, or escaped."""

import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Terminal", "counted", "printable"]

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls (escape sequences among them), direction marks, half characters, line separators."""


def printable(text: str) -> str:
    """One line in which nothing can move the cursor, change colours or turn the reading direction.

    White space of every kind becomes one blank; other invisible characters are shown as escapes such as `\\x1b`.
    """
    joined = " ".join(text.split())
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _INVISIBLE
        else character
        for character in joined
    )


def counted(number: int, noun: str) -> str:
    """`1 piece`, `2 pieces`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a command talks to the person who typed it. `quiet` leaves out everything but results and errors."""

    quiet: bool = False

    def result(self, text: str) -> None:
        """A line that is shown even when quiet."""
        print(printable(text), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """What the person may like to know."""
        if not self.quiet:
            self.result(text)

    def warn(self, warnings: Iterable[str]) -> None:
        """What was repaired or deserves attention, counted."""
        found = list(warnings)
        for index, text in enumerate(found, 1):
            self.note(f"warning {index} of {len(found)}: {text}")

    @property
    def is_interactive(self) -> bool:
        """Whether a person is looking at stderr."""
        return sys.stderr.isatty()
