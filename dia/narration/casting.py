"""Who speaks with which prompt: names of a script, prompts in slots, and the labels of one piece. Pure functions.

A script names its speakers (S1, S2, or people); prompts stand in slots, which are S1 and S2 of one voice, or the names
themselves where every speaker has a prompt of his own; a piece labels its one or two speakers [S1] and [S2] afresh.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dia.text.plan import Piece
from dia.text.script import TAG

__all__ = ["LABELS", "Sound", "cast", "piece_words", "unprompted"]

LABELS = ("S1", "S2")


@dataclass(frozen=True, slots=True)
class Sound:
    """One prompt as it is used: its slot, the words in what is heard of it, and how much that is.

    `has_both` marks a recording of two speakers; its words are then tagged and it fills both S1 and S2. Else they are
    without tags. `words` is None where nobody knows them.
    """

    prompt_id: str
    slot: str
    words: str | None
    used_s: float
    has_both: bool = False


def cast(names: Sequence[str], sounds: Sequence[Sound]) -> dict[str, str]:
    """Which slot each name of a script speaks with; names without one are left out.

    The tags S1 and S2 mean the slots; one prompt goes to the only or first speaker if the script does not use its
    tag; slots of the speakers' own names go to them; else people get the slots in the order of their appearance.
    """
    slots = [slot for sound in sounds for slot in (LABELS if sound.has_both else (sound.slot,))]
    if not slots:
        return {}
    same = {name: name for name in names if name in slots}
    if set(names) <= set(LABELS):
        return same or {names[0]: slots[0]}
    # What nobody has by name goes to the others in the order of their appearance.
    free = [slot for slot in slots if slot not in same]
    return same | dict(zip([name for name in names if name not in same], free, strict=False))


def piece_words(piece: Piece, sounds: Sequence[Sound], casting: Mapping[str, str]) -> tuple[tuple[Sound, ...], str]:
    """The prompts that a piece needs, in order, and the words in them under the piece's own labels."""
    labels = {casting[name]: number for number, name in enumerate(piece.speakers, 1) if name in casting}
    chosen = tuple(
        sound for sound in sounds if any(slot in labels for slot in (LABELS if sound.has_both else (sound.slot,)))
    )
    said = [_labelled(sound, labels) for sound in chosen if sound.words]
    return chosen, " ".join(said)


def unprompted(piece: Piece, casting: Mapping[str, str]) -> tuple[str, ...]:
    """The speakers of a piece who have no prompt."""
    return tuple(name for name in piece.speakers if name not in casting)


def _labelled(sound: Sound, labels: Mapping[str, int]) -> str:
    words = sound.words or ""
    if not sound.has_both:
        return f"[S{labels[sound.slot]}] {words}"

    def label(match: re.Match[str]) -> str:
        slot = f"S{int(match.group(1))}"
        other = "S2" if slot == "S1" else "S1"
        return f"[S{labels[slot] if slot in labels else 3 - labels[other]}]"

    return TAG.sub(label, words)
