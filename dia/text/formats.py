"""Scripts as people write them: plain text, tags, plays, JSON turns, Markdown and subtitles become turns by name.

Each format is recognised or named; reading one never changes a word: what is no speech (a code block, a time code) is
left out and reported. Knows neither the model's two labels nor its limits. Linear in the text.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dia.errors import BadScript
from dia.text import markdown, subtitles
from dia.text.nonverbals import find_nonverbal
from dia.text.pauses import PAUSE_TAG
from dia.text.repairs import Repairs
from dia.text.script import LINE_TAG, TAG, is_speakable
from dia.text.source import SourceTurn, blocks

__all__ = ["FORMATS", "Document", "SourceTurn", "detect_format", "read_script"]


@dataclass(frozen=True, slots=True)
class Document:
    """The turns of a script, the format that it was read as, and what was noted on the way."""

    turns: tuple[SourceTurn, ...]
    format: str
    warnings: tuple[str, ...]


def read_script(text: str, *, format: str = "auto", default_speaker: str = "S1") -> Document:
    """Turns of `text`. Words without a speaker belong to `default_speaker`.

    Raises:
        BadScript: unknown format, text that is not what `format` says, or nothing to say.
    """
    repairs = Repairs()
    chosen = detect_format(text) if format == "auto" else format
    if chosen not in _READERS:
        raise BadScript(f"format {format!r} is unknown; known are auto, {', '.join(FORMATS)}; name one of them")
    turns = tuple(_READERS[chosen](text, default_speaker, repairs))
    if not any(is_speakable(turn.text) for turn in turns):
        raise BadScript(f"text is empty as {chosen}; there is nothing to say; give at least one word")
    return Document(turns, chosen, repairs.warnings())


def detect_format(text: str) -> str:
    """The format of `text`, by its own marks; "plain" when it has none."""
    if _json_entries(text) is not None:
        return "json"
    if subtitles.looks_like_subtitles(text):
        return "srt"
    if TAG.search(text) or LINE_TAG.search(text):
        return "tagged"
    if _looks_like_play(text):
        return "play"
    return "markdown" if markdown.looks_like_markdown(text) else "plain"


def _read_plain(text: str, speaker: str, repairs: Repairs) -> Iterator[SourceTurn]:
    yield from _paragraphs(text, 0, len(text), speaker)


def _read_tagged(text: str, speaker: str, repairs: Repairs) -> Iterator[SourceTurn]:
    tags = sorted([*TAG.finditer(text), *LINE_TAG.finditer(text)], key=lambda match: match.start())
    start = 0
    for tag in tags:
        yield from _paragraphs(text, start, tag.start(), speaker)
        speaker, start = f"S{int(tag.group(1))}", tag.end()
    yield from _paragraphs(text, start, len(text), speaker)


def _paragraphs(text: str, start: int, end: int, speaker: str) -> Iterator[SourceTurn]:
    for number, (a, b) in enumerate(blocks(text, start, end)):
        yield SourceTurn(speaker, text[a:b], (a, b), new_paragraph=number > 0)


# A name of up to four words, perhaps bold, a stage direction, a colon, and something said; at the start of a line, or
# behind a pause tag.
_NAME_LINE = re.compile(
    r"(?:^|(?P<after>(?<=[\]>])))[ \t]*[*_]{0,3}(?P<name>[^\W\d_][\w.'’-]{0,30}(?:[ ][\w.'’-]{1,30}){0,3})[ ]?[*_]{0,3}"
    r"(?:[ ]?\((?P<manner>[^()\n]{1,60})\))?[ ]?:[*_]{0,3}(?=\s|$)",
    re.MULTILINE,
)
_LEAST_NAMED_LINES = 2
_LEAST_NAMED_SHARE = 0.3
_NO_NAMES = re.compile(
    r"note|warning|p\.?s\.?|https?|example|tip|hint|from|to|b?cc|subject|date|sent|received|reply-to|re|fwd?|attachments|"
    r"message-id|title|author|ingredients|directions|method|steps|instructions|summary|abstract|keywords|references|pros|"
    r"cons|todo|figure|table",
    re.IGNORECASE,
)
"""What stands before a colon at the head of mails, recipes and papers."""

_SENTENCE_ENDS = ".!?\u2026\"'\u201d\u2019)]*_-\u2014\u3002\uff01\uff1f"


def _name_lines(text: str) -> list[re.Match[str]]:
    """The places that name a speaker: the name is written like one, or stands more than once before what is said.

    Behind a pause tag only a name that comes again is one.
    """
    lines = [match for match in _NAME_LINE.finditer(text) if not _NO_NAMES.fullmatch(_name(match))]
    counts = Counter(_name(match).lower() for match in lines)
    return [
        match
        for match in lines
        if counts[_name(match).lower()] > 1 or (match["after"] is None and _is_written_as_name(_name(match)))
    ]


def _name(line: re.Match[str]) -> str:
    return line["name"].strip("_")


def _is_written_as_name(name: str) -> bool:
    return all(word[0].isupper() or word[0].isdigit() for word in name.split())


def _looks_like_play(text: str) -> bool:
    """Two lines by name or more, and every third line one of them; a title before them does not matter.

    A name that comes only once has to say a sentence: `Serves: 4` is a list.
    """
    named = _name_lines(text)
    counts = Counter(_name(line).lower() for line in named)
    ends = [*(line.start() for line in named[1:]), len(text)]
    saying = [
        line
        for line, end in zip(named, ends, strict=False)
        if counts[_name(line).lower()] > 1 or text[line.end() : end].rstrip().endswith(tuple(_SENTENCE_ENDS))
    ]
    lines = sum(1 for line in text.splitlines() if line.strip())
    return len(saying) >= max(_LEAST_NAMED_LINES, lines * _LEAST_NAMED_SHARE)


def _read_play(text: str, speaker: str, repairs: Repairs) -> Iterator[SourceTurn]:
    named = _name_lines(text)
    if not named:
        raise BadScript(
            "text is no play; each turn starts a line as in `Alice: Hello.`; name the speakers or the format"
        )
    spelled: dict[str, str] = {}
    turns = [*_paragraphs(text, 0, named[0].start(), speaker)]
    for line, following in zip(named, [*named[1:], None], strict=True):
        name = spelled.setdefault(_name(line).lower(), _name(line))
        if line["manner"]:
            repairs.add(_STAGE_LEFT_OUT, detail=f"({line['manner']})")
        turns += _paragraphs(text, line.end(), len(text) if following is None else following.start(), name)
    for turn in turns:
        said = _STAGE.sub(lambda match: _unless_heard(match, repairs), turn.text)
        if said.strip():
            yield replace(turn, text=said)


_STAGE = re.compile(
    r"(?:^|(?<=[.!?\u2026\"'\u201d\u2019)\]\n]))(?P<blank>\s*)(?:\([^()\[\]]{1,300}\)|\[[^()\[\]]{1,300}\])"
)
"""Brackets where a turn, a sentence or a line begins; those inside a sentence, `me (of course)`, are said."""
_STAGE_LEFT_OUT = "stage directions of a play left out"


def _unless_heard(match: re.Match[str], repairs: Repairs) -> str:
    """Nothing for a stage direction; sounds and pauses stay."""
    written = match.group().strip()
    if find_nonverbal(written[1:-1]) is not None or PAUSE_TAG.fullmatch(written) or TAG.fullmatch(written):
        return match.group()
    repairs.add(_STAGE_LEFT_OUT, detail=" ".join(written.split())[:60])
    return match["blank"]


_MEANT_AS_JSON = re.compile(r'[\ufeff\s]{0,100}(?:\[\s{0,100})?\{\s{0,100}"[^"\n]{1,40}"\s{0,100}:')
_LISTS = ("turns", "inputs", "script", "dialogue", "dialog", "lines", "messages", "segments")
_TEXTS = ("text", "line", "content", "input", "utterance")
_SPEAKERS = ("speaker", "name", "character", "role", "voice", "voice_id")
_PAUSES = ("pause_before_s", "pause_s")


def _json_entries(text: str) -> list[Any] | None:
    """The list of turns in a JSON text or in JSON lines, or None when it is neither or holds no turns.

    Raises BadScript for JSON that is broken.
    """
    text = text.lstrip("\ufeff \t\r\n")
    if not text.startswith(("[", "{")):
        return None
    try:
        value = _parsed(text)
    except RecursionError:
        return None
    except ValueError as error:
        if _MEANT_AS_JSON.match(text) is None:
            return None
        raise BadScript(f"text is broken JSON: {str(error)[:120]}; correct it, or name another format") from None
    if isinstance(value, dict):
        value = next((value[key] for key in _LISTS if isinstance(value.get(key), list)), [value])
    is_turns = isinstance(value, list) and any(_first_text(entry) is not None for entry in value)
    return value if is_turns else None


def _parsed(text: str) -> Any:
    """One JSON value, or the list of those on each line. Raises ValueError, and RecursionError for what is too deep."""
    try:
        return json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not lines[0].rstrip().endswith(("}", "]")):
            raise
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"JSON line {number}: {error}") from None
    return found


def _first_text(entry: object) -> str | None:
    """What a JSON turn says: a string, a pair of speaker and string, or an object with one of the usual keys."""
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry):
        return str(entry[1])
    if isinstance(entry, dict):
        return next((entry[key] for key in _TEXTS if isinstance(entry.get(key), str)), None)
    return None


def _read_json(text: str, speaker: str, repairs: Repairs) -> Iterator[SourceTurn]:
    entries = _json_entries(text)
    if entries is None:
        raise BadScript('text is no list of turns in JSON; it looks like [{"speaker": "Alice", "text": "Hello."}]')
    for index, entry in enumerate(entries):
        said = _first_text(entry)
        if said is None:
            raise BadScript(
                f"JSON turn {index} has no text; each turn is an object with a `text`; add it or remove it"
            )
        tags = len(TAG.findall(said))
        repairs.add("speaker tags inside a JSON turn left out", tags)
        yield SourceTurn(
            _json_speaker(entry, speaker), TAG.sub(" ", said), None, pause_before_s=_json_pause_s(entry, index)
        )
        if isinstance(entry, dict):
            for key in entry.keys() - {*_TEXTS, *_SPEAKERS, *_PAUSES}:
                repairs.add("keys of JSON turns not used", detail=str(key)[:40])


def _json_speaker(entry: object, default: str) -> str:
    if isinstance(entry, list):
        return str(entry[0]).strip() or default
    if not isinstance(entry, dict):
        return default
    value = next((entry[key] for key in _SPEAKERS if isinstance(entry.get(key), str | int)), default)
    if isinstance(value, int):  # {"speaker": 1} means the first label
        return f"S{int(value)}"
    return value.strip().strip("[]") or default


def _json_pause_s(entry: object, index: int) -> float:
    if not isinstance(entry, dict):
        return 0.0
    value = next((entry[key] for key in _PAUSES if key in entry), 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 60:
        raise BadScript(f"JSON turn {index} has a pause of {str(value)[:40]} s; it is a number of 0 to 60 seconds")
    return float(value)


_READERS: dict[str, Callable[[str, str, Repairs], Iterator[SourceTurn]]] = {
    "plain": _read_plain,
    "tagged": _read_tagged,
    "play": _read_play,
    "json": _read_json,
    "markdown": markdown.read_markdown,
    "srt": subtitles.read_subtitles,
}

FORMATS = tuple(_READERS)
"""The formats that can be named; `auto` recognises them."""
