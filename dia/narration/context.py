"""What stands between the voice prompts and the words of a piece, so that a voice goes on as it was. Pure functions.

Two things, both taken as codes from pieces that are finished (no loss by decoding and encoding again): an anchor, which
is the first that was heard of a speaker without a prompt, and the end of the piece before. Prompts come first in every
pass and are never replaced by what was made from them: chained context alone drifts.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from dia.narration.casting import LABELS
from dia.narration.timing import Phrase, phrase_turns
from dia.text.plan import Piece, PieceTurn, render_turns
from dia.text.tokens import count_bytes

__all__ = ["ANCHOR_BYTES", "ANCHOR_S", "Context", "Room", "Said", "choose_anchor", "choose_recent", "context_words"]

ANCHOR_S = 10.0
"""How much of its own first sound holds a voice that has no prompt."""
ANCHOR_BYTES = 256
_TAG_BYTES = 3  # a label and the blanks beside it


@dataclass(frozen=True, slots=True)
class Said:
    """A finished piece: its codes [frames, channels] and its phrases, whose places are in samples of `hop_samples` a
    frame."""

    piece: Piece
    codes: np.ndarray
    phrases: tuple[Phrase, ...]
    hop_samples: int


@dataclass(frozen=True, slots=True)
class Room:
    """How much context may still be put before a piece."""

    max_frames: int
    max_bytes: int

    def less(self, context: "Context | None") -> "Room":
        """What is left beside a context."""
        if context is None:
            return self
        used = sum(count_bytes(turn.text) + _TAG_BYTES for turn in context.turns)
        return Room(max(self.max_frames - len(context.codes), 0), max(self.max_bytes - used, 0))


@dataclass(frozen=True, slots=True)
class Context:
    """Codes [frames, channels] and what is said in them; `piece_indices` are the pieces that they come from."""

    codes: np.ndarray
    turns: tuple[PieceTurn, ...]
    piece_indices: frozenset[int]


def choose_anchor(history: Sequence[Said], piece: Piece, wanted: Sequence[str], room: Room) -> Context | None:
    """What was first heard of the `wanted` speakers, or None before they have spoken.

    The first piece in which all of them speak, with nobody who could not have a label here; else each one's first
    stretch alone.
    """
    if not wanted:
        return None
    for said in history:
        names = {phrase.speaker for phrase in said.phrases}
        if set(wanted) <= names and len(names | set(piece.speakers)) <= len(LABELS):
            return _taken(said, said.phrases, room, from_end=False)
    found = None
    for place, name in enumerate(wanted):
        share = Room(room.max_frames // (len(wanted) - place), room.max_bytes // (len(wanted) - place))
        alone = next((part for said in history if (part := _alone(said, name, share)) is not None), None)
        room = room.less(alone)
        found = _together(found, alone)
    return found


def choose_recent(
    history: Sequence[Said],
    piece: Piece,
    room: Room,
    anchor: Context | None = None,
    names: Collection[str] | None = None,
) -> Context | None:
    """The end of the piece before this one: its last phrases, as many as there is room and labels for.

    None at the start, without room, and where the anchor is that piece already. `names` says who may be heard, if not
    everybody may.
    """
    if not history:
        return None
    said = history[-1]
    if anchor is not None and said.piece.index in anchor.piece_indices:
        return None
    heard = {*piece.speakers, *(turn.speaker for turn in anchor.turns)} if anchor else set(piece.speakers)
    phrases: list[Phrase] = []
    for phrase in reversed(said.phrases):
        heard.add(phrase.speaker)
        if len(heard) > len(LABELS) or (names is not None and phrase.speaker not in names):
            break
        phrases.insert(0, phrase)
    return _taken(said, phrases, room, from_end=True)


def context_words(piece: Piece, *contexts: Context | None) -> str:
    """The words of contexts in order under the labels of `piece`; a speaker of theirs alone gets the free label."""
    turns = [turn for context in contexts if context is not None for turn in context.turns]
    names = list(dict.fromkeys([*piece.speakers, *(turn.speaker for turn in turns)]))
    return render_turns(turns, names[: len(LABELS)])


def _alone(said: Said, name: str, room: Room) -> Context | None:
    """The longest stretch in which only `name` speaks."""
    runs = [list(run) for speaker, run in groupby(said.phrases, key=lambda phrase: phrase.speaker) if speaker == name]
    if not runs:
        return None
    return _taken(said, max(runs, key=lambda run: run[-1].end - run[0].start), room, from_end=False)


def _taken(said: Said, phrases: Sequence[Phrase], room: Room, *, from_end: bool) -> Context | None:
    """The phrases from one end that fit; the part of one that is too long alone, its words cut by their share."""
    kept: list[Phrase] = []
    for phrase in reversed(phrases) if from_end else phrases:
        grown = [phrase, *kept] if from_end else [*kept, phrase]
        if not _fits(said, grown, room):
            break
        kept = grown
    if not kept and phrases:
        kept = list(_shortened(said, phrases[-1] if from_end else phrases[0], room, from_end=from_end))
    if not kept:
        return None
    first, last = _frames(said, kept)
    return Context(said.codes[first:last], phrase_turns(kept), frozenset((said.piece.index,)))


def _fits(said: Said, phrases: Sequence[Phrase], room: Room) -> bool:
    first, last = _frames(said, phrases)
    num_bytes = sum(count_bytes(turn.text) + _TAG_BYTES for turn in phrase_turns(phrases))
    return 0 < last - first <= room.max_frames and num_bytes <= room.max_bytes


def _frames(said: Said, phrases: Sequence[Phrase]) -> tuple[int, int]:
    last = min(-(-phrases[-1].end // said.hop_samples), len(said.codes))
    return min(phrases[0].start // said.hop_samples, last), last


def _shortened(said: Said, phrase: Phrase, room: Room, *, from_end: bool) -> Iterator[Phrase]:
    words = phrase.text.split()
    for num_words in range(len(words) - 1, 0, -1):
        text = " ".join(words[-num_words:] if from_end else words[:num_words])
        length = round((phrase.end - phrase.start) * len(text) / len(phrase.text))
        start = phrase.end - length if from_end else phrase.start
        part = Phrase(phrase.speaker, text, phrase.turn_idx, start, start + length)
        if _fits(said, [part], room):
            yield part
            return


def _together(first: Context | None, second: Context | None) -> Context | None:
    if first is None or second is None:
        return second if first is None else first
    return Context(
        np.concatenate([first.codes, second.codes]),
        (*first.turns, *second.turns),
        first.piece_indices | second.piece_indices,
    )
