"""Numbers as English words. Whole numbers, ordinals, years, decimals; knows no text around them."""

__all__ = ["spell_decimal", "spell_digits", "spell_number", "spell_ordinal", "spell_year"]

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
_LARGEST = 10**12


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


def spell_year(value: int) -> str:
    """A year of four digits in pairs where it is said so: 1984 is "nineteen eighty four", 2005 "two thousand five"."""
    if not (1100 <= value < 2000 or 2010 <= value < 2100) or value % 1000 == 0:
        return spell_number(value)
    low = value % 100
    if low == 0:
        return f"{spell_number(value // 100)} hundred"
    return f"{spell_number(value // 100)} {'oh ' if low < 10 else ''}{spell_number(low)}"


def spell_digits(digits: str) -> str:
    """Digits one by one; other characters are left out."""
    return " ".join(_ONES[int(digit)] for digit in digits if digit in "0123456789")


def spell_decimal(written: str) -> str:
    """A number as written, "1,234.50": commas group thousands, what follows the point is said digit by digit.

    One of more than twelve digits, or with a zero in front, is said digit by digit.
    """
    whole, point, rest = written.replace(",", "").partition(".")
    if not whole:
        said = ""
    elif int(whole) >= _LARGEST or (len(whole) > 1 and whole[0] == "0"):
        said = spell_digits(whole)
    else:
        said = spell_number(int(whole))
    return f"{said} point {spell_digits(rest)}".strip() if point else said
