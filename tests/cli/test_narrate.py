"""Long scripts typed at the command line: one file from many pieces, resumed, redone, rendered again."""

import json
from pathlib import Path

import numpy as np
import pytest

from dia.media.read import probe, read_audio, read_metadata
from tests.cli.conftest import Type, refused

BOOK = "# One\n\nIt was a cold day.\n\n# Two\n\nHe went home. [pause:0.4s] So."
RATE_HZ = 44_100


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.md"
    path.write_text(BOOK)
    return path


def test_a_script_file_becomes_an_audiobook_with_subtitles(say: Type, book: Path, tmp_path: Path):
    out, srt = tmp_path / "book.m4b", tmp_path / "book.srt"
    answer = say(book, "-o", out, "--resume", "--retakes", "0", "--subtitles", srt, "--progress")
    assert answer.code == 0, answer.err
    assert "2 chapters" in answer.err and "piece 1 of" in answer.err and "real-time factor" in answer.err
    assert probe(out).codec == "aac"
    assert "It was a cold day." in srt.read_text()
    tags = {key.lower(): value for key, value in read_metadata(out).items()}
    assert tags["comment"] == "AI-generated speech" and tags["project_seed"] == "5" and "seed" not in tags
    before = out.read_bytes()
    again = say(book, "-o", out, "--resume", "--retakes", "0")
    assert again.code == 0 and out.read_bytes() == before


def test_a_piece_is_made_again_and_the_rest_rendered_as_it_was(
    say: Type, type_in: Type, bundle: Path, book: Path, tmp_path: Path
):
    folder, first, second = tmp_path / "kept", tmp_path / "a.wav", tmp_path / "b.wav"
    report = json.loads(say(book, "-o", first, "--project", folder, "--json", "--retakes", "0").out)
    assert report["pieces"][0]["start_s"] == 0 and len(report["pieces"]) > 2
    answer = type_in("redo", folder, "1", "-m", bundle, "-o", second)
    assert answer.code == 0, answer.err
    assert answer.err.count("seed ") == 1
    a, b = (read_audio(path, sample_rate_hz=RATE_HZ) for path in (first, second))
    assert not np.array_equal(a[:2000], b[:2000]) or len(a) != len(b)
    tail = round(0.3 * RATE_HZ)
    assert np.array_equal(a[-tail:], b[-tail:])
    fast = type_in("render", folder, "-o", tmp_path / "c.mp3", "--speed", "2", "--loudness", "-23", "-m", bundle)
    assert fast.code == 0 and "-23.0 LUFS" in fast.err
    refused(type_in("redo", folder, "99", "-m", bundle), 2, "no piece 99")
    refused(type_in("render", tmp_path, "-o", tmp_path / "d.mp3"), 2, "no project")


def test_a_long_script_streams_to_stdout(say: Type):
    answer = say("[S1] One. [pause:0.3s] [S2] Two.", "-o", "-", "--format", "pcm", "--retakes", "0")
    assert answer.code == 0, answer.err
    assert len(answer.out) > 0.3 * 24_000 * 2


def test_nothing_is_left_of_a_project_that_nobody_asked_to_keep(say: Type, tmp_path: Path):
    answer = say("[S1] One. [pause:0.3s] [S2] Two.", "-o", tmp_path / "a.wav", "--retakes", "0")
    assert answer.code == 0, answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--voice", "Bob"), ("--voice", "alice.wav")),
        (("--voice", "Bob=none.wav"), ("none.wav", "not a file")),
        (("--speed-of", "S1=fast"), ("--speed-of", "Alice=1.1")),
        (("--speed-of", "Bob=1.1"), ("Bob", "does not speak")),
        (("--loudness", "loud"), ("--loudness", "-18")),
        (("--subtitles", "a.txt"), ("a.txt", ".srt")),
        (("--resume", "--one-pass"), ("one pass",)),
        (("--resume", "--save-codes", "c.npy"), ("--save-codes",)),
    ],
)
def test_what_cannot_be_is_refused(say: Type, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]):
    refused(say("Hello there.", "-o", tmp_path / "a.wav", *words), 2, *parts)
    assert not (tmp_path / "a.wav").exists()


def test_a_script_that_is_not_there_is_not_read_aloud(type_in: Type, tmp_path: Path):
    refused(type_in("say", tmp_path / "none.md", "-o", tmp_path / "a.wav"), 2, "none.md", "not a file")
