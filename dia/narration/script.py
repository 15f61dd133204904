"""A long text as the plan of a run and its chapters. Pure functions; nothing is generated."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dia.text.formats import read_script
from dia.text.pace import Pace
from dia.text.plan import Gaps, Limits, Plan
from dia.text.planner import plan_turns
from dia.text.repairs import Repairs
from dia.text.roles import Roleplay, blank_code, blank_thoughts, split_roles
from dia.text.source import SourceTurn
from dia.text.wording import Wording

__all__ = ["CHAPTER_PAUSE_S", "Heading", "PlannedScript", "ReadScript", "plan_script", "read_text"]

CHAPTER_PAUSE_S = 1.5

_MARKDOWN = re.compile(r"[ ]{0,3}#{1,2}[ \t]+\S")
_NUMBER = (
    r"(?:[0-9]{1,4}|[ivxlcdm]{1,8}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|the\s[a-z]{3,12})"
)
_NAMED = re.compile(
    rf"(?:(?:chapter|part|book|act|scene)\s{_NUMBER}|prologue|epilogue|preface|introduction|afterword)"
    r"(?:[ ]?[.:\u2013\u2014-][^\n]{0,80})?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Heading:
    """Where a chapter begins: a turn of the script, by its number, and its title."""

    turn_idx: int
    title: str


@dataclass(frozen=True, slots=True)
class ReadScript:
    """The turns of a text, its headings, its format, and what was noted on the way."""

    turns: tuple[SourceTurn, ...]
    headings: tuple[Heading, ...]
    format: str
    warnings: tuple[str, ...]

    @property
    def speakers(self) -> tuple[str, ...]:
        """Everybody who speaks, in the order of appearance."""
        return tuple(dict.fromkeys(turn.speaker for turn in self.turns))


@dataclass(frozen=True, slots=True)
class PlannedScript:
    """The pieces of a text and its headings; each heading begins a piece."""

    plan: Plan
    headings: tuple[Heading, ...]


def read_text(
    text: str, *, format: str = "auto", default_speaker: str = "S1", roleplay: Roleplay | None = None
) -> ReadScript:
    """The turns of a text in any of `dia.text.formats.FORMATS`, a pause before every heading but one at the start.

    Headings are Markdown's first two levels, and paragraphs of one short line such as "Chapter 3".

    Raises:
        BadScript: nothing to say, or a format that does not hold.
    """
    repairs = Repairs()
    text = blank_thoughts(text, repairs)
    if roleplay is not None:
        text = blank_code(text, repairs)
    document = read_script(text, format=format, default_speaker=default_speaker)
    turns: Iterable[SourceTurn] = document.turns
    if roleplay is not None:
        turns = [part for turn in document.turns for part in split_roles(turn, roleplay, repairs)]
    paused, headings, seen = [], [], set()
    for turn_idx, turn in enumerate(turns):
        is_heading = _is_heading(text, turn, document.format) and turn.span not in seen
        if is_heading:
            seen.add(turn.span)
            headings.append(Heading(turn_idx, " ".join(turn.text.split()).rstrip(".:")))
        if is_heading and turn_idx:
            turn = replace(turn, pause_before_s=max(turn.pause_before_s, CHAPTER_PAUSE_S))
        paused.append(turn)
    return ReadScript(tuple(paused), tuple(headings), document.format, (*document.warnings, *repairs.warnings()))


def plan_script(
    script: ReadScript,
    *,
    limits: Limits,
    paces: Mapping[str, Pace] | None = None,
    prompted: Collection[str] = (),
    gaps: Gaps | None = None,
    short_text: Literal["carrier", "plain"] = "carrier",
    knows_sounds: bool = True,
    wording: Wording | None = None,
) -> PlannedScript:
    """The pieces of a script that was read; arguments as in `plan_turns`. Raises BadScript for a word that no pass can
    hold."""
    planned = plan_turns(
        script.turns,
        limits=limits,
        paces=paces,
        prompted=prompted,
        gaps=gaps,
        short_text=short_text,
        knows_sounds=knows_sounds,
        wording=wording,
    )
    planned = replace(planned, format=script.format, warnings=(*script.warnings, *planned.warnings))
    return PlannedScript(planned, script.headings)


def _is_heading(text: str, turn: SourceTurn, format: str) -> bool:
    if turn.span is None:
        return False
    if format == "markdown":
        return _MARKDOWN.match(text, turn.span[0]) is not None
    return format in ("plain", "tagged") and _NAMED.fullmatch(turn.text.strip()) is not None
