"""A voice and a text become prompts as they are used and pieces that have room for them. Pure functions.

Who says what with which prompt is `dia.narration.casting`.
"""

import math
from collections.abc import Callable, Sequence

from dia.narration.casting import Sound, cast
from dia.narration.passes import Passes
from dia.service.voices import Voice
from dia.text.pace import Pace
from dia.text.plan import Limits, Plan
from dia.text.planner import plan
from dia.text.script import TAG
from dia.text.tokens import count_bytes

ROLE_SPEAKERS = {"user": "S1", "assistant": "S2", "system": "S2"}
LEAST_PLANNED_ROWS = 600  # about 7 s: a lower max_tokens cuts sound off, as asked, and not the text into crumbs


def choose_speaker(role: str | None, voice: Voice) -> str:
    """Who speaks untagged text: a voice of one prompted speaker decides itself, else the role, else the voice."""
    if len(voice.speakers) == 1:
        return next(iter(voice.speakers))
    return ROLE_SPEAKERS.get(role or "", voice.primary_speaker)


def make_sounds(
    voice: Voice,
    max_s: float,
    used_s: Callable[[str, float], float],
    words: Callable[[str, float, str | None], str | None],
) -> tuple[Sound, ...]:
    """The prompts of a voice, sharing `max_s` among them. `used_s` and `words` tell of a prompt cut to a length, the
    latter with other words for all of it if the voice has some."""
    sounds = []
    for slot, speaker in voice.speakers.items():
        share_s = max_s / len(voice.speakers)
        said = words(speaker.prompt, share_s, speaker.transcript)
        labels = set(TAG.findall(said)) if said else set()
        has_both = len(labels) == 2 and len(voice.speakers) == 1
        if said and not has_both:
            said = " ".join(TAG.sub(" ", said).split())
        sounds.append(Sound(speaker.prompt, slot, said or None, used_s(speaker.prompt, share_s), has_both))
    return tuple(sounds)


def plan_pieces(
    text: str,
    speaker: str,
    sounds: Sequence[Sound],
    passes: Passes,
    max_tokens: int | None,
    *,
    knows_sounds: bool = True,
) -> Plan:
    """The text in pieces that one pass each can say, room for prompts left free. The seam for everything long.

    Raises:
        BadScript, BadParameter: nothing to say, or no room beside the prompts.
    """
    prompt_rows = math.ceil(sum(sound.used_s for sound in sounds) * passes.frame_rate_hz)
    words_bytes = sum(count_bytes(sound.words or "") + 8 for sound in sounds)
    frames = passes.max_frames
    if max_tokens is not None:
        frames = min(frames, prompt_rows + max(max_tokens, LEAST_PLANNED_ROWS))
    pace = None
    if len(sounds) == 1 and sounds[0].words:
        pace = Pace.from_prompt(sounds[0].words, sounds[0].used_s)

    def planned(reserved_rows: int, reserved_bytes: int) -> Plan:
        limits = Limits(
            passes.text_bytes,
            frames,
            passes.frame_rate_hz,
            reserved_bytes=reserved_bytes,
            reserved_frames=reserved_rows,
        )
        return plan(
            text, limits=limits, pace=pace, default_speaker=speaker, has_prompt=bool(sounds), short_text="plain",
            knows_sounds=knows_sounds,
        )  # fmt: skip

    whole = planned(prompt_rows, words_bytes)
    if len(whole.pieces) == 1 or len(cast(whole.speakers, sounds)) == len(whole.speakers):
        return whole
    anchor = passes.anchor_room
    return planned(prompt_rows + anchor.max_frames, words_bytes + anchor.max_bytes)
