"""Byte layouts: PCM and WAV written here, every other format by FFmpeg through PyAV. Knows nothing of files' names.

A writer takes float32 samples in ±1 at its rate and puts bytes into a sink. A sink that can seek gets a head that is
completed at the end; one that cannot gets the head of a stream. Output depends on samples and metadata alone: no
clock, no random serial number, no library version, so equal input gives equal bytes.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np

from dia.errors import BadParameter
from dia.media.formats import Format

__all__ = ["EXTRA_TAGS_KEY", "INFO_TAGS", "INT16_SCALE", "Chapter", "Sink", "Writer", "make_writer", "to_int16"]

# The size that says "unknown, read to the end"; also what OpenAI's speech endpoint sends.
_UNKNOWN_SIZE = 0xFFFFFFFF
INT16_SCALE = 32_768.0  # what decoders divide by
_WAV_LIMIT = "a wav file ends at 4 GiB; write flac instead"
# RIFF INFO chunk names of the usual tags (Exif 2.3, annex on RIFF; same table as FFmpeg's libavformat/riff.c).
INFO_TAGS: Mapping[str, str] = {
    "album": "IPRD",
    "artist": "IART",
    "comment": "ICMT",
    "copyright": "ICOP",
    "date": "ICRD",
    "encoder": "ISFT",
    "genre": "IGNR",
    "title": "INAM",
}
# Tags that the iTunes atoms written by FFmpeg can hold.
_MP4_TAGS = {"album", "artist", "comment", "copyright", "date", "description", "genre", "title"}
# WAV and MP4 have no free-form tags: the others travel as one JSON object under this INFO chunk or MP4 tag.
EXTRA_TAGS_KEY = {"wav": "IXTR", "mp4": "keywords"}


@dataclass(frozen=True, slots=True)
class Chapter:
    """A titled stretch of an audiobook, in seconds from the start."""

    title: str
    start_s: float
    end_s: float


class Sink(Protocol):
    """Where bytes go. One with a `seek` method is taken for a file that can be rewound."""

    def write(self, data: bytes, /) -> int: ...


class Writer(Protocol):
    """Takes float32 samples [samples] in ±1; `finish` completes the sink, `abandon` lets go of it."""

    def write(self, samples: np.ndarray) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


def make_writer(
    fmt: Format, sample_rate_hz: int, metadata: Mapping[str, str], chapters: Sequence[Chapter], sink: Sink
) -> Writer:
    """The writer of a format.

    Raises:
        BadParameter: metadata or chapters in a format that holds none, or metadata that cannot be stored.
    """
    if metadata and not fmt.holds_metadata:
        raise BadParameter(f"{fmt.name} holds no metadata; leave it out or choose another format")
    if chapters and fmt.muxer != "ipod":
        raise BadParameter(f"{fmt.name} holds no chapters; leave them out or write m4b")
    for key, value in metadata.items():
        if not key or "=" in key or "\0" in key + value or not key.isprintable() or not key.isascii():
            raise BadParameter(f"metadata key {key[:40]!r}: use printable ASCII without '=', and no NUL in the value")
    if fmt.name == "pcm":
        return _PcmWriter(sink)
    if fmt.name == "wav":
        return _WavWriter(sink, sample_rate_hz, metadata)
    return _FfmpegWriter(fmt, sink, sample_rate_hz, metadata, chapters)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples in ±1 to little-endian int16."""
    scaled = np.rint(samples.astype(np.float64) * INT16_SCALE)
    return np.clip(scaled, -32768, 32767).astype("<i2")


class _PcmWriter:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, samples: np.ndarray) -> None:
        self._sink.write(to_int16(samples).tobytes())

    def finish(self) -> None:
        """Nothing to complete: raw samples have neither head nor tail."""

    def abandon(self) -> None:
        """Nothing to let go of."""


class _WavWriter:
    """PCM16 mono. The head is `RIFF`, `fmt `, `data`: 44 bytes; a LIST chunk comes between only for metadata."""

    def __init__(self, sink: Sink, sample_rate_hz: int, metadata: Mapping[str, str]) -> None:
        self._sink = sink
        self._rate = sample_rate_hz
        self._info = _riff_info(metadata)
        self._data_bytes = 0
        self._sink.write(self._head(None))

    def write(self, samples: np.ndarray) -> None:
        data = to_int16(samples).tobytes()
        self._data_bytes += len(data)
        if hasattr(self._sink, "seek") and self._data_bytes + len(self._info) + 36 >= _UNKNOWN_SIZE:
            raise BadParameter(f"sound of {self._data_bytes // 2 // self._rate} s is too long: {_WAV_LIMIT}")
        self._sink.write(data)

    def finish(self) -> None:
        if hasattr(self._sink, "seek"):
            self._sink.seek(0)
            self._sink.write(self._head(self._data_bytes))
            self._sink.seek(0, 2)

    def abandon(self) -> None:
        """Nothing to let go of."""

    def _head(self, data_bytes: int | None) -> bytes:
        riff_bytes = _UNKNOWN_SIZE if data_bytes is None else 36 + len(self._info) + data_bytes
        fmt_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, self._rate, self._rate * 2, 2, 16)
        data_head = struct.pack("<4sI", b"data", _UNKNOWN_SIZE if data_bytes is None else data_bytes)
        return struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE") + fmt_chunk + self._info + data_head


def _riff_info(metadata: Mapping[str, str]) -> bytes:
    if not metadata:
        return b""
    chunks = {INFO_TAGS[key]: value for key, value in metadata.items() if key in INFO_TAGS}
    extra = {key: value for key, value in metadata.items() if key not in INFO_TAGS}
    if extra:
        chunks[EXTRA_TAGS_KEY["wav"]] = json.dumps(extra, ensure_ascii=False, sort_keys=True)
    body = b"INFO"
    for name, value in chunks.items():
        text = value.encode() + b"\0"
        body += name.encode() + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    return b"LIST" + struct.pack("<I", len(body)) + body


class _FfmpegWriter:
    def __init__(
        self,
        fmt: Format,
        sink: Sink,
        sample_rate_hz: int,
        metadata: Mapping[str, str],
        chapters: Sequence[Chapter],
    ) -> None:
        rewindable = hasattr(sink, "seek")
        self._format = fmt
        self._rate = sample_rate_hz
        self._samples = 0
        container = av.open(
            sink, "w", format=fmt.muxer, options=_muxer_options(fmt, rewindable=rewindable, tags=bool(metadata))
        )
        assert fmt.codec is not None
        stream = container.add_stream(fmt.codec, rate=sample_rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        self._stream.codec_context.format = fmt.sample_format
        self._stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if fmt.bit_rate_bps is not None:
            self._stream.bit_rate = min(fmt.bit_rate_bps, _max_bit_rate(fmt, sample_rate_hz))
        container.metadata.update(_mp4_tags(metadata) if fmt.muxer == "ipod" else metadata)
        if chapters:
            container.set_chapters([_ffmpeg_chapter(idx, chapter) for idx, chapter in enumerate(chapters)])
        container.start_encoding()
        self._container: av.container.OutputContainer | None = container

    def write(self, samples: np.ndarray) -> None:
        data = to_int16(samples) if self._format.sample_format == "s16" else samples.astype(np.float32, copy=False)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(data)[np.newaxis], format=self._format.sample_format, layout="mono"
        )
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._samples
        self._samples += len(samples)
        self._mux(frame)

    def finish(self) -> None:
        if self._samples:
            self._mux(None)
        assert self._container is not None
        self._container.close()

    def abandon(self) -> None:
        # Closing would write the tail of the file; letting go frees it without.
        self._container = None

    def _mux(self, frame: av.AudioFrame | None) -> None:
        assert self._container is not None
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def _muxer_options(fmt: Format, *, rewindable: bool, tags: bool) -> dict[str, str]:
    options = {"fflags": "+bitexact"}
    if not rewindable:
        options["flush_packets"] = "1"
    if fmt.muxer == "ogg" and not rewindable:
        # The default page is one second long, which a listener would wait for.
        options["page_duration"] = "100000"
    if fmt.muxer == "adts" and tags:
        options["write_id3v2"] = "1"
    if fmt.name == "m4b":
        options["brand"] = "M4B "
    if fmt.muxer == "ipod" and not rewindable:
        options["movflags"] = "+frag_keyframe+delay_moov+default_base_moof"
        options["frag_duration"] = "200000"
    return options


def _max_bit_rate(fmt: Format, sample_rate_hz: int) -> int:
    """MPEG 2.5 layer III knows at most 64 kb/s; AAC at most 6,144 bits a frame of 1,024 samples and channel."""
    if fmt.codec == "libmp3lame" and sample_rate_hz < 16_000:
        return 64_000
    if fmt.codec == "aac":
        return sample_rate_hz * 6_144 // 1_024
    return 512_000


def _mp4_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    tags = {key: value for key, value in metadata.items() if key in _MP4_TAGS}
    extra = {key: value for key, value in metadata.items() if key not in _MP4_TAGS}
    if extra:
        tags[EXTRA_TAGS_KEY["mp4"]] = json.dumps(extra, ensure_ascii=False, sort_keys=True)
    return tags


def _ffmpeg_chapter(idx: int, chapter: Chapter) -> Any:
    if not 0 <= chapter.start_s < chapter.end_s:
        raise BadParameter(
            f"chapter {idx + 1} runs from {chapter.start_s} to {chapter.end_s} s; it must start at 0 s or later "
            "and end after its start"
        )
    return {
        "id": idx,
        "start": round(chapter.start_s * 1000),
        "end": round(chapter.end_s * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": chapter.title},
    }
