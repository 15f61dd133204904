"""Phonemes dealt out to letters: silent ones, pairs, suffixes, texts and drills; and a step that learns from them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dia.errors import BadInput, CheckpointMismatch
from dia.text.tokens import encode_text
from dia.train.model_loop import ModelTrainer, new_model
from dia.train.pronounce import Pronunciations
from dia.train.targets import IGNORED
from tests.train.small import small_config, small_pack

STEMS = ("at", "in", "op", "ug", "est", "ank", "ill", "ox")
SAID = {"a": "æ", "i": "ɪ", "o": "ɑ", "u": "ʌ", "e": "ɛ", "x": "ks", "c": "k"}


def dictionary() -> dict[str, str]:
    """Made-up words whose letters each have their sound, with `sh` for one, `x` for two, and a silent last `e`."""
    words = {}
    for start in ("b", "c", "d", "f", "k", "m", "p", "r", "s", "t", "sh"):
        for stem in STEMS:
            for end in ("", "e", "in", "ot"):
                word = start + stem + end
                said = "".join(SAID.get(letter, letter) for letter in stem + end.rstrip("e"))
                first = next(place for place, phoneme in enumerate(said) if phoneme in "æɪɑʌɛ")
                words[word] = {"sh": "ʃ", "c": "k"}.get(start, start) + said[:first] + "ˈ" + said[first:]
    return words


@pytest.fixture(scope="module")
def known() -> Pronunciations:
    return Pronunciations(dictionary())


def said(known: Pronunciations, word: str) -> list[str] | None:
    labels = known.of_word(word)
    return None if labels is None else [known.labels[label] for label in labels]


def test_each_letter_gets_its_phonemes(known):
    assert said(known, "bat") == ["b", "ˈæ", "t"]
    assert said(known, "fox") == ["f", "ˈɑ", "ks"]
    assert said(known, "cate") == ["k", "ˈæ", "t", ""]
    shug = said(known, "shug")
    assert "".join(shug) == "ʃˈʌg" and len(shug) == 4 and shug[2:] == ["ˈʌ", "g"]
    for word, phonemes in dictionary().items():
        if (dealt := said(known, word)) is not None:
            assert "".join(dealt) == phonemes and len(dealt) == len(word)
    assert len(known) > 0.95 * len(dictionary())


@pytest.mark.parametrize(
    ("word", "tail"),
    [
        ("bats", ["t", "s"]),
        ("bugs", ["g", "z"]),
        ("bug's", ["g", "", "z"]),
        ("boxes", ["ks", "ᵻ", "z"]),
        ("batted", None),
        ("bated", ["t", "ᵻ", "d"]),
        ("bopped", None),
        ("boped", ["p", "", "t"]),
        ("rugs", ["g", "z"]),
        ("unknown", None),
        ("unknowns", None),
    ],
)
def test_suffixes_follow_the_last_sound(known, word, tail):
    dealt = said(known, word)
    assert dealt is None if tail is None else dealt[-len(tail) :] == tail


def test_texts_are_labelled_word_by_word(known):
    ids = np.zeros((2, 24), np.int64)
    for row, text in enumerate(("[S1] Bat, blah SHUG.", "[S2] fox [S1]")):
        encoded = encode_text(text)
        ids[row, : len(encoded)] = encoded
    labels = known.of_text(ids)
    first = bytes(ids[0].astype(np.uint8)).decode("latin-1")
    spoken = [known.labels[label] if label != IGNORED else None for label in labels[0]]
    at = first.index("Bat")
    assert spoken[at : at + 3] == ["b", "ˈæ", "t"]
    assert spoken[at + 3 : first.index("SHUG")] == [None] * (first.index("SHUG") - at - 3)
    assert (labels[1] != IGNORED).sum() == 3 and labels[1][0] == IGNORED


def test_drills_hold_whole_words_and_repeat_by_seed(known):
    ids = known.drill(6, 60, np.random.default_rng(4))
    assert np.array_equal(ids, known.drill(6, 60, np.random.default_rng(4)))
    for row, labels in zip(ids, known.of_text(ids), strict=True):
        text = bytes(row[row > 0].astype(np.uint8)).decode("latin-1")
        assert text[0] in "\x01\x02" and len(text) > 45
        letters = np.array([chr(value).isalpha() or value == ord("'") for value in row])
        assert (labels[letters] != IGNORED).all(), text


def test_a_dictionary_of_the_wrong_form_is_refused(tmp_path):
    path = tmp_path / "words.json"
    for content in ("[]", "{", '{"word": {"NOUN": "w"}}', "{}", '{"Ünd": "ʊnd"}'):
        path.write_text(content, "utf-8")
        with pytest.raises(BadInput):
            Pronunciations.open(path)
    path.write_text(json.dumps({word: {"DEFAULT": phonemes} for word, phonemes in dictionary().items()}), "utf-8")
    assert len(Pronunciations.open(path)) == len(Pronunciations(dictionary()))


def test_the_encoder_learns_what_letters_stand_for(known):

    pack = small_pack()
    config = small_config(guide_start=1.0, drill_rows=4, drill_bytes=40, peak_rate=1e-2, warmup_steps=5)
    trainer = ModelTrainer(config, pack, new_model(config, pack), pronunciations=known)
    with pytest.raises(CheckpointMismatch, match="pronunciations"):
        ModelTrainer(config, pack, new_model(config, pack)).load_state_dict(trainer.state_dict())
    undrilled = ModelTrainer(replace(config, drill_rows=0), pack, new_model(config, pack), pronunciations=known)
    assert np.isfinite(undrilled.step()["loss"])
    first = trainer.step()["pronouncing"]
    for _ in range(60):
        last = trainer.step()["pronouncing"]
    assert first > 2.5 and last < 0.7 * first
