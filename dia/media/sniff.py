"""Tells a container from its first bytes, and whether its end is there. Reads bytes, decodes nothing.

Only what stands in `CONTAINERS` is ever handed to FFmpeg, each with its one demuxer and the decoders that belong in
it: a list of a dozen formats that people record in, instead of the three hundred that FFmpeg would try.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from dia.errors import BadPrompt, NotAudio

__all__ = [
    "CONTAINERS",
    "MAX_CHANNELS",
    "Container",
    "has_declared_length",
    "refuse_bad_shape",
    "refuse_channels",
    "sniff",
]

# Recordings have up to 5.1 channels; from 8 planes on PyAV reads past the end of a frame (see `read.py`).
MAX_CHANNELS = 6

_PCM = (
    *("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"),
    *("pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be"),
)
_MPEG = ("mp3float", "mp3", "mp2float", "mp2")
_OPUS = ("opus", "libopus")

# Sizes by which a wav writer says that it did not know: streams end where their bytes end.
_UNKNOWN_WAV_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF - 36, 0x7FFFF000)


@dataclass(frozen=True, slots=True)
class Container:
    """A container that is accepted.

    Attributes:
        name: for people.
        demuxer: FFmpeg's name of the only demuxer that will be opened.
        decoders: FFmpeg's names of the only decoders that will run. MP4 has no PCM or FLAC: there the channel
            layout would come from the file (see the docstring of `read.py`). Matroska has no PCM: its count of
            channels would be believed, and 65,535 keep FFmpeg busy for seconds before the first frame.
        declares_length: whether the head states a length that the sound must reach.
        states_padding: whether the decoded sound must be cut at that length.
        padding_s: how much longer than the sound itself the decoded samples may be.
    """

    name: str
    demuxer: str
    decoders: tuple[str, ...]
    declares_length: bool = True
    states_padding: bool = False
    padding_s: float = 0.0


_WAV = Container("wav", "wav", (*_PCM, "adpcm_ms", "adpcm_ima_wav"), declares_length=False)
_FLAC = Container("flac", "flac", ("flac",))
_MP3 = Container("mp3", "mp3", _MPEG, padding_s=0.1)
# A raw stream has no head; FFmpeg's length is a guess from the bit rate.
_ADTS = Container("aac", "aac", ("aac",), declares_length=False, padding_s=0.1)
_OGG = Container("ogg", "ogg", (*_OPUS, "vorbis", "flac"), declares_length=False)
_MP4 = Container("mp4", "mov", ("aac", "alac", *_MPEG, *_OPUS), states_padding=True, padding_s=0.1)
_WEBM = Container("webm", "matroska", (*_OPUS, "vorbis", "aac", "flac", *_MPEG))

CONTAINERS = (_WAV, _FLAC, _MP3, _ADTS, _OGG, _MP4, _WEBM)

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def sniff(file: BinaryIO) -> Container:
    """The container of a rewound binary file, which is left rewound.

    Raises:
        BadPrompt: empty file, or none of `CONTAINERS`; the file's own bytes are not quoted.
    """
    file.seek(0)
    head = file.read(16)
    if not head:
        raise BadPrompt("audio file is empty (0 bytes); send a recording")
    found = _by_magic(head)
    if found is None and head[:3] == b"ID3" and len(head) >= 10:
        found = _after_id3(file, head)
    file.seek(0)
    if found is None:
        known = ", ".join(container.name for container in CONTAINERS)
        raise NotAudio(f"the file is not audio of a known kind ({known}); convert it to one of these")
    return found


def _by_magic(head: bytes) -> Container | None:
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _WAV
    if head[4:8] in _MP4_BOXES:
        return _MP4
    starts = {b"fLaC": _FLAC, b"OggS": _OGG, b"\x1a\x45\xdf\xa3": _WEBM}
    return starts.get(head[:4]) or _by_sync_word(head)


def _by_sync_word(head: bytes) -> Container | None:
    """MPEG audio: 11 or 12 set bits, then version and layer (ISO/IEC 11172-3, 2.4.1.3; 13818-7, 6.2)."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _ADTS
    layer = head[1] >> 1 & 3
    is_mpeg = head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08 and layer in (1, 2)
    is_valid = head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
    return _MP3 if is_mpeg and is_valid else None


def _id3_end(head: bytes) -> int:
    """Where an ID3 tag ends; its length is four bytes of seven bits (ID3v2.4, 3.1)."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _after_id3(file: BinaryIO, head: bytes) -> Container | None:
    """An ID3 tag stands before mp3, aac or flac."""
    file.seek(_id3_end(head))
    start = file.read(16)
    if start[:4] == b"fLaC":
        return _FLAC
    # Some taggers pad with zeros after the tag; mp3 is what the tag was made for.
    return _by_sync_word(start) or _MP3


def has_declared_length(file: BinaryIO, container: Container) -> bool:
    """Whether FFmpeg's duration is the file's own word. MP3 states it in its first frame or not at all, and then
    FFmpeg guesses from the bit rate, which is wrong where that varies."""
    if container is not _MP3:
        return container.declares_length
    file.seek(0)
    head = file.read(10)
    file.seek(_id3_end(head) if head[:3] == b"ID3" else 0)
    first_frame = file.read(256)
    file.seek(0)
    mark = max(first_frame.find(b"Xing"), first_frame.find(b"Info"))
    # Four bytes of flags follow, of which bit 0 says that four bytes with the number of frames come next.
    return mark >= 0 and first_frame[mark + 7] & 1 == 1 and first_frame[mark + 8 : mark + 12] != b"\0\0\0\0"


def refuse_bad_shape(file: BinaryIO, container: Container) -> None:
    """Refuses what FFmpeg would not notice, or notice late: a missing end, a WAV of too many channels.

    Raises:
        BadPrompt: with how much of the file is missing, or the number of channels.
    """
    missing = None
    if container is _WAV:
        missing = _missing_wav_end(file)
    elif container is _OGG:
        missing = _missing_ogg_end(file)
    file.seek(0)
    if missing is not None:
        raise BadPrompt(f"audio file is cut off: {missing}; send the whole file")


def refuse_channels(channels: int) -> None:
    """Raises BadPrompt unless 1 to `MAX_CHANNELS`."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadPrompt(f"audio has {channels} channels; 1 to {MAX_CHANNELS} are accepted; mix it down")


def _missing_wav_end(file: BinaryIO) -> str | None:
    end = file.seek(0, 2)
    file.seek(0)
    is_rf64 = file.read(4) == b"RF64"
    position = 12
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"fmt " and position + 12 <= end:
            refuse_channels(struct.unpack("<HH", file.read(4))[1])
        if name == b"data":
            present = end - position - 8
            is_streamed = is_rf64 or size in _UNKNOWN_WAV_SIZES
            return None if is_streamed or present >= size else f"{present:,} of {size:,} bytes of sound are there"
        position += 8 + size + size % 2
    return None


def _missing_ogg_end(file: BinaryIO) -> str | None:
    """Looks at the last page (RFC 3533, 6): a head of 27 bytes, a table of lengths, and the lengths' sum of data."""
    end = file.seek(0, 2)
    # A page is at most 65,307 bytes.
    file.seek(max(0, end - 70_000))
    tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0:
        return "its last page is not there"
    page = tail[start:]
    segments = page[26] if len(page) > 26 else 0
    if len(page) < 27 + segments or len(page) < 27 + segments + sum(page[27 : 27 + segments]):
        return "its last page is incomplete"
    return None
