"""`dia ui`: the page alone, the same as `python app.py`."""

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Show the page until it is interrupted; gives the exit code."""
    from dia.ui.launch import main as show

    return show(argv, prog="dia ui")
