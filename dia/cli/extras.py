"""Which optional packages belong to which extra, and the command that installs them."""

import importlib.util
from collections.abc import Mapping

from dia.errors import MissingExtra

__all__ = ["EXTRAS", "install_command", "is_installed", "missing_extra"]

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
    "cluster": ("ray",),
}
"""Import names of what each extra adds."""


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
