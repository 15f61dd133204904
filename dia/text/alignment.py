"""Word errors: the cheapest way to turn what was to be said into what was heard, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Alignment", "align", "word_error_rate"]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Counts of a cheapest alignment, and its pairs.

    Attributes:
        pairs: (reference index, heard index) of every word that has a partner, right or wrong, in order. A word that
            was heard in two parts, or two heard as one, has one pair for each part.
    """

    reference_words: int
    substitutions: int
    deletions: int
    insertions: int
    pairs: tuple[tuple[int, int], ...]

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def clipped_errors(self) -> int:
        """At most one per reference word: a recogniser may invent any number of words over noise."""
        return min(self.errors, self.reference_words)

    @property
    def last_heard(self) -> int | None:
        """Index of the last heard word that belongs to the reference; what follows was not asked for."""
        return self.pairs[-1][1] if self.pairs else None


# How a cell of the table was reached: (rows back, columns back).
_BOTH, _DELETED, _INSERTED, _HEARD_APART, _HEARD_JOINED = (1, 1), (1, 0), (0, 1), (1, 2), (2, 1)


def align(reference: Sequence[str], heard: Sequence[str]) -> Alignment:
    """Levenshtein alignment of words, where "good night" and "goodnight" are the same at no cost.

    Among equally cheap alignments words are paired as early as possible in what was heard, so that a last word said
    twice counts as something after the end.
    """
    rows, columns = len(reference) + 1, len(heard) + 1
    cost = [[0] * columns for _ in range(rows)]
    step = [[_BOTH] * columns for _ in range(rows)]
    for column in range(1, columns):
        cost[0][column], step[0][column] = column, _INSERTED
    for row in range(1, rows):
        cost[row][0], step[row][0] = row, _DELETED
        for column in range(1, columns):
            cost[row][column], step[row][column] = _cheapest(cost, reference, heard, row, column)
    return _traced(step, reference, heard)


def _cheapest(
    cost: list[list[int]], reference: Sequence[str], heard: Sequence[str], row: int, column: int
) -> tuple[int, tuple[int, int]]:
    said, word = reference[row - 1], heard[column - 1]
    options = [
        (cost[row][column - 1] + 1, _INSERTED),
        (cost[row - 1][column - 1] + (said != word), _BOTH),
        (cost[row - 1][column] + 1, _DELETED),
    ]
    if column > 1 and said == heard[column - 2] + word:
        options.append((cost[row - 1][column - 2], _HEARD_APART))
    if row > 1 and word == reference[row - 2] + said:
        options.append((cost[row - 2][column - 1], _HEARD_JOINED))
    return min(options, key=lambda option: option[0])


def _traced(step: list[list[tuple[int, int]]], reference: Sequence[str], heard: Sequence[str]) -> Alignment:
    row, column = len(reference), len(heard)
    wrong = deleted = inserted = 0
    pairs: list[tuple[int, int]] = []
    while row or column:
        move = step[row][column]
        if move == _BOTH:
            wrong += reference[row - 1] != heard[column - 1]
            pairs.append((row - 1, column - 1))
        elif move == _HEARD_APART:
            pairs += [(row - 1, column - 1), (row - 1, column - 2)]
        elif move == _HEARD_JOINED:
            pairs += [(row - 1, column - 1), (row - 2, column - 1)]
        deleted += move == _DELETED
        inserted += move == _INSERTED
        row, column = row - move[0], column - move[1]
    return Alignment(len(reference), wrong, deleted, inserted, tuple(reversed(pairs)))


def word_error_rate(alignments: Sequence[Alignment]) -> float:
    """Errors over words of all takes together, each take counted at 100 % at most; 0 … 1, NaN without words."""
    words = sum(item.reference_words for item in alignments)
    return sum(item.clipped_errors for item in alignments) / words if words else float("nan")
