"""The script that is judged: its size, and that training texts are found in it."""

from pathlib import Path

import pytest

from dia.errors import BadInput, BadParameter
from dia.evals.sentences import dialogues, read_script, refuse_seen, seen_in, sentences
from dia.text.script import prepare


def test_there_are_fifty_different_sentences_of_4_to_18_words():
    texts = sentences()
    assert len(texts) == len(set(texts)) == 50
    assert {len(text.split()) for text in texts} <= set(range(4, 19))
    assert min(len(text.split()) for text in texts) == 4 and max(len(text.split()) for text in texts) >= 16


def test_there_are_twenty_dialogues_of_two_turns():
    texts = dialogues()
    assert len(texts) == len(set(texts)) == 20
    for text in texts:
        assert text.startswith("[S1] ") and text.count("[S2]") == 1 and text.count("[S1]") == 1


def test_every_text_goes_to_the_model_without_repair():
    for text in dialogues():
        assert not prepare(text, max_bytes=300).warnings
    for text in sentences():
        assert not prepare(f"[S1] {text}", max_bytes=300).warnings


def test_a_text_that_was_trained_on_is_refused_however_it_is_punctuated():
    refuse_seen(["A new one."], ["an old one"])
    assert seen_in(["Mr. Fox ran.", "New."], ["mister fox, ran!"]) == ["Mr. Fox ran."]
    with pytest.raises(BadParameter, match="1 texts of the script are in the training manifest"):
        refuse_seen(sentences(), [sentences()[3].upper()])


def test_a_script_of_ones_own_is_one_text_a_line(tmp_path: Path):
    path = tmp_path / "script.txt"
    path.write_text("One.\n\n[S1] Two. [S2] Three.\n", encoding="utf-8")
    assert read_script(path) == ("One.", "[S1] Two. [S2] Three.")
    path.write_text(" \n", encoding="utf-8")
    with pytest.raises(BadInput, match="holds no text"):
        read_script(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_script(tmp_path / "none.txt")
