"""What was said as a list of plain words, so that two spellings of the same speech are equal."""

from __future__ import annotations

import re

from dia.text.numbers import spell_digits, spell_number, spell_ordinal, spell_year

__all__ = ["normalise"]

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


def _whole(digits: str) -> str:
    """A year in pairs of digits where a four-digit number without commas reads as one, else the number."""
    value = int(digits.replace(",", ""))
    if value >= 10**12:
        return spell_digits(digits)
    return spell_year(value) if len(digits) == 4 else spell_number(value)


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
    return f" {spell_number(int(whole.replace(',', '')))} point {spell_digits(match.group(2))} "
