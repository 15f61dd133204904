"""Long scripts, as people write them, into pieces that one pass of the model can say well.

Pure functions from text to `Plan`: nothing is generated, nothing is remembered. Every word of the script is in exactly
one piece, in order; what is left out (code blocks, time codes) is in the warnings. Linear in the text.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from dia.errors import BadScript
from dia.text.atoms import TAG_BYTES, Atom, make_atoms
from dia.text.formats import read_script
from dia.text.pace import Pace
from dia.text.packing import pack
from dia.text.plan import Carrier, Gaps, Limits, Piece, PieceTurn, Plan, render_turns
from dia.text.repairs import Repairs
from dia.text.roles import Roleplay, blank_code, blank_thoughts, split_roles
from dia.text.script import as_learnt
from dia.text.source import SourceTurn
from dia.text.spoken import Spelling
from dia.text.tokens import SPEAKER_TAGS, count_bytes
from dia.text.wording import Wording

__all__ = ["CARRIER_TEXT", "plan", "plan_turns"]

CARRIER_TEXT = "And now we can go on with the next question whenever you are ready for it."
"""What the other speaker says after a text that is too short to be said alone: one breath, so that the first pause in
the pass is the one before it."""

_SHORT_S = 2.0  # below this a pass without a prompt tends to noise and breath
_LATIN_END = "\u024f"
_LETTER = re.compile(r"[^\W\d_]")
_FOREIGN_SHARE = 0.3


def plan(
    text: str,
    *,
    limits: Limits,
    pace: Pace | None = None,
    paces: Mapping[str, Pace] | None = None,
    format: str = "auto",
    roleplay: Roleplay | None = None,
    default_speaker: str = "S1",
    prompted: Collection[str] = (),
    short_text: Literal["carrier", "plain"] = "carrier",
    gaps: Gaps | None = None,
    knows_sounds: bool = True,
    wording: Wording | None = None,
) -> Plan:
    """Pieces of about 12 s (5 to 18) with at most two speakers each, and the pauses between them.

    Args:
        text: a script in any of `formats.FORMATS`.
        limits: what one pass holds, and the wished length of a piece.
        pace: of speakers without one of their own in `paces` (by name); the prior when None.
        format: "auto" recognises it.
        roleplay: gives asterisks and quotes their own voices; None leaves them to the speaker.
        default_speaker: the name of who says words without a speaker.
        prompted: names of speakers with a voice prompt; their short texts need no carrier.
        short_text: "carrier" lets a piece of less than two seconds be followed by words to be cut away.
        gaps: silences between pieces where the script asks for none.
        knows_sounds: False leaves sounds such as `(laughs)` out, which the model has not learnt.
        wording: numbers and signs in words, remarks, a dictionary; `PieceTurn.written` keeps the script's own words.

    Raises:
        BadScript: nothing to say, a format that does not hold, an unreadable pause, or a word that no pass can hold.
    """
    repairs = Repairs()
    text = blank_thoughts(text, repairs)
    if roleplay is not None:
        text = blank_code(text, repairs)
    document = read_script(text, format=format, default_speaker=default_speaker)
    turns: Iterable[SourceTurn] = document.turns
    if roleplay is not None:
        turns = [part for turn in document.turns for part in split_roles(turn, roleplay, repairs)]
    planned = plan_turns(
        turns,
        limits=limits,
        pace=pace,
        paces=paces,
        prompted=prompted,
        short_text=short_text,
        gaps=gaps,
        knows_sounds=knows_sounds,
        wording=wording,
    )
    return replace(
        planned, format=document.format, warnings=(*document.warnings, *repairs.warnings(), *planned.warnings)
    )


def plan_turns(
    turns: Iterable[SourceTurn],
    *,
    limits: Limits,
    pace: Pace | None = None,
    paces: Mapping[str, Pace] | None = None,
    prompted: Collection[str] = (),
    short_text: Literal["carrier", "plain"] = "carrier",
    gaps: Gaps | None = None,
    knows_sounds: bool = True,
    wording: Wording | None = None,
) -> Plan:
    """The plan of turns that are already known by name; for the rest see `plan`."""
    repairs = Repairs()
    pace = Pace() if pace is None else pace
    atoms, pause_after_s = make_atoms(
        turns, limits, pace, paces or {}, repairs, wording=wording or Wording(), knows_sounds=knows_sounds
    )
    if not atoms:
        raise BadScript("no turn has words; there is nothing to say; give at least one word")
    _note_language(atoms, repairs)
    pieces = list(_pieces(atoms, limits, gaps or Gaps()))
    if short_text == "carrier":
        pieces = [
            piece if set(piece.speakers) & set(prompted) else _carried(piece, limits, pace, repairs)
            for piece in pieces
        ]
    _note_lengths(pieces, limits, repairs)
    speakers = tuple(dict.fromkeys(atom.speaker for atom in atoms))
    return Plan(tuple(pieces), speakers, "turns", pause_after_s, repairs.warnings())


def _pieces(atoms: Sequence[Atom], limits: Limits, gaps: Gaps) -> Iterator[Piece]:
    index = 0
    for segment in _segments(atoms):
        for start, end in pack(segment, limits):
            yield _piece(index, segment[start:end], gaps)
            index += 1


def _segments(atoms: Sequence[Atom]) -> Iterator[Sequence[Atom]]:
    """Stretches between the pauses that were asked for."""
    edges = [0, *(place for place, atom in enumerate(atoms) if place and atom.pause_before_s > 0), len(atoms)]
    for start, end in zip(edges, edges[1:], strict=False):
        yield atoms[start:end]


def _piece(index: int, atoms: Sequence[Atom], gaps: Gaps) -> Piece:
    turns = tuple(_turns(atoms))
    speakers = tuple(dict.fromkeys(turn.speaker for turn in turns))
    text = _closed(as_learnt(render_turns(turns, speakers)))
    first = atoms[0]
    return Piece(
        index=index,
        text=text,
        speakers=speakers,
        turns=turns,
        estimated_s=round(sum(atom.estimated_s + atom.glue_s for atom in atoms) - first.glue_s, 3),
        num_bytes=count_bytes(text),
        cut_before=first.cut if index or first.cut == "pause" else "start",
        pause_before_s=first.pause_before_s or (gaps.before(first.cut) if index else 0.0),
        span=_span(atoms),
    )


def _turns(atoms: Sequence[Atom]) -> Iterator[PieceTurn]:
    parts: list[str] = []
    spellings: list[Spelling] = []
    length = 0
    for place, atom in enumerate(atoms):
        parts += [atom.glue, atom.text] if parts else [atom.text]
        length += len(atom.glue) if len(parts) > 1 else 0
        spellings += [spelling.moved(length) for spelling in atom.spellings]
        length += len(atom.text)
        following = atoms[place + 1] if place + 1 < len(atoms) else None
        if following is None or (following.turn_idx, following.speaker) != (atom.turn_idx, atom.speaker):
            yield PieceTurn(atom.speaker, "".join(parts), atom.turn_idx, tuple(spellings))
            parts, spellings, length = [], [], 0


def _closed(text: str) -> str:
    """`text` with the tag of its second-to-last speaker at the end; neighbours in it are different speakers."""
    tags = re.findall(r"\[S[12]\]", text)
    return f"{text} {tags[max(len(tags) - 2, 0)]}"


def _span(atoms: Sequence[Atom]) -> tuple[int, int] | None:
    spans = [atom.span for atom in atoms if atom.span is not None]
    return (spans[0][0], spans[-1][1]) if spans else None


def _carried(piece: Piece, limits: Limits, pace: Pace, repairs: Repairs) -> Piece:
    """A short piece with words of the other speaker behind it; as it was when it is long enough or they do not fit."""
    if piece.estimated_s >= _SHORT_S:
        return piece
    spoken = as_learnt(render_turns(piece.turns, piece.speakers))
    last = 1 + piece.speakers.index(piece.turns[-1].speaker)
    text = f"{spoken} {SPEAKER_TAGS[3 - last]} {CARRIER_TEXT} {SPEAKER_TAGS[last]}"
    estimated_s = piece.estimated_s + pace.estimate_s(CARRIER_TEXT)
    if count_bytes(text) > limits.piece_bytes or estimated_s > limits.piece_s:
        repairs.add("texts shorter than two seconds, with no room for words to be cut away again")
        return piece
    repairs.add("texts shorter than two seconds, said with words behind them that are cut away again")
    carrier = Carrier(CARRIER_TEXT, TAG_BYTES, count_bytes(spoken), piece.estimated_s, round(estimated_s, 3))
    return replace(piece, text=text, num_bytes=count_bytes(text), carrier=carrier)


def _note_lengths(pieces: Sequence[Piece], limits: Limits, repairs: Repairs) -> None:
    short = sum(piece.estimated_s < limits.shortest_s for piece in pieces)
    long = sum(piece.estimated_s > limits.longest_s for piece in pieces)
    if len(pieces) > 1:
        least = f"{round(limits.shortest_s, 1):g} s"
        repairs.add(f"pieces shorter than {least}, between pauses, speakers or byte limits", short)
    repairs.add(f"pieces longer than {round(limits.longest_s, 1):g} s, of one long word", long)
    words = sum(piece.cut_before == "word" for piece in pieces)
    repairs.add("cuts between two words, for want of punctuation", words)


def _note_language(atoms: Sequence[Atom], repairs: Repairs) -> None:
    letters = foreign = 0
    for atom in atoms:
        found = _LETTER.findall(atom.text)
        letters += len(found)
        foreign += sum(letter > _LATIN_END for letter in found)
    if foreign > _FOREIGN_SHARE * letters:
        repairs.add("letters outside the Latin alphabet, while the published model speaks English", foreign)
