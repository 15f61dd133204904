"""Where each turn of a script lies in its sound: estimated from the words, then fitted to what was really made."""

from collections.abc import Sequence
from dataclasses import dataclass

from dia.text.pace import Pace
from dia.text.plan import Piece, Plan

__all__ = ["COLOURS", "Mark", "colour_of", "turn_marks"]

COLOURS = 4  # speakers beyond the fourth share colours


@dataclass(frozen=True, slots=True)
class Mark:
    """From `start_s` on, `speaker` says `text`; `colour` is 1 to `COLOURS`. False in `begins_turn` is the rest of a turn
    that goes on from the pass before."""

    start_s: float
    speaker: str
    text: str
    colour: int
    begins_turn: bool = True


def colour_of(speaker: str, speakers: Sequence[str]) -> int:
    """S1 and S2 keep their colours in every script, named people get theirs in order of appearance."""
    if speaker in ("S1", "S2"):
        return int(speaker[1])
    return 1 + list(speakers).index(speaker) % COLOURS


def turn_marks(script: Plan, speed: float = 1.0, pieces_s: Sequence[float] | None = None) -> tuple[Mark, ...]:
    """What is said from when on, in order: one mark for each turn, and one more wherever a pass begins inside a turn.

    The length of a pass is exact where `pieces_s` (before any change of speed) gives it, else the plan's estimate.
    Inside a pass turns share its time as their words do, which is right to about half a second.
    """
    marks: list[Mark] = []
    at_s = 0.0
    last_turn = None
    for piece in script.pieces:
        at_s += piece.pause_before_s
        made_s = pieces_s[piece.index] if pieces_s and piece.index < len(pieces_s) else piece.estimated_s
        for turn, start_s in zip(piece.turns, _starts_s(piece, made_s), strict=True):
            colour = colour_of(turn.speaker, script.speakers)
            begins = turn.turn_idx != last_turn
            marks.append(Mark(round((at_s + start_s) / speed, 3), turn.speaker, turn.text, colour, begins))
            last_turn = turn.turn_idx
        at_s += made_s
    return tuple(marks)


def _starts_s(piece: Piece, made_s: float) -> list[float]:
    """When each turn of a piece begins, from the beginning of the piece."""
    lengths = [Pace().estimate_s(turn.text) for turn in piece.turns]
    scale = made_s / (sum(lengths) or 1.0)
    return [sum(lengths[:index]) * scale for index in range(len(lengths))]
