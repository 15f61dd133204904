"""When each sentence of a piece is said: from the share of its letters, moved to the quietest place nearby.

An estimate, good to some tenths of a second: the model tells no times. Everything that cuts inside a take (context,
subtitles, tempo by speaker) uses these same times. numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dia.text.pace import Pace
from dia.text.plan import Piece, PieceTurn
from dia.text.sentences import split_clauses, split_sentences

__all__ = ["Phrase", "find_phrases", "phrase_turns", "place_phrases", "quietest"]

_LONG_PHRASE_S = 6.0  # a longer sentence is cut at its clauses
_REACH_S = 0.4
_WINDOW_S = 0.08
_STEP_S = 0.01


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence, or a clause of a long one, and where it stands in its take: samples `start` to `end`, half open.

    `text` is what the model was told, `written` what the script has there, where that is something else.
    """

    speaker: str
    text: str
    turn_idx: int
    start: int
    end: int
    written: str | None = None

    @property
    def shown(self) -> str:
        """The words for people."""
        return self.text if self.written is None else self.written


def find_phrases(piece: Piece, waveform: np.ndarray, sample_rate_hz: int, start: int, end: int) -> tuple[Phrase, ...]:
    """The phrases of a piece in float samples [samples], whose words are said between `start` and `end`.

    Together they cover that stretch; words joined are the words of the piece.
    """
    weights = np.array([max(Pace().estimate_s(part), 0.05) for _, part, _ in _turn_parts(piece)])
    edges = start + np.round(np.cumsum(weights) / weights.sum() * (end - start)).astype(int)
    return place_phrases(piece, _moved([start, *(int(edge) for edge in edges)], waveform, sample_rate_hz))


def place_phrases(piece: Piece, edges: Sequence[int]) -> tuple[Phrase, ...]:
    """The phrases of a piece between known edges, one more than there are phrases."""
    return tuple(
        Phrase(turn.speaker, part.strip(), turn.turn_idx, low, high, written)
        for (turn, part, written), (low, high) in zip(_turn_parts(piece), pairwise(edges), strict=True)
    )


def phrase_turns(phrases: Sequence[Phrase]) -> tuple[PieceTurn, ...]:
    """The phrases as turns, neighbours of one turn joined."""
    turns: list[PieceTurn] = []
    for phrase in phrases:
        if turns and (turns[-1].turn_idx, turns[-1].speaker) == (phrase.turn_idx, phrase.speaker):
            turns[-1] = PieceTurn(phrase.speaker, f"{turns[-1].text} {phrase.text}", phrase.turn_idx)
        else:
            turns.append(PieceTurn(phrase.speaker, phrase.text, phrase.turn_idx))
    return tuple(turns)


def quietest(waveform: np.ndarray, sample_rate_hz: int, low: int, high: int, wanted: int) -> int:
    """The middle of the quietest 80 ms between `low` and `high`; among equals the nearest to `wanted`.

    `wanted` itself where there is no room for a window.
    """
    window, step = round(_WINDOW_S * sample_rate_hz), max(round(_STEP_S * sample_rate_hz), 1)
    low, high = max(low, 0), min(high, len(waveform))
    starts = np.arange(low, high - window + 1, step)
    if not len(starts):
        return wanted
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform[low:high], dtype=np.float64))])
    power = energy[starts - low + window] - energy[starts - low]
    middles = starts + window // 2
    lowest = float(power.min())
    # Within a decibel of the quietest, nearness decides: silence is silent everywhere.
    good = middles[power <= 1.25 * lowest + 1e-12]
    return int(good[np.argmin(np.abs(good - wanted))])


def _turn_parts(piece: Piece) -> list[tuple[PieceTurn, str, str | None]]:
    """Turn, words as told, and words as written where these are others."""
    found: list[tuple[PieceTurn, str, str | None]] = []
    for turn in piece.turns:
        start = 0
        for part in _parts(turn.text):
            written = turn.written_between(start, start + len(part)).strip() if turn.spellings else part.strip()
            found.append((turn, part, None if written == part.strip() else written))
            start += len(part)
    return found


def _parts(text: str) -> list[str]:
    pace = Pace()
    return [
        part
        for sentence in split_sentences(text)
        for part in (split_clauses(sentence) if pace.estimate_s(sentence) > _LONG_PHRASE_S else [sentence])
    ]


def _moved(edges: list[int], waveform: np.ndarray, sample_rate_hz: int) -> list[int]:
    """Inner edges at quiet places, none beyond the middle of its neighbours."""
    reach = round(_REACH_S * sample_rate_hz)
    moved = list(edges)
    for place in range(1, len(edges) - 1):
        low = max(edges[place] - reach, (edges[place - 1] + edges[place]) // 2)
        high = min(edges[place] + reach, (edges[place] + edges[place + 1]) // 2)
        moved[place] = quietest(waveform, sample_rate_hz, low, high, edges[place])
    return moved
