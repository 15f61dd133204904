"""Pauses that a writer asks for: `[pause:0.8s]`, `[pause:800ms]`, `<break time="500ms"/>`.

The model has no word for silence; a planner cuts at a pause and whoever joins the pieces puts the silence in.
"""

import re

from dia.errors import BadScript

__all__ = ["MAX_PAUSE_S", "PAUSE_TAG", "split_pauses"]

MAX_PAUSE_S = 60.0
"""Longest pause in seconds that one place in a script may have."""

_PLAIN_PAUSE_S = 0.5  # a tag without a time: a little longer than the gap between two turns

PAUSE_TAG = re.compile(r"\[ ?pause\b[^\[\]\n]{0,30}\]|<break\b[^<>\n]{0,60}>", re.IGNORECASE)
"""Any spelling of a pause tag, readable or not."""

_BRACKET = re.compile(r"\[ ?pause ?(?:[:= ] ?([0-9]{0,6}(?:\.[0-9]{1,6})?) ?(ms|s|sec|seconds)?)? ?\]", re.IGNORECASE)
_BREAK = re.compile(
    r"<break(?: +time ?= ?[\"']? ?([0-9]{0,6}(?:\.[0-9]{1,6})?) ?(ms|s)? ?[\"']?)? ?/?>", re.IGNORECASE
)


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
    match = _BRACKET.fullmatch(tag) or _BREAK.fullmatch(tag)
    if match is None:
        raise BadScript(f"pause {tag!r} is not understood; a pause is written [pause:0.8s] or [pause:800ms]")
    number, unit = match.groups()
    if not number:
        return _PLAIN_PAUSE_S
    duration_s = float(number) / (1000 if (unit or "").lower() == "ms" else 1)
    if duration_s > MAX_PAUSE_S:
        raise BadScript(f"pause {tag!r} is {duration_s:g} s; at most {MAX_PAUSE_S:g} s; make it shorter")
    return duration_s
