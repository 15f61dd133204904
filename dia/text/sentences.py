"""Where a text may be cut: after sentences, clauses or words. Joined again, the parts are the text to the character.

Works on one cleaned line (plain quotes and dashes, single spaces). English abbreviations, initials, decimals, numbered
items, ellipses, and quotations with the words that attribute them are not ends of sentences. Linear in the text.
"""

import re

from dia.text.nonverbals import MARK

__all__ = ["split_clauses", "split_sentences", "split_words"]

_WIDE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WIDE_MARKS = "\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f\u300c-\u300f"

_STOP = re.compile(r"(?<![.!?])([.!?]+)([\"')\]]*)\s+|[\u3002\uff01\uff1f][\u3002\uff01\uff1f\u300d\u300f\"']*\s*")
_CLAUSE = re.compile(r"[,;:][\"')\]]*\s+|(?<=\s)-\s+|(?<=\))\s+|[\u3001\uff0c\uff1a\uff1b]\s*")
_WORD = re.compile(rf"[{_WIDE}][{_WIDE_MARKS}]*\s*|(?:{MARK.pattern}|[^\s{_WIDE}])+\s*")


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# Never the end of a sentence.
_BEFORE_A_NAME = _words(
    """
    mr mrs ms mx dr prof st gen sen rep capt cpt lt col sgt rev hon pres gov sir mt ft vs cf viz approx e.g i.e al
    """
)
# The end of a sentence only before a word that starts one.
_OFTEN_LAST = _words(
    """
    etc inc ltd co corp jr sr bros dept est ave blvd rd jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed
    thu fri sat sun
    """
)
# Not the end of a sentence before a number.
_BEFORE_A_NUMBER = _words("no nos p pp fig figs vol ch sec art eq nr")
_STARTERS = _words(
    """
    the a an he she it they we i you this that these those there then but and so or if when what who where why how my
    his her its our your their in on at for from as after before now yes no well oh not one some all once here it's
    he's she's that's there's they're we're you're i'm i've i'd i'll
    """
)
_SPEECH_VERBS = _words(
    """
    said says asked asks replied replies answered answers shouted shouts whispered whispers cried cries muttered
    mutters murmured added adds screamed yelled exclaimed continued began snapped
    """
)
_DOTTED = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
_REACH = 32  # characters looked at on either side of a stop
_ATTRIBUTION_WORDS = 3


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the space that follows it."""
    cuts, start = [], 0
    for stop in _STOP.finditer(text):
        if stop.end() < len(text) and _ends_sentence(text, stop, start):
            cuts.append(stop.end())
            start = stop.end()
    return _cut(text, cuts)


def split_clauses(text: str) -> list[str]:
    """The parts of `text` between commas, colons, semicolons, spaced dashes and closing brackets."""
    return _cut(text, [match.end() for match in _CLAUSE.finditer(text)])


def split_words(text: str) -> list[str]:
    """The words of `text`; a sound such as `(clears throat)` is one word, and so is each ideograph."""
    return _WORD.findall(text)


def _cut(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *cuts, len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


def _ends_sentence(text: str, stop: re.Match[str], sentence_start: int) -> bool:
    marks, closers = stop.groups()
    if marks is None:  # ideographic stops are never part of an abbreviation
        return True
    following = text[stop.end() : stop.end() + _REACH].lstrip("\"'([")
    if following[:1].islower() and not MARK.match(text, stop.end()):
        return False
    if closers and _is_attribution(following):
        return False
    if marks != ".":
        return True
    token = _token_before(text, stop.start(), sentence_start)
    return _full_stop_ends(token, following, is_first=stop.start() - len(token) == sentence_start)


def _token_before(text: str, position: int, sentence_start: int) -> str:
    before = text[max(sentence_start, position - _REACH) : position].split()
    return before[-1].lstrip("\"'([") if before and not text[position - 1].isspace() else ""


def _full_stop_ends(token: str, following: str, *, is_first: bool) -> bool:
    word = token.lower()
    if word in _BEFORE_A_NAME:
        return False
    if word in _BEFORE_A_NUMBER and following[:1].isdigit():
        return False
    if token.isdigit() and is_first:
        return False
    is_initial = len(token) == 1 and token.isalpha()
    if is_initial or word in _OFTEN_LAST or _DOTTED.fullmatch(token):
        return _first_word(following) in _STARTERS
    return True


def _first_word(following: str) -> str:
    words = following.split(maxsplit=1)
    return words[0].rstrip(".,;:!?\"')").lower() if words else ""


def _is_attribution(following: str) -> bool:
    return any(word.rstrip(".,;:") in _SPEECH_VERBS for word in following.split()[:_ATTRIBUTION_WORDS])
