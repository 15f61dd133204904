"""Mono waveforms to encoded sound: whole, piece by piece, or into a file that appears only when it is complete.

One path serves all three: samples are checked, limited, resampled, and handed to a writer (`writers.py`). What
differs is the sink: a file or buffer that can be rewound gets exact sizes and lengths in its head, a stream cannot.
"""

import io
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import soxr

from dia.errors import BadParameter, OutputUnwritable
from dia.media.formats import FORMATS, Format, find_format, find_format_of, output_rate
from dia.media.writers import Chapter, Sink, make_writer

__all__ = [
    "FORMATS",
    "AudioEncoder",
    "AudioFileWriter",
    "Chapter",
    "Format",
    "WrittenAudio",
    "encode_audio",
    "find_format",
    "output_rate",
    "write_audio",
]


class _Pipeline:
    """Checks, limits, resamples and writes chunks of one waveform to one sink."""

    def __init__(
        self,
        fmt: Format,
        sample_rate_hz: int,
        output_rate_hz: int | None,
        metadata: Mapping[str, str] | None,
        chapters: Sequence[Chapter],
        sink: Sink,
    ) -> None:
        self.output_rate_hz = output_rate(fmt, sample_rate_hz, output_rate_hz)
        self.clipped_samples = 0
        self.samples_in = 0
        self.samples_out = 0
        self._writer = make_writer(fmt, self.output_rate_hz, dict(metadata or {}), chapters, sink)
        self._resampler: soxr.ResampleStream | None = None
        if self.output_rate_hz != sample_rate_hz:
            self._resampler = soxr.ResampleStream(
                sample_rate_hz, self.output_rate_hz, 1, dtype="float32", quality="HQ"
            )

    def write(self, chunk: np.ndarray) -> None:
        samples = _checked(chunk, self.samples_in)
        self.samples_in += len(samples)
        self.clipped_samples += int(np.count_nonzero(np.abs(samples) > 1.0))
        if self._resampler is not None and len(samples):
            samples = self._resampler.resample_chunk(samples)
        self._put(samples)

    def finish(self) -> None:
        if self._resampler is not None:
            self._put(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        self._writer.finish()

    def abandon(self) -> None:
        self._writer.abandon()

    def _put(self, samples: np.ndarray) -> None:
        if len(samples):
            self.samples_out += len(samples)
            self._writer.write(np.clip(samples, -1.0, 1.0))


def _checked(chunk: np.ndarray, samples_before: int) -> np.ndarray:
    samples = np.asarray(chunk)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise BadParameter(
            f"waveform is {samples.dtype} of shape {samples.shape}; it must be mono floats of shape [samples]"
        )
    samples = samples.astype(np.float32, copy=False)
    bad = ~np.isfinite(samples)
    if bad.any():
        first = samples_before + int(np.argmax(bad))
        raise BadParameter(
            f"waveform holds {int(bad.sum())} samples that are NaN or infinite, the first at {first}; "
            "every sample must be a finite number; find where they come from"
        )
    return samples


class AudioEncoder:
    """Encodes a waveform while it is being made; the returned pieces in order are one valid file.

    Bytes leave as soon as the codec gives them (FLAC every 4,608 samples, MP3 1,152, AAC 1,024, Opus 0.1 s).
    The whole decodes to the same samples as `encode_audio`, with these differences that a stream cannot avoid:
    WAV carries 0xFFFFFFFF as its sizes, FLAC no total length, MP3 no trim information (25 ms of lead-in stay),
    and M4A is fragmented.

    Attributes:
        clipped_samples: samples beyond ±1 so far; they were limited to ±1.
        output_rate_hz: the rate that is written.
        format: the format that is written.
    """

    def __init__(
        self,
        format: str | Format,
        sample_rate_hz: int,
        *,
        metadata: Mapping[str, str] | None = None,
        output_rate_hz: int | None = None,
    ) -> None:
        """Checks everything before a byte is made.

        Raises:
            UnknownFormat: no such format.
            BadParameter: a rate that the format does not hold, or metadata for a format without tags.
        """
        self.format = find_format(format) if isinstance(format, str) else format
        self._sink = _Outbox()
        self._pipeline = _Pipeline(self.format, sample_rate_hz, output_rate_hz, metadata, (), self._sink)
        self.output_rate_hz = self._pipeline.output_rate_hz
        self._closed = False

    @property
    def clipped_samples(self) -> int:
        """Samples beyond ±1 so far."""
        return self._pipeline.clipped_samples

    def write(self, chunk: np.ndarray) -> bytes:
        """Takes float samples [samples] in ±1 and returns the bytes that are ready, possibly none.

        Raises:
            BadParameter: NaN or infinite samples, or not a mono float array.
        """
        if self._closed:
            raise BadParameter("the encoder is closed; make a new one for another sound")
        self._pipeline.write(chunk)
        return self._sink.take()

    def close(self) -> bytes:
        """Returns the last bytes; a second call returns none."""
        if self._closed:
            return b""
        self._closed = True
        self._pipeline.finish()
        return self._sink.take()


def encode_audio(
    waveform: np.ndarray,
    sample_rate_hz: int,
    format: str | Format,
    *,
    metadata: Mapping[str, str] | None = None,
    output_rate_hz: int | None = None,
) -> bytes:
    """The whole waveform (float [samples] in ±1) as one file with exact sizes in its head.

    A WAV has the 44-byte head of `fmt ` and `data` only, unless metadata is asked for.

    Raises:
        UnknownFormat: no such format.
        BadParameter: NaN samples, a wrong shape, a rate that the format does not hold, tags where there are none.
    """
    fmt = find_format(format) if isinstance(format, str) else format
    sink = io.BytesIO()
    pipeline = _Pipeline(fmt, sample_rate_hz, output_rate_hz, metadata, (), sink)
    pipeline.write(waveform)
    pipeline.finish()
    return sink.getvalue()


@dataclass(frozen=True, slots=True)
class WrittenAudio:
    """What a finished file holds. `clipped_samples` were beyond ±1 and limited."""

    path: Path
    format: str
    sample_rate_hz: int
    duration_s: float
    size_bytes: int
    clipped_samples: int


class AudioFileWriter:
    """Writes one file piece by piece; it appears under its name only when complete, or not at all.

    Use as a context manager: leaving normally puts the file in place (`result` is then set), leaving by an exception
    removes what was written. The bytes go to a temporary file in the same folder, are synced, then renamed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate_hz: int,
        *,
        format: str | None = None,
        metadata: Mapping[str, str] | None = None,
        output_rate_hz: int | None = None,
        chapters: Sequence[Chapter] = (),
    ) -> None:
        """Opens the temporary file.

        Raises:
            UnknownFormat: neither `format` nor the path's ending names a known format.
            BadParameter: see `AudioEncoder`; chapters in a format other than m4a and m4b.
            OutputUnwritable: the folder is missing or not writable.
        """
        self._path = Path(path)
        self._format = find_format_of(self._path) if format is None else find_format(format)
        self._temporary_path = self._path.parent / f".{self._path.name[:40]}.{secrets.token_hex(6)}.part"
        self._temporary = self._open()
        self.result: WrittenAudio | None = None
        try:
            self._pipeline = _Pipeline(
                self._format, sample_rate_hz, output_rate_hz, metadata, chapters, self._temporary
            )
        except OSError as error:
            self._remove()
            raise self._unwritable(error) from error
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> "AudioFileWriter":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error_type is None:
            self.commit()
        else:
            self.abandon()

    def write(self, chunk: np.ndarray) -> None:
        """Takes the next float samples [samples] in ±1."""
        try:
            self._pipeline.write(chunk)
        except OSError as error:
            raise self._unwritable(error) from error

    def commit(self) -> WrittenAudio:
        """Completes the file and puts it in place."""
        try:
            self._pipeline.finish()
            self._temporary.flush()
            size_bytes = os.fstat(self._temporary.fileno()).st_size
            os.fsync(self._temporary.fileno())
            self._temporary.close()
            os.replace(self._temporary_path, self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            self._remove()
            raise self._unwritable(error) from error
        except BaseException:
            self._remove()
            raise
        rate = self._pipeline.output_rate_hz
        self.result = WrittenAudio(
            self._path,
            self._format.name,
            rate,
            self._pipeline.samples_out / rate,
            size_bytes,
            self._pipeline.clipped_samples,
        )
        return self.result

    def abandon(self) -> None:
        """Removes what was written; an older file of that name stays as it was."""
        self._pipeline.abandon()
        self._remove()

    def _open(self) -> io.BufferedRandom:
        try:
            if self._path.exists() and not self._path.is_file():
                raise OutputUnwritable(f"cannot write {self._path}: it is a folder or a device; name a file")
            # Mode x refuses to follow a link planted under the same name; the name cannot be guessed either.
            return open(self._temporary_path, "x+b")  # closed by commit or abandon
        except OSError as error:
            raise self._unwritable(error) from error

    def _remove(self) -> None:
        # Closing flushes, which fails on a full disk for the reason that is being reported already.
        with suppress(OSError):
            self._temporary.close()
        self._temporary_path.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> OutputUnwritable:
        reason = error.strerror or type(error).__name__
        return OutputUnwritable(f"cannot write {self._path}: {reason}; choose a folder that exists and has room")


def write_audio(
    path: str | os.PathLike[str],
    waveform: np.ndarray,
    sample_rate_hz: int,
    *,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
    output_rate_hz: int | None = None,
    chapters: Sequence[Chapter] = (),
) -> WrittenAudio:
    """Writes the whole waveform (float [samples] in ±1) to a file; the format follows the path's ending if not named.

    Raises: as `AudioFileWriter`, and BadParameter for NaN samples. No half-written file is left.
    """
    with AudioFileWriter(
        path,
        sample_rate_hz,
        format=format,
        metadata=metadata,
        output_rate_hz=output_rate_hz,
        chapters=chapters,
    ) as writer:
        writer.write(waveform)
    assert writer.result is not None
    return writer.result


class _Outbox:
    """A sink that cannot be rewound and gives away what was written to it."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._pending)
        self._pending.clear()
        return taken


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
