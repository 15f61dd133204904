"""What was said as a list of plain words, so that two spellings of the same speech are equal."""

from __future__ import annotations

import re

__all__ = ["normalise", "spell_number", "spell_ordinal"]

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_ROUND = "_ _ twenty thirty forty fifty sixty seventy eighty ninety"
_ONES, _TENS = _SMALL.split(), _ROUND.split()
_SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

_SPELLINGS = {
    "mr": "mister",
    "mrs": "missus",
    "ms": "miss",
    "dr": "doctor",
    "prof": "professor",
    "ok": "okay",
    "vs": "versus",
    "etc": "et cetera",
    "colour": "color",
    "favour": "favor",
    "favourite": "favorite",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "grey": "gray",
    "centre": "center",
    "theatre": "theater",
    "metre": "meter",
    "metres": "meters",
    "kilometre": "kilometer",
    "kilometres": "kilometers",
    "programme": "program",
    "realise": "realize",
    "realised": "realized",
    "organise": "organize",
    "organised": "organized",
    "travelling": "traveling",
    "cancelled": "canceled",
    "jewellery": "jewelry",
    "pyjamas": "pajamas",
    "tyre": "tire",
    "tyres": "tires",
    "alright": "all right",
}
"""One spelling for each spoken word that recognisers write in several ways."""

_TAG = re.compile(r"\[\s*s\s*\d+\s*\]", re.IGNORECASE)
_SOUND = re.compile(r"\([^()]*\)")
_MONEY = re.compile(r"([$£€])\s?(\d[\d,]*)(?:\.(\d\d))?")
_CLOCK = re.compile(r"\b(\d{1,2}):(\d\d)\b")
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
_DECIMAL = re.compile(r"\b(\d[\d,]*)\.(\d+)\b")
_WHOLE = re.compile(r"\d[\d,]*")
_GROUPED = re.compile(r"^\d{1,3}(,\d{3})+$")
_NOT_WORD = re.compile(r"[^a-z' ]+")
_UNITS = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}


def normalise(text: str) -> list[str]:
    """Lower-case words without punctuation, tags and sounds in parentheses; numbers and usual short forms spelled out.

    Apostrophes inside words stay ("don't"); hyphens part words. British and American spellings of common words agree.
    """
    lowered = _SOUND.sub(" ", _TAG.sub(" ", text)).lower()
    lowered = lowered.replace("\u2019", "'").replace("\u2018", "'").replace("&", " and ").replace("%", " percent ")
    lowered = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1 m", lowered)
    lowered = re.sub(r"\b([ap])m\b", r"\1 m", lowered)
    lowered = _MONEY.sub(_money, lowered)
    lowered = _CLOCK.sub(_clock, lowered)
    lowered = _ORDINAL.sub(lambda match: f" {spell_ordinal(int(match.group(1)))} ", lowered)
    lowered = _DECIMAL.sub(_decimal, lowered)
    lowered = _WHOLE.sub(lambda match: f" {_whole(match.group())} ", lowered)
    words = (word.strip("'") for word in _NOT_WORD.sub(" ", lowered).split())
    return " ".join(_SPELLINGS.get(word, word) for word in words if word).split()


def spell_number(value: int) -> str:
    """A number from 0 to 999 999 999 999 in words, without "and": 120 is "one hundred twenty"."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens = _TENS[value // 10]
        return tens if value % 10 == 0 else f"{tens} {_ONES[value % 10]}"
    scale, name = next(pair for pair in _SCALES if value >= pair[0])
    head, rest = f"{spell_number(value // scale)} {name}", value % scale
    return head if rest == 0 else f"{head} {spell_number(rest)}"


def spell_ordinal(value: int) -> str:
    """21 is "twenty first"."""
    *before, last = spell_number(value).split()
    if last in _ORDINALS:
        last = _ORDINALS[last]
    elif last.endswith("y"):
        last = f"{last[:-1]}ieth"
    else:
        last = f"{last}th"
    return " ".join([*before, last])


def _whole(digits: str) -> str:
    """A year in pairs of digits where a four-digit number without commas reads as one, else the number."""
    value = int(digits.replace(",", ""))
    if value >= 10**12:
        return " ".join(_ONES[int(digit)] for digit in digits if digit.isdigit())
    is_year = len(digits) == 4 and (1100 <= value < 2000 or 2010 <= value < 2100) and value % 1000 != 0
    if not is_year:
        return spell_number(value)
    low = value % 100
    if low == 0:
        return f"{spell_number(value // 100)} hundred"
    return f"{spell_number(value // 100)} {'oh ' if low < 10 else ''}{spell_number(low)}"


def _money(match: re.Match[str]) -> str:
    big, small = _UNITS[match.group(1)]
    whole = int(match.group(2).replace(",", ""))
    said = f" {spell_number(whole)} {big}{'' if whole == 1 else 's'} "
    cents = int(match.group(3) or 0)
    return said if not cents else f"{said}{spell_number(cents)} {small}{'' if cents == 1 else 's'} "


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match.group(1)), int(match.group(2))
    if minute == 0:
        return f" {spell_number(hour)} o'clock "
    return f" {spell_number(hour)} {'oh ' if minute < 10 else ''}{spell_number(minute)} "


def _decimal(match: re.Match[str]) -> str:
    whole = match.group(1)
    if "," in whole and not _GROUPED.match(whole):
        return match.group()
    digits = " ".join(_ONES[int(digit)] for digit in match.group(2))
    return f" {spell_number(int(whole.replace(',', '')))} point {digits} "
