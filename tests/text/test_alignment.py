"""Word errors on worked examples and against a plain recursion."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.text.alignment import align, word_error_rate

SAID = ["the", "cat", "sat", "on", "the", "mat"]


@pytest.mark.parametrize(
    ("heard", "substitutions", "deletions", "insertions"),
    [
        ("the cat sat on the mat", 0, 0, 0),
        ("the cat sat on mat", 0, 1, 0),
        ("the bat sat on the mat", 1, 0, 0),
        ("the cat sat on the mat mat", 0, 0, 1),
        ("well the cat sat on the red mat", 0, 0, 2),
        ("", 0, 6, 0),
        ("dog sat on the mat", 1, 1, 0),
    ],
)
def test_errors_are_counted_by_kind(heard: str, substitutions: int, deletions: int, insertions: int):
    found = align(SAID, heard.split())
    assert (found.substitutions, found.deletions, found.insertions) == (substitutions, deletions, insertions)
    assert found.errors == substitutions + deletions + insertions


def test_words_written_apart_or_together_are_no_error():
    apart = align(["good", "night", "everybody"], ["goodnight", "every", "body"])
    assert apart.errors == 0
    assert apart.pairs == ((0, 0), (1, 0), (2, 1), (2, 2))


def test_what_follows_the_last_word_of_the_text_is_not_paired():
    assert align(["we", "go"], ["we", "go", "go", "now"]).last_heard == 1
    assert align(["we", "go"], []).last_heard is None


def test_a_take_counts_at_most_as_all_wrong():
    babble = align(["one", "two"], ["x"] * 50)
    assert babble.errors == 50 and babble.clipped_errors == 2
    assert word_error_rate([babble, align(["a", "b"], ["a", "b"])]) == 0.5


def test_without_words_there_is_no_rate():
    assert word_error_rate([]) != word_error_rate([])


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_the_cost_is_the_edit_distance(said: list[str], heard: list[str]):
    @cache
    def distance(row: int, column: int) -> int:
        if not row or not column:
            return row + column
        same = said[row - 1] == heard[column - 1]
        return min(
            distance(row - 1, column) + 1, distance(row, column - 1) + 1, distance(row - 1, column - 1) + (not same)
        )

    found = align(said, heard)
    assert found.errors == distance(len(said), len(heard))
    assert list(found.pairs) == sorted(found.pairs)
    assert len(said) == len(found.pairs) + found.deletions
    assert len(heard) == len(found.pairs) + found.insertions
