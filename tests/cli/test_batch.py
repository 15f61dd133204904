"""Many scripts in one go: folders, lines of JSON, what is there already, what cannot be made."""

import json
from pathlib import Path

import numpy as np
import pytest

from dia.cli.batch import _items
from dia.errors import BadScript
from dia.media.read import probe, read_audio
from tests.cli.conftest import Type, refused
from tests.server.live import LiveServer
from tests.service.conftest import make_service, model

__all__ = ["make_service", "model"]  # fixtures from next door

QUICK = ("--seed", 5, "--max-tokens", 40, "--retakes", 0)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "one.txt").write_text("Hello there.")
    (folder / "two.md").write_text("# Hello\n\nThere.")
    (folder / "notes.rst").write_text("Not a script.")
    return folder


def test_a_folder_becomes_a_folder_and_what_is_there_stays(type_in: Type, bundle: Path, scripts: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = ("batch", scripts, "-o", out, "-m", bundle, "--format", "mp3", "--subtitles", "srt", *QUICK)
    answer = type_in(*words, "--json")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in out.glob("[a-z]*")) == ["one.mp3", "one.srt", "two.mp3", "two.srt"]
    assert probe(out / "one.mp3").codec == "mp3"
    assert [Path(json.loads(line)["output"]).name for line in answer.out.splitlines()] == ["one.mp3", "two.mp3"]
    assert "2 files made, 0 there already, 0 not made" in answer.err
    before = (out / "one.mp3").stat().st_mtime_ns
    (scripts / "two.md").write_text("# Hello\n\nAgain.")
    answer = type_in(*words)
    assert "1 file made, 1 there already" in answer.err and (out / "one.mp3").stat().st_mtime_ns == before
    assert "2 files made" in type_in(*words, "--again").err


def test_several_at_once_are_the_same_files(type_in: Type, bundle: Path, scripts: Path, tmp_path: Path):
    (scripts / "three.txt").write_text("Good morning.")
    (scripts / "two.md").write_text("You there.")
    (scripts / "bad.txt").write_text("[pause:soon]")
    words = ("batch", scripts, "-m", bundle, "--json", *QUICK)
    one = type_in(*words, "-o", tmp_path / "one")
    many = type_in(*words, "-o", tmp_path / "many", "--jobs", 3)
    assert one.code == many.code == 1 and "3 files made, 0 there already, 1 not made" in many.err
    names = sorted(path.name for path in (tmp_path / "many").glob("*.wav"))
    assert names == ["one.wav", "three.wav", "two.wav"]
    for name in names:
        a, b = (read_audio(tmp_path / folder / name, sample_rate_hz=8_000) for folder in ("one", "many"))
        assert np.array_equal(a, b)
    assert len([json.loads(line) for line in many.out.splitlines()]) == 3
    assert "3 there already" in type_in(*words, "-o", tmp_path / "many", "--jobs", 3).err


def test_a_server_speaks_many_scripts(type_in: Type, make_service, model, scripts: Path, tmp_path: Path):
    server = LiveServer(make_service(port=0))
    out = tmp_path / "out"
    words = ("batch", scripts, "-o", out, "--server", server.url, "--voice", "nova", "--seed", 5)
    try:
        answer = type_in(*words, "--jobs", 2, "--json", "--speed-of", "S1=2")
        assert answer.code == 0, answer.err
        assert {Path(json.loads(line)["output"]).name for line in answer.out.splitlines()} == {"one.wav", "two.wav"}
        assert probe(out / "one.wav").codec is not None
        assert "2 there already" in type_in(*words, "--speed-of", "S1=2").err
        assert "2 files made" in type_in(*words).err
        refused(type_in(*words, "--subtitles", "srt"), 2, "a server does not take --subtitles")
        refused(
            type_in("batch", scripts, "-o", out, "--server", server.url, "--voice", "A=b.wav"), 2, "name of one of its"
        )
        wrong = type_in(*words[:-4], "--voice", "nobody")
        assert wrong.code == 1 and "error: 1 of 2: one.wav" in wrong.err and "nobody" in wrong.err
    finally:
        server.close()
    refused(type_in(*words, "--again"), 1, "no server answers")


def test_each_line_of_json_is_a_script(type_in: Type, bundle: Path, tmp_path: Path):
    lines = [
        {"id": "first", "text": "Hello there.", "seed": 7},
        {"turns": [{"speaker": "Ann", "text": "Hi."}, {"speaker": "Bob", "text": "Ho."}], "speed": 1.5},
        {"id": "bad", "text": "[pause:soon]"},
    ]
    script = tmp_path / "many.jsonl"
    script.write_text("\n".join(json.dumps(line) for line in lines))
    answer = type_in("batch", script, "-o", tmp_path / "out", "-m", bundle, "--json", *QUICK)
    assert answer.code == 1
    told = [json.loads(line) for line in answer.out.splitlines()]
    assert [Path(one["output"]).name for one in told] == ["first.wav", "many-0002.wav"]
    assert told[0]["seed"] == 7 and told[1]["speakers"] == ["Ann", "Bob"]
    assert "error: 3 of 3: bad.wav: pause '[pause:soon]' is not understood" in answer.err
    assert answer.err.splitlines()[-1].startswith("error: 1 of 3 files could not be made")


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("{", "is no JSON"),
        ('{"id": 1}', "with a text or turns"),
        ('{"text": "a", "mood": "b"}', "has mood"),
        ('{"text": "a", "seed": "b"}', "seed"),
        ('{"text": "a", "id": "../b"}', "no folder"),
        ('{"text": "a", "id": "b"}\n{"text": "a", "id": "B"}', "two scripts are called B"),
    ],
)
def test_a_line_that_is_no_script_is_refused_by_its_number(type_in: Type, tmp_path: Path, line: str, part: str):
    script = tmp_path / "many.jsonl"
    script.write_text(line)
    refused(type_in("batch", script, "-o", tmp_path / "out"), 2, part)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_the_flags_is_said_once(type_in: Type, scripts: Path, tmp_path: Path):
    refused(type_in("batch", scripts, "-o", tmp_path / "out", "--loudness", "loud"), 2, "--loudness")
    refused(type_in("batch", tmp_path / "none", "-o", tmp_path / "out"), 2, "none")
    (tmp_path / "empty").mkdir()
    refused(type_in("batch", tmp_path / "empty", "-o", tmp_path / "out"), 2, "no script")


TABLE = """id;text;seed;voice
first;"Hello; there.";7;
second;"She said ""no"".";;
"""


def test_each_row_of_a_table_is_a_script(tmp_path: Path):
    """A table was read aloud as one script, commas and all."""
    path = tmp_path / "many.csv"
    for table in (TABLE, "\ufeff" + TABLE.replace("\n", "\r\n")):
        path.write_text(table, newline="")
        found = list(_items([path]))
        assert [(item.name, item.text, item.seed) for item in found] == [
            ("first", "Hello; there.", 7),
            ("second", 'She said "no".', None),
        ]
    path.write_text("text,speed\nHello.,1.5\n")
    assert [(item.name, item.speed) for item in _items([path])] == [("many-0001", 1.5)]


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("Hello there.\nAnd you?\n", "has no column text"),
        ("id,text\na,\n", "with a text or turns"),
        ("id,text\n1,Hello, you.\n", "line 1 has more cells"),
        ("text,seed\nHello.,x\n", "seed 'x'"),
        ("text,mood\nHello.,sad\n", "has mood"),
        ('text\n"Hello.\n', "is no row of a table"),
    ],
)
def test_a_table_that_holds_no_scripts_is_refused_by_its_line(tmp_path: Path, table: str, part: str):
    path = tmp_path / "many.csv"
    path.write_text(table)
    with pytest.raises(BadScript, match=part):
        list(_items([path]))
