"""Writes docs/cli.md from the commands themselves: `python scripts/make_cli_reference.py`; a test compares the two."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "cli.md"

HEAD = """# The command line

Generated from the commands' own help by `python scripts/make_cli_reference.py`.

`dia COMMAND --help` shows the same. Exit codes: 0 done, 1 the installation, the machine or the model failed, 2 the
request must be changed, 130 stopped by Ctrl-C; `dia serve` also 3, the port or the data folder is in use. Results go to
stdout, everything for people to stderr.

`python cli.py`, `python fastapi_server.py` and `python app.py` in a checkout are `dia say`, `dia serve` and `dia ui`.
`python start_server.py` is `dia serve` after a look at the machine, with `--check-only`, `--dev` and `--production`.

**Which server, which folder.** `dia jobs`, `dia voices` and `dia say --server` talk to a running server: `--server URL`,
for `dia jobs` and `dia voices` else the environment's `DIA_SERVER`, else `http://127.0.0.1:7860`. `DIA_API_KEY` is sent
if it is set. `dia voices … --data-dir FOLDER` works in a data folder itself and is refused while a server uses it.
"""


def main() -> int:
    """Write the page."""
    sys.path.insert(0, str(ROOT))
    TARGET.write_text(reference(), encoding="utf-8")
    return 0


def reference() -> str:
    """The whole page."""
    from dia.cli.root import ENTRIES

    parts = [HEAD]
    for entry in ENTRIES:
        if entry.is_present:
            parts += _sections(f"dia {entry.name}", entry.load(), entry.help, level=2)
    return "\n".join(parts)


def _sections(path: str, command: Any, help: str, level: int) -> Iterator[str]:
    yield f"{'#' * level} {path}\n"
    if command.context_settings.get("ignore_unknown_options"):  # a parser of its own
        yield f"{help}\n\n```text\n{_printed_help(path)}\n```\n"
        return
    yield f"{_words(command.help) or help}\n"
    for name, child in getattr(command, "commands", {}).items():
        yield from _sections(f"{path} {name}", child, "", level + 1)
    lines = [_line(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    if lines and not hasattr(command, "commands"):
        yield "\n".join(lines) + "\n"


def _line(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = (parameter.metavar or parameter.name).strip("[].").upper()
    else:
        spelled = ", ".join([*parameter.opts, *parameter.secondary_opts])
        kind = "" if parameter.is_flag else f" {_kind(parameter)}"
        names = spelled + kind
    needed = " Required." if parameter.required else ""
    return f"- `{names}`: {_words(parameter.help)}{needed}"


def _kind(parameter: Any) -> str:
    return str(parameter.metavar or parameter.opts[0].strip("-").replace("-", "_")).upper()


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def _printed_help(path: str) -> str:
    from dia.cli.root import main as dia

    said = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "110"
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            dia([*path.split()[1:], "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    # How usage lines are wrapped differs between Pythons, and the options say the same.
    return said.getvalue().strip().partition("\n\n")[2]


if __name__ == "__main__":
    sys.exit(main())
