"""What a server needs of this machine, looked at before it starts: each finding with its cure. Changes nothing.

Imports nothing but Python's own until the packages are known to be there.
"""

import os
import platform
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dia.errors import DiaError
from dia.packages import is_installed, setup_command

if TYPE_CHECKING:
    from dia.service.settings import Settings

__all__ = ["PACKAGES", "Finding", "check_environment", "check_packages"]

PACKAGES = (
    "torch", "transformers", "numpy", "safetensors", "huggingface_hub", "pydantic", "soxr", "av", "typer", "rich",
    "fastapi", "starlette", "uvicorn", "httptools", "python_multipart", "pydantic_settings", "prometheus_client",
    "httpx", "gradio",
)  # fmt: skip
"""Import names of everything that a plain install brings."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LEAST_FREE_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. A note is no fault; a fault that `stops` makes a start pointless."""

    kind: Literal["fine", "note", "fault"]
    text: str
    cure: str = ""
    stops: bool = False


def check_packages() -> list[Finding]:
    """Python, and whether all packages are there; without them nothing else can be looked at."""
    python = Finding("fine", f"Python {platform.python_version()}")
    missing = [name for name in PACKAGES if not is_installed(name)]
    if not missing:
        return [python, Finding("fine", f"packages: {', '.join(PACKAGES)}")]
    faults = [Finding("fault", f"package {name} is missing", setup_command(name), stops=True) for name in missing]
    return [python, *faults]


def check_environment(settings: "Settings") -> list[Finding]:
    """Look at everything but the packages, which are there."""
    return [_device(settings), _model(settings), _token(settings), _data_folder(settings), _port(settings)]


def _device(settings: "Settings") -> Finding:
    from dia.device import place

    name = None if settings.device == "auto" else settings.device
    try:
        placement = place(name, None if settings.dtype == "auto" else settings.dtype)
    except DiaError as error:
        return Finding("fault", str(error), "choose another with --device", stops=True)
    if placement.device.type == "cpu":
        return Finding("note", "no CUDA here; the model runs on the CPU, which is slow for the 1.6B model")
    return Finding("fine", f"device {placement.device} in {placement.dtype_name}")


def _model(settings: "Settings") -> Finding:
    from dia.device import place
    from dia.hub import choose_default, find

    try:
        if settings.model == "auto":
            placement = place(None if settings.device == "auto" else settings.device)
            chosen = choose_default(placement, offline=settings.offline)
            return Finding("fine", f"model {chosen.model}: {chosen.reason}")
        find(settings.model, offline=True)
    except DiaError as error:
        is_folder = Path(settings.model).expanduser().exists()
        if _HUB_NAME.fullmatch(settings.model) and not is_folder and not settings.offline:
            return Finding("note", f"model {settings.model} is not on this machine; it is fetched at the first start")
        return Finding("fault", str(error), "dia download, or --model FOLDER")
    return Finding("fine", f"model {settings.model}")


def _token(settings: "Settings") -> Finding:
    if os.environ.get("HF_TOKEN"):
        return Finding("fine", "HF_TOKEN is set")
    return Finding("note", "HF_TOKEN is not set", "only private or gated checkpoints need it")


def _data_folder(settings: "Settings") -> Finding:
    folder = settings.data_dir.expanduser()
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding("fault", f"data folder {folder} cannot be written", "set --data-dir", stops=True)
    free = shutil.disk_usage(nearest).free
    if free < _LEAST_FREE_BYTES:
        return Finding("fault", f"data folder {folder}: {free / 1e9:.1f} GB free", "free at least 1 GB")
    return Finding("fine", f"data folder {folder}, {free / 1e9:.0f} GB free")


def _port(settings: "Settings") -> Finding:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return Finding(
                "fault", f"{settings.host}:{settings.port} cannot be used: {error.strerror}", "choose another --port",
                stops=True,
            )  # fmt: skip
    return Finding("fine", f"port {settings.port} on {settings.host} is free")
