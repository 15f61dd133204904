"""Who says what with which prompt: a text becomes pieces, and each piece gets the words and prompts of its speakers.

A script names its speakers (S1, S2, or people); a voice has prompts in its slots S1 and S2; a piece of the script
labels its own one or two speakers [S1] and [S2] afresh. This file translates between the three. Pure functions.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dia.service.voices import SPEAKERS, Voice
from dia.text.pace import Pace
from dia.text.plan import Limits, Piece, PieceTurn, Plan, render_turns
from dia.text.planner import plan
from dia.text.script import TAG
from dia.text.tokens import count_bytes

ROLE_SPEAKERS = {"user": "S1", "assistant": "S2", "system": "S2"}
ANCHOR_S = 10.0  # how much of its own first sound holds a voice that has no prompt
ANCHOR_BYTES = 256
LEAST_PLANNED_ROWS = 600  # about 7 s: a lower max_tokens cuts sound off, as asked, and not the text into crumbs
TAIL_ROWS = 32  # start row, delay tail and a margin, taken from every pass


@dataclass(frozen=True, slots=True)
class Sound:
    """One prompt of a voice as it is used: its slot, the words in what is heard of it, and how much that is.

    `has_both` marks a recording of two speakers; its words are then tagged, else they are without tags.
    """

    prompt_id: str
    slot: str
    words: str | None
    used_s: float
    has_both: bool = False


@dataclass(frozen=True, slots=True)
class PassLimits:
    """What one pass of the model takes: ids of text, decoder rows, and rows per second."""

    text_bytes: int
    context_rows: int
    frame_rate_hz: float


def choose_speaker(role: str | None, voice: Voice) -> str:
    """Who speaks untagged text: a voice of one prompted speaker decides itself, else the role, else the voice."""
    if len(voice.speakers) == 1:
        return next(iter(voice.speakers))
    return ROLE_SPEAKERS.get(role or "", voice.primary_speaker)


def make_sounds(
    voice: Voice, max_s: float, used_s: Callable[[str, float], float], words: Callable[[str, float], str | None]
) -> tuple[Sound, ...]:
    """The prompts of a voice, sharing `max_s` among them. `used_s` and `words` tell of a prompt cut to a length."""
    sounds = []
    for slot, speaker in voice.speakers.items():
        share_s = max_s / len(voice.speakers)
        said = speaker.transcript or words(speaker.prompt, share_s)
        labels = set(TAG.findall(said)) if said else set()
        has_both = len(labels) == 2 and len(voice.speakers) == 1
        if said and not has_both:
            said = " ".join(TAG.sub(" ", said).split())
        sounds.append(Sound(speaker.prompt, slot, said or None, used_s(speaker.prompt, share_s), has_both))
    return tuple(sounds)


def cast(names: Sequence[str], sounds: Sequence[Sound]) -> dict[str, str]:
    """Which slot of the voice each name of a script speaks with; names without one are left out.

    The tags S1 and S2 mean the slots; a voice of one speaker takes the only or first speaker if the script does not
    use its tag; people get the slots in the order of their appearance.
    """
    slots = list(SPEAKERS) if any(sound.has_both for sound in sounds) else [sound.slot for sound in sounds]
    if not slots:
        return {}
    if set(names) <= set(SPEAKERS):
        same = {name: name for name in names if name in slots}
        return same or {names[0]: slots[0]}
    return dict(zip(names, slots, strict=False))


def plan_pieces(text: str, speaker: str, sounds: Sequence[Sound], passes: PassLimits, max_tokens: int | None) -> Plan:
    """The text in pieces that one pass each can say, room for prompts left free. The seam for everything long.

    Raises:
        BadScript, BadParameter: nothing to say, or no room beside the prompts.
    """
    prompt_rows = math.ceil(sum(sound.used_s for sound in sounds) * passes.frame_rate_hz)
    words_bytes = sum(count_bytes(sound.words or "") + 8 for sound in sounds)
    rows = passes.context_rows - TAIL_ROWS
    if max_tokens is not None:
        rows = min(rows, prompt_rows + max(max_tokens, LEAST_PLANNED_ROWS))
    pace = None
    if len(sounds) == 1 and sounds[0].words:
        pace = Pace.from_prompt(sounds[0].words, sounds[0].used_s)

    def planned(reserved_rows: int, reserved_bytes: int) -> Plan:
        limits = Limits(
            passes.text_bytes, rows, passes.frame_rate_hz, reserved_bytes=reserved_bytes, reserved_frames=reserved_rows
        )
        return plan(
            text, limits=limits, pace=pace, default_speaker=speaker, has_prompt=bool(sounds), short_text="plain"
        )

    whole = planned(prompt_rows, words_bytes)
    if len(whole.pieces) == 1 or len(cast(whole.speakers, sounds)) == len(whole.speakers):
        return whole
    anchor_rows, anchor_bytes = _anchor_room(passes)
    return planned(prompt_rows + anchor_rows, words_bytes + anchor_bytes)


def anchor_s(passes: PassLimits) -> float:
    """How many seconds of earlier sound may hold a speaker's voice."""
    return _anchor_room(passes)[0] / passes.frame_rate_hz


def piece_words(piece: Piece, sounds: Sequence[Sound], casting: Mapping[str, str]) -> tuple[tuple[Sound, ...], str]:
    """The prompts that a piece needs, in order, and the words in them under the piece's own labels."""
    labels = {casting[name]: number for number, name in enumerate(piece.speakers, 1) if name in casting}
    chosen = tuple(sound for sound in sounds if labels and (sound.has_both or sound.slot in labels))
    said = [_labelled(sound, labels) for sound in chosen if sound.words]
    return chosen, " ".join(said)


def anchor_words(earlier: Piece, piece: Piece) -> str | None:
    """The words of an earlier piece under the labels of this one; None if somebody else speaks in it."""
    turns: tuple[PieceTurn, ...] = earlier.turns
    if any(turn.speaker not in piece.speakers for turn in turns):
        return None
    return render_turns(turns, piece.speakers)


def unprompted(piece: Piece, casting: Mapping[str, str]) -> tuple[str, ...]:
    """The speakers of a piece for whom the voice has no prompt."""
    return tuple(name for name in piece.speakers if name not in casting)


def _anchor_room(passes: PassLimits) -> tuple[int, int]:
    rows = min(round(ANCHOR_S * passes.frame_rate_hz), passes.context_rows // 3)
    return rows, min(ANCHOR_BYTES, passes.text_bytes // 3)


def _labelled(sound: Sound, labels: Mapping[str, int]) -> str:
    words = sound.words or ""
    if not sound.has_both:
        return f"[S{labels[sound.slot]}] {words}"

    def label(match: re.Match[str]) -> str:
        slot = f"S{int(match.group(1))}"
        other = "S2" if slot == "S1" else "S1"
        return f"[S{labels[slot] if slot in labels else 3 - labels[other]}]"

    return TAG.sub(label, words)
