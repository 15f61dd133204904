"""Writes that survive a crash, and the lock that keeps two runs out of one project."""

import io
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dia.errors import BadCodes, Conflict, DiskFull, OutputUnwritable

__all__ = ["load_codes", "locked", "save_codes", "sweep", "write_bytes", "write_json"]

_FULL = {28, 122}  # ENOSPC, EDQUOT


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file as a whole: after a crash at any point the old or the new one is there, complete.

    Raises:
        DiskFull, OutputUnwritable.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"no room left on the disk for {path.name}; make room, then resume") from error
        raise OutputUnwritable(
            f"cannot write {path}: {error.strerror}; choose a folder that can be written"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """A JSON document, one line a piece small enough to read by eye, as `write_bytes`."""
    write_bytes(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def save_codes(path: Path, codes: np.ndarray) -> None:
    """Codes [frames, channels] as int16 .npy, as `write_bytes`."""
    buffer = io.BytesIO()
    np.save(buffer, codes.astype(np.int16), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def load_codes(path: Path) -> np.ndarray:
    """Codes int16 [frames, channels]. Raises BadCodes for a file that is missing or no codes."""
    try:
        codes: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadCodes(f"{path.name} cannot be read as codes; redo that piece") from error
    if codes.ndim != 2 or codes.dtype != np.int16:
        raise BadCodes(f"{path.name} holds {codes.dtype} {list(codes.shape)}; codes are int16 [frames, channels]")
    return codes


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in a folder and those below. Only for who holds its lock."""
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a project; the lock ends with the process, however it ends.

    Raises:
        Conflict: another process holds it.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows has no such lock; two runs are then up to the user
        yield
        return
    with open(folder / ".lock", "a+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"another process works on {folder.name}; wait for it or stop it") from error
        yield


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
