"""Which optional packages belong to which extra, and the command that installs them. Imports none of them."""

import importlib.util
import re
from collections.abc import Mapping
from importlib import metadata

__all__ = ["DISTRIBUTION", "EXTRAS", "install_command", "is_installed", "setup_command"]

DISTRIBUTION = "dia-tts"

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "server": (
        "fastapi",
        "starlette",
        "uvicorn",
        "python_multipart",
        "pydantic_settings",
        "prometheus_client",
    ),
    "ui": ("gradio",),
    "asr": ("faster_whisper",),
    "train": ("matplotlib",),
    "eval": ("faster_whisper", "matplotlib"),
}
"""Import names of what each extra adds; `server` and `ui` are names for parts of a plain install."""


def is_installed(module: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def setup_command(module: str) -> str:
    """What to do where a package that every installation has is missing: where all are, this Python is the wrong one."""
    try:
        metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "source .venv/bin/activate, if Dia is installed there, or: pip install -e ."
    return install_command(module)


def install_command(*modules: str) -> str:
    """What to type to get these modules in the versions that this package is made for.

    It names them and not an extra, so that it holds in a checkout, in an image and for an installed wheel alike.
    """
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        lines = []
    wanted = {re.split(r"[^\w-]", line)[0].replace("-", "_").lower(): line.split(";")[0].strip() for line in lines}
    return "pip install " + " ".join(f"'{wanted.get(module, module.replace('_', '-'))}'" for module in modules)
