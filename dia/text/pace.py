"""How long a text takes to say: a rate that starts as a guess and learns from what a voice has said.

The unit is about one spoken letter. Everything printed counts one, but a digit counts four ("7" is said "seven", "84"
is "eighty-four") and an ideograph or kana three; a known sound such as `(laughs)` is a fixed time instead.
"""

import math
import re
from dataclasses import dataclass

from dia.errors import BadParameter
from dia.text.nonverbals import MARK
from dia.text.tokens import SPEAKER_TAGS

__all__ = ["FASTEST", "SLOWEST", "Pace", "count_units"]

SLOWEST, FASTEST = 9.0, 20.0
"""Units per second; what is measured outside comes from a wrong transcript or a broken take, not from a voice."""

_TAGS = re.compile("|".join(re.escape(tag) for tag in SPEAKER_TAGS.values()))
_DIGIT = re.compile(r"[0-9]")
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PER_DIGIT, _PER_WIDE = 4, 3

_PRIOR_S = 10.0  # the first guess weighs as much as ten seconds of heard speech
_MEMORY_S = 60.0  # older speech fades: the last minute sets the pace


def count_units(text: str) -> int:
    """Spoken units of `text`, without tags and known sounds."""
    said = " ".join(MARK.sub(" ", _TAGS.sub(" ", text)).split())
    return len(said) + (_PER_DIGIT - 1) * len(_DIGIT.findall(said)) + (_PER_WIDE - 1) * len(_WIDE.findall(said))


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate of one voice. `units_per_s` in 9…20; `heard_s` is how many seconds of speech it rests on.

    The first guess is the 6.5 codec frames per character at 86.13 frames a second that users of Dia-1.6B measured
    without a prompt; with a prompt the voice keeps the prompt's own rate: see `from_prompt`.
    """

    units_per_s: float = 13.25
    nonverbal_s: float = 0.8
    heard_s: float = 0.0

    def __post_init__(self) -> None:
        if not SLOWEST <= self.units_per_s <= FASTEST:
            raise BadParameter(f"pace is {self.units_per_s:.4g} units/s; {SLOWEST:g} to {FASTEST:g}; measure it again")
        if not (0 <= self.nonverbal_s < math.inf and 0 <= self.heard_s < math.inf):
            raise BadParameter(
                f"nonverbal_s is {self.nonverbal_s}, heard_s is {self.heard_s}; both are 0 or more seconds"
            )

    @classmethod
    def from_prompt(cls, transcript: str, duration_s: float) -> "Pace":
        """The pace of a voice whose audio prompt of `duration_s` seconds says `transcript`."""
        return cls().learned(transcript, duration_s)

    def estimate_s(self, text: str) -> float:
        """Seconds that this voice takes to say `text`; tags cost nothing."""
        return count_units(text) / self.units_per_s + len(MARK.findall(text)) * self.nonverbal_s

    def learned(self, text: str, duration_s: float) -> "Pace":
        """The pace after `text` was heard to take `duration_s` seconds: the time-weighted mean, kept in 9…20.

        A piece without words teaches nothing. Raises BadParameter for a duration that is not above 0 and finite.
        """
        if not 0 < duration_s < math.inf:
            raise BadParameter(f"duration is {duration_s} s; it must be above 0; give the length of the speech")
        units = count_units(text)
        if units == 0:
            return self
        # Sounds may be shorter than guessed; at least half of the time belongs to the words.
        words_s = max(duration_s - len(MARK.findall(text)) * self.nonverbal_s, duration_s / 2)
        heard_rate = min(max(units / words_s, SLOWEST), FASTEST)
        weight_s = _PRIOR_S + min(self.heard_s, _MEMORY_S - _PRIOR_S)
        rate = (self.units_per_s * weight_s + heard_rate * words_s) / (weight_s + words_s)
        return Pace(min(max(rate, SLOWEST), FASTEST), self.nonverbal_s, self.heard_s + words_s)
