"""Which optional packages belong to which extra, and the command that installs them."""

import importlib.util
import sys
from collections.abc import Callable, Mapping

from dia.errors import MissingExtra

__all__ = ["EXTRAS", "install_command", "is_installed", "missing_extra", "run_script"]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "server": (
        "fastapi",
        "starlette",
        "uvicorn",
        "python_multipart",
        "pydantic_settings",
        "prometheus_client",
        "structlog",
    ),
    "ui": ("gradio",),
    "asr": ("faster_whisper",),
    "train": ("matplotlib",),
    "eval": ("faster_whisper", "matplotlib"),
}
"""Import names of what each extra adds; `server` and `ui` are names for parts of a plain install."""


def install_command(extra: str) -> str:
    """What to type to get an extra."""
    return f"pip install 'dia-tts[{extra}]'"


def is_installed(module: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """The error for people behind a failed import, or None if no extra would help."""
    module = (error.name or "").split(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return MissingExtra(f"the package {module} is not installed; install it with: {install_command(extra)}")
    return None


def run_script(main: Callable[[], int]) -> int:
    """Run what a script at the repository's root starts; a missing optional package is one line with its cure."""
    try:
        return main()
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        print(f"error: {missing}", file=sys.stderr)
        return 1
