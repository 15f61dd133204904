"""The plan of a long script as plain values: its pieces, their limits, the pauses between them; to JSON and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from dia.errors import BadParameter
from dia.text.spoken import Spelling, as_written
from dia.text.tokens import SPEAKER_TAGS

__all__ = ["Carrier", "Cut", "Gaps", "Limits", "Piece", "PieceTurn", "Plan", "render_turns"]

Cut = Literal["start", "pause", "paragraph", "exchange", "turn", "sentence", "clause", "word"]
"""What stands between a piece and the one before it."""

_ESTIMATE_MARGIN = 0.8  # an estimate may be a quarter too short before a pass runs out of frames
_LEAST_PIECE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What one pass can hold and how long a piece should be.

    `max_bytes` (ids of text) and `max_frames` (codec frames at `frame_rate_hz`) are the model's; what the voice prompt
    and the context take of them is reserved. About 12 s a piece, 5 to 18: the model was published with the advice that
    less than 5 s sounds unnatural and more than 20 s runs too fast. `max_turns` is a wish, the seconds come first.
    """

    max_bytes: int
    max_frames: int
    frame_rate_hz: float
    reserved_bytes: int = 0
    reserved_frames: int = 0
    target_s: float = 12.0
    floor_s: float = 5.0
    ceiling_s: float = 18.0
    max_turns: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.floor_s <= self.target_s <= self.ceiling_s < math.inf:
            raise BadParameter(
                f"floor {self.floor_s} s, target {self.target_s} s, ceiling {self.ceiling_s} s; "
                "they must be above 0 and in that order; put them in order"
            )
        if self.max_turns < 1 or not 0 < self.frame_rate_hz < math.inf:
            raise BadParameter(
                f"max_turns is {self.max_turns}, frame_rate_hz is {self.frame_rate_hz}; at least 1 and above 0"
            )
        if min(self.reserved_bytes, self.reserved_frames) < 0:
            raise BadParameter(
                f"reserved_bytes is {self.reserved_bytes}, reserved_frames is {self.reserved_frames}; 0 or more"
            )
        if self.piece_bytes < _LEAST_PIECE_BYTES or self.piece_s < 1:
            raise BadParameter(
                f"{self.piece_bytes} bytes and {self.piece_s:.1f} s are left for a piece; at least "
                f"{_LEAST_PIECE_BYTES} bytes and 1 s; use a shorter prompt or less context"
            )

    @property
    def piece_bytes(self) -> int:
        """Most ids of one piece, tags included."""
        return self.max_bytes - self.reserved_bytes

    @property
    def piece_s(self) -> float:
        """Longest estimate that one pass can hold for sure, in seconds."""
        return (self.max_frames - self.reserved_frames) / self.frame_rate_hz * _ESTIMATE_MARGIN

    @property
    def longest_s(self) -> float:
        """The ceiling of a piece in seconds, brought under what a pass can hold."""
        return min(self.ceiling_s, self.piece_s)

    @property
    def wanted_s(self) -> float:
        """The target in seconds, kept in its place under `longest_s`."""
        return self.target_s * self.longest_s / self.ceiling_s

    @property
    def shortest_s(self) -> float:
        """The floor in seconds, kept in its place under `longest_s`."""
        return self.floor_s * self.longest_s / self.ceiling_s


@dataclass(frozen=True, slots=True)
class Gaps:
    """Seconds of silence between two pieces, by what stands between them."""

    turn_s: float = 0.25
    paragraph_s: float = 0.6
    sentence_s: float = 0.12
    clause_s: float = 0.05

    def before(self, cut: Cut) -> float:
        """Seconds before a piece that begins after `cut`; a pause that was asked for is known elsewhere."""
        if cut in ("turn", "exchange"):
            return self.turn_s
        return {"paragraph": self.paragraph_s, "sentence": self.sentence_s, "clause": self.clause_s}.get(cut, 0.0)


@dataclass(frozen=True, slots=True)
class PieceTurn:
    """What one named speaker says in a piece; `turn_idx` counts the turns of the script as it was read.

    `text` is what the model is told, numbers in words; `spellings` say where the script has something else.
    """

    speaker: str
    text: str
    turn_idx: int
    spellings: tuple[Spelling, ...] = ()

    @property
    def written(self) -> str:
        """The words as the script has them."""
        return self.written_between(0, len(self.text))

    def written_between(self, start: int, end: int) -> str:
        """The same for characters `start` to `end` of `text`; what is spelled out belongs where it begins."""
        inside = []
        for spelling in self.spellings:
            if spelling.start < start < spelling.end:
                inside.append(Spelling(0, min(spelling.end, end) - start, ""))
            elif start <= spelling.start < end or spelling.start == end == len(self.text):
                inside.append(Spelling(spelling.start - start, min(spelling.end, end) - start, spelling.written))
        return as_written(self.text[start:end], inside)


@dataclass(frozen=True, slots=True)
class Carrier:
    """Words spoken after a very short piece so that the model has enough to say, to be cut away again.

    The wanted words are the ids `start_byte` to `end_byte` (half open) of the piece's encoded text; they are said
    first and take about `wanted_s` of the `estimated_s` seconds of the whole pass.
    """

    text: str
    start_byte: int
    end_byte: int
    wanted_s: float
    estimated_s: float


@dataclass(frozen=True, slots=True)
class Piece:
    """One pass of the model.

    `text` starts with `[S1]` and is closed, carrier included; preparing it changes nothing. `speakers` are the names
    behind S1 and S2, in that order. `estimated_s` is the time of the wanted words. `span` is where they stand in the
    input, by whole turns, or None.
    """

    index: int
    text: str
    speakers: tuple[str, ...]
    turns: tuple[PieceTurn, ...]
    estimated_s: float
    num_bytes: int
    cut_before: Cut
    pause_before_s: float
    span: tuple[int, int] | None = None
    carrier: Carrier | None = None

    @property
    def words(self) -> str:
        """The wanted words, without tags and without a carrier."""
        return " ".join(turn.text for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Plan:
    """The pieces of a script in order, the names of its speakers as they appear, and what was noted on the way."""

    pieces: tuple[Piece, ...]
    speakers: tuple[str, ...]
    format: str
    pause_after_s: float
    warnings: tuple[str, ...]

    @property
    def estimated_s(self) -> float:
        """Seconds of the whole, pauses included."""
        return sum(piece.estimated_s + piece.pause_before_s for piece in self.pieces) + self.pause_after_s

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON can hold it; `estimated_s` of the whole is added for readers."""
        return asdict(self) | {"estimated_s": self.estimated_s}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Plan":
        """The plan that `to_dict` wrote, also after it went through JSON.

        Raises BadParameter when a field is missing or of another name.
        """
        try:
            pieces = tuple(_piece(entry) for entry in value["pieces"])
            texts = {name: tuple(value[name]) for name in ("speakers", "warnings")}
            return cls(pieces=pieces, format=value["format"], pause_after_s=value["pause_after_s"], **texts)
        except (KeyError, TypeError) as error:
            raise BadParameter(f"this is no plan: {error}; make it again from the script") from None


def _piece(entry: Mapping[str, Any]) -> Piece:
    turns = tuple(
        PieceTurn(**{**turn, "spellings": tuple(Spelling(**part) for part in turn.get("spellings", ()))})
        for turn in entry["turns"]
    )
    carrier = None if entry["carrier"] is None else Carrier(**entry["carrier"])
    span = None if entry["span"] is None else (entry["span"][0], entry["span"][1])
    read = {"turns": turns, "carrier": carrier, "span": span, "speakers": tuple(entry["speakers"])}
    return Piece(**{**entry, **read})


def render_turns(turns: Sequence[PieceTurn], speakers: Sequence[str]) -> str:
    """Tagged text of `turns`, `speakers` being the names behind S1 and S2; neighbours of one name share a tag.

    With the names of the piece that follows, this is also the transcript of earlier turns as context. It has no
    closing tag. Raises BadParameter for a speaker that is not among the two.
    """
    said = []
    for name, group in groupby(turns, key=lambda turn: turn.speaker):
        if name not in speakers:
            raise BadParameter(f"speaker {name!r} is not among {', '.join(speakers)}; leave that turn out")
        said.append(f"{SPEAKER_TAGS[1 + list(speakers).index(name)]} {' '.join(turn.text for turn in group)}")
    return " ".join(said)
