"""What is decided after the voices have spoken: tempo, pauses, loudness. Changing it never generates anything again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dia.errors import BadParameter
from dia.media.stretch import MAX_SPEED, MIN_SPEED
from dia.narration.levels import check_levels
from dia.text.plan import Gaps, Piece

__all__ = ["LEAST_SILENCE_S", "Delivery"]

LEAST_SILENCE_S = 0.1
"""Shorter ones belong to words."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a recording is put together from its takes.

    Attributes:
        speed: tempo of everybody, 0.25 to 4, pitch kept.
        speeds: tempo of single speakers by name, instead of `speed`.
        loudness_lufs: of the whole programme by ITU-R BS.1770; None leaves levels as the model made them.
        true_peak_dbtp: no peak goes above.
        gaps: pauses by what stands between two pieces; None keeps those of the plan. Pauses that the script asks for
            stay in any case. The one after a turn is also the least between two speakers inside a piece.
        longest_silence_s: silences between the words of a piece are cut to that, 0.1 to 60; None leaves them.
        balance: bring all speakers to one level, each by one gain for all he says.

    Raises:
        BadParameter: a value out of its range.
    """

    speed: float = 1.0
    speeds: Mapping[str, float] = field(default_factory=dict)
    loudness_lufs: float | None = -18.0
    true_peak_dbtp: float = -1.0
    gaps: Gaps | None = None
    longest_silence_s: float | None = None
    balance: bool = False

    def __post_init__(self) -> None:
        for name, speed in (("everybody", self.speed), *self.speeds.items()):
            if not MIN_SPEED <= speed <= MAX_SPEED:
                raise BadParameter(f"speed of {name[:64]} is {speed:g}; it must be {MIN_SPEED} to {MAX_SPEED}")
        if self.longest_silence_s is not None and not LEAST_SILENCE_S <= self.longest_silence_s <= 60.0:
            raise BadParameter(
                f"the longest silence is {self.longest_silence_s:g} s; it must be {LEAST_SILENCE_S} to 60, or not given"
            )
        check_levels(self.loudness_lufs, self.true_peak_dbtp)

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse a speed for somebody who does not speak. Raises BadParameter."""
        known = list(names)
        for name in self.speeds:
            if name not in known:
                raise BadParameter(
                    f"there is a speed for {name[:64]!r}, who does not speak; the script has {', '.join(known)[:300]}"
                )

    def speeds_of(self, names: Iterable[str]) -> dict[str, float]:
        """The tempo of each of the speakers."""
        return {name: self.speeds.get(name, self.speed) for name in names}

    @property
    def turn_gap_s(self) -> float:
        """Least seconds between two speakers inside a piece; 0 leaves them as they were said."""
        return 0.0 if self.gaps is None else self.gaps.turn_s

    def pause_before(self, piece: Piece) -> float:
        """Seconds of room tone before a piece."""
        if self.gaps is None or piece.cut_before == "pause" or piece.index == 0:
            return piece.pause_before_s
        return self.gaps.before(piece.cut_before)
