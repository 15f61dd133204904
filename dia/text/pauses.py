"""Pauses that a writer asks for: `[pause:0.8s]`, `[pause:800ms]`, `<break time="500ms"/>`,
`<break strength="weak"/>`.

The model has no word for silence; a planner cuts at a pause and whoever joins the pieces puts the silence in.
"""

import re

from dia.errors import BadScript

__all__ = ["MAX_PAUSE_S", "PAUSE_TAG", "split_pauses"]

MAX_PAUSE_S = 60.0
"""Longest pause in seconds that one place in a script may have."""

_PLAIN_PAUSE_S = 0.5  # a tag without a time: a little longer than the gap between two turns
_STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.8, "x-strong": 1.2}
"""Seconds of SSML's strengths, which leaves them to the speaker."""

PAUSE_TAG = re.compile(r"\[ ?pause(?![^\W\d])[^\[\]\n]{0,30}\]|<break\b[^<>\n]{0,60}>", re.IGNORECASE)
"""Any spelling of a pause tag, readable or not."""

_BRACKET = re.compile(r"\[ ?pause ?(?:(?:[:= ] ?|(?=[0-9]))([^\]]*?))? ?\]", re.IGNORECASE)
_BREAK = re.compile(r"<break((?: +[a-z]+ ?= ?(?:\"[^\"]*\"|'[^']*'|[^\s\"'/>]+))*) ?/?>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-z]+) ?= ?(?:[\"'] ?([^\"']*?) ?[\"']|([^\s\"'/>]+))", re.IGNORECASE)
_TIME = re.compile(r"([0-9]{0,6}(?:[.,][0-9]{1,6})?) ?(ms|s|sec|seconds)?", re.IGNORECASE)


def split_pauses(text: str) -> list[tuple[float, str]]:
    """The text between pause tags, each with the pause in seconds that stands before it; the first has 0.0.

    Raises:
        BadScript: a pause tag whose time cannot be read, or one longer than a minute.
    """
    parts: list[tuple[float, str]] = []
    pause_s, start = 0.0, 0
    for match in PAUSE_TAG.finditer(text):
        parts.append((pause_s, text[start : match.start()]))
        pause_s, start = _duration_s(match.group()), match.end()
    parts.append((pause_s, text[start:]))
    return parts


def _duration_s(tag: str) -> float:
    duration_s = _bracket_s(tag) if tag.startswith("[") else _break_s(tag)
    if duration_s is None:
        raise BadScript(f"pause {tag!r} is not understood; a pause is written [pause:0.8s] or [pause:800ms]")
    if duration_s > MAX_PAUSE_S:
        raise BadScript(f"pause {tag!r} is {duration_s:g} s; at most {MAX_PAUSE_S:g} s; make it shorter")
    return duration_s


def _bracket_s(tag: str) -> float | None:
    match = _BRACKET.fullmatch(tag)
    return None if match is None else _time_s(match.group(1) or "")


def _break_s(tag: str) -> float | None:
    """By SSML a time wins over a strength, and a break without either is a medium one."""
    match = _BREAK.fullmatch(tag)
    if match is None:
        return None
    values = {name.lower(): quoted or bare for name, quoted, bare in _ATTRIBUTE.findall(match.group(1))}
    if not values.keys() <= {"time", "strength"}:
        return None
    return _time_s(values["time"]) if "time" in values else _STRENGTHS.get(values.get("strength", "medium").lower())


def _time_s(written: str) -> float | None:
    """Seconds; a comma is a decimal point as well."""
    match = _TIME.fullmatch(written.strip())
    if match is None:
        return None
    number, unit = match.groups()
    if not number:
        return None if unit else _PLAIN_PAUSE_S
    return float(number.replace(",", ".")) / (1000 if (unit or "").lower() == "ms" else 1)
