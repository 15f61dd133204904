"""Every format is really that format, whole and as a stream, and says the truth about itself."""

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.errors import BadParameter, UnknownFormat
from dia.media.encode import FORMATS, AudioEncoder, encode_audio, find_format, output_rate
from dia.media.read import read_audio, read_metadata
from tests.media.signals import RATE, snr_db, tone, voice

WITH_HEAD = [name for name in FORMATS if name != "pcm"]
# What the first decoder of each format must find: FFmpeg's container and codec.
TRUTH = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "mp3"),
    "opus": ("ogg", "opus"),
    "aac": ("aac", "aac"),
    "flac": ("flac", "flac"),
    "m4a": ("mov,mp4,m4a,3gp,3g2,mj2", "aac"),
    "m4b": ("mov,mp4,m4a,3gp,3g2,mj2", "aac"),
}
# Measured on the voice-like signal, less some dB; PCM16 is limited by its rounding alone.
LEAST_SNR_DB = {"wav": 70.0, "flac": 70.0, "opus": 18.0, "aac": 24.0, "m4a": 24.0, "m4b": 24.0, "mp3": 20.0}
# Samples before the sound in streams that cannot say so: AAC's first frame; LAME's delay plus the decoder's.
STREAM_LEAD = {"aac": 1024, "mp3": 1105}


def decode(data: bytes, rate: int = RATE) -> np.ndarray:
    return read_audio(data, sample_rate_hz=rate)


def stream(name: str, waveform: np.ndarray, chunk: int = 4410, **options: object) -> list[bytes]:
    encoder = AudioEncoder(name, RATE, **options)  # type: ignore[arg-type]
    pieces = [encoder.write(waveform[at : at + chunk]) for at in range(0, len(waveform), chunk)]
    return [*pieces, encoder.close()]


@pytest.mark.parametrize("name", WITH_HEAD)
def test_a_file_is_what_it_is_called(name: str) -> None:
    with av.open(io.BytesIO(encode_audio(voice(0.5), RATE, name))) as opened:
        found = opened.format.name, opened.streams.audio[0].codec_context.codec.canonical_name
    assert found == TRUTH[name]


@pytest.mark.parametrize("name", WITH_HEAD)
def test_round_trip_keeps_length_and_sound(name: str) -> None:
    wanted = voice(2.0)
    got = decode(encode_audio(wanted, RATE, name))
    lead = STREAM_LEAD["aac"] if name == "aac" else 0
    assert 0 <= len(got) - len(wanted) - lead <= (1024 if lead else 1)
    assert snr_db(wanted, got[lead:]) > LEAST_SNR_DB[name]


@pytest.mark.parametrize("name", list(FORMATS))
def test_pieces_of_a_stream_decode_to_the_samples_of_the_whole(name: str) -> None:
    wanted = voice(1.0)
    whole, pieces = encode_audio(wanted, RATE, name), b"".join(stream(name, wanted, chunk=1234))
    if name == "pcm":
        assert pieces == whole
        return
    expected, got = decode(whole), decode(pieces)
    lead = STREAM_LEAD["mp3"] if name == "mp3" else 0
    assert np.array_equal(got[lead : lead + len(expected)], expected)
    # A stream cannot say in its head where the last codec frame is filled up.
    assert len(got) - lead - len(expected) < 1200


@pytest.mark.parametrize("name", list(FORMATS))
def test_bytes_leave_while_the_sound_is_made(name: str) -> None:
    pieces = stream(name, voice(2.0))
    total, before_half = sum(map(len, pieces)), sum(map(len, pieces[: len(pieces) // 2]))
    assert 0.3 * total < before_half < 0.8 * total


@pytest.mark.parametrize("name", list(FORMATS))
def test_equal_sound_gives_equal_bytes(name: str) -> None:
    assert encode_audio(tone(0.3), RATE, name) == encode_audio(tone(0.3), RATE, name)
    assert stream(name, tone(0.3)) == stream(name, tone(0.3))


def test_whole_wav_has_the_44_byte_head_with_exact_sizes() -> None:
    data = encode_audio(tone(0.5), RATE, "wav")
    samples = RATE // 2
    assert data[:44] == struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + 2 * samples, b"WAVE"),
        *(b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16),
        *(b"data", 2 * samples),
    )
    assert len(data) == 44 + 2 * samples


def test_streamed_wav_has_the_same_head_with_unknown_sizes() -> None:
    whole, pieces = encode_audio(tone(0.5), RATE, "wav"), b"".join(stream("wav", tone(0.5)))
    assert pieces[4:8] == pieces[40:44] == b"\xff\xff\xff\xff"
    assert pieces[8:40] == whole[8:40]
    assert pieces[44:] == whole[44:]


def test_first_piece_of_a_streamed_wav_holds_the_whole_head() -> None:
    assert len(AudioEncoder("wav", RATE).write(tone(0.001))) >= 44


def test_pcm_is_24_khz_unless_asked_otherwise() -> None:
    wanted = tone(1.0)
    assert len(encode_audio(wanted, RATE, "pcm")) == 2 * 24_000
    assert len(encode_audio(wanted, RATE, "pcm", output_rate_hz=RATE)) == 2 * RATE
    got = np.frombuffer(encode_audio(wanted, RATE, "pcm"), "<i2").astype(np.float32) / 32768
    inner = slice(1000, -1000)
    assert snr_db(tone(1.0, rate=24_000)[inner], got[inner]) > 70


@pytest.mark.parametrize(
    ("name", "rate", "written"),
    [
        ("wav", 44_100, 44_100),
        ("opus", 44_100, 48_000),
        ("mp3", 44_100, 44_100),
        ("mp3", 96_000, 48_000),
        ("mp3", 40_000, 44_100),
        ("aac", 7_000, 8_000),
        ("pcm", 44_100, 24_000),
        ("flac", 37_123, 37_123),
    ],
)
def test_rate_written_follows_the_format(name: str, rate: int, written: int) -> None:
    assert output_rate(find_format(name), rate) == written
    assert len(encode_audio(tone(0.1, rate=rate), rate, name)) > 0


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_allowed_rate_can_be_written(name: str) -> None:
    for rate in FORMATS[name].allowed_rates_hz or (8_000, 16_000, 96_000):
        data = encode_audio(tone(0.2), RATE, name, output_rate_hz=rate)
        if name != "pcm":
            with av.open(io.BytesIO(data)) as opened:
                # Opus states 48 kHz whatever it was made from.
                assert opened.streams.audio[0].rate == (48_000 if name == "opus" else rate)


@pytest.mark.parametrize("rate", [0, -1, 999, 384_001, 11_025])
def test_a_rate_that_cannot_be_written_is_refused(rate: int) -> None:
    with pytest.raises(BadParameter, match=str(rate)):
        encode_audio(tone(0.1), RATE, "opus", output_rate_hz=rate)


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(UnknownFormat, match="'wma'.*wav, mp3, opus, aac, flac, pcm, m4a, m4b"):
        encode_audio(tone(0.1), RATE, "wma")


def test_format_names_are_read_in_any_case_and_with_a_dot() -> None:
    assert find_format(".WAV") is find_format(" wav ") is FORMATS["wav"]


@pytest.mark.parametrize("name", WITH_HEAD)
@pytest.mark.parametrize("streamed", [False, True])
def test_metadata_comes_back(name: str, streamed: bool) -> None:
    tags = {"title": "Zwei Äpfel", "comment": "odd", "seed": "42", "parameters": '{"temperature": 1.2}'}
    waveform = tone(0.2)
    data = (
        b"".join(stream(name, waveform, metadata=tags))
        if streamed
        else encode_audio(waveform, RATE, name, metadata=tags)
    )
    assert read_metadata(data) == tags


@pytest.mark.parametrize("name", WITH_HEAD)
def test_no_tag_is_written_unasked(name: str) -> None:
    data = encode_audio(tone(0.2), RATE, name)
    assert read_metadata(data) == {}
    assert b"LIST" not in data[:100]


def test_wav_metadata_stands_before_the_sound_and_leaves_it_alone() -> None:
    plain, tagged = encode_audio(tone(0.2), RATE, "wav"), encode_audio(tone(0.2), RATE, "wav", metadata={"title": "T"})
    assert tagged.index(b"LIST") == 36
    assert tagged.endswith(plain[44:])
    assert struct.unpack("<I", tagged[4:8])[0] == len(tagged) - 8


@pytest.mark.parametrize("tags", [{"a=b": "x"}, {"": "x"}, {"é": "x"}, {"a": "x\0y"}])
def test_metadata_that_cannot_be_stored_is_refused(tags: dict[str, str]) -> None:
    with pytest.raises(BadParameter, match="metadata key"):
        encode_audio(tone(0.1), RATE, "flac", metadata=tags)


def test_metadata_for_raw_samples_is_refused() -> None:
    with pytest.raises(BadParameter, match="pcm holds no metadata"):
        AudioEncoder("pcm", RATE, metadata={"title": "T"})


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_an_error_that_says_where(name: str, bad: float) -> None:
    waveform = tone(0.2)
    waveform[777] = bad
    with pytest.raises(BadParameter, match="1 samples that are NaN or infinite, the first at 777"):
        encode_audio(waveform, RATE, name)


@pytest.mark.parametrize("waveform", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16)])
def test_only_mono_floats_are_taken(waveform: np.ndarray) -> None:
    with pytest.raises(BadParameter, match="mono floats"):
        encode_audio(waveform, RATE, "wav")


def test_samples_beyond_full_scale_are_limited_and_counted() -> None:
    encoder = AudioEncoder("pcm", 24_000)
    data = encoder.write(np.array([0.0, 1.0, -1.0, 1.5, -2.0], np.float32)) + encoder.close()
    assert np.frombuffer(data, "<i2").tolist() == [0, 32767, -32768, 32767, -32768]
    assert encoder.clipped_samples == 2


@pytest.mark.parametrize("name", list(FORMATS))
def test_no_sound_at_all_still_ends_cleanly(name: str) -> None:
    encode_audio(np.zeros(0, np.float32), RATE, name)
    encoder = AudioEncoder(name, RATE)
    encoder.close()
    assert encoder.close() == b""
    with pytest.raises(BadParameter, match="closed"):
        encoder.write(tone(0.1))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=12), st.sampled_from(["wav", "pcm", "flac", "opus"]))
def test_how_a_stream_is_cut_does_not_matter(sizes: list[int], name: str) -> None:
    waveform = voice(0.3)
    encoder, at, data = AudioEncoder(name, RATE), 0, b""
    for size in sizes:
        data += encoder.write(waveform[at : at + size])
        at += size
    data += encoder.write(waveform[at:]) + encoder.close()
    assert data == b"".join(stream(name, waveform, chunk=100_000))


def test_sixteen_bit_samples_survive_unchanged() -> None:
    samples = np.arange(-32768, 32768, dtype=np.int32).astype(np.float32) / 32768
    for name in ("wav", "flac"):
        assert np.array_equal(decode(encode_audio(samples, RATE, name)), samples)
