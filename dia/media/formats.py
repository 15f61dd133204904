"""The table of audio formats that can be written: names, content types, sample rates. Knows no codec library."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from dia.errors import BadParameter, UnknownFormat

__all__ = ["FORMATS", "Format", "find_format", "find_format_of", "output_rate"]

_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_MIN_RATE_HZ, _MAX_RATE_HZ = 1_000, 384_000


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write sound.

    Attributes:
        name: what requests call it.
        content_type: the truth about the bytes, for HTTP.
        extension: file ending with its dot.
        default_rate_hz: rate written when none is asked for; None keeps the waveform's rate where it is allowed.
        allowed_rates_hz: rates the codec knows; None allows 1,000 to 384,000 Hz.
        holds_metadata: whether tags can be embedded; asking for tags in a format without is an error.
        muxer, codec, sample_format, bit_rate_bps: FFmpeg's names; None where this package writes the bytes itself.
    """

    name: str
    content_type: str
    extension: str
    default_rate_hz: int | None = None
    allowed_rates_hz: tuple[int, ...] | None = None
    holds_metadata: bool = True
    muxer: str | None = None
    codec: str | None = None
    sample_format: str = "s16"
    bit_rate_bps: int | None = None


def _aac_in_mp4(name: str) -> Format:
    return Format(
        name,
        "audio/mp4",
        f".{name}",
        None,
        _AAC_RATES,
        True,
        "ipod",
        "aac",
        sample_format="fltp",
        bit_rate_bps=128_000,
    )


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "wav": Format("wav", "audio/wav", ".wav"),
        "mp3": Format(
            "mp3", "audio/mpeg", ".mp3", None, _MP3_RATES, True, "mp3", "libmp3lame", "fltp", bit_rate_bps=128_000
        ),
        # Opus always runs at 48 kHz inside; writing that rate avoids a second resampler in the encoder.
        "opus": Format(
            "opus", "audio/ogg", ".opus", 48_000, _OPUS_RATES, True, "ogg", "libopus", "flt", bit_rate_bps=64_000
        ),
        "aac": Format("aac", "audio/aac", ".aac", None, _AAC_RATES, True, "adts", "aac", "fltp", bit_rate_bps=128_000),
        "flac": Format("flac", "audio/flac", ".flac", None, None, True, "flac", "flac"),
        # Headerless sound is taken for 24 kHz by the clients that ask for it.
        "pcm": Format("pcm", "audio/pcm", ".pcm", 24_000, holds_metadata=False),
        "m4a": _aac_in_mp4("m4a"),
        "m4b": _aac_in_mp4("m4b"),
    }
)


def find_format(name: str) -> Format:
    """The format of that name, in any case, with or without a leading dot.

    Raises:
        UnknownFormat: the message lists the known ones.
    """
    found = FORMATS.get(name.strip().lower().removeprefix("."))
    if found is None:
        raise UnknownFormat(f"format {name[:40]!r} is not known; choose one of {', '.join(FORMATS)}")
    return found


def find_format_of(path: Path) -> Format:
    """The format that a file's ending names; a path that is nothing but the name of a format counts too.

    Raises:
        UnknownFormat: also for a path such as `folder/.wav`, which would be a hidden file.
    """
    is_known = path.name.lower().removeprefix(".") in FORMATS
    if not path.suffix and not is_known:
        endings = ", ".join(fmt.extension for fmt in FORMATS.values())
        raise UnknownFormat(f"{path.name[:40]!r} has no ending that names its format; add one of {endings}")
    found = find_format(path.suffix or path.name)
    if path.name.startswith(".") and not path.suffix:
        raise UnknownFormat(
            f"{path} is an ending without a name; name a file, as in {path.parent / 'speech'}{path.name}"
        )
    return found


def output_rate(fmt: Format, sample_rate_hz: int, wanted_hz: int | None = None) -> int:
    """The rate that will be written for a waveform of `sample_rate_hz`.

    A wanted rate is taken exactly or refused. Without one: the format's default, else the waveform's own rate,
    else the next higher rate that the codec knows, so that no bandwidth is lost.

    Raises:
        BadParameter: a rate out of range, or one that the codec does not know.
    """
    for label, rate in (("sample rate", sample_rate_hz), ("output rate", wanted_hz)):
        if rate is not None and not _MIN_RATE_HZ <= rate <= _MAX_RATE_HZ:
            raise BadParameter(f"{label} is {rate} Hz; it must be {_MIN_RATE_HZ} to {_MAX_RATE_HZ} Hz; change it")
    allowed = fmt.allowed_rates_hz
    if wanted_hz is not None:
        if allowed is not None and wanted_hz not in allowed:
            known = ", ".join(str(rate) for rate in allowed)
            raise BadParameter(f"output rate is {wanted_hz} Hz; {fmt.name} holds only {known}; choose one of these")
        return wanted_hz
    rate = fmt.default_rate_hz or sample_rate_hz
    if allowed is None or rate in allowed:
        return rate
    return next((known for known in allowed if known > rate), allowed[-1])
