"""Numbers as English words."""

import pytest

from dia.text.numbers import spell_decimal, spell_digits, spell_number, spell_ordinal, spell_year


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "first"), (2, "second"), (12, "twelfth"), (20, "twentieth"), (23, "twenty third"), (100, "one hundredth")],
)
def test_ordinals_change_their_last_word(value: int, words: str):
    assert spell_ordinal(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1066, "one thousand sixty six"),
        (1100, "eleven hundred"),
        (1905, "nineteen oh five"),
        (1984, "nineteen eighty four"),
        (2000, "two thousand"),
        (2009, "two thousand nine"),
        (2010, "twenty ten"),
        (2100, "two thousand one hundred"),
    ],
)
def test_years_are_said_in_pairs_where_people_do(value: int, words: str):
    assert spell_year(value) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("0", "zero"),
        ("1,234,567", "one million two hundred thirty four thousand five hundred sixty seven"),
        ("3.14", "three point one four"),
        (".5", "point five"),
        ("007", "zero zero seven"),
        ("0.5", "zero point five"),
        ("1234567890123", "one two three four five six seven eight nine zero one two three"),
    ],
)
def test_decimals_are_said_as_written(written: str, words: str):
    assert spell_decimal(written) == words


def test_digits_are_said_one_by_one():
    assert spell_digits("555-01") == "five five five zero one"
    assert spell_number(999_999_999_999).startswith("nine hundred ninety nine billion")
