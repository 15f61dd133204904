"""Files of the data folder: ids checked before they become paths, whole-or-nothing writes, one server per folder.

Knows nothing of what the files mean. Every path that holds an id from outside is made by `DataFolder.place`.
"""

import errno
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from dia.errors import BadParameter, DataFolderInUse, DiskFull, OutputUnwritable, StoreUnavailable

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# Words that are routes beside an id, and device names that some file systems do not treat as files.
RESERVED_IDS = frozenset(
    ["upload", "metadata", "discover", "con", "prn", "aux", "nul"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)]
)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Room = Literal["prompts", "outputs", "results", "previews", "adapters"]
ROOMS: tuple[Room, ...] = ("prompts", "outputs", "results", "previews", "adapters")


def new_id() -> str:
    """A fresh id for a job or a log: a random UUID in its usual spelling."""
    return str(uuid.uuid4())


def check_id(kind: str, value: str) -> str:
    """Return `value` if it may name a voice, prompt, job or log.

    Raises:
        BadParameter: not `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`, holding "..", ending in a dot, or reserved.
    """
    fine = ID_PATTERN.fullmatch(value) is not None and ".." not in value and not value.endswith(".")
    if not fine or value.split(".")[0].lower() in RESERVED_IDS:
        shown = value if len(value) <= 40 else value[:40] + "…"
        raise BadParameter(
            f"{kind} id {shown!r} is not allowed; use 1 to 64 of A-Z a-z 0-9 _ . -, starting with a letter or digit, "
            f"no '..', and none of the reserved words"
        )
    return value


class DataFolder:
    """The folder in which one server keeps everything. Made on construction; closed by `close`.

    Raises:
        StoreUnavailable: the folder cannot be made or written.
        DataFolderInUse: another living process holds it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for room in ROOMS:
                (self.root / room).mkdir(exist_ok=True)
            self._lock_handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"data folder {self.root} cannot be used: {error.strerror}; make it writable or choose another "
                f"one with DIA_DATA_DIR"
            ) from error
        try:
            _lock(self._lock_handle)
        except OSError as error:
            os.close(self._lock_handle)
            raise DataFolderInUse(
                f"data folder {self.root} is in use by another server; stop it or set DIA_DATA_DIR to another folder"
            ) from error

    @property
    def database_path(self) -> Path:
        return self.root / "dia.sqlite3"

    def room(self, room: Room) -> Path:
        """The folder that holds every file of one kind."""
        return self.root / room

    def place(self, room: Room, item_id: str, name: str | None = None) -> Path:
        """The path of an item, or of a file with a fixed name in it. The only way from an id to a path.

        Raises:
            BadParameter: an id that may not be one.
        """
        path = self.root / room / check_id(room.removesuffix("s"), item_id)
        if name is not None:
            path = path / name
        if not path.resolve().is_relative_to(self.root / room):
            raise BadParameter(f"{room.removesuffix('s')} id {item_id!r} leads outside the data folder")
        return path

    def sweep_unfinished(self) -> int:
        """Remove what a killed process left half written; returns how many items."""
        removed = 0
        for room in ROOMS:
            for path in self.room(room).rglob(".unfinished-*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                removed += 1
        return removed

    def used_bytes(self) -> int:
        """Size of all files below the folder."""
        total = 0
        for path in self.root.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except FileNotFoundError:  # deleted between listing and asking
                continue
        return total

    def close(self) -> None:
        """Let another server have the folder. May be called twice."""
        if self._lock_handle >= 0:
            os.close(self._lock_handle)
            self._lock_handle = -1


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the operating system's complaints about writing into `DiskFull` or `OutputUnwritable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull("no room left on the disk of the data folder; free some space and try again") from error
        raise OutputUnwritable(f"a file in the data folder cannot be written: {error.strerror}") from error


def write_file(path: Path, data: bytes) -> None:
    """Write whole or not at all, and have it on the disk before returning: temporary file, fsync, rename, fsync.

    Raises:
        DiskFull, OutputUnwritable: the old content, if any, still stands.
    """
    unfinished = path.with_name(f".unfinished-{uuid.uuid4().hex}")
    with disk_errors():
        try:
            with open(unfinished, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def replace_folder(unfinished: Path, target: Path) -> None:
    """Put a finished folder in the place of `target`, which may exist; a kill leaves the old or the new one.

    Between the two renames nothing stands at `target`; the old folder then lies beside it as `.replaced-NAME`, and
    `restore_replaced` puts it back.
    """
    with disk_errors():
        for file in unfinished.iterdir():
            _sync(file)
        _sync(unfinished)
        old = target.with_name(f".replaced-{target.name}")
        if target.exists():
            os.rename(target, old)
        os.rename(unfinished, target)
        sync_folder(target.parent)
        if old.exists():
            shutil.rmtree(old)


def restore_replaced(room: Path) -> None:
    """Finish what a kill interrupted in `replace_folder`."""
    for old in room.glob(".replaced-*"):
        target = room / old.name.removeprefix(".replaced-")
        if target.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, target)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    _sync(folder)


def _lock(handle: int) -> None:
    """Take an open file for this process, or raise OSError; the system gives it back when the process ends."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
