"""Chat messages as roleplay writes them: `*asterisks*` tell, "quotes" speak; narrator and character get own voices.

Asterisks around a word or two inside a sentence are emphasis and stay with the sentence; a known sound such as
`*laughs*` belongs to the character. Blocks of code are not spoken, and neither are the thoughts of a language model.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from dia.errors import BadParameter
from dia.text.nonverbals import MARK, correct_starred
from dia.text.repairs import Repairs
from dia.text.source import SourceTurn

__all__ = ["ROLEPLAYS", "Role", "Roleplay", "blank_code", "blank_thoughts", "read_roleplay", "split_roles"]

Role = Literal["character", "narrator", "skip"]

_CLOSERS = {
    '"': '"',
    "\u201c": '\u201d"',
    "\u201e": "\u201c\u201d",
    "\u00ab": "\u00bb",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}
"""Quotation marks that open, each with those that close it; a single mark is an apostrophe too often."""
_QUOTES = re.escape("".join({*_CLOSERS, *"".join(_CLOSERS.values())}))
_MARK = re.compile(rf"\*+|[{_QUOTES}]|\n[ \t\r]*\n|{MARK.pattern}")
_THOUGHTS = ("think", "thinking", "thought", "reasoning")
_CODE = "```"
_EMPHASIS_WORDS = 2
_SENTENCE_ENDS = '.!?:"\u201d\u2026'


@dataclass(frozen=True, slots=True)
class Roleplay:
    """Who says what: `asterisks`, `quotes` and what is `outside` both go to the character, the narrator or nobody.

    `narrator` is the narrator's name among the speakers; the character is whoever speaks the turn.
    """

    narrator: str = "Narrator"
    asterisks: Role = "narrator"
    quotes: Role = "character"
    outside: Role = "character"


ROLEPLAYS: dict[str, Roleplay | None] = {
    "off": None,
    "chat": Roleplay(),
    "novel": Roleplay(outside="narrator"),
    "no-actions": Roleplay(asterisks="skip"),
    "quotes-only": Roleplay(asterisks="skip", outside="skip"),
}
"""Ways to read roleplay, by name: chat has *actions* told and the rest spoken; novel has only "quotes" spoken and the
rest told; no-actions leaves *actions* out; quotes-only speaks nothing else."""


def read_roleplay(text: str) -> Roleplay | None:
    """A name of `ROLEPLAYS`, or roles spelled out: `asterisks=skip,quotes=character,outside=narrator`.

    Raises:
        BadParameter: neither.
    """
    if text in ROLEPLAYS:
        return ROLEPLAYS[text]
    roles = dict(part.strip().partition("=")[::2] for part in text.split(","))
    known = {"asterisks", "quotes", "outside"}
    if not roles.keys() <= known or not set(roles.values()) <= set(get_args(Role)):
        raise BadParameter(
            f"roleplay {text[:80]!r} is unknown; it is {', '.join(ROLEPLAYS)}, or says who takes asterisks, quotes and "
            "outside (character, narrator or skip), as in asterisks=skip,outside=narrator"
        )
    return replace(Roleplay(), **cast("dict[str, Any]", roles))


def blank_thoughts(text: str, repairs: Repairs) -> str:
    """`text` with a language model's thoughts as spaces, so that every other character keeps its place.

    `<think>` and its like up to the end tag; to the end of the text where that is missing, and from its start where
    only the end tag is there, since many templates begin an answer inside the thoughts.
    """
    for name in _THOUGHTS:
        text = _blanked(text, f"<{name}>", f"</{name}>", repairs, is_open=True)
    return text


def blank_code(text: str, repairs: Repairs) -> str:
    """`text` with blocks between three backticks as spaces."""
    return _blanked(text, _CODE, _CODE, repairs, is_open=False)


def _blanked(text: str, opening: str, closing: str, repairs: Repairs, *, is_open: bool) -> str:
    """`is_open` says that a missing tag means the edge of the text."""
    parts, position = [], 0
    lowered = text.lower() if len(text.lower()) == len(text) else text
    first, first_end = lowered.find(opening), lowered.find(closing)
    if is_open and 0 <= first_end and not 0 <= first < first_end:
        position = first_end + len(closing)
        parts.append(" " * position)
        repairs.add(_LEFT_OUT)
    while (start := lowered.find(opening, position)) >= 0:
        end = lowered.find(closing, start + len(opening))
        if end < 0 and not is_open:
            break
        end = len(text) if end < 0 else end + len(closing)
        parts += [text[position:start], " " * (end - start)]
        position = end
        repairs.add(_LEFT_OUT)
    return "".join([*parts, text[position:]])


_LEFT_OUT = "thoughts and code blocks left out"


def split_roles(turn: SourceTurn, roleplay: Roleplay, repairs: Repairs) -> Iterator[SourceTurn]:
    """The turns of narrator and character inside one turn; what nobody says is noted in `repairs`."""
    speakers = {"character": turn.speaker, "narrator": roleplay.narrator, "skip": None}
    roles = {"asterisks": roleplay.asterisks, "quotes": roleplay.quotes, "outside": roleplay.outside}
    said: list[str] = []
    speaker: str | None = None
    is_first = True
    for kind, part in _parts(correct_starred(turn.text, repairs)):
        now = speakers[roles[kind]]
        if now is None:
            repairs.add(f"passages skipped ({kind})", int(bool(part.strip())))
            continue
        if now != speaker and "".join(said).strip():
            yield _turn(turn, speaker or now, said, is_first=is_first)
            said, is_first = [], False
        speaker = now
        said.append(part)
    if "".join(said).strip():
        yield _turn(turn, speaker or turn.speaker, said, is_first=is_first)


def _turn(turn: SourceTurn, speaker: str, said: list[str], *, is_first: bool) -> SourceTurn:
    text = "".join(said).strip()
    if is_first:
        return replace(turn, speaker=speaker, text=text)
    return replace(turn, speaker=speaker, text=text, new_paragraph=False, pause_before_s=0.0)


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each stretch: inside asterisks, inside quotes (these win), or outside both."""
    in_stars = False
    in_quote: str | None = None  # the mark that opened it
    start = 0
    for mark in _MARK.finditer(text):
        written = mark.group()
        if written.startswith("\n"):  # a new paragraph closes what was left open
            yield _kind(in_quote, in_stars), text[start : mark.end()]
            in_quote, in_stars = None, False
            start = mark.end()
        elif written == "*" and not in_quote and not _is_emphasis(text, mark, in_stars=in_stars):
            yield _kind(in_quote, in_stars), text[start : mark.start()]
            in_stars, start = not in_stars, mark.end()
        elif written.startswith("("):  # a sound is made by whoever speaks the quotes
            if not in_quote and not in_stars:
                yield "outside", text[start : mark.start()]
                yield "quotes", written
                start = mark.end()
        elif not written.startswith("*") and (written in _CLOSERS[in_quote] if in_quote else written in _CLOSERS):
            # The quotation mark goes with the words that it encloses.
            edge = mark.end() if in_quote else mark.start()
            yield _kind(in_quote, in_stars), text[start:edge]
            in_quote, start = None if in_quote else written, edge
    yield _kind(in_quote, in_stars), text[start:]


def _kind(in_quote: str | None, in_stars: bool) -> str:
    return "quotes" if in_quote else "asterisks" if in_stars else "outside"


_EMPHASISED = re.compile(r"\*([^*\s]{1,30}(?: [^*\s]{1,30}){0,1})\*")


def _is_emphasis(text: str, mark: re.Match[str], *, in_stars: bool) -> bool:
    """Whether this asterisk opens or closes one or two words in the middle of a sentence."""
    if in_stars:
        return False
    opened = _EMPHASISED.match(text, mark.start()) or _closing(text, mark.start())
    if opened is None:
        return False
    before = text[max(0, opened.start() - 3) : opened.start()].rstrip()
    after = text[opened.end() : opened.end() + 3].lstrip(" ")
    in_sentence = before != "" and "\n" not in text[max(0, opened.start() - 2) : opened.start()]
    return in_sentence and before[-1] not in _SENTENCE_ENDS + "*" and after[:1] not in ("", "\n", '"', "\u201c", "*")


def _closing(text: str, position: int) -> re.Match[str] | None:
    """The one or two emphasised words that the asterisk at `position` closes."""
    opening = text.rfind("*", max(0, position - 62), position)
    match = _EMPHASISED.match(text, opening) if opening >= 0 else None
    return match if match and match.end() == position + 1 else None
