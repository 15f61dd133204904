"""The corpus recipe's parts that need no teacher: invented sentences, checked files, shares of the voices."""

import hashlib
import importlib.util
import io
import tarfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from dia.evals.sentences import dialogues, seen_in, sentences

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_invented_sentences_are_distinct_short_repeatable_and_never_judged():
    recipe = load("everyday_sentences")
    texts = list(recipe.make(400, 0))
    assert len(set(texts)) == 400
    assert texts == list(recipe.make(400, 0)) and texts != list(recipe.make(400, 1))
    assert all(1 <= len(text.split()) <= 18 and text[-1] in ".?!" for text in texts)
    assert not seen_in([*sentences(), *dialogues()], texts)


def test_rare_sounds_come_more_often_than_by_chance():
    recipe = load("everyday_sentences")
    rare = ("z", "j", "x", "q")
    chosen, by_chance = [], []
    recipe_text = " ".join(recipe.make(300, 0)).lower()
    recipe.CANDIDATES = 1
    chance_text = " ".join(recipe.make(300, 0)).lower()
    for text, found in ((recipe_text, chosen), (chance_text, by_chance)):
        counts = Counter(text)
        found += [sum(counts[letter] for letter in rare) / len(text)]
    assert chosen[0] > by_chance[0]


def test_wrong_bytes_leave_no_teacher_file(tmp_path: Path):
    recipe = load("teacher_files")
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    parts = [tmp_path / "a", tmp_path / "b"]
    recipe.join_checked(parts, tmp_path / "whole.bin", hashlib.sha256(b"ab").hexdigest())
    assert (tmp_path / "whole.bin").read_bytes() == b"ab"
    with pytest.raises(SystemExit, match="expected"):
        recipe.join_checked(parts, tmp_path / "other.bin", "0" * 64)
    assert not list(tmp_path.glob("other*"))


def test_only_voices_are_unpacked_and_only_into_their_folder(tmp_path: Path):
    recipe = load("teacher_files")
    archive = tmp_path / "voices.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name, size in (
            ("package/voices/af_a.bin", recipe.VOICE_BYTES),
            ("../../voices/am_b.bin", recipe.VOICE_BYTES),
            ("package/voices/short.bin", 10),
            ("package/index.js", 10),
        ):
            member = tarfile.TarInfo(name)
            member.size = size
            package.addfile(member, io.BytesIO(bytes(size)))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert recipe.unpack_voices(archive, tmp_path / "out", sha256) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["af_a.bin", "am_b.bin"]
    with pytest.raises(SystemExit, match="fetch kokoro-js"):
        recipe.unpack_voices(archive, tmp_path / "out")


def test_sentences_are_shared_among_the_voices_by_weight():
    recipe = load("make_corpus")
    pairs = list(recipe.shares([str(number) for number in range(400)], {"one": 3.0, "two": 1.0}, 0))
    counts = Counter(voice for _, voice in pairs)
    assert [text for text, _ in pairs] == [str(number) for number in range(400)]
    assert 250 < counts["one"] < 350 and counts["one"] + counts["two"] == 400
