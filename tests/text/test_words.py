"""Spoken words compared as plain words: numbers, short forms, tags, punctuation."""

import pytest

from dia.text.numbers import spell_number
from dia.text.words import normalise


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mr. Smith met Mrs. Jones.", "mister smith met missus jones"),
        ("Mister Smith met Missus Jones", "mister smith met missus jones"),
        ("It\u2019s 3:05, isn't it?", "it's three oh five isn't it"),
        ("We pay $4.50 or \u00a31 for 12 eggs.", "we pay four dollars fifty cents or one pound for twelve eggs"),
        ("the 21st of May 1984", "the twenty first of may nineteen eighty four"),
        ("In 2009 there were 1,200 of them.", "in two thousand nine there were one thousand two hundred of them"),
        ("about 3.5 per cent, 20% off", "about three point five per cent twenty percent off"),
        ("[S1] Hello (laughs) there. [S2] Well-known!", "hello there well known"),
        ("At 10 a.m. or 5 PM", "at ten a m or five p m"),
        ("'Tis, he said, 'the colour'", "tis he said the color"),
        ("...", ""),
    ],
)
def test_a_text_becomes_the_words_that_are_spoken(text: str, words: str):
    assert normalise(text) == words.split()


def test_numbers_written_out_and_in_digits_are_the_same():
    for value in (0, 7, 13, 40, 99, 100, 118, 999, 1000, 2005, 31_415, 1_000_000, 7_000_000_001):
        assert normalise(f"{value:,}") == normalise(spell_number(value))
