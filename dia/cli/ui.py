"""`dia ui` and `python app.py`: the page alone."""

from collections.abc import Sequence

from dia.cli.extras import run_script

__all__ = ["main", "show_page"]


def main(argv: Sequence[str] | None = None, *, prog: str = "dia ui") -> int:
    """Show the page until it is interrupted; gives the exit code."""
    from dia.ui.launch import main as show

    return show(argv, prog=prog)


def show_page() -> int:
    """`python app.py`; gives the exit code."""
    return run_script(lambda: main(prog="app.py"))
