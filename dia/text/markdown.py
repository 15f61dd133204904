"""Markdown as something to read aloud: the words stay, marks go, code and tables' rules are left out and reported."""

import re
from collections.abc import Iterator

from dia.text.repairs import Repairs
from dia.text.source import SourceTurn

__all__ = ["looks_like_markdown", "read_markdown"]

_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]+(?=\S)")
_HEADING_END = re.compile(r"[ \t]+#+[ \t]*$")  # the sign of "C#" belongs to the word
_ITEM = re.compile(r"^[ \t]*(?:[-*+\u2022]|[0-9]{1,3}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?(?=\S)")
_QUOTED = re.compile(r"^(?:[ ]{0,3}>[ ]?)+")
_FENCE = re.compile(r"^[ ]{0,3}(?:`{3,}|~{3,})")
_RULE = re.compile(r"^[ ]{0,3}(?:[-_*=][ \t]?){3,}$")
_TABLE_RULE = re.compile(r"^[ \t|:-]+$")
_DEFINITION = re.compile(r"^[ ]{0,3}\[[^\]\n]{1,80}\]:[ \t]+\S")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\n]{0,500}\)|\[([^\[\]\n]{1,300})\]\[[^\[\]\n]{0,80}\]")
_NOTE = re.compile(r"\[\^[^\[\]\n]{1,40}\]")
_HTML = re.compile(r"</?(?!break\b)[a-zA-Z][^<>\n]{0,300}>|<!--[^\n]{0,300}?-->")
_TRACES = re.compile(
    r"^[ ]{0,3}#{1,6}[ \t]+\S|^[ ]{0,3}(?:```|~~~)|\[[^\[\]\n]{1,300}\]\([^()\s]{1,500}\)", re.MULTILINE
)
_ITEM_LINE = re.compile(r"^[ \t]*(?:[-*+]|[0-9]{1,3}\.)[ \t]+\S", re.MULTILINE)
_LEAST_ITEMS = 2


def looks_like_markdown(text: str) -> bool:
    """Whether `text` has a heading, a code fence, a link, or a list of two items."""
    return _TRACES.search(text) is not None or len(_ITEM_LINE.findall(text)) >= _LEAST_ITEMS


def read_markdown(text: str, speaker: str, repairs: Repairs) -> Iterator[SourceTurn]:
    """One turn for each paragraph, heading, list item and table row, all by `speaker`."""
    paragraph: list[str] = []
    start = end = 0
    is_first = True
    for position, line, is_break in [*_lines(text, repairs), (len(text), "", True)]:
        if is_break and paragraph:
            yield SourceTurn(speaker, "\n".join(paragraph), (start, end), new_paragraph=not is_first)
            paragraph, is_first = [], False
        if line:
            if not paragraph:
                start = position
            paragraph.append(line)
            end = position + len(line)


def _lines(text: str, repairs: Repairs) -> Iterator[tuple[int, str, bool]]:
    """Position, words, and whether a new paragraph starts here, for each line that is read aloud."""
    fence: str | None = None
    was_closed = False
    for position, line in _with_positions(text):
        mark = _FENCE.match(line)
        if fence is not None or mark:
            repairs.add("lines of code left out", int(mark is None))
            fence = _next_fence(fence, mark)
            yield position, "", True
            continue
        words, is_own = _read_line(line, repairs)
        yield position, words, is_own or was_closed or not words
        was_closed = is_own and not _ITEM.match(line)


def _next_fence(fence: str | None, mark: re.Match[str] | None) -> str | None:
    if mark is None:
        return fence
    opened = mark.group().strip()
    if fence is None:
        return opened
    return None if opened.startswith(fence) else fence


def _with_positions(text: str) -> Iterator[tuple[int, str]]:
    position = 0
    for line in text.splitlines(keepends=True):
        yield position, line.rstrip()
        position += len(line)


def _read_line(line: str, repairs: Repairs) -> tuple[str, bool]:
    """The words of a line, and whether it is a paragraph of its own (heading, item, row)."""
    line = _QUOTED.sub("", line)
    if _RULE.match(line) or (_TABLE_RULE.match(line) and "|" in line and "-" in line) or _DEFINITION.match(line):
        repairs.add("rules and link definitions left out", int(bool(line.strip())))
        return "", True
    if _is_row(line):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        return _closed(_inline(", ".join(cell for cell in cells if cell), repairs), repairs), True
    if _HEADING.match(line):
        return _closed(_inline(_HEADING_END.sub("", _HEADING.sub("", line)), repairs), repairs), True
    if _ITEM.match(line):
        return _inline(_ITEM.sub("", line), repairs), True
    return _inline(line.strip(), repairs), False


def _is_row(line: str) -> bool:
    row = line.strip()
    return len(row) > 1 and row.startswith("|") and row.endswith("|")


def _inline(line: str, repairs: Repairs) -> str:
    line, links = _LINK.subn(lambda match: match.group(1) or match.group(2) or "", line)
    line, notes = _NOTE.subn("", line)
    line, tags = _HTML.subn("", line)
    repairs.add("link targets left out", links)
    repairs.add("footnote marks left out", notes)
    repairs.add("HTML tags left out", tags)
    return line.strip()


def _closed(words: str, repairs: Repairs) -> str:
    """A heading or a row with a full stop, without which it would run into what follows."""
    if not words.rstrip("*_\"'`) ")[-1:].isalnum():
        return words
    repairs.add("full stops added after headings and table rows")
    return f"{words}."
