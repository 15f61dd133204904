"""Atoms into pieces: the cuts with the least cost, in linear time.

A piece holds at most two speakers, the bytes and the seconds of a pass. Among what is possible, being between floor
and ceiling comes first, then cutting where it is heard least: exchange, turn, paragraph, sentence, clause, word; then
being near the target; then few turns. Since no atom is longer than ceiling less two floors, a stretch that is longer
than the floor always has cuts with every piece between floor and ceiling, unless a third speaker or the bytes forbid
them: fill up to the floor, which ends below the ceiling; a rest below the floor is shared with its neighbour.
"""

from collections.abc import Sequence

from dia.text.atoms import TAG_BYTES, Atom
from dia.text.plan import Limits

__all__ = ["pack"]

_CUT_COST = {"exchange": 0.0, "turn": 1.0, "paragraph": 1.0, "sentence": 2.5, "clause": 8.0, "word": 20.0}
_LENGTH_COST = 4.0  # of being off the target by the target; an exchange is worth up to six seconds of it
_OUTSIDE_COST = 100.0  # of being below the floor, more than any cut
_OUTSIDE_COST_PER_S = 10.0
_TURN_COST = 1.0  # of each turn beyond the wish


def pack(atoms: Sequence[Atom], limits: Limits) -> list[tuple[int, int]]:
    """Start and end of each piece in `atoms`, which hold no forced cut but before the first."""
    best = [0.0] + [float("inf")] * len(atoms)
    came_from = [0] * (len(atoms) + 1)
    for start in range(len(atoms)):
        cost = best[start] + _cut_cost(atoms, start)
        for end, piece_cost in _pieces_from(atoms, start, limits):
            if cost + piece_cost < best[end]:
                best[end], came_from[end] = cost + piece_cost, start
    pieces = []
    end = len(atoms)
    while end > 0:
        pieces.append((came_from[end], end))
        end = came_from[end]
    return pieces[::-1]


def _cut_cost(atoms: Sequence[Atom], start: int) -> float:
    return _CUT_COST[atoms[start].cut] if start else 0.0


def _pieces_from(atoms: Sequence[Atom], start: int, limits: Limits) -> list[tuple[int, float]]:
    """End and cost of each piece that can begin at `start`: at least the one atom, which is known to fit a pass."""
    found = []
    speakers: set[str] = set()
    seconds, num_bytes, turns = 0.0, TAG_BYTES, 0  # the closing tag
    last: str | None = None
    longest_s, wanted_s, shortest_s = limits.longest_s, limits.wanted_s, limits.shortest_s
    piece_bytes, max_turns = limits.piece_bytes, limits.max_turns
    for end in range(start, len(atoms)):
        atom = atoms[end]
        speakers.add(atom.speaker)
        is_turn = atom.speaker != last
        turns += is_turn
        seconds += atom.estimated_s + (atom.glue_s if end > start else 0.0)
        num_bytes += atom.num_bytes + (TAG_BYTES + (end > start) if is_turn else len(atom.glue))
        is_too_much = len(speakers) > 2 or seconds > longest_s or num_bytes > piece_bytes
        if is_too_much and end > start:
            break
        last = atom.speaker
        cost = _LENGTH_COST * (seconds / wanted_s - 1) ** 2
        if turns > max_turns:
            cost += _TURN_COST * (turns - max_turns)
        if seconds < shortest_s:
            cost += _OUTSIDE_COST + _OUTSIDE_COST_PER_S * (shortest_s - seconds)
        found.append((end + 1, cost))
    return found
