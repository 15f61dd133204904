"""Where results go: checked before anything is generated, written so that a file is whole or not there at all."""

import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from dia.errors import BadParameter, OutputUnwritable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AudioSink", "AudioTarget", "check_audio_target", "check_path", "make_folder", "save_bytes", "save_codes"]


class AudioSink(Protocol):
    """Takes float32 samples in ±1."""

    def write(self, chunk: "np.ndarray[Any, Any]", /) -> object: ...


@dataclass(frozen=True, slots=True)
class AudioTarget:
    """A place for sound: `path`, or stdout where it is None, in the format of that name."""

    path: Path | None
    format: str

    @contextlib.contextmanager
    def open(self, sample_rate_hz: int, metadata: Mapping[str, str]) -> Iterator[AudioSink]:
        """A sink; a file appears when the block is left normally, and not otherwise.

        Raises:
            OutputUnwritable: the place cannot be written after all.
        """
        from dia.media.encode import AudioFileWriter
        from dia.media.formats import FORMATS

        tags = metadata if FORMATS[self.format].holds_metadata else None
        if self.path is None:
            sink = _Stdout(self.format, sample_rate_hz, tags)
            yield sink
            sink.close()
            return
        make_folder(self.path)
        with AudioFileWriter(self.path, sample_rate_hz, format=self.format, metadata=tags) as writer:
            yield writer


class _Stdout:
    """Encodes to stdout as the sound comes."""

    def __init__(self, format: str, sample_rate_hz: int, metadata: Mapping[str, str] | None) -> None:
        from dia.media.encode import AudioEncoder

        self._encoder = AudioEncoder(format, sample_rate_hz, metadata=metadata)

    def write(self, chunk: "np.ndarray[Any, Any]") -> None:
        self._send(self._encoder.write(chunk))

    def close(self) -> None:
        self._send(self._encoder.close())

    def _send(self, data: bytes) -> None:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            # What stdout still holds must not be flushed into the closed pipe at exit.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            raise OutputUnwritable("the program that read stdout has ended; the sound is not complete") from error


def check_audio_target(output: str, format: str | None) -> AudioTarget:
    """Where `--output` points to; `-` is stdout. The format is the named one, else that of the path's ending.

    Raises:
        UnknownFormat: neither names a format. OutputUnwritable: the path cannot be written.
        BadParameter: sound would go to a terminal.
    """
    from dia.media.formats import find_format, find_format_of

    if output == "-":
        if sys.stdout.isatty():
            raise BadParameter("stdout is a terminal; redirect it to a file or a player, or name a file with --output")
        return AudioTarget(None, find_format(format or "wav").name)
    path = Path(output).expanduser()
    if output.endswith(("/", os.sep)) or path.is_dir():
        raise OutputUnwritable(
            f"cannot write {output}: it is a folder; name a file in it, as in {path / 'speech.wav'}"
        )
    found = find_format_of(path) if format is None else find_format(format)
    check_path(path)
    return AudioTarget(path, found.name)


def check_path(path: Path) -> None:
    """Refuse a path where no file can come to be; folders that are missing will be made.

    Raises:
        OutputUnwritable: it is a folder or a device, or lies in no folder that may be written.
    """
    if path.exists() and not path.is_file():
        raise OutputUnwritable(f"cannot write {path}: it is a folder or a device; name a file")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputUnwritable(f"cannot write {path}: {folder} is not a folder; choose another")
    try:
        # Permissions tell less than an attempt: root may do what a read-only disk forbids.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path}: {error.strerror} in {folder}; choose another folder") from error


def make_folder(path: Path) -> None:
    """Make the folders above a file. Raises OutputUnwritable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path}: {error.strerror}; choose another folder") from error


def save_codes(path: Path, codes: "np.ndarray[Any, Any]") -> None:
    """Write codes [frames, channels] as int16 .npy, whole or not at all. Raises OutputUnwritable."""
    import numpy as np

    _save(path, lambda file: np.save(file, codes.astype(np.int16), allow_pickle=False))


def save_bytes(path: Path, data: bytes) -> None:
    """Write bytes, whole or not at all. Raises OutputUnwritable."""
    _save(path, lambda file: file.write(data))


def _save(path: Path, write: Callable[[BinaryIO], object]) -> None:
    make_folder(path)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        try:
            with open(temporary, "xb") as file:
                write(file)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path}: {error.strerror}; choose a folder that has room") from error
