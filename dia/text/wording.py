"""What may be decided about the words that are sent: signs in words or not, remarks in brackets, a user's own spellings.

A dictionary says how to speak what is written: `SQL -> sequel`. Looking a text up costs time linear in it, whatever the
dictionary holds.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from dia.errors import BadParameter
from dia.text.nonverbals import MARK
from dia.text.repairs import Repairs
from dia.text.script import TAG
from dia.text.typography import plain_characters

__all__ = ["MAX_ENTRIES", "Dictionary", "Remarks", "Wording", "load_dictionary", "read_dictionary"]

Remarks = Literal["keep", "drop"]

MAX_ENTRIES = 5_000
_MAX_WRITTEN, _MAX_SPOKEN, _MAX_FILE = 100, 300, 2_000_000  # characters
_WORD = re.compile(rf"{MARK.pattern}|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Wording:
    """How what is written becomes what is sent.

    Attributes:
        normalize: numbers, money, dates and the like in words.
        remarks: whether remarks in brackets that are no known sound, such as `(nods)`, are kept or dropped.
        dictionary: what to say for what is written, see `read_dictionary`; at most `MAX_ENTRIES`.

    Raises:
        BadParameter: unknown remarks, or an entry that cannot be said.
    """

    normalize: bool = True
    remarks: Remarks = "keep"
    dictionary: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.remarks not in get_args(Remarks):
            raise BadParameter(f"remarks is {self.remarks[:40]!r}; it is {' or '.join(get_args(Remarks))}")
        if len(self.dictionary) > MAX_ENTRIES:
            raise BadParameter(f"the dictionary has {len(self.dictionary)} entries; at most {MAX_ENTRIES}; shorten it")
        for written, spoken in self.dictionary.items():
            _check_entry(written, spoken)


def read_dictionary(text: str, name: str = "the dictionary") -> dict[str, str]:
    """The entries of a text with `written -> spoken` on each line; empty lines and those that begin with # are none.

    Nothing behind the arrow leaves out what is written.

    Raises:
        BadParameter: a line that is no entry, or a word that has two; `name` says where.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        written, arrow, spoken = (" ".join(part.split()) for part in line.partition("->"))
        if not arrow:
            raise BadParameter(f"{name}, line {number} is no entry: {line.strip()[:60]!r}; write it as SQL -> sequel")
        if written in found:
            raise BadParameter(f"{name}, line {number} has {written[:60]!r} a second time; leave one out")
        try:
            _check_entry(written, spoken)
        except BadParameter as error:
            raise BadParameter(f"{name}, line {number}: {error}") from None
        found[written] = spoken
    return found


def load_dictionary(path: Path) -> dict[str, str]:
    """The entries in a file of UTF-8 text. Raises BadParameter."""
    try:
        with path.expanduser().open(encoding="utf-8-sig") as file:
            text = file.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadParameter(f"the dictionary {path} cannot be read: {reason}; name a text file") from error
    if len(text) > _MAX_FILE:
        raise BadParameter(f"the dictionary {path} holds more than {_MAX_FILE} characters; shorten it")
    return read_dictionary(text, path.name)


class Dictionary:
    """The entries, to be found in cleaned lines of text.

    An entry stands for whole words only. One in small letters is found however it is written; one with a capital, as it
    stands: `us` and `US` are two words. Of two that begin in one place the longer is taken.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._exact: dict[str, str] = {}
        self._lower: dict[str, str] = {}
        # How many words the entries have that begin with a word, longest first.
        self._lengths: dict[str, list[int]] = {}
        for written, spoken in entries.items():
            plain = " ".join(plain_characters(written, Repairs()).split())
            words = _WORD.findall(plain)
            (self._lower if plain == plain.lower() else self._exact)[plain] = " ".join(spoken.split())
            lengths = self._lengths.setdefault(words[0].lower(), [])
            if len(words) not in lengths:
                lengths.append(len(words))
                lengths.sort(reverse=True)

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and spoken words of each entry in a line, from left to right."""
        if not self._lengths:
            return
        spans = [(match.start(), match.end()) for match in _WORD.finditer(text)]
        place = 0
        while place < len(spans):
            number, spoken = self._longest(text, spans, place)
            if spoken is not None:
                yield spans[place][0], spans[place + number - 1][1], spoken
            place += number

    def _longest(self, text: str, spans: list[tuple[int, int]], place: int) -> tuple[int, str | None]:
        start, end = spans[place]
        for number in self._lengths.get(text[start:end].lower(), ()):
            if place + number <= len(spans):
                written = text[start : spans[place + number - 1][1]]
                spoken = self._exact.get(written, self._lower.get(written.lower()))
                if spoken is not None:
                    return number, spoken
        return 1, None


def _check_entry(written: str, spoken: str) -> None:
    if not _WORD.findall(plain_characters(written, Repairs())) or len(written) > _MAX_WRITTEN:
        raise BadParameter(
            f"{written[:60]!r} cannot be looked up; write 1 to {_MAX_WRITTEN} characters before the arrow"
        )
    if len(spoken) > _MAX_SPOKEN or _has_controls((written, spoken)) or TAG.search(f"{written} {spoken}"):
        raise BadParameter(
            f"{written[:60]!r} cannot be said as {spoken[:60]!r}; use at most {_MAX_SPOKEN} plain characters, no speaker tags"
        )


def _has_controls(texts: Iterable[str]) -> bool:
    return any(not character.isprintable() for text in texts for character in text)
