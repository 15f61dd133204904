"""A script's turns as the smallest stretches that a planner may have to move: sentences, or less where one is long."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dia.errors import BadScript
from dia.text.nonverbals import note_unlearnt
from dia.text.pace import Pace
from dia.text.pauses import MAX_PAUSE_S, split_pauses
from dia.text.plan import Cut, Limits
from dia.text.repairs import Repairs
from dia.text.script import TAG, clean_text, is_speakable
from dia.text.sentences import split_clauses, split_sentences, split_words
from dia.text.source import SourceTurn
from dia.text.spoken import Spelling, spell_out, spellings_in
from dia.text.tokens import count_bytes
from dia.text.typography import plain_characters
from dia.text.wording import Dictionary, Wording

__all__ = ["TAG_BYTES", "Atom", "make_atoms"]

TAG_BYTES = 2
"""Ids of a speaker tag and the space beside it."""

_LEAST_ATOM_S = 1.0
_UNENDED = ":;-"
"""What does not end speech: a model that is told to stop there may go on."""
_WIDE = "\u2e80"  # from here on stand the scripts that have no spaces and stops of their own


@dataclass(frozen=True, slots=True)
class Atom:
    """A stretch of one speaker's words that stays in one piece, and where the script has other words (`spellings`).

    `glue` is what joins it to the atom before in the same piece (a space, or nothing between ideographs); `cut` is
    what a cut before it would separate; `glue_s` is the time of the glue; `pause_before_s` above 0 forces that cut.
    """

    speaker: str
    text: str
    turn_idx: int
    cut: Cut
    glue: str
    estimated_s: float
    glue_s: float
    num_bytes: int
    pause_before_s: float = 0.0
    span: tuple[int, int] | None = None
    spellings: tuple[Spelling, ...] = ()


def make_atoms(
    turns: Iterable[SourceTurn],
    limits: Limits,
    pace: Pace,
    paces: Mapping[str, Pace],
    repairs: Repairs,
    *,
    wording: Wording,
    knows_sounds: bool = True,
) -> tuple[list[Atom], float]:
    """The atoms of all turns in order, cleaned, and the pause in seconds that is left over at the end.

    Where `wording` has signs written in words, sounds that a model does not know are left out too, after which the small
    one would run on.

    Raises BadScript for a word that no pass can hold, for an unreadable pause, and for pauses that add up to more
    than a minute.
    """
    atoms: list[Atom] = []
    pause_s = 0.0
    run = _Run()
    dictionary = Dictionary(wording.dictionary)
    for turn_idx, turn in enumerate(turns):
        is_new = True
        pause_s = _sum_of_pauses(pause_s, turn.pause_before_s)
        stretches = split_pauses(plain_characters(turn.text, repairs))
        for place, (pause_here_s, said) in enumerate(stretches, 1):
            pause_s = _sum_of_pauses(pause_s, pause_here_s)
            cleaned = _cleaned(said, repairs, wording)
            text, spellings = spell_out(
                cleaned, dictionary=dictionary, normalize=wording.normalize, without_sounds=not knows_sounds
            )
            if not knows_sounds:
                note_unlearnt(cleaned, repairs, left_out=wording.normalize)
            if not is_speakable(text):
                repairs.add("stretches without words left out", int(bool(text)))
                continue
            _note_spellings(text, spellings, repairs)
            if place == len(stretches) or stretches[place][0] > 0:
                text, spellings = _ended(text, spellings)
            cut = run.cut_before(turn, is_new_turn=is_new) if pause_s == 0 else run.cut_after_pause(turn)
            parts = _fitting_parts(text, spellings, cut, limits, paces.get(turn.speaker, pace))
            # Marks that a cut would leave alone, as in "Yes. !", have no sound.
            first, *others = (
                replace(part, speaker=turn.speaker, turn_idx=turn_idx, span=turn.span)
                for part in parts
                if is_speakable(part.text)
            )
            atoms += [replace(first, cut=cut, pause_before_s=pause_s), *others]
            pause_s, is_new = 0.0, False
    return atoms, pause_s


def _sum_of_pauses(a_s: float, b_s: float) -> float:
    if a_s + b_s > MAX_PAUSE_S:
        raise BadScript(
            f"pauses in one place add up to {round(a_s + b_s, 2):g} s; at most {MAX_PAUSE_S:g} s; make them shorter"
        )
    return a_s + b_s


def _cleaned(said: str, repairs: Repairs, wording: Wording) -> str:
    text, tags = TAG.subn(" ", clean_text(said, repairs, drops_remarks=wording.remarks == "drop"))
    repairs.add("speaker tags left out, since the text was read in another format", tags)
    return " ".join(text.split())


def _note_spellings(text: str, spellings: tuple[Spelling, ...], repairs: Repairs) -> None:
    """What was spelled out, less the signs that have no sound."""
    for spelling in spellings:
        if any(character.isalnum() for character in text[spelling.start : spelling.end]):
            said = f"{spelling.written.strip()} as {text[spelling.start : spelling.end].strip()}"
            repairs.add("numbers and signs written out in words", detail=said)


def _ended(text: str, spellings: tuple[Spelling, ...]) -> tuple[str, tuple[Spelling, ...]]:
    """`text` with a full stop where it has no end, without which speech runs on: "Ok", "He said:"."""
    kept = text.rstrip(f"{_UNENDED} ")
    if not kept or kept[-1] >= _WIDE or not (kept[-1].isalnum() or len(kept) < len(text.rstrip())):
        return text, spellings
    whole = tuple(spelling for spelling in spellings if spelling.end <= len(kept))
    return f"{kept}.", (*whole, Spelling(len(kept), len(kept) + 1, text[len(kept) :]))


class _Run:
    """Follows who speaks, to know what a cut before the next words would separate."""

    def __init__(self) -> None:
        self._pair: list[str] = []
        self._last: str | None = None
        self._turns = 0

    def cut_before(self, turn: SourceTurn, *, is_new_turn: bool) -> Cut:
        """The cut before `turn`; an exchange is over when everybody of the pair has spoken equally often."""
        if turn.speaker == self._last:
            return "paragraph" if is_new_turn and turn.new_paragraph else "sentence"
        is_first = self._last is None
        self._last = turn.speaker
        if turn.speaker not in self._pair and len(self._pair) == 2:
            self._pair, self._turns = [], 0
        if turn.speaker not in self._pair:
            self._pair.append(turn.speaker)
        self._turns += 1
        if is_first:
            return "start"
        return "exchange" if self._turns % 2 else "turn"

    def cut_after_pause(self, turn: SourceTurn) -> Cut:
        """A pause starts a new run: what follows it is planned on its own."""
        self._pair, self._turns, self._last = [turn.speaker], 1, turn.speaker
        return "pause"


def _fitting_parts(text: str, spellings: tuple[Spelling, ...], cut: Cut, limits: Limits, pace: Pace) -> Iterator[Atom]:
    """Sentences of `text`; those that are too long for free choice in clauses, and those in words."""
    # With parts no longer than this, pieces between floor and ceiling can always be found (see `packing`).
    free_s = max(limits.longest_s - 2 * limits.shortest_s, limits.longest_s / 4)
    free = _Size(free_s, limits.piece_bytes // 4, pace)
    glue, start = " ", 0
    left = deque(spellings)
    for part, part_cut in _not_too_small(_parts(text, cut, free), free):
        atom = _atom(part, part_cut, glue, limits, pace)
        start += len(part) - len(part.lstrip())
        yield replace(atom, spellings=tuple(spellings_in(left, start, start + len(atom.text))))
        start += len(part.lstrip())
        glue = " " if part[-1].isspace() else ""


@dataclass(frozen=True, slots=True)
class _Size:
    """The most that an atom should hold, at the pace of who says it."""

    max_s: float
    max_bytes: int
    pace: Pace

    def holds(self, text: str) -> bool:
        return self.pace.estimate_s(text) <= self.max_s and count_bytes(text) <= self.max_bytes


def _parts(text: str, cut: Cut, free: _Size) -> Iterator[tuple[str, Cut]]:
    for sentence in split_sentences(text):
        for clause in [sentence] if free.holds(sentence) else split_clauses(sentence):
            if free.holds(clause):
                yield clause, cut
            else:
                words: list[tuple[str, Cut]] = [(word, "word") for word in split_words(clause)]
                words[0] = (words[0][0], cut)
                yield from _not_too_small(words, free)
            cut = "clause"
        cut = "sentence"


def _not_too_small(parts: Iterable[tuple[str, Cut]], free: _Size) -> Iterator[tuple[str, Cut]]:
    """Parts below a second together with what follows: one place to cut in a second is choice enough."""
    held, held_s, held_bytes = "", 0.0, 0
    held_cut: Cut = "word"
    for part, cut in parts:
        part_s, part_bytes = free.pace.estimate_s(part), count_bytes(part)
        is_full = held_s >= _LEAST_ATOM_S or held_s + part_s > free.max_s or held_bytes + part_bytes > free.max_bytes
        # A longer part that begins a sentence or a clause keeps its place to cut.
        if held and (is_full or (cut != "word" and part_s >= _LEAST_ATOM_S)):
            yield held, held_cut
            held, held_s, held_bytes = "", 0.0, 0
        held_cut = held_cut if held else cut
        held, held_s, held_bytes = held + part, held_s + part_s, held_bytes + part_bytes
    yield held, held_cut


def _atom(part: str, cut: Cut, glue: str, limits: Limits, pace: Pace) -> Atom:
    text = part.strip()
    estimated_s = pace.estimate_s(text)
    num_bytes = count_bytes(text)
    if num_bytes + 2 * TAG_BYTES > limits.piece_bytes or estimated_s > limits.piece_s:
        raise BadScript(
            f"the word {text[:20]!r}… is {num_bytes} bytes, about {estimated_s:.0f} s; one pass holds "
            f"{limits.piece_bytes} bytes and {limits.piece_s:.0f} s; write it as several words"
        )
    return Atom("", text, 0, cut, glue, estimated_s, len(glue) / pace.units_per_s, num_bytes)
