"""What is written in signs as it is read aloud, in English: numbers, money, dates, times, units, links, short forms.

`spell_out` gives the words for the model and remembers what was written, so that whoever shows the text (subtitles)
shows it as it was. One left-to-right scan: at each place the first rule of `_RULES` that matches decides, unless the
user's own dictionary does. Signs without a sound (quotation marks, brackets around an aside) go. Linear in the text;
knows no speakers.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dia.text.nonverbals import MARK
from dia.text.numbers import spell_decimal, spell_digits, spell_number, spell_ordinal, spell_year
from dia.text.wording import Dictionary

__all__ = ["Spelling", "as_written", "spell_out", "spellings_in"]


@dataclass(frozen=True, slots=True)
class Spelling:
    """Characters `start` to `end` (half open) of a spoken text, and what is written there."""

    start: int
    end: int
    written: str

    def moved(self, by: int) -> "Spelling":
        return Spelling(self.start + by, self.end + by, self.written)


def as_written(spoken: str, spellings: Sequence[Spelling]) -> str:
    """The text that was spelled out; `spellings` in order, without overlap."""
    parts, place = [], 0
    for spelling in spellings:
        parts += [spoken[place : spelling.start], spelling.written]
        place = spelling.end
    return "".join([*parts, spoken[place:]])


def spellings_in(left: "deque[Spelling]", start: int, end: int) -> Iterator[Spelling]:
    """Takes from `left` what stands in characters `start` to `end`, counted from `start`; one that goes on behind leaves
    its rest there."""
    while left and left[0].start <= end:
        spelling = left[0]
        if spelling.start == end and spelling.end > end:
            return
        left.popleft()
        if spelling.end > end:
            left.appendleft(Spelling(end, spelling.end, ""))
        yield Spelling(max(spelling.start - start, 0), max(min(spelling.end, end) - start, 0), spelling.written)
        if spelling.end > end:
            return


def spell_out(
    text: str, *, dictionary: Dictionary | None = None, normalize: bool = True, without_sounds: bool = False
) -> tuple[str, tuple[Spelling, ...]]:
    """One cleaned line in words, and where words stand for something else.

    What stands in `dictionary` is replaced first, then the rules are followed, unless `normalize` is False. Known sounds
    such as `(laughs)` stay, or go too.
    """
    text, own = _replaced(text, dictionary)
    out = _Out(text, own)
    place = position = 0
    while normalize and (match := _SCAN.search(text, position)) is not None:
        start, position = match.start(), match.start() + 1
        if without_sounds and match.lastgroup == "sound":
            sayings = iter(((match.end(), ""),))
        else:
            sayings = _sayings(text, start, match.lastgroup or "")
        for end, said in sayings:
            out.keep(place, start)
            out.say(said, start, end)
            place = position = end
            break
    out.keep(place, len(text))
    said = "".join(out.parts).rstrip(" ")
    length = len(said)
    return said, tuple(Spelling(min(one.start, length), min(one.end, length), one.written) for one in out.spellings)


def _replaced(text: str, dictionary: Dictionary | None) -> tuple[str, list[Spelling]]:
    """The text with the dictionary's words, and what they stand for."""
    parts, spellings = [], []
    place = length = 0
    for start, end, said in () if dictionary is None else dictionary.find(text):
        if not said and text[end : end + 1] == " ":
            end += 1
        parts += [text[place:start], said]
        length += start - place
        spellings.append(Spelling(length, length + len(said), text[start:end]))
        length += len(said)
        place = end
    return "".join([*parts, text[place:]]), spellings


def _sayings(text: str, start: int, first: str) -> Iterator[tuple[int, str]]:
    """End and words of what stands at `start`, by the first rule that matches and those after it."""
    for name in _NAMES[_NAMES.index(first) :]:
        match = _PATTERNS[name].match(text, start)
        said = None if match is None else _RULES[name][1](match)
        if match is not None and said is not None:
            yield match.end(), said


class _Out:
    """Text as it grows out of another, with no space after another; `spellings` say where that one, or the script before
    it (`own`), had something else."""

    def __init__(self, text: str, own: Sequence[Spelling]) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.spellings: list[Spelling] = []
        self._text, self._own = text, deque(own)

    def keep(self, start: int, end: int) -> None:
        """Characters `start` to `end` as they are."""
        place = start
        for spelling in spellings_in(self._own, start, end):
            self._add(self._text[place : start + spelling.start])
            place = start + spelling.end
            self._spell(self._text[start + spelling.start : place], spelling.written)
        self._add(self._text[place:end])

    def say(self, said: str, start: int, end: int) -> None:
        """Words instead of characters `start` to `end`."""
        inside = list(spellings_in(self._own, start, end))
        self._spell(said, as_written(self._text[start:end], inside))

    def _spell(self, said: str, written: str) -> None:
        begun = self.length
        self._add(said)
        self.spellings.append(Spelling(begun, self.length, written))

    def _add(self, part: str) -> None:
        if not self.parts or self.parts[-1].endswith(" "):
            part = part.lstrip(" ")
        if part:
            self.parts.append(part)
            self.length += len(part)


# ---- parts of patterns ----

_INT = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,6}(?![0-9])|[0-9]{1,40})"
_NUM = rf"(?:{_INT}(?:\.[0-9]{{1,20}})?)"
_PRICE = rf"(?:[0-9]{{1,9}},[0-9]{{2}}(?![0-9]|[.,][0-9])|{_NUM})"
"""Of money, cents may stand behind a comma, as in 5,50."""
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_MONTH_OF = {name[:3]: name for name in _MONTHS}
_MONTH = rf"(?:{'|'.join(_MONTHS)}|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
_YEAR = r"(?:1[0-9]{3}|20[0-9]{2})"
_DAY = r"(?:[12][0-9]|3[01]|0?[1-9])"
_HALF_DAY = r"(?:[ap]\.m\.|[AP]\.M\.|[ap]m\b|[AP]M\b)"
_SCALE_WORDS = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "bn": "billion",
    "B": "billion", "tn": "trillion", "T": "trillion",
}  # fmt: skip
_SCALE = r"(?:thousand|million|billion|trillion|mn|bn|tn|[kKmMBT])"
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_SIGN = r"[$£€¥₹]"
_UNITS = {
    "km/h": "kilometer per hour", "kph": "kilometer per hour", "mph": "mile per hour", "m/s": "meter per second",
    "km²": "square kilometer", "m²": "square meter", "cm²": "square centimeter", "m³": "cubic meter",
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "m": "meter", "mi": "mile", "ft": "foot", "yd": "yard",
    "kg": "kilogram", "mg": "milligram", "g": "gram", "lbs": "pound", "lb": "pound", "oz": "ounce",
    "ml": "milliliter", "mL": "milliliter", "l": "liter", "L": "liter",
    "GHz": "gigahertz", "MHz": "megahertz", "kHz": "kilohertz", "Hz": "hertz",
    "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
    "kWh": "kilowatt hour", "kW": "kilowatt", "MW": "megawatt", "W": "watt", "V": "volt", "dB": "decibel",
    "ms": "millisecond", "sec": "second", "s": "second", "min": "minute", "hrs": "hour", "hr": "hour", "h": "hour",
    "px": "pixel", "fps": "frame per second", "rpm": "revolution per minute",
}  # fmt: skip
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_SAME_PLURAL = {"gigahertz", "megahertz", "kilohertz", "hertz"}
_FRACTIONS = {"½": (1, 2), "¼": (1, 4), "¾": (3, 4), "⅓": (1, 3), "⅔": (2, 3), "⅛": (1, 8)}
_PARTS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10}
_SHORT_FORMS = {
    "mr": "Mister", "mrs": "Missus", "dr": "Doctor", "prof": "Professor", "vs": "versus",
    "e.g": "for example", "i.e": "that is", "etc": "et cetera", "approx": "approximately",
}  # fmt: skip
_SIGNS = {
    "&": "and", "+": "plus", "=": "equals", "@": "at", "×": "times", "÷": "divided by", "±": "plus or minus",
    "≈": "about", "%": "percent", "°": "degrees", "§": "section", "→": "to", "$": "dollars", "£": "pounds",
    "€": "euros",
}  # fmt: skip
_SMALL = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWERS = {"2": "squared", "3": "cubed"}
_SILENT = r"/\\_|~^<>{}#*`©®™•"

# ---- what each rule says ----


def _spaced(said: str, match: re.Match[str]) -> str:
    """Words with a space where a letter or digit touches them."""
    before = match.string[match.start() - 1 : match.start()]
    after = match.string[match.end() : match.end() + 1]
    words = " ".join(said.split())
    return f"{' ' if before.isalnum() else ''}{words}{' ' if after.isalnum() else ''}"


def _address(match: re.Match[str]) -> str:
    """Links and mail addresses: "example dot com slash news"."""
    written = re.sub(r"^https?://(?:www\.)?", "", match.group()).rstrip("/")
    names = {".": "dot", "/": "slash", "@": "at", "-": "dash", "_": "underscore", "?": "question mark", "=": "equals",
             "&": "and", "#": "hash", "+": "plus", ":": "colon", "%": "percent", "~": "tilde"}  # fmt: skip
    parts = re.findall(r"[0-9]+|[^\W\d_]+|.", written)
    said = (spell_decimal(part) if part[0].isdigit() and part.isascii() else names.get(part, part) for part in parts)
    return " ".join(said)


def _date(month: str, day: int, year: str | None) -> str:
    said = f"{_MONTH_OF[month[:3]]} {spell_ordinal(day)}"
    return f"{said} {spell_year(int(year))}" if year else said


def _iso_date(match: re.Match[str]) -> str | None:
    return _numbered_date(int(match["month"]), int(match["day"]), match["year"])


def _slashed_date(match: re.Match[str]) -> str | None:
    """Month first, as in the United States, unless only the other order is a date."""
    first, second = int(match["first"]), int(match["second"])
    if first > 12:
        first, second = second, first
    return _numbered_date(first, second, match["year"])


def _dotted_date(match: re.Match[str]) -> str | None:
    return _numbered_date(int(match["second"]), int(match["first"]), match["year"])


def _numbered_date(month: int, day: int, year: str) -> str | None:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return _date(_MONTHS[month - 1], day, year)


def _month_day(match: re.Match[str]) -> str:
    return _date(match["month"], int(match["day"]), match["year"])


def _day_month(match: re.Match[str]) -> str:
    said = f"the {spell_ordinal(int(match['day']))} of {_MONTH_OF[match['month'][:3]]}"
    return f"{said} {spell_year(int(match['year']))}" if match["year"] else said


def _clock(match: re.Match[str]) -> str:
    hour, minute, second, half = int(match["hour"]), int(match["minute"]), match["second"], match["half"]
    said = spell_number(hour)
    if minute:
        said = f"{said} {'oh ' if minute < 10 else ''}{spell_number(minute)}"
    elif not half:
        said = f"{said} o'clock" if 1 <= hour <= 12 else f"{said} hundred hours"
    if second and int(second):
        said = f"{said} and {spell_number(int(second))} seconds"
    return f"{said} {_half_day(match)}" if half else said


def _hour(match: re.Match[str]) -> str:
    return f"{spell_number(int(match['hour']))} {_half_day(match)}"


def _half_day(match: re.Match[str]) -> str:
    is_stopped = match.string[match.end() : match.end() + 1] == "."
    return f"{match['half'][0].lower()}.m{'' if is_stopped else '.'}"


def _money(match: re.Match[str]) -> str:
    one, many, cent, cents = _CURRENCIES[match["sign"] or match["sign_after"]]
    number, scale = re.sub(r",([0-9]{2})$", r".\1", match["number"]), match["scale"]
    if scale:
        return f"{spell_decimal(number)} {_SCALE_WORDS.get(scale, scale)} {many}"
    whole, point, rest = number.partition(".")
    if point and len(rest) != 2:
        return f"{spell_decimal(number)} {many}"
    value, small = int(whole.replace(",", "")), int(rest or 0)
    said = f"{spell_decimal(whole)} {one if value == 1 or match['noun'] else many}"
    if not small:
        return said
    in_cents = f"{spell_number(small)} {cent if small == 1 else cents}"
    return f"{said} and {in_cents}" if value else in_cents


def _money_range(match: re.Match[str]) -> str:
    many = _CURRENCIES[match["sign"]][1]
    scale = match["scale"]
    said = f"{spell_decimal(match['low'])} to {spell_decimal(match['high'])}"
    return f"{said} {_SCALE_WORDS.get(scale, scale)} {many}" if scale else f"{said} {many}"


def _quantity(match: re.Match[str]) -> str:
    low, number = match["low"], match["number"]
    said = f"{spell_decimal(low)} to {_signed(number)}" if low else _signed(number)
    return f"{said} {_unit(match['unit'], number if not low else '')}"


def _unit(written: str, number: str) -> str:
    name = _UNITS[written]
    if number.lstrip("-") == "1" or name in _SAME_PLURAL:
        return name
    head, space, rest = name.partition(" per ")
    return f"{'feet' if head == 'foot' else f'{head}s'}{space}{rest}"


def _degrees(match: re.Match[str]) -> str:
    scale = {"C": " Celsius", "F": " Fahrenheit"}.get(match["scale"] or "", "")
    return f"{_signed(match['number'])} degree{'' if match['number'] == '1' else 's'}{scale}"


def _percent(match: re.Match[str]) -> str:
    low = match["low"]
    return (
        f"{spell_decimal(low)} to {_signed(match['number'])} percent" if low else f"{_signed(match['number'])} percent"
    )


def _signed(number: str) -> str:
    return f"minus {spell_decimal(number[1:])}" if number[0] == "-" else spell_decimal(number)


def _version(match: re.Match[str]) -> str:
    parts = " point ".join(spell_decimal(part) for part in match["numbers"].split("."))
    return f"version {parts}" if match["v"] else parts


def _decade(match: re.Match[str]) -> str:
    value = int(match["number"])
    *before, last = (spell_year(value) if value >= 100 else spell_number(value)).split()
    return " ".join([*before, f"{last[:-1]}ies" if last.endswith("y") else f"{last}s"])


def _fraction(match: re.Match[str]) -> str | None:
    if match["sign"]:
        above, below = _FRACTIONS[match["sign"]]
    else:
        above, below = int(match["above"]), int(match["below"])
        if below not in (2, 3, 4, 5, 8, 10) or above >= below:
            return f"{spell_number(above)} {spell_number(below)}" if below < 100 else None
    one, many = _PARTS.get(below, (spell_ordinal(below), f"{spell_ordinal(below)}s"))
    whole = match["whole"]
    if whole and above == 1:
        return f"{spell_decimal(whole)} and {'an' if one[0] in 'aeiou' else 'a'} {one}"
    said = f"{spell_number(above)} {one if above == 1 else many}"
    return f"{spell_decimal(whole)} and {said}" if whole else said


def _power(match: re.Match[str]) -> str:
    base = match["base"]
    base = spell_decimal(base) if base[0].isdigit() else base
    power = (match["power"] or match["small"].translate(_SMALL)).strip("()+")
    return f"{base} {_POWERS[power]}" if power in _POWERS else f"{base} to the power of {_signed(power)}"


def _range(match: re.Match[str]) -> str:
    return f"{_plain(match['low'])} to {_plain(match['high'])}"


def _number(match: re.Match[str]) -> str:
    return _spaced(f"{'minus ' if match['minus'] else ''}{_plain(match['number'])}", match)


def _plain(written: str) -> str:
    return (
        spell_year(int(written))
        if len(written) == 4 and written.isdigit() and written[0] != "0"
        else spell_decimal(written)
    )


def _roman(match: re.Match[str]) -> str:
    values = [_ROMAN_DIGITS[digit] for digit in match["roman"]]
    number = sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))
    return f"{match['before']} {spell_number(number)}"


def _short_form(match: re.Match[str]) -> str:
    """A full stop stays where a sentence may end: before a capital, or at the end of the text."""
    form = match["form"].lower()
    said = _SHORT_FORMS[form]
    if match["form"][0].islower():
        said = said.lower()
    following = match.string[match.end() : match.end() + 2]
    is_end = form == "etc" and (not following.strip() or following.strip()[:1].isupper())
    return f"{said}." if is_end else said


def _aside(match: re.Match[str]) -> str | None:
    """Words in brackets between commas; known sounds, and remarks for the writer to decide about, stay."""
    inner = match["inner"].strip()
    if MARK.fullmatch(f"({inner})") or len(inner.split()) <= 4:
        return None
    said = spell_out(inner)[0]
    before = match.string[max(match.start() - 2, 0) : match.start()].rstrip()[-1:]
    is_followed = match.string[match.end() : match.end() + 2].strip()[:1].isalnum()
    if before.isalnum():
        return f", {said.rstrip('.')}{',' if is_followed else ''}"
    return f" {said}{',' if is_followed and said[-1:].isalnum() else ''}"


def _sign(match: re.Match[str]) -> str:
    after = match.string[match.end() : match.end() + 1]
    return f" {_SIGNS[match['sign']]}{' ' if after.isalnum() or after in _SIGNS else ''}"


def _silent(match: re.Match[str]) -> str:
    """A space between words; two parts of a path or a name stay apart."""
    return " " if match.string[match.end() : match.end() + 1].isalnum() else ""


_RULES: dict[str, tuple[str, Callable[[re.Match[str]], str | None]]] = {
    "link": (r"(?:https?://|www\.)[^\s<>\"]{1,300}[\w/]|(?<![\w@.-])(?:[a-z0-9-]{1,60}\.){1,4}(?:com|org|net|edu|gov|io)\b(?:/[^\s<>\"]{0,200}[\w/])?", _address),
    "mail": (r"(?<![\w.])[\w.+-]{1,64}@[\w-]{1,60}(?:\.[\w-]{1,60}){1,4}", _address),
    "iso_date": (r"(?<![\w-])(?P<year>[12][0-9]{3})-(?P<month>[01][0-9])-(?P<day>[0-3][0-9])(?![\w-])", _iso_date),
    "slashed_date": (r"(?<![\w/])(?P<first>[0-9]{1,2})/(?P<second>[0-9]{1,2})/(?P<year>[12][0-9]{3})(?![\w/])", _slashed_date),
    "dotted_date": (r"(?<![\w.])(?P<first>[0-9]{1,2})\.(?P<second>[0-9]{1,2})\.(?P<year>[12][0-9]{3})(?!\w|\.\w)", _dotted_date),
    "month_day": (rf"(?<!\w)(?P<month>{_MONTH}) (?P<day>{_DAY})(?:st|nd|rd|th)?(?![\w:%]|[.,][0-9])(?:,? (?P<year>{_YEAR})(?!\w))?", _month_day),
    "day_month": (rf"(?<![\w.,])(?:the )?(?P<day>{_DAY})(?:st|nd|rd|th)? (?:of )?(?P<month>{_MONTH})(?!\w)(?:,? (?P<year>{_YEAR})(?!\w))?", _day_month),
    "clock": (rf"(?<![\w:.])(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?(?![\w:])(?: ?(?P<half>{_HALF_DAY}))?", _clock),
    "clock_joined": (rf"(?<![\w:.])(?P<hour>[01]?[0-9]):(?P<minute>[0-5][0-9])(?P<second>)(?P<half>{_HALF_DAY})", _clock),
    "hour": (rf"(?<![\w:.,])(?P<hour>1[0-2]|[1-9]) ?(?P<half>{_HALF_DAY})", _hour),
    "money_range": (rf"(?<!\w)(?P<sign>{_SIGN})(?P<low>{_NUM}) ?- ?(?:{_SIGN})?(?P<high>{_NUM})(?: ?(?P<scale>{_SCALE})(?!\w))?(?!\w)", _money_range),
    "money": (
        rf"(?<!\w)(?:US)?(?P<sign>{_SIGN}) ?(?P<number>{_PRICE})(?P<sign_after>)(?: ?(?P<scale>{_SCALE})(?!\w))?(?!\w)(?:(?=[ -](?P<noun>bill|note|coin|ticket|gift)\b))?",
        _money,
    ),
    "money_after": (rf"(?<![\w.,])(?P<sign>)(?P<number>{_PRICE}) ?(?:(?P<scale>{_SCALE}) ?)?(?P<sign_after>[€£])(?P<noun>)", _money),
    "phone": (r"(?<![\w.-])(?:\+[0-9]{1,3}[ .-]?)?(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])?[0-9]{3}[.-][0-9]{4}(?![\w-])|(?<!\w)\+[0-9]{1,3}(?:[ -][0-9]{2,4}){2,5}(?![\w-])", lambda match: spell_digits(match.group())),
    "version": (r"(?<![\w.])(?P<v>[vV](?=[0-9]))?(?P<numbers>[0-9]{1,9}(?:\.[0-9]{1,9}){2,8})(?!\w)", _version),
    "short_version": (r"(?<![\w.])(?P<v>v)(?P<numbers>[0-9]{1,4}(?:\.[0-9]{1,4})?)(?!\w)", _version),
    "decade": (r"(?<!\w)'?(?P<number>(?:1[1-9]|20)[0-9]0|[2-9]0)'?s(?!\w)", _decade),
    "ordinal": (r"(?<![\w.,])(?P<number>[0-9]{1,3}(?:,[0-9]{3}){0,3}|[0-9]{1,12})(?:st|nd|rd|th)(?!\w)", lambda match: spell_ordinal(int(match["number"].replace(",", "")))),
    "feet": (r"(?<![\w.,])(?P<feet>[0-9]{1,2})'(?P<inches>1[01]|[0-9])\"", lambda match: f"{spell_number(int(match['feet']))} foot {spell_number(int(match['inches']))}"),
    "degrees": (rf"(?<![\w.,])(?P<number>-?{_NUM}) ?°(?: ?(?P<scale>[CF])(?!\w))?", _degrees),
    "percent": (rf"(?<![\w.,])(?:(?P<low>{_NUM})%? ?- ?)?(?P<number>-?{_NUM}) ?%", _percent),
    "quantity": (rf"(?<![\w.,])(?:(?P<low>{_NUM}) ?- ?)?(?P<number>-?{_NUM}) ?(?P<unit>{_UNIT})(?![\w'/²³])", _quantity),
    "fraction": (r"(?<![\w.,/])(?:(?P<whole>[0-9]{1,9}) ?)?(?P<sign>[½¼¾⅓⅔⅛])(?P<above>)(?P<below>)", _fraction),
    "slashed_fraction": (r"(?<![\w.,/])(?:(?P<whole>[0-9]{1,9}) )?(?P<sign>)(?P<above>[0-9]{1,2})/(?P<below>[0-9]{1,2})(?![\w/])", _fraction),
    "times": (rf"(?<![\w.,])(?P<low>{_NUM}) ?[x×] ?(?P<high>{_NUM})(?!\w)", lambda match: f"{_plain(match['low'])} by {_plain(match['high'])}"),
    "fold": (r"(?<![\w.,])(?P<number>[0-9]{1,6})x(?!\w)", lambda match: f"{spell_decimal(match['number'])} times"),
    "power": (rf"(?<![\w.,^])(?P<base>{_NUM}|[A-Za-z])(?:\^ ?(?P<power>[+-]?[0-9]{{1,9}}|\([+-]?[0-9]{{1,9}}\))|(?P<small>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,9}}))(?![\w^])", _power),
    "range": (rf"(?<![\w.,-])(?P<low>{_NUM}) ?- ?(?P<high>{_NUM})(?![\w-])", _range),
    "ratio": (r"(?<![\w.,:])(?P<low>[0-9]{1,6}):(?P<high>[0-9]{1,6})(?![\w:])", _range),
    "numbered": (r"(?<!\w)(?:#|Nos?\. ?|№ ?)(?P<number>[0-9]{1,12})(?!\w)", lambda match: f"number {spell_decimal(match['number'])}"),
    "about": (r"(?<!\w)~ ?(?=[0-9])", lambda match: "about "),
    "number": (rf"(?:(?<![\w)\].-])(?P<minus>-))?(?P<number>{_NUM}|(?<![\w.])\.[0-9]{{1,20}})", _number),
    "roman": (r"\b(?P<before>Chapter|CHAPTER|Part|PART|Act|ACT|Scene|Book|BOOK|Volume|Vol|Section|War|Phase|Episode) (?P<roman>[IVX]{2,6}(?![\w'])|[VX](?![\w'])|I(?=[.:,;]|$))", _roman),
    "sharp": (r"(?<!\w)(?P<letter>[A-G])#(?!\w)", lambda match: f"{match['letter']} sharp"),
    "plus_plus": (r"(?<=\w)\+\+", lambda match: " plus plus"),
    "with": (r"(?<!\w)w/(?P<out>o)?(?!\w)", lambda match: "without" if match["out"] else "with"),
    "short_form": (r"(?<![\w.])(?P<form>(?:[Mm]rs?|[Dd]r|[Pp]rof)(?=\. [A-Z])|vs|[Ee]\.g|[Ii]\.e|etc|[Aa]pprox)\.", _short_form),
    "sound": (MARK.pattern, lambda match: None),
    "aside": (r" ?\((?P<inner>[^()\n]{1,400})\)", _aside),
    "dash": (r"(?<=\w) - (?=\w)", lambda match: ", "),
    "quote": (r'"', lambda match: ""),
    "sign": (f"(?P<sign>[{re.escape(''.join(_SIGNS))}]) ?", _sign),
    "silent": (f"(?:[{re.escape(_SILENT)}] ?)+", _silent),
}  # fmt: skip
_NAMES = list(_RULES)
_PATTERNS = {name: re.compile(pattern) for name, (pattern, _) in _RULES.items()}
_SCAN = re.compile(
    "|".join(f"(?P<{name}>{re.sub(r'[(][?]P<[a-z_]+>', '(?:', pattern)})" for name, (pattern, _) in _RULES.items())
)
