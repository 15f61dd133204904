"""Any honest recording becomes a mono waveform at the wanted rate, and honest mistakes get a sentence with a cure."""

import io
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.errors import BadParameter, BadPrompt
from dia.media.encode import FORMATS, encode_audio
from dia.media.read import AudioInfo, probe, read_audio, read_audio_with_info, read_metadata, resample
from tests.media.signals import RATE, riff, snr_db, tone, voice

WITH_HEAD = [name for name in FORMATS if name != "pcm"]


def webm(waveform: np.ndarray) -> bytes:
    """What a browser records: Opus in WebM, stereo."""
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.tile(waveform[None], (2, 1)), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["path", "string", "bytes", "file", "spooled", "used file"])
def test_a_source_can_be_a_path_bytes_or_a_file(kind: str, tmp_path: Path) -> None:
    data = encode_audio(tone(0.2), RATE, "wav")
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    used = io.BytesIO(data)
    used.read()
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(data)
        sources = {"path": path, "string": str(path), "bytes": data, "file": io.BytesIO(data)}
        source = {**sources, "spooled": spooled, "used file": used}[kind]
        assert snr_db(tone(0.2), read_audio(source, sample_rate_hz=RATE)) > 70  # type: ignore[arg-type]


def test_a_file_that_cannot_seek_is_read_whole(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._inner = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
            return self._inner.readinto(buffer)

    assert len(read_audio(Pipe(encode_audio(tone(0.2), RATE, "wav")), sample_rate_hz=RATE)) == RATE // 5  # type: ignore[arg-type]


def test_info_tells_what_the_recording_was() -> None:
    stereo = np.stack([tone(0.5, rate=16_000), np.zeros(8000)], axis=1)
    data = riff((stereo * 32767).astype("<i2").tobytes(), rate=16_000, channels=2)
    waveform, info = read_audio_with_info(data, sample_rate_hz=RATE)
    assert info == AudioInfo("wav", "pcm_s16le", 16_000, 2, 0.5)
    assert waveform.dtype == np.float32
    assert len(waveform) == RATE // 2


@pytest.mark.parametrize("name", ["mp3", "flac", "m4a"])
def test_probe_reads_the_declared_length_without_decoding(name: str) -> None:
    info = probe(encode_audio(tone(1.0), RATE, name))
    assert info.sample_rate_hz == RATE
    assert info.duration_s == pytest.approx(1.0, abs=0.001)


def test_channels_are_averaged() -> None:
    left, right = tone(0.3, 440), tone(0.3, 1000)
    pair = np.stack([left, right], axis=1)
    data = riff(np.round(pair * 32768).astype("<i2").tobytes(), channels=2)
    assert snr_db((left + right) / 2, read_audio(data, sample_rate_hz=RATE)) > 70


@pytest.mark.parametrize(
    ("bits", "tag", "convert"),
    [
        (8, 1, lambda x: np.round(x * 127 + 128).astype("u1")),
        (16, 1, lambda x: np.round(x * 32767).astype("<i2")),
        (24, 1, lambda x: np.round(x * 8388607).astype("<i4").view("u1").reshape(-1, 4)[:, :3].copy()),
        (32, 1, lambda x: np.round(x.astype(np.float64) * 2147483647).astype("<i4")),
        (32, 3, lambda x: x.astype("<f4")),
        (64, 3, lambda x: x.astype("<f8")),
    ],
)
def test_every_sample_type_has_the_same_full_scale(bits: int, tag: int, convert) -> None:  # type: ignore[no-untyped-def]
    wanted = tone(0.2, level=0.9)
    got = read_audio(riff(convert(wanted).tobytes(), bits=bits, tag=tag), sample_rate_hz=RATE)
    assert snr_db(wanted, got) > (40 if bits == 8 else 80)


def test_what_a_browser_records_is_read() -> None:
    data = webm(tone(1.0, rate=48_000))
    waveform, info = read_audio_with_info(data, sample_rate_hz=RATE)
    assert (info.container, info.codec, info.channels) == ("webm", "opus", 2)
    assert len(waveform) == pytest.approx(RATE, abs=500)


@pytest.mark.parametrize("name", WITH_HEAD)
def test_a_cut_off_file_is_refused(name: str) -> None:
    data = encode_audio(voice(2.0), RATE, name)
    for share in (0.3, 0.6, 0.85):
        with pytest.raises(BadPrompt, match="cut off|unknown codec"):
            read_audio(data[: int(len(data) * share)], sample_rate_hz=RATE)


def test_a_wav_that_was_streamed_is_read_to_its_end() -> None:
    samples = (tone(0.5) * 32767).astype("<i2").tobytes()
    for claimed in (0xFFFFFFFF, 0):
        assert len(read_audio(riff(samples, claimed_bytes=claimed), sample_rate_hz=RATE)) == RATE // 2


@pytest.mark.parametrize("name", WITH_HEAD)
def test_the_longest_allowed_sound_passes_and_a_longer_one_does_not(name: str) -> None:
    read_audio(encode_audio(tone(3.0), RATE, name), sample_rate_hz=RATE, max_duration_s=3.0)
    with pytest.raises(BadPrompt, match=r"at most 2\.5 s; cut it shorter|goes on after 2\.5 s"):
        read_audio(encode_audio(tone(3.0), RATE, name), sample_rate_hz=RATE, max_duration_s=2.5)


def test_uncompressed_sound_is_limited_to_the_sample() -> None:
    data = riff(bytes(2 * 1001), rate=8000)
    read_audio(data, sample_rate_hz=8000, max_duration_s=1001 / 8000)
    with pytest.raises(BadPrompt, match="goes on after"):
        read_audio(data, sample_rate_hz=8000, max_duration_s=1000 / 8000)


def test_mistakes_have_their_own_words(tmp_path: Path) -> None:
    text = tmp_path / "speech.wav"
    text.write_text("This is not a recording.\n" * 20)
    video_only = io.BytesIO()
    with av.open(video_only, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        frame = av.VideoFrame(16, 16, "yuv420p")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    for source, words in [
        (b"", "empty"),
        (text, "not audio of a known kind"),
        (tmp_path / "none.wav", "none.wav does not exist"),
        (tmp_path, "is not a file"),
        (riff(b""), "audio is 0 s long"),
        (video_only.getvalue(), "no audio stream"),
        (riff(np.full(500, np.nan, "<f4").tobytes(), bits=32, tag=3), "500 samples that are NaN"),
        (riff(bytes(100), bits=64), "pcm_s64le sound is not accepted"),
    ]:
        with pytest.raises(BadPrompt, match=words):
            read_audio(source, sample_rate_hz=RATE)


def mp3_frames(waveform: np.ndarray, bit_rate_bps: int) -> bytes:
    """Bare MP3 frames, no head of any kind."""
    codec = av.CodecContext.create("libmp3lame", "w")
    codec.sample_rate, codec.format, codec.layout, codec.bit_rate = RATE, "fltp", "mono", bit_rate_bps
    frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
    frame.sample_rate = RATE
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def test_an_mp3_without_a_length_in_its_head_is_not_held_to_a_guess() -> None:
    """The bit rate rises from 32 to 320 kb/s, so FFmpeg's estimate from the first frames is far too long."""
    data = mp3_frames(tone(1.5), 32_000) + mp3_frames(tone(3.0), 320_000)
    with av.open(io.BytesIO(data), format="mp3") as opened:
        assert opened.duration / av.time_base > 6.0
    assert len(read_audio(data, sample_rate_hz=RATE, max_duration_s=5.0)) == pytest.approx(4.5 * RATE, abs=4000)


def test_tags_of_others_are_kept_and_foreign_json_is_not_taken_apart() -> None:
    data = encode_audio(tone(0.1), RATE, "flac", metadata={"keywords": "[1, 2]", "IXTR": "{" * 5000})
    assert read_metadata(data) == {"keywords": "[1, 2]", "IXTR": "{" * 5000}


def test_tags_that_are_no_utf_8_keep_nobody_from_the_sound() -> None:
    """PyAV 19 no longer takes the argument that said so: nothing could be read with it at all."""
    data = encode_audio(tone(1.0), RATE, "mp3", metadata={"title": "AAAA"})
    assert data.count(b"AAAA") == 1
    data = data.replace(b"AAAA", b"A\xff\xfeA")
    assert len(read_audio(data, sample_rate_hz=RATE)) == pytest.approx(RATE, abs=3000)
    assert read_metadata(data) == {"title": "A\ufffd\ufffdA"}


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(48_000, 44_100), (16_000, 44_100), (96_000, 44_100), (44_100, 24_000)]
)
def test_resampling_keeps_the_band_and_nothing_else(from_hz: int, to_hz: int) -> None:
    edge = min(from_hz, to_hz) / 2
    kept = resample(tone(1.0, 0.85 * edge, from_hz), from_hz, to_hz)
    inner = slice(to_hz // 10, -to_hz // 10)
    assert snr_db(tone(1.0, 0.85 * edge, to_hz)[inner], kept[inner]) > 65
    if from_hz > to_hz:
        removed = resample(tone(1.0, min(1.2 * edge, 0.49 * from_hz), from_hz), from_hz, to_hz)
        assert np.abs(removed[inner]).max() < 0.5 * 10 ** (-90 / 20)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5000), st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]), st.sampled_from([24_000, 44_100])
)
def test_resampled_length_is_the_rounded_one(samples: int, from_hz: int, to_hz: int) -> None:
    assert abs(len(resample(np.zeros(samples, np.float32), from_hz, to_hz)) - samples * to_hz / from_hz) <= 0.5


def test_equal_rates_leave_the_samples_alone() -> None:
    waveform = tone(0.1)
    assert resample(waveform, RATE, RATE) is waveform
    with pytest.raises(BadParameter, match="at least 1 Hz"):
        resample(waveform, 0, RATE)
