"""Long scripts typed at the command line: one file from many pieces, resumed, redone, rendered again."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dia.media.read import probe, read_audio, read_metadata
from tests.cli.conftest import Type, refused

BOOK = "# One\n\nIt was a cold day.\n\n# Two\n\nHe went home. [pause:0.4s] So."
RATE_HZ = 44_100


def seconds(path: Path) -> float:
    return len(read_audio(path, sample_rate_hz=RATE_HZ)) / RATE_HZ


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.md"
    path.write_text(BOOK)
    return path


def test_a_script_file_becomes_an_audiobook_with_subtitles(say: Type, book: Path, tmp_path: Path):
    out, srt = tmp_path / "book.m4b", tmp_path / "book.srt"
    answer = say(book, "-o", out, "--resume", "--subtitles", srt, "--progress")
    assert answer.code == 0, answer.err
    assert "2 chapters" in answer.err and "piece 1 of" in answer.err and "real-time factor" in answer.err
    assert probe(out).codec == "aac"
    assert "It was a cold day." in srt.read_text()
    tags = {key.lower(): value for key, value in read_metadata(out).items()}
    assert tags["comment"] == "AI-generated speech" and tags["project_seed"] == tags["seed"] == "5"
    before = out.read_bytes()
    again = say(book, "-o", out, "--resume")
    assert again.code == 0 and out.read_bytes() == before


def test_a_piece_is_made_again_and_the_rest_rendered_as_it_was(
    say: Type, type_in: Type, bundle: Path, book: Path, tmp_path: Path
):
    folder, first, second = tmp_path / "kept", tmp_path / "a.wav", tmp_path / "b.wav"
    report = json.loads(say(book, "-o", first, "--project", folder, "--json").out)
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
    answer = say("[S1] One. [pause:0.3s] [S2] Two.", "-o", "-", "--format", "pcm")
    assert answer.code == 0, answer.err
    assert len(answer.out) > 0.3 * 24_000 * 2


def test_nothing_is_left_of_a_project_that_nobody_asked_to_keep(say: Type, tmp_path: Path):
    answer = say("[S1] One. [pause:0.3s] [S2] Two.", "-o", tmp_path / "a.wav")
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
        (("--save-codes", "c.txt"), ("--save-codes", ".npy")),
        (("--gap", "turn=soon"), ("--gap", "turn=0.4")),
        (("--gap", "word=1"), ("--gap word=1", "turn, paragraph")),
        (("--gap", "turn=11"), ("0 to 10 seconds",)),
        (("--roleplay", "loud"), ("loud", "chat, novel")),
        (("--script-format", "docx"), ("docx", "plain, tagged")),
        (("--one-pass", "--roleplay", "chat"), ("one pass", "--roleplay")),
        (("--retakes", "9"), ("retakes is 9",)),
    ],
)
def test_what_cannot_be_is_refused(say: Type, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]):
    refused(say("Hello there.", "-o", tmp_path / "a.wav", *words), 2, *parts)
    assert not (tmp_path / "a.wav").exists()


def test_a_script_that_is_not_there_is_not_read_aloud(type_in: Type, tmp_path: Path):
    refused(type_in("say", tmp_path / "none.md", "-o", tmp_path / "a.wav"), 2, "none.md", "not a file")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello there.\n"),
        ("a.json", '[{"speaker": "S1", "text": "Hello there."}]'),
        ("a.jsonl", '{"speaker": "S1", "text": "Hello there."}\n'),
        ("a.md", "# Hello *there*\n"),
    ],
)
def test_a_short_script_is_read_and_not_its_source(say: Type, tmp_path: Path, name: str, text: str):
    """What fitted one pass was sent as it stood in the file, time codes and braces included."""
    (tmp_path / name).write_text(text)
    answer = say(tmp_path / name, "-o", tmp_path / "a.wav", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["text_sent"] == "[S1] Hello there. [S1]"
    assert told["script_format"] in name or told["script_format"] in ("markdown", "json")
    assert "read as " in answer.err and "1 speaker (S1), 1 piece, about" in answer.err


def test_what_a_text_was_taken_for_is_told_and_can_be_said(say: Type, tmp_path: Path):
    play = "The Wait\n\nAnn: Hello there.\nBob: Hello to you."
    answer = say(play, "-o", tmp_path / "a.wav")
    assert "read as a play: 3 speakers (S1, Ann, Bob)" in answer.err
    answer = say(play, "-o", tmp_path / "a.wav", "--script-format", "plain", "--json")
    assert "read as plain text: 1 speaker (S1)" in answer.err
    assert "Ann: Hello" in json.loads(answer.out)["text_sent"]


def test_numbers_and_roles_are_read_by_flags(say: Type, tmp_path: Path):
    text = '*She smiles.* "I have $5," she says.'
    told = json.loads(say(text, "-o", tmp_path / "a.wav", "--json", "--roleplay", "novel").out)
    assert told["speakers"] == ["Narrator", "S1"] and "five" in told["text_sent"]
    told = json.loads(say(text, "-o", tmp_path / "a.wav", "--json", "--no-normalize").out)
    assert told["speakers"] == ["S1"] and "$5" in told["text_sent"]


def test_a_dictionary_and_remarks_are_flags_of_say_and_plan(say: Type, type_in: Type, bundle: Path, tmp_path: Path):
    own = tmp_path / "own.txt"
    own.write_text("SQL -> sequel\n")
    text, out = "(nods) SQL is fine.", tmp_path / "a.wav"
    flags = ("--dictionary", own, "--remarks", "drop")
    assert json.loads(say(text, "-o", out, "--json", *flags).out)["text_sent"] == "[S1] Sequel is fine. [S1]"
    planned = json.loads(type_in("plan", "-", "--json", "-m", bundle, *flags, stdin=text.encode()).out)
    assert planned["pieces"][0]["turns"][0]["text"] == "sequel is fine."
    folder = tmp_path / "kept"
    say(text, "-o", out, "--project", folder, *flags)
    assert say(text, "-o", out, "--project", folder, "--resume", *flags).code == 0
    refused(say(text, "-o", out, "--project", folder, "--resume"), 2, "another way of making pieces")
    own.write_text("SQL sequel\n")
    refused(say(text, "-o", out, *flags), 2, "own.txt, line 1 is no entry")
    refused(say(text, "-o", out, "--dictionary", tmp_path / "none"), 2, "none cannot be read")
    refused(say(text, "-o", out, "--remarks", "warn"), 2, "it is keep or drop")


def test_silences_and_levels_of_speakers_are_flags_of_say_and_render(
    say: Type, type_in: Type, bundle: Path, tmp_path: Path
):
    folder, out = tmp_path / "kept", tmp_path / "a.wav"
    text = "[S1] This is one thing to say. [S2] And this is another one."
    made = say(text, "-o", out, "--project", folder, "--balance", "--longest-silence", "0.5")
    assert made.code == 0, made.err
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["delivery"]["longest_silence_s"] == 0.5 and set(manifest["balance_db"]) <= {"S1", "S2"}
    again = type_in("render", folder, "-o", tmp_path / "b.wav", "-m", bundle)
    assert again.code == 0 and seconds(tmp_path / "b.wav") == seconds(out)
    refused(say(text, "-o", out, "--longest-silence", "0.01"), 2, "0.01 s", "0.1 to 60")
    refused(say(text, "-o", "-", "--format", "pcm", "--balance"), 2, "--balance needs --output FILE")


def test_the_gap_between_pieces_is_a_flag(say: Type, type_in: Type, bundle: Path, tmp_path: Path):
    text = "Ann: This is one thing to say.\nBob: And this is another one."
    folder = tmp_path / "kept"
    lengths = []
    for gap in ("0", "2"):
        answer = say(text, "-o", tmp_path / "a.wav", "--json", "--gap", f"turn={gap}")
        lengths.append(json.loads(answer.out)["duration_s"])
    longer_s = lengths[1] - lengths[0]
    assert longer_s >= 1.9 and longer_s % 2.0 == pytest.approx(0.0, abs=0.05) or longer_s % 2.0 > 1.95
    say(text, "-o", tmp_path / "a.wav", "--gap", "turn=2", "--project", folder)
    type_in("render", folder, "-o", tmp_path / "b.wav", "-m", bundle)
    type_in("render", folder, "-o", tmp_path / "c.wav", "-m", bundle, "--gap", "turn=0")
    a, b, c = (seconds(tmp_path / f"{name}.wav") for name in "abc")
    assert a == b and a - c == pytest.approx(longer_s, abs=0.05)


def test_redo_keeps_tempo_and_loudness_of_the_project(
    say: Type, type_in: Type, bundle: Path, book: Path, tmp_path: Path
):
    """The file that `dia redo -o` wrote was at the usual tempo and loudness, whatever had been asked for."""
    folder = tmp_path / "kept"
    say(book, "-o", tmp_path / "a.wav", "--project", folder, "--speed", "2", "--loudness", "-25")
    answer = type_in("redo", folder, "1", "-m", bundle, "-o", tmp_path / "b.wav")
    assert answer.code == 0 and "-25.0 LUFS" in answer.err, answer.err
    a, b = (seconds(tmp_path / f"{name}.wav") for name in "ab")
    assert a == pytest.approx(b, rel=0.2)
    again = say(book, "-o", tmp_path / "a.wav", "--project", folder, "--resume", "--retakes", "1")
    refused(again, 2, "another way of making pieces")


def test_a_file_of_pieces_is_reproduced(say: Type, type_in: Type, bundle: Path, tmp_path: Path):
    flags = ("--save-text", "--gap", "turn=0.5", "--loudness", "-20", "--no-normalize")
    say("Ann: One thing to say.\nBob: 2 things.", "-o", tmp_path / "a.wav", *flags)
    answer = type_in("reproduce", tmp_path / "a.wav", tmp_path / "b.wav", "--model", bundle)
    assert answer.code == 0, answer.err
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("made", [0, 1])
def test_a_run_that_is_broken_off_leaves_what_is_of_use(
    say: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: int
):
    """After so many pieces the disk is full."""
    from dia.errors import DiskFull
    from dia.narration import files, project

    writes = []

    def save(path: Path, codes: np.ndarray) -> None:
        if len(writes) == made:
            raise DiskFull("no room left on the disk; make room, then resume")
        writes.append(path)
        files.save_codes(path, codes)

    monkeypatch.setattr(project, "save_codes", save)
    answer = say("[S1] One. [pause:0.3s] [S2] Two.", "-o", tmp_path / "a.wav")
    assert answer.code == 1 and "no room left" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == (["a.dia"] if made else [])
    assert ("1 of 2 pieces stay in" in answer.err) == bool(made)


@pytest.mark.parametrize("name", ["folder", "notes.rst"])
def test_a_name_of_something_else_is_not_read_aloud(
    type_in: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.rst").write_text("Hello.")
    monkeypatch.chdir(tmp_path)
    refused(type_in("say", name, "-o", "a.wav"), 2, name, "full stop")


def test_a_plan_is_what_say_makes(say: Type, type_in: Type, bundle: Path, book: Path):
    """The plan was made for the published model's limits, without chapters."""
    answer = type_in("plan", book, "--model", bundle, "--json")
    assert answer.code == 0, answer.err
    planned = json.loads(answer.out)
    said = json.loads(say(book, "-o", book.with_name("a.wav"), "--json").out)
    assert [piece["text"] for piece in planned["pieces"]] == [piece["text"] for piece in said["pieces"]]
    assert [heading["title"] for heading in planned["headings"]] == ["One", "Two"]
    table = type_in("plan", book, "--model", bundle)
    assert b"chapter" in table.out and b"read as Markdown: 1 speaker (S1), " in table.out


def test_a_plan_without_a_model_is_for_the_one_that_would_speak(type_in: Type, book: Path):
    from dia.hub import BUNDLED

    plans = [type_in("plan", book, "--json", *model).out for model in ((), ("-m", "auto"), ("-m", BUNDLED))]
    assert plans[0] == plans[1] == plans[2]


def test_a_plan_leaves_room_for_voices(type_in: Type, bundle: Path, recording: Callable[..., Path], tmp_path: Path):
    voice = recording(0.8, name="ann.wav")
    voice.with_suffix(".txt").write_text("So I said.")
    script = tmp_path / "play.txt"
    script.write_text("Ann: This is one thing to say, and it is long.\nBob: And this is another one.\n" * 3)
    plain = json.loads(type_in("plan", script, "--model", bundle, "--json").out)
    voiced = json.loads(type_in("plan", script, "--model", bundle, "--json", "--voice", f"Ann={voice}").out)
    assert len(voiced["pieces"]) >= len(plain["pieces"])
    refused(type_in("plan", script, "--model", bundle, "--voice", f"Eve={voice}"), 2, "Eve", "does not speak")


def test_takes_are_listed_heard_alone_and_chosen(say: Type, type_in: Type, bundle: Path, book: Path, tmp_path: Path):
    folder = tmp_path / "kept"
    say(book, "-o", tmp_path / "a.wav", "--project", folder)
    type_in("redo", folder, "1", "-m", bundle, "-o", tmp_path / "b.wav")
    told = json.loads(type_in("takes", folder, "--json").out)
    assert [take["is_heard"] for take in told[0]["takes"]] == [False, True]
    assert told[0]["takes"][0]["seed"] != told[0]["takes"][1]["seed"]
    table = type_in("takes", folder, "1")
    assert table.code == 0 and b"heard" in table.out and table.out.count(b"\n") == 3, table.out
    assert type_in("takes", folder, "1", "-o", tmp_path / "ears", "-m", bundle).code == 0
    assert sorted(path.name for path in (tmp_path / "ears").iterdir()) == ["0001-1.wav", "0001-2.wav"]
    assert type_in("takes", folder, "1", "1").code == 0
    type_in("render", folder, "-o", tmp_path / "c.wav", "-m", bundle)
    assert np.array_equal(*(read_audio(tmp_path / f"{name}.wav", sample_rate_hz=RATE_HZ) for name in "ac"))
    refused(type_in("takes", folder, "1", "3"), 2, "no take 3 of piece 1", "has 2")
