"""Typographic clean-up: characters that print well and that the model never learned, made plain.

Works on characters and line marks only; knows no speakers and no sounds. Each kind of change is noted with its count.
"""

import re
import unicodedata
from itertools import groupby

from dia.text.repairs import Repairs

__all__ = ["begin_with_capital", "join_lines", "lower_shouting", "plain_characters", "remove_markup"]

_SPACES = "\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_LINE_BREAK = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_SPACE = re.compile(f"[{_SPACES}]")
# Zero width, direction marks, soft hyphen, variation selectors, byte order mark, tag characters of flag emoji.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
# Control characters, unpaired surrogates and noncharacters have no sound and, some of them, no UTF-8 form.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_ESCAPE = re.compile("\x1b\\[[0-9;?]{0,20}[A-Za-z]")  # what colours a terminal
_EMOJI = re.compile("[\u20e3\u2300-\u23ff\u2600-\u27bf\u2b05-\u2b55\U0001f000-\U0001faff]")
_SINGLE_QUOTE = re.compile("[\u2018\u2019\u201a\u201b\u2032\u2035\u00b4\u2039\u203a]")
_DOUBLE_QUOTE = re.compile("[\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb]")
_HYPHEN = re.compile("[\u2010\u2011\u2212\ufe63\uff0d]")
_RANGE_DASH = re.compile("(?<=[0-9]) ?[\u2012-\u2015] ?(?=[0-9])")
_SPOKEN_DASH = re.compile("(?<=[\\w.,;:!?)\\]]) *[\u2012-\u2015]+ *(?=[\\w(\\[])")
_OTHER_DASH = re.compile("[\u2012-\u2015]+")
_ELLIPSIS = re.compile("\u2026")

_CHARACTERS = (
    (_LINE_BREAK, "\n", None),
    (_SPACE, " ", "unusual spaces made plain"),
    (_INVISIBLE, "", "invisible characters removed"),
    (_ESCAPE, "", "terminal escapes removed"),
    (_CONTROL, " ", "control characters made spaces"),
    (_EMOJI, " ", "emoji removed"),
    (_SINGLE_QUOTE, "'", "typographic quotes made plain"),
    (_DOUBLE_QUOTE, '"', "typographic quotes made plain"),
    (_ELLIPSIS, "...", "ellipsis characters made three dots"),
    (_HYPHEN, "-", "typographic hyphens and dashes made plain"),
    (_RANGE_DASH, "-", "typographic hyphens and dashes made plain"),
    (_SPOKEN_DASH, " - ", "typographic hyphens and dashes made plain"),
    (_OTHER_DASH, "-", "typographic hyphens and dashes made plain"),
)

# A heading, quotation or list mark at the start of a line, or a rule that fills it.
_LINE_MARK = re.compile(r"^[ ]*(?:(?:#{1,6}|[-*+>\u2022])(?:[ ]+|$))+|^[ ]*(?:[-*_=]{3,})[ ]*$", re.MULTILINE)
# A whole run of asterisks or underscores that opens or closes emphasis; inside a word or between spaces it is text.
_EMPHASIS = re.compile(r"(?<![^\W_])(?<![*_])[*_]+(?=[^\s*_])|(?<=[^\s*_])[*_]+(?![^\W_]|[*_])")
_BACKTICKS = re.compile("`+")
_BEFORE_WORDS = re.compile(r"(?:\([^()]*\)|[^\w(])*")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_LONE_I = re.compile(r"\bi\b")
_SENTENCE = re.compile(r"[.!?] +[\"'(]*[^\W\d_]")


def plain_characters(text: str, repairs: Repairs) -> str:
    """Quotes, dashes, spaces and ellipses as ASCII; invisible, control and emoji characters gone; lines kept."""
    composed = unicodedata.normalize("NFC", text)
    repairs.add("text brought into composed Unicode form", int(composed != text))
    for pattern, replacement, what in _CHARACTERS:
        composed, count = pattern.subn(replacement, composed)
        if what is not None:
            repairs.add(what, count)
    return composed


def begin_with_capital(text: str) -> str:
    """A turn with a capital where its words begin; quotes and sounds such as `(laughs)` before them stay as they are.

    Models learn from transcripts, in which turns begin so: the bundled one waits nine seconds before a small letter.
    """
    start = _BEFORE_WORDS.match(text)
    place = 0 if start is None else start.end()
    small, capital = text[place : place + 1], text[place : place + 1].upper()
    if len(capital) != 1 or len(capital.encode()) != len(small.encode()):  # such as ß
        return text
    return text[:place] + capital + text[place + 1 :]


def lower_shouting(text: str, repairs: Repairs) -> str:
    """A turn with shouted words written small, which transcripts do not have: words in capitals with five letters or more,
    and those with four among others or alone in their turn. Shorter ones may be abbreviations (NBA, USA) and stay."""
    words = list(_WORD.finditer(text))
    kept, copied = [], 0
    for is_upper, group in groupby(words, key=lambda word: word.group().isupper()):
        run = list(group)
        longest = max(len(word.group()) for word in run)
        several = sum(len(word.group()) > 1 for word in run) > 1
        if not is_upper or longest < 4 or (longest == 4 and not (several or len(run) == len(words))):
            continue
        start, end = run[0].start(), run[-1].end()
        small = _LONE_I.sub("I", text[start:end].lower())
        if len(small.encode()) != len(text[start:end].encode()):
            continue  # a few letters are longer when small
        small = _SENTENCE.sub(lambda match: match.group().upper(), small)
        if text[:start].rstrip(" \"'(").endswith((".", "!", "?")):
            small = small[0].upper() + small[1:]
        kept += [text[copied:start], small]
        copied = end
        repairs.add("words in capitals written small", len(run))
    return "".join([*kept, text[copied:]])


def remove_markup(text: str, repairs: Repairs) -> str:
    """Without the marks of emphasis, code, headings, lists and quotations; the words between them stay."""
    for pattern in (_BACKTICKS, _EMPHASIS, _LINE_MARK):
        text, count = pattern.subn("", text)
        repairs.add("markup characters removed", count)
    return text


def join_lines(text: str, repairs: Repairs) -> str:
    """One line without outer spaces, every run of white space being one space."""
    stripped = text.strip()
    runs = re.findall(r"\s+", stripped)
    repairs.add("line breaks made spaces", sum("\n" in run for run in runs))
    repairs.add("runs of spaces made one", sum("\n" not in run and run != " " for run in runs))
    return " ".join(stripped.split())
