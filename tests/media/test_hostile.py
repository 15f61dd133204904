"""Files that attack: each is refused as BadPrompt, quickly, with nothing opened, quoted or blown up."""

import contextlib
import io
import os
import random
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dia.errors import BadPrompt
from dia.media.encode import AudioEncoder, encode_audio
from dia.media.read import probe, read_audio, read_metadata
from tests.media.signals import RATE, riff, tone, voice

SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 45454 RTP/AVP 0\r\n"
DISGUISES = {
    "elf": b"\x7fELF" + bytes(200),
    "empty": b"",
    "ff": b"\xff" * 2000,
    "html": b"<!doctype html><html><audio src='a.wav'></html>",
    "one byte": b"R",
    "sdp": SDP,
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "utf-16": "This is text.".encode("utf-16"),
    "zeros": bytes(5000),
    "zip": b"PK\x03\x04" + bytes(200),
    "caf": b"caff\x00\x01\x00\x00desc" + bytes(100),
    "aiff": b"FORM\x00\x00\x10\x00AIFFCOMM" + bytes(100),
}


def refused_in_a_second(source: object, words: str = "; ", **limits: float) -> None:
    started = time.monotonic()
    with pytest.raises(BadPrompt, match=words):
        read_audio(source, sample_rate_hz=RATE, **limits)  # type: ignore[arg-type]
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("kind", list(DISGUISES))
def test_what_is_not_a_recording_is_refused_by_path_and_by_bytes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(DISGUISES[kind])
    for source in (path, DISGUISES[kind]):
        refused_in_a_second(source, "not audio of a known kind|is empty")
        for reader in (probe, read_metadata):
            with pytest.raises(BadPrompt):
                reader(source)  # type: ignore[operator]


def test_a_concat_list_does_not_read_its_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's concat demuxer would decode the sibling, by path and, relative to the folder one is in, by bytes."""
    (tmp_path / "victim.wav").write_bytes(encode_audio(tone(1.0), RATE, "wav"))
    script = b"ffconcat version 1.0\nfile victim.wav\n"
    (tmp_path / "upload.wav").write_bytes(script)
    monkeypatch.chdir(tmp_path)
    for source in (tmp_path / "upload.wav", "upload.wav", script, io.BytesIO(script)):
        refused_in_a_second(source, "not audio of a known kind")


def test_playlists_and_descriptions_open_no_connection() -> None:
    """Addresses of a listener of our own: nobody may come, and no socket may be made."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.wav"
        sockets_before = _sockets()
        for text in (f"#EXTM3U\n#EXTINF:1,\n{address}\n", f"<MPD><BaseURL>{address}</BaseURL></MPD>", SDP.decode()):
            refused_in_a_second(text.encode())
        # An MP4 whose data reference names an address instead of the file itself.
        own, foreign = sized(b"url \0\0\0\1"), sized(b"url " + bytes(4) + address.encode() + b"\0")
        path = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
        linked = replace_box(encode_audio(tone(0.2), RATE, "m4a"), path, own, foreign)
        with contextlib.suppress(BadPrompt):
            read_audio(linked, sample_rate_hz=RATE)
        assert _sockets() == sockets_before
        with pytest.raises(BlockingIOError):
            listener.accept()


def _sockets() -> int:
    if not os.path.isdir("/proc/self/fd"):
        return 0
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.readlink(link).startswith("socket:") for link in links if os.path.islink(link))


def test_hours_of_silence_stop_at_the_limit() -> None:
    """An hour at 44.1 kHz is half a megabyte of FLAC and 635 MB of samples; a streamed file does not declare it."""
    encoder = AudioEncoder("flac", 8_000)
    bomb = encoder.write(np.zeros(1200 * 8_000, np.float32)) + encoder.close()
    assert len(bomb) < 1_000_000
    before = _peak_memory()
    refused_in_a_second(bomb, "goes on after 60 s", max_duration_s=60)
    assert _peak_memory() - before < 50_000_000
    refused_in_a_second(
        encode_audio(np.zeros(300 * 8_000, np.float32), 8_000, "flac"), "300.0 s; at most 60 s", max_duration_s=60
    )


def _peak_memory() -> int:
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def test_decoding_stops_when_the_time_is_over(capfd: pytest.CaptureFixture[str]) -> None:
    refused_in_a_second(riff(bytes(2 * RATE * 30)), "not decoded within", time_limit_s=1e-4)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"claimed_bytes": 0xFFFFFF00}, "2,000 of 4,294,967,040 bytes"),
        ({"channels": 0}, "0 channels"),
        ({"channels": 7}, "7 channels"),
        ({"channels": 8, "rate": 192_000}, "8 channels"),
        ({"channels": 65_535}, "65535 channels"),
        ({"rate": 0}, "cannot be decoded"),
        ({"rate": 3_999}, "3999 Hz"),
        ({"rate": 384_001}, "384001 Hz"),
        ({"rate": 4_000_000_000}, "cannot be decoded"),
        ({"bits": 0}, "unknown codec"),
        ({"bits": 65_535}, "unknown codec"),
        ({"tag": 0x161}, "wmav2 sound is not accepted"),
        ({"tag": 0xFFFE}, "unknown codec"),
    ],
)
def test_impossible_wav_heads(head: dict[str, int], words: str) -> None:
    refused_in_a_second(riff(bytes(2_000), **head), words)


def test_six_channels_are_the_most() -> None:
    assert len(read_audio(riff(bytes(12 * 500), channels=6), sample_rate_hz=RATE)) == 500


def sized(body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 4) + body


def replace_box(data: bytes, path: tuple[bytes, ...], old: bytes, new: bytes) -> bytes:
    """An MP4 with `old` replaced by `new` and the sizes of the boxes on the path put right. The boxes after `moov`
    do not move, since our files have it last."""
    at = data.index(old)
    grown = bytearray(data[:at] + new + data[at + len(old) :])
    position = 0
    for name in path:
        position = data.index(name, position)
        size = struct.unpack(">I", data[position - 4 : position])[0]
        grown[position - 4 : position] = struct.pack(">I", size + len(new) - len(old))
    return bytes(grown)


def with_swapped_channels(movie: bytes) -> bytes:
    """Adds a `chan` box that lists the right channel before the left: FFmpeg makes a custom layout of it."""
    labels = b"".join(struct.pack(">II", label, 0) + bytes(12) for label in (2, 1))
    box = sized(b"chan" + bytes(4) + struct.pack(">III", 0, 0, 2) + labels)
    at = movie.index(b"esds") - 4
    esds = movie[at : at + struct.unpack(">I", movie[at : at + 4])[0]]
    path = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4a")
    return replace_box(movie, path, esds, esds + box)


def ambisonic(opus: bytes) -> bytes:
    """The same Ogg with channel mapping family 2 in its head; the page's checksum is made to fit."""
    page = bytearray(opus[: opus.index(b"OggS", 4)])
    at = page.index(b"OpusHead")
    page[at + 18] = 2
    page[at + 19 : at + 19] = bytes([1, 0, 0])
    page[26 + 1] += 3
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", ogg_checksum(bytes(page)))
    return bytes(page) + opus[opus.index(b"OggS", 4) :]


def ogg_checksum(page: bytes) -> int:
    """RFC 3533, 6: polynomial 0x04C11DB7, no reflection, start 0."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


ATTACK = """
import sys
from dia.errors import BadPrompt
from dia.media.read import read_audio
try:
    print("decoded", len(read_audio(sys.stdin.buffer.read(), sample_rate_hz=44_100)) > 0)
except BadPrompt as error:
    print("refused", error)
"""


@pytest.mark.parametrize("kind", ["mp4", "opus", "caf"])
def test_a_custom_channel_layout_does_not_abort_the_process(kind: str) -> None:
    """PyAV up to 19.0 frees a custom layout twice: one small upload would end the server. In a child, to see it."""
    caf = b"caff\x00\x01\x00\x00"
    for name, body in [
        (b"desc", struct.pack(">d4sIIIII", 44_100.0, b"lpcm", 0, 4, 1, 2, 16)),
        (b"chan", struct.pack(">IIIII12xII12x", 0, 0, 2, 2, 0, 1, 0)),
        (b"data", bytes(4 + 4 * 44_100)),
    ]:
        caf += name + struct.pack(">q", len(body)) + body
    attack = {
        "mp4": lambda: with_swapped_channels(encode_audio(tone(0.2), RATE, "m4a")),
        "opus": lambda: ambisonic(encode_audio(tone(0.2), RATE, "opus")),
        "caf": lambda: caf,
    }[kind]()
    child = subprocess.run([sys.executable, "-c", ATTACK], input=attack, capture_output=True, check=False)
    assert child.returncode == 0, child.stderr.decode()
    expected = {
        "mp4": "decoded True",
        "opus": "refused opus sound with custom channels",
        "caf": "refused the file is not",
    }
    assert child.stdout.decode().startswith(expected[kind])


@pytest.mark.parametrize("changes", [120, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus", "aac", "m4a"])
def test_damaged_files_raise_nothing_else(name: str, changes: int) -> None:
    """Flipped bits, overwritten lengths, swapped parts: sound or BadPrompt, never more than a moment."""
    original = encode_audio(voice(0.2), RATE, name, metadata={"title": "a", "key": "value"})
    rng = random.Random(name)
    outcomes = {"sound": 0, "refused": 0}
    started = time.monotonic()
    for _ in range(changes):
        data = bytearray(original)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(min(len(data), 400) if rng.random() < 0.5 else len(data))] = rng.choice(
                [0, 127, 255, 64]
            )
        if rng.random() < 0.3:
            a, b = sorted(rng.sample(range(len(data)), 2))
            data = data[:a] + data[b:] + data[a:b]
        try:
            read_audio(bytes(data), sample_rate_hz=RATE, max_duration_s=60)
            outcomes["sound"] += 1
        except BadPrompt:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0
    assert time.monotonic() - started < changes / 6


def test_messages_quote_nothing_of_the_file() -> None:
    secret = b"ffconcat SECRET-WORD " * 5
    for data in (secret, b"RIFF\0\0\0\0WAVE" + secret, b"fLaC" + secret, b"OggS" + secret):
        with pytest.raises(BadPrompt) as caught:
            read_audio(data, sample_rate_hz=RATE)
        assert "SECRET" not in str(caught.value)
