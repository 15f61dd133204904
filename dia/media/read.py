"""Any recording, from a path, bytes or an open file, to a mono float32 waveform. Trusts nothing inside the file.

What a hostile file could do, and what stops it here:
  - Name other files or addresses (concat lists, SDP, playlists): the container is told from its first bytes, FFmpeg
    is given exactly that demuxer, and reads through our own file object; no protocol is open to it.
  - Unpack to hours of sound: samples are counted while they are decoded, and decoding stops at the limit.
  - Take for ever: every read and every frame looks at the clock.
  - Abort the process: PyAV up to 19.0 frees custom channel layouts twice and reads past 7 channel planes. Such
    layouts are refused before a frame is decoded (`_refuse_custom_layouts`), many channels before a frame is read.
    This is also why CAF and AIFF are not in the table: their channel chunks make custom layouts.
"""

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import soxr

from dia.errors import BadParameter, BadPrompt
from dia.media.sniff import Container, has_declared_length, refuse_bad_shape, refuse_channels, sniff
from dia.media.tags import unpack_tags

__all__ = ["AudioInfo", "AudioSource", "probe", "read_audio", "read_audio_with_info", "read_metadata", "resample"]

AudioSource = str | os.PathLike[str] | bytes | BinaryIO

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
DEFAULT_TIME_LIMIT_S = 60.0
# Decoded sound may fall short of what its container declares by rounding and codec delay, never by this much.
_TRUNCATION_TOLERANCE_S = 0.2

# Tags in no known alphabet must not keep a recording from being read. From 19 on PyAV does this by itself, and the argument
# is an error.
_TAG_ERRORS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}

# Full scale of FFmpeg's integer sample formats.
_FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0, "s64": 9223372036854775808.0}


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a recording is before it is converted.

    `duration_s` is measured when the sound was decoded, and what the container declares (None if it does not) when
    it was only probed.
    """

    container: str
    codec: str
    sample_rate_hz: int
    channels: int | None
    duration_s: float | None


def read_audio(
    source: AudioSource,
    *,
    sample_rate_hz: int,
    max_duration_s: float | None = None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> np.ndarray:
    """Decodes a recording to float32 [samples] at `sample_rate_hz`: channels averaged, resampled band-limited.

    Args:
        source: a path, the file's bytes, or a binary file object (read from its beginning).
        sample_rate_hz: the rate wanted.
        max_duration_s: decoding stops with an error as soon as the sound is longer; None for no limit.
        time_limit_s: decoding stops with an error after this much wall-clock time.

    Raises:
        BadPrompt: missing or unreadable file, no audio in it, damaged or cut off, 0 s, too long, NaN samples,
            too many channels, or a container that is not on the list.
    """
    return read_audio_with_info(
        source, sample_rate_hz=sample_rate_hz, max_duration_s=max_duration_s, time_limit_s=time_limit_s
    )[0]


def read_audio_with_info(
    source: AudioSource,
    *,
    sample_rate_hz: int,
    max_duration_s: float | None = None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> tuple[np.ndarray, AudioInfo]:
    """`read_audio` and what the recording was before: container, codec, original rate, channels, exact duration."""
    with _open(source, time_limit_s) as opened:
        waveform, info = _decode(opened, max_duration_s)
    if not np.isfinite(waveform).all():
        count = int(np.count_nonzero(~np.isfinite(waveform)))
        raise BadPrompt(f"audio holds {count} samples that are NaN or infinite; export it again as 16-bit wav")
    return resample(waveform, info.sample_rate_hz, sample_rate_hz), info


def probe(source: AudioSource, *, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> AudioInfo:
    """What the head of a recording declares, without decoding the sound; `channels` stays None.

    Raises: BadPrompt as `read_audio`, as far as the head can tell.
    """
    with _open(source, time_limit_s) as opened:
        return AudioInfo(
            opened.container.name, opened.codec, _checked_rate(opened.stream.rate), None, opened.declared_s
        )


def read_metadata(source: AudioSource) -> dict[str, str]:
    """The tags of a recording, those that this package wrote under their own names.

    Raises: BadPrompt as `read_audio`.
    """
    with _open(source, DEFAULT_TIME_LIMIT_S) as opened:
        found = {**opened.demuxer.metadata, **opened.stream.metadata}
    return unpack_tags({_readable(key): _readable(value) for key, value in found.items()})


def _readable(tag: str) -> str:
    """Text that can be printed and sent: bytes that are no UTF-8 become replacement characters."""
    return tag.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Band-limited resampling (soxr HQ: images and aliases below -100 dB); the same samples if the rates are equal.

    The length is round(samples * to_hz / from_hz), and nothing is shifted in time.

    Raises:
        BadParameter: a rate below 1 Hz.
    """
    if from_hz < 1 or to_hz < 1:
        raise BadParameter(f"resampling from {from_hz} to {to_hz} Hz; both rates must be at least 1 Hz")
    samples = np.ascontiguousarray(waveform, dtype=np.float32)
    if from_hz == to_hz or not len(samples):
        return samples
    resampled: np.ndarray = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return resampled


@dataclass(frozen=True, slots=True)
class _Opened:
    container: Container
    codec: str
    demuxer: av.container.InputContainer
    stream: av.AudioStream
    declared_s: float | None
    file: "_GuardedFile"


class _GuardedFile:
    """The only door FFmpeg has to the outside: reads and seeks in one file, which ends when the time is over.

    An error raised inside `read` would be printed by PyAV when FFmpeg reads on; an early end is quiet, and whoever
    asks `check_clock` next learns the reason.
    """

    def __init__(self, file: BinaryIO, time_limit_s: float) -> None:
        self._file = file
        self._time_limit_s = time_limit_s
        self._deadline = time.monotonic() + time_limit_s

    def check_clock(self) -> None:
        if time.monotonic() > self._deadline:
            raise BadPrompt(
                f"audio was not decoded within {self._time_limit_s:g} s; send a shorter or simpler file, best a wav"
            )

    def read(self, size: int = -1) -> bytes:
        return b"" if time.monotonic() > self._deadline else self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


@contextmanager
def _open(source: AudioSource, time_limit_s: float) -> Iterator[_Opened]:
    with _binary_file(source) as file:
        container = sniff(file)
        guarded = _GuardedFile(file, time_limit_s)
        has_length = has_declared_length(file, container)
        refuse_bad_shape(file, container)
        with _failures_named(container, guarded):
            demuxer = av.open(
                guarded,
                "r",
                format=container.demuxer,
                options=_demuxer_options(container),
                **_TAG_ERRORS,
            )
        with demuxer:
            guarded.check_clock()
            yield _first_audio_stream(demuxer, container, guarded, has_length)


@contextmanager
def _binary_file(source: AudioSource) -> Iterator[BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        # A named pipe would be waited on for ever, a device read for ever.
        if not path.exists():
            raise BadPrompt(f"audio file {path} does not exist; check the path")
        if not path.is_file():
            raise BadPrompt(f"{path} is not a file; name an audio file")
        try:
            file = path.open("rb")
        except OSError as error:
            raise BadPrompt(f"audio file {path} cannot be read: {error.strerror}; check its permissions") from error
        with file:
            yield file
    else:
        # SpooledTemporaryFile, which uploads arrive in, says whether it is seekable from Python 3.11 on only.
        is_seekable = source.seekable() if hasattr(source, "seekable") else hasattr(source, "seek")
        yield source if is_seekable else io.BytesIO(source.read())


def _demuxer_options(container: Container) -> dict[str, str]:
    return {
        "format_whitelist": container.demuxer,
        "codec_whitelist": ",".join(container.decoders),
        # Our file object is not a protocol: none at all is allowed.
        "protocol_whitelist": "none",
    }


@contextmanager
def _failures_named(container: Container, file: _GuardedFile) -> Iterator[None]:
    """FFmpeg's errors become ours, without FFmpeg's wording, which can quote the file."""
    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError) as error:
        if isinstance(error, BadPrompt):
            raise
        file.check_clock()
        raise BadPrompt(
            f"audio file is damaged or cut off: it begins as {container.name} but cannot be decoded to its end; "
            "send the whole file or export it again as wav"
        ) from error


def _first_audio_stream(
    demuxer: av.container.InputContainer, container: Container, file: _GuardedFile, has_length: bool
) -> _Opened:
    if not demuxer.streams.audio:
        raise BadPrompt(f"{container.name} file has no audio stream; send a recording with sound")
    stream = demuxer.streams.audio[0]
    context = stream.codec_context
    if context is None:
        raise BadPrompt(f"{container.name} file has sound in an unknown codec; convert it to wav, flac or mp3")
    codec = context.codec.canonical_name
    if context.name not in container.decoders:
        raise BadPrompt(
            f"{container.name} file with {codec} sound is not accepted; convert it to wav, flac, mp3 or opus"
        )
    _refuse_custom_layouts(codec, context.extradata or b"")
    return _Opened(container, codec, demuxer, stream, _declared_s(demuxer, stream, has_length), file)


def _declared_s(demuxer: av.container.InputContainer, stream: av.AudioStream, has_length: bool) -> float | None:
    if not has_length:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska declares one length for the whole file, which a picture track may outlast.
    if demuxer.duration is not None and len(demuxer.streams) == 1:
        return demuxer.duration / av.time_base
    return None


def _refuse_custom_layouts(codec: str, extradata: bytes) -> None:
    """Refuses the streams of the accepted codecs whose decoder may set a custom channel layout (module docstring).

    Opus: channel mapping family, byte 18 of the head (RFC 7845, 5.1.1); families above 1 are ambisonics.
    AAC: audio object types from 31 up (ISO/IEC 14496-3, 1.6.2.1), of which 42 is USAC with its own channel lists.
    """
    is_ambisonic = codec == "opus" and len(extradata) > 18 and extradata[18] > 1
    is_extended_aac = codec == "aac" and len(extradata) > 0 and extradata[0] >> 3 == 31
    if is_ambisonic or is_extended_aac:
        raise BadPrompt(f"{codec} sound with custom channels is not accepted; convert it to mono wav")


def _checked_rate(rate_hz: int) -> int:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise BadPrompt(
            f"audio has a sample rate of {rate_hz} Hz; it must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz; convert it"
        )
    return rate_hz


def _decode(opened: _Opened, max_duration_s: float | None) -> tuple[np.ndarray, AudioInfo]:
    rate_hz = _checked_rate(opened.stream.rate)
    container = opened.container
    # Lossy codecs fill up their last frame and start late; only MP4 says by how much.
    max_s = float("inf") if max_duration_s is None else max_duration_s + container.padding_s
    if opened.declared_s is not None and opened.declared_s > max_s:
        raise BadPrompt(f"audio is {opened.declared_s:.1f} s; at most {max_duration_s:g} s; cut it shorter")
    chunks: list[np.ndarray] = []
    samples, channels = 0, 0
    for frame in _frames(opened):
        if frame.sample_rate != rate_hz:
            raise BadPrompt(
                f"audio changes its sample rate from {rate_hz} to {frame.sample_rate} Hz; export it again as wav"
            )
        channels = max(channels, frame.layout.nb_channels)
        chunks.append(_mono(frame))
        samples += len(chunks[-1])
        if samples / rate_hz > max_s:
            raise BadPrompt(f"audio goes on after {max_duration_s:g} s; that is the most; cut it shorter")
    if opened.declared_s is not None:
        _refuse_short_measure(samples / rate_hz, opened.declared_s)
    if not samples:
        raise BadPrompt("audio is 0 s long; send a recording with sound")
    waveform = np.concatenate(chunks)
    if container.states_padding and opened.declared_s is not None:
        waveform = waveform[: max(1, round(opened.declared_s * rate_hz))]
    return waveform, AudioInfo(container.name, opened.codec, rate_hz, channels, len(waveform) / rate_hz)


def _frames(opened: _Opened) -> Iterator[av.AudioFrame]:
    """Decoded frames, checked for time and channels before anybody looks at their planes."""
    with _failures_named(opened.container, opened.file):
        for packet in opened.demuxer.demux(opened.stream):
            opened.file.check_clock()
            for frame in packet.decode():
                assert isinstance(frame, av.AudioFrame)
                refuse_channels(frame.layout.nb_channels)
                yield frame


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of a frame's channels as float32 [samples], full scale = 1."""
    channels = frame.layout.nb_channels
    data = frame.to_ndarray()  # planar: [channels, samples]; packed: [1, samples * channels]
    if not frame.format.is_planar:
        data = data.reshape(-1, channels).T
    kind = frame.format.name.removesuffix("p")
    mean: np.ndarray = data[0].astype(np.float64) if channels == 1 else data.mean(axis=0, dtype=np.float64)
    if kind == "u8":
        mean = mean - 128.0
    waveform: np.ndarray = (mean / _FULL_SCALE.get(kind, 1.0)).astype(np.float32)
    return waveform


def _refuse_short_measure(decoded_s: float, declared_s: float) -> None:
    if decoded_s < declared_s - max(_TRUNCATION_TOLERANCE_S, declared_s * 0.01):
        raise BadPrompt(
            f"audio file is cut off: {decoded_s:.2f} s of the {declared_s:.2f} s that it declares; send the whole file"
        )
