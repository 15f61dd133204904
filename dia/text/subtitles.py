"""SubRip and WebVTT subtitles as turns: cues that go on in the next one are one turn; times stay as `start_s`."""

import re
from collections.abc import Iterator
from dataclasses import replace

from dia.errors import BadScript
from dia.text.nonverbals import find_nonverbal
from dia.text.repairs import Repairs
from dia.text.script import is_speakable
from dia.text.source import SourceTurn

__all__ = ["looks_like_subtitles", "read_subtitles"]

_CUE = re.compile(
    r"^(?:[0-9]{1,9}[ \t]*\r?\n)?(?:([0-9]{1,3}):)?([0-9]{2}):([0-9]{2})[,.]([0-9]{3})[ \t]*-->[^\n]{0,200}\n",
    re.MULTILINE,
)
_VOICE = re.compile(r"^<v(?:\.[\w.]{1,40})?[ ]+([^<>\n]{1,40})>")
_NAME = re.compile(r"^((?:[A-Z][\w.'-]{0,30}|[0-9]{1,4})(?:[ ][A-Z0-9][\w.'-]{0,30}){0,3}):[ ]")
_STYLE = re.compile(r"<[^<>\n]{1,80}>|\{\\[^{}\n]{1,80}\}")
_DASHED = re.compile(r"^[ ]*[-\u2013\u2014][ ]?(?=\S)")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
# What is heard but not said: [door slams] anywhere, (door slams) at the start of a line.
_HEARD = re.compile(r"\[([^\[\]\n]{1,80})\]|^\(([^()\n]{1,80})\)")
_KEPT = re.compile(r"pause\b.*|s ?[0-9]+", re.IGNORECASE)
_ENDS = (".", "!", "?", '"', "\u201d", ")", "]", "\u2026", "\u3002", "\u266a")


def looks_like_subtitles(text: str) -> bool:
    """Whether the first thing in `text` is a cue, or the header of WebVTT."""
    head = text.lstrip("\ufeff \t\r\n")
    return _CUE.match(head) is not None or (head.startswith("WEBVTT") and _CUE.search(head) is not None)


def read_subtitles(text: str, speaker: str, repairs: Repairs) -> Iterator[SourceTurn]:
    """Turns of the cues. `NAME:` and `<v Name>` name a speaker; two lines with dashes in one cue are two speakers.

    Raises BadScript when there is no cue.
    """
    cues = list(_CUE.finditer(text))
    if not cues:
        raise BadScript(
            "text has no subtitle; a cue starts as in `00:00:01,000 --> 00:00:02,500`; name another format"
        )
    repairs.add("time codes of subtitles left out", len(cues))
    turns = _cue_turns(text, cues, speaker, repairs)
    open_turn = next(turns)
    for turn in turns:
        if open_turn.speaker == turn.speaker and not open_turn.text.endswith(_ENDS):
            open_turn = replace(
                open_turn, text=f"{open_turn.text}\n{turn.text}", span=_joined(open_turn.span, turn.span)
            )
        else:
            yield open_turn
            open_turn = turn
    yield open_turn


def _cue_turns(text: str, cues: list[re.Match[str]], speaker: str, repairs: Repairs) -> Iterator[SourceTurn]:
    is_vtt = text.lstrip("\ufeff \t\r\n").startswith("WEBVTT")
    ends = [cue.start() for cue in cues[1:]] + [len(text)]
    for cue, end in zip(cues, ends, strict=True):
        # In WebVTT a blank line ends a cue; what follows may be the name of the next one, a comment or a style.
        if is_vtt and (stop := _BLANK_LINE.search(text, cue.end() - 1, end)) is not None:
            end = max(stop.start(), cue.end())
        span = (cue.start(), end)
        for name, said in _speakers(text[cue.end() : end], speaker, repairs):
            yield SourceTurn(name, said, span, new_paragraph=True, start_s=_seconds(cue))


def _speakers(body: str, speaker: str, repairs: Repairs) -> Iterator[tuple[str, str]]:
    written = [line.strip() for line in body.splitlines()]
    plain = [_without_sounds(_STYLE.sub("", line), repairs) for line in written]
    voices = [_VOICE.match(line) for line, said in zip(written, plain, strict=True) if is_speakable(said)]
    lines = [said for said in plain if is_speakable(said)]
    if len(lines) > 1 and all(_DASHED.match(line) for line in lines):
        repairs.add("cues with dashes given to two speakers in turn")
        yield from ((f"S{1 + number % 2}", _DASHED.sub("", line)) for number, line in enumerate(lines))
        return
    said: list[str] = []
    for line, voice in zip(lines, voices, strict=True):
        name = _NAME.match(line)
        found = voice.group(1).strip() if voice else name.group(1) if name else None
        if found:
            if said:
                yield speaker, "\n".join(said)
            speaker, said = found, []
        said.append(line[name.end() :] if name and not voice else line)
    yield speaker, "\n".join(said)


def _without_sounds(line: str, repairs: Repairs) -> str:
    """A line without what describes a sound that the model does not make."""

    def replace(match: re.Match[str]) -> str:
        remark = match.group(1) or match.group(2)
        if _KEPT.fullmatch(remark.strip()) or find_nonverbal(remark) is not None:
            return match.group()
        repairs.add("sounds described in subtitles left out", detail=match.group())
        return ""

    return _HEARD.sub(replace, line).strip()


def _seconds(cue: re.Match[str]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in cue.groups())
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


def _joined(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    return (a[0], b[1]) if a and b else None
