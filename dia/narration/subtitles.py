"""Subtitles of a recording: SubRip and WebVTT, at the estimated times of its phrases. Pure functions."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dia.narration.casting import LABELS
from dia.narration.timing import Phrase

__all__ = ["Cue", "SubtitleFormat", "make_cues", "to_srt", "to_vtt"]

SubtitleFormat = Literal["srt", "vtt"]

_LINE_CHARS, _LINES = 42, 2  # what broadcasters' guidelines allow to be read at once
_CUE_CHARS = _LINE_CHARS * _LINES
_SHORT_S = 1.0


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start_s` to `end_s`: the words of the script, without tags."""

    start_s: float
    end_s: float
    speaker: str
    text: str


def make_cues(phrases: Sequence[Phrase], sample_rate_hz: int) -> list[Cue]:
    """Cues of at most two lines; a short phrase is shown with the next one of its speaker if both fit."""
    cues: list[Cue] = []
    for cue in (part for phrase in phrases for part in _cut(phrase, sample_rate_hz)):
        last = cues[-1] if cues else None
        if (
            last is not None
            and last.speaker == cue.speaker
            and min(last.end_s - last.start_s, cue.end_s - cue.start_s) < _SHORT_S
            and len(last.text) + 1 + len(cue.text) <= _CUE_CHARS
            and cue.start_s - last.end_s < _SHORT_S
        ):
            cues[-1] = Cue(last.start_s, cue.end_s, last.speaker, f"{last.text} {cue.text}")
        else:
            cues.append(cue)
    return cues


def to_srt(cues: Sequence[Cue]) -> str:
    """SubRip. Names stand before the words where the script has names."""
    blocks = (
        f"{number}\n{_time(cue.start_s, ',')} --> {_time(cue.end_s, ',')}\n{_lines(_named(cue, cues))}\n"
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def to_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT with voice tags where more than one person speaks."""
    several = len({cue.speaker for cue in cues}) > 1
    blocks = ["WEBVTT\n"]
    for cue in cues:
        text = _lines(_escaped(cue.text))
        voice = f"<v {_escaped(cue.speaker)}>" if several else ""
        blocks.append(f"{_time(cue.start_s, '.')} --> {_time(cue.end_s, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def _cut(phrase: Phrase, sample_rate_hz: int) -> Iterator[Cue]:
    # What is spelled out may be written in the phrase before it, which then has all of it.
    parts = textwrap.wrap(phrase.shown, _CUE_CHARS, break_on_hyphens=False)
    letters = sum(len(part) for part in parts)
    said = 0
    for part in parts:
        start, end = (
            (phrase.start + (phrase.end - phrase.start) * count / letters) / sample_rate_hz
            for count in (said, said + len(part))
        )
        said += len(part)
        yield Cue(round(start, 3), round(end, 3), phrase.speaker, part)


def _named(cue: Cue, cues: Sequence[Cue]) -> str:
    has_names = len({one.speaker for one in cues}) > 1 and cue.speaker not in LABELS
    return f"{cue.speaker}: {cue.text}" if has_names else cue.text


def _lines(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _LINE_CHARS, break_on_hyphens=False))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
