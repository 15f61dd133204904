"""One entry for every command: runs it, turns errors into one line on stderr and an exit code.

Exit codes: 0 done; 1 the installation, the machine or the model failed; 2 the request must be changed; 130 stopped by
Ctrl-C. An error that nobody foresaw keeps its traceback, because it is a bug and should be reported with it.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import typer

from dia.cli.extras import missing_extra
from dia.cli.terminal import Terminal, printable
from dia.errors import BadInput, DiaError

__all__ = ["RunState", "run"]

# Newer Typer carries its own copy of click; BadParameter is the one name that leads to either.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]
_STOPPED = 130


@dataclass(slots=True)
class RunState:
    """What the flags of one call say about errors."""

    debug: bool = False


def run(app: typer.Typer, argv: Sequence[str] | None = None, *, name: str) -> int:
    """Run a command with its arguments (None: the process's) and give back the exit code."""
    state = RunState()
    command = typer.main.get_command(app)
    try:
        with _ended_by_signals():
            outcome = command.main(
                args=list(sys.argv[1:] if argv is None else argv), prog_name=name, standalone_mode=False, obj=state
            )
    except _ClickException as error:
        return _explain_usage(error, name)
    except DiaError as error:
        _tell(error, state)
        return 2 if isinstance(error, BadInput) else 1
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        _tell(missing, state)
        return 1
    except (OSError, MemoryError) as error:
        _tell(error, state)
        return 1
    except typer.Abort:  # older Typer's word for Ctrl-C
        outcome = _STOPPED
    code = outcome if isinstance(outcome, int) else 0
    if code == _STOPPED:
        Terminal().result("error: stopped by Ctrl-C; no sound file was written")
    return code


def _tell(error: BaseException, state: RunState) -> None:
    if state.debug:
        raise error
    Terminal().result(f"error: {str(error) or type(error).__name__}")


def _explain_usage(error: BaseException, name: str) -> int:
    """The parser's complaint in one line, with where help is found."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else name
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help() if context is not None else "", file=sys.stderr)
        return 2
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    print(f"error: {printable(message).rstrip('.')}; see {path} --help", file=sys.stderr)
    return int(getattr(error, "exit_code", 2))


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command as an exception does, so that half-written files are removed."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.signal(number, _exit) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
