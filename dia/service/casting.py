"""A voice and a text become prompts as they are used and pieces that have room for them. Pure functions.

Who says what with which prompt is `dia.narration.casting`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal

from dia.errors import BadParameter
from dia.narration.casting import LABELS, Sound, cast
from dia.narration.passes import Passes
from dia.narration.script import ReadScript, plan_script
from dia.narration.voices import Cast
from dia.service.voices import Voice
from dia.text.plan import Limits, Plan
from dia.text.script import TAG
from dia.text.tokens import count_bytes
from dia.text.wording import Wording

ROLE_SPEAKERS = {"user": "S1", "assistant": "S2", "system": "S2"}
LEAST_PLANNED_ROWS = 600  # about 7 s: a lower max_tokens cuts sound off, as asked, and not the text into crumbs


def choose_speaker(role: str | None, voice: Voice) -> str:
    """Who speaks untagged text: a voice of one prompted speaker decides itself, else the role, else the voice."""
    if len(voice.speakers) == 1:
        return next(iter(voice.speakers))
    return ROLE_SPEAKERS.get(role or "", voice.primary_speaker)


def prompt_share_s(max_prompt_s: float, num_prompts: int) -> float:
    """How long each of so many prompts may be: no piece has more than two."""
    return max_prompt_s / min(max(num_prompts, 1), 2)


def make_sounds(
    voice: Voice,
    max_s: float,
    used_s: Callable[[str, float], float],
    words: Callable[[str, float, str | None], str | None],
) -> tuple[Sound, ...]:
    """The prompts of a voice, each `max_s` long at most. `used_s` and `words` tell of a prompt cut to a length, the
    latter with other words for all of it if the voice has some."""
    sounds = []
    for slot, speaker in voice.speakers.items():
        said = words(speaker.prompt, max_s, speaker.transcript)
        labels = set(TAG.findall(said)) if said else set()
        has_both = len(labels) == 2 and len(voice.speakers) == 1
        if said and not has_both:
            said = " ".join(TAG.sub(" ", said).split())
        sounds.append(Sound(speaker.prompt, slot, said or None, used_s(speaker.prompt, max_s), has_both))
    return tuple(sounds)


def other_speaker(voice: Voice, sounds: Sequence[Sound]) -> str | None:
    """Who narrates in a voice of two: the one that is not its primary speaker. None in any other voice."""
    labels = {label for sound in sounds for label in (LABELS if sound.has_both else (sound.slot,))}
    return next((label for label in LABELS if label != voice.primary_speaker), None) if len(labels) > 1 else None


def as_narrator(sounds: Sequence[Sound], voice: Voice, name: str) -> tuple[Sound, ...]:
    """The prompt of a voice for the narrator called `name`.

    Raises:
        BadParameter: the voice has two speakers.
    """
    if len(sounds) > 1 or any(sound.has_both for sound in sounds):
        raise BadParameter(f"the narrator's voice {voice.id!r} has two speakers; name one with a single speaker")
    return tuple(replace(sound, slot=name) for sound in sounds)


def plan_pieces(
    script: ReadScript,
    sounds: Sequence[Sound],
    passes: Passes,
    max_tokens: int | None,
    *,
    short_text: Literal["carrier", "plain"] = "carrier",
    wording: Wording | None = None,
) -> Plan:
    """The script in pieces that one pass each can say, room for the prompts of any two speakers left free.

    Raises:
        BadScript, BadParameter: nothing to say, or no room beside the prompts.
    """
    pairs = list(combinations(sounds, 2)) if len(sounds) > 1 else [tuple(sounds)]
    prompt_rows = max(math.ceil(sum(sound.used_s for sound in pair) * passes.frame_rate_hz) for pair in pairs)
    words_bytes = max(sum(count_bytes(sound.words or "") + 8 for sound in pair) for pair in pairs)
    casting = cast(script.speakers, sounds)

    def planned(reserved_rows: int, reserved_bytes: int) -> Plan:
        frames = passes.max_frames
        if max_tokens is not None:
            frames = min(frames, reserved_rows + max(max_tokens, LEAST_PLANNED_ROWS))
        limits = Limits(
            passes.text_bytes,
            frames,
            passes.frame_rate_hz,
            reserved_bytes=reserved_bytes,
            reserved_frames=reserved_rows,
        )
        return plan_script(
            script,
            limits=limits,
            paces=Cast(tuple(sounds), None, casting).paces(),
            prompted=casting,
            short_text=short_text,
            knows_sounds=passes.knows_sounds,
            wording=wording,
        ).plan

    whole = planned(prompt_rows, words_bytes)
    if len(whole.pieces) == 1 or len(casting) == len(script.speakers):
        return whole
    anchor = passes.anchor_room
    return planned(prompt_rows + anchor.max_frames, words_bytes + anchor.max_bytes)
