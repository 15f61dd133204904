"""A written file is complete or absent, and an older one survives every failure."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from dia.errors import BadParameter, OutputUnwritable, UnknownFormat
from dia.media.encode import FORMATS, AudioFileWriter, Chapter, encode_audio, write_audio
from dia.media.read import read_audio, read_metadata
from tests.media.signals import RATE, tone, voice


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_ending_chooses_the_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name.upper()}"
    written = write_audio(path, tone(0.5), RATE)
    assert written.format == name
    assert written.path == path
    assert written.size_bytes == path.stat().st_size
    assert written.duration_s == pytest.approx(0.5, abs=1e-4)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_holds_the_bytes_of_the_whole(name: str, tmp_path: Path) -> None:
    with AudioFileWriter(tmp_path / "out", RATE, format=name) as writer:
        for chunk in np.array_split(tone(0.5), 7):
            writer.write(chunk)
    assert (tmp_path / "out").read_bytes() == encode_audio(tone(0.5), RATE, name)


def test_metadata_rate_and_clipping_are_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    written = write_audio(path, tone(0.5, level=1.5), RATE, metadata={"seed": "7"}, output_rate_hz=48_000)
    assert written.sample_rate_hz == 48_000
    assert written.clipped_samples > 1000
    assert read_metadata(path) == {"seed": "7"}


def test_an_audiobook_has_chapters(tmp_path: Path) -> None:
    path = tmp_path / "book.m4b"
    chapters = [Chapter("One", 0.0, 0.4), Chapter("Zwei", 0.4, 1.0)]
    write_audio(path, tone(1.0), RATE, chapters=chapters, metadata={"title": "Book"})
    with av.open(str(path)) as book:
        found = [
            (c["metadata"]["title"], c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in book.chapters()
        ]
        assert book.metadata["major_brand"] == "M4B "
    assert [(title, float(start), float(end)) for title, start, end in found] == [
        ("One", 0.0, 0.4),
        ("Zwei", 0.4, 1.0),
    ]
    assert len(read_audio(path, sample_rate_hz=RATE)) == RATE


@pytest.mark.parametrize(
    ("name", "chapter", "message"),
    [("mp3", Chapter("x", 0, 1), "holds no chapters"), ("m4b", Chapter("x", 1, 1), "chapter 1 runs from 1 to 1 s")],
)
def test_impossible_chapters_are_refused(name: str, chapter: Chapter, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match=message):
        write_audio(tmp_path / f"a.{name}", tone(1.0), RATE, chapters=[chapter])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(b"old")
    writer = AudioFileWriter(path, RATE)
    writer.write(voice(0.5))
    writer.abandon()
    with pytest.raises(BadParameter, match="NaN"):
        write_audio(path, np.full(100, np.nan, np.float32), RATE)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ["xyz", ""])
def test_an_unknown_ending_is_an_error_before_anything_is_written(ending: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match=r"wav, \.?mp3"):
        write_audio(tmp_path / f"a.{ending}", tone(0.1), RATE)
    assert os.listdir(tmp_path) == []


def test_an_unwritable_place_is_named_as_the_caller_named_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "missing" / "a.wav", tmp_path / "file" / "a.wav", tmp_path / ("n" * 300 + ".wav")):
        with pytest.raises(OutputUnwritable) as caught:
            write_audio(path, tone(0.1), RATE)
        assert str(path) in str(caught.value)
        assert ".part" not in str(caught.value)


def test_folders_and_devices_are_not_replaced(tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(OutputUnwritable, match="folder or a device"):
            write_audio(path, tone(0.1), RATE, format="wav")
    assert Path(os.devnull).is_char_device()


def test_a_new_file_gets_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_audio(tmp_path / "a.wav", tone(0.1), RATE)
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "plain").stat().st_mode


FULL_DISK = """
import os, resource, sys
import numpy as np
from dia.errors import OutputUnwritable
from dia.media.encode import FORMATS, write_audio
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).standard_normal(44_100 * 10).astype(np.float32) * 0.1
for name in FORMATS:
    try:
        write_audio(os.path.join(sys.argv[1], "a." + name), noise, 44_100)
    except OutputUnwritable as error:
        print(name, "File too large" in str(error), os.listdir(sys.argv[1]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files by a Linux call")
def test_no_room_is_one_error_and_leaves_no_half_file(tmp_path: Path) -> None:
    """A child whose files may not grow past 20 kB stands for a full disk."""
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert child.stdout.splitlines() == [f"{name} True []" for name in FORMATS]
    assert child.stderr == ""
