"""A project: the folder in which a long script is made. `manifest.json` and the codes of every take; nothing else counts.

    manifest.json   plan, chapters, voices, parameters, seed, hash of the model, and for every piece its takes
    voices/0.npy, takes/0007-1.npy   codes, int16 [frames, channels]

Codes are written before the manifest names them, and every write replaces a whole file, so a run may be killed at any
point and goes on from the last finished piece. Knows no model.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

import dia as package
from dia.errors import BadParameter, Conflict, NotFound, OutputUnwritable
from dia.narration.casting import Sound
from dia.narration.delivery import Delivery
from dia.narration.files import load_codes, save_codes, write_json
from dia.narration.judge import Problem
from dia.narration.passes import Making, Take
from dia.narration.script import Heading
from dia.narration.voices import Cast
from dia.text.plan import Gaps, Piece, Plan
from dia.text.wording import Wording

__all__ = ["MANIFEST", "PieceState", "Project", "Recipe", "StoredTake", "text_hash"]

MANIFEST = "manifest.json"
VERSION = 1
Status = Literal["pending", "made", "failed"]


_INGREDIENTS = {
    "adapter": "adapter",
    "model_hash": "model",
    "compute_dtype": "number type",
    "sample_rate_hz": "sample rate",
    "hop_samples": "codec",
    "text_sha256": "text",
    "seed": "seed",
    "making": "way of making pieces",
    "voices": "voice",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides which codes come out. A project is only ever continued with the same.

    `params` are the fields of `SamplingParams` but the seed; `voices` a hash of each prompt by slot; `adapter` the id of
    the adapter in the weights, on which `model_hash` depends too.
    """

    model: str
    model_hash: str
    compute_dtype: str
    sample_rate_hz: int
    hop_samples: int
    text_sha256: str
    seed: int
    params: Mapping[str, Any]
    making: Making
    voices: Mapping[str, str]
    adapter: str | None = None

    def differences(self, other: "Recipe") -> list[str]:
        """What is not the same in another, in words; where a model lies does not matter, its hash does."""
        found = [words for name, words in _INGREDIENTS.items() if getattr(self, name) != getattr(other, name)]
        if "adapter" in found:
            found.remove("model")  # its hash is another one with every adapter
        found += [name for name in {**self.params, **other.params} if self.params.get(name) != other.params.get(name)]
        return found


@dataclass(frozen=True, slots=True)
class StoredTake:
    """A take and the file with its codes, relative to the project."""

    take: Take
    file: str


@dataclass(frozen=True, slots=True)
class PieceState:
    """The takes of one piece; `chosen` is the index of the one that is heard."""

    status: Status = "pending"
    takes: tuple[StoredTake, ...] = ()
    chosen: int = 0

    @property
    def take(self) -> StoredTake | None:
        """The one that is heard; None before there is one."""
        return self.takes[self.chosen] if self.status == "made" else None


@dataclass
class Project:
    """The contents of a folder. Functions of `dia.narration.run` change it; each change is on disk when they return.

    Attributes:
        gain_db: of the programme, by loudness target, once it was rendered: later renderings keep it, so that a piece
            that is made again changes no other sample.
        balance_db: the gain of each speaker, once it was rendered with balanced speakers; kept likewise.
        delivery: how it was rendered by whoever made it; what is rendered later is rendered so unless told otherwise.
    """

    folder: Path
    recipe: Recipe
    plan: Plan
    headings: tuple[Heading, ...]
    cast: Cast
    pieces: list[PieceState]
    gain_db: dict[str, float] = field(default_factory=dict)
    delivery: Delivery = field(default_factory=Delivery)
    balance_db: dict[str, float] = field(default_factory=dict)

    # ---- making and finding ----

    @classmethod
    def create(
        cls,
        folder: Path,
        recipe: Recipe,
        plan: Plan,
        headings: tuple[Heading, ...],
        cast: Cast,
        delivery: Delivery | None = None,
    ) -> "Project":
        """A new project in a folder that is missing or empty.

        Raises:
            Conflict: there is one already. OutputUnwritable, DiskFull.
        """
        if (folder / MANIFEST).exists():
            raise Conflict(f"{folder} holds a project already; resume it, remove it, or name another folder")
        try:
            for name in ("takes", "voices"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputUnwritable(f"cannot make {folder}: {error.strerror}; choose another folder") from error
        for number, sound in enumerate(cast.sounds):
            save_codes(folder / _voice_file(number), (cast.codes or {})[sound.slot])
        states = [PieceState() for _ in plan.pieces]
        project = cls(folder, recipe, plan, headings, cast, states, delivery=delivery or Delivery())
        project.save()
        return project

    @classmethod
    def load(cls, folder: Path) -> "Project":
        """The project in a folder.

        Raises:
            NotFound: there is none. Conflict: of a newer version, or damaged. BadCodes: a voice is damaged.
        """
        path = folder / MANIFEST
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFound(f"{folder} holds no project (no {MANIFEST}); check the path") from error
        except (OSError, ValueError) as error:
            raise Conflict(f"{path} cannot be read; it is damaged; begin the project again") from error
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise Conflict(f"{path} is of another version; use the version of dia that made it, or begin again")
        try:
            return cls._read(folder, value)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, BadParameter):
                raise
            raise Conflict(f"{path} is damaged ({type(error).__name__}: {error}); begin the project again") from error

    @classmethod
    def _read(cls, folder: Path, value: dict[str, Any]) -> "Project":
        recipe = {**value["recipe"], "making": _read_making(value["recipe"]["making"])}
        sounds = tuple(Sound(**sound) for sound in value["voices"])
        codes = {sound.slot: load_codes(folder / _voice_file(number)) for number, sound in enumerate(sounds)}
        plan = Plan.from_dict(value["plan"])
        pieces = [_read_piece(entry) for entry in value["pieces"]]
        if len(pieces) != len(plan.pieces):
            raise ValueError(f"{len(pieces)} states for {len(plan.pieces)} pieces")
        headings = tuple(Heading(**heading) for heading in value["headings"])
        gains = {str(name): float(gain) for name, gain in value["gain_db"].items()}
        cast = Cast(sounds, codes, dict(value["casting"]))
        delivery = _read_delivery(value.get("delivery"))
        balance = {str(name): float(gain) for name, gain in value.get("balance_db", {}).items()}
        return cls(folder, Recipe(**recipe), plan, headings, cast, pieces, gains, delivery, balance)

    def save(self) -> None:
        """Put the manifest on disk."""
        write_json(
            self.folder / MANIFEST,
            {
                "version": VERSION,
                "dia_version": package.__version__,
                "recipe": asdict(self.recipe),
                "voices": [asdict(sound) for sound in self.cast.sounds],
                "casting": dict(self.cast.casting or {}),
                "headings": [asdict(heading) for heading in self.headings],
                "gain_db": self.gain_db,
                "balance_db": self.balance_db,
                "delivery": asdict(self.delivery),
                "pieces": [_written_piece(state) for state in self.pieces],
                "plan": self.plan.to_dict(),
            },
        )

    # ---- pieces ----

    def piece(self, number: int) -> Piece:
        """The piece of that number, counted from 1 as people do.

        Raises:
            NotFound: there is no such piece.
        """
        if not 1 <= number <= len(self.plan.pieces):
            raise NotFound(f"there is no piece {number}; the project has 1 to {len(self.plan.pieces)}")
        return self.plan.pieces[number - 1]

    def kept(self, piece_idx: int) -> tuple[np.ndarray, Take]:
        """Codes int16 [frames, channels] of the chosen take, and the take.

        Raises:
            NotFound: it is not made yet. BadCodes: the file is damaged.
        """
        stored = self.pieces[piece_idx].take
        if stored is None:
            raise NotFound(f"piece {piece_idx + 1} is not made yet; resume the project first")
        return load_codes(self.folder / stored.file), stored.take

    def add_takes(self, piece_idx: int, made: Sequence[tuple[Take, np.ndarray]]) -> None:
        """Keep the takes of one sitting that hold something to hear, and let the least bad be heard.

        Without any the piece stays as it was, or has failed.
        """
        state = self.pieces[piece_idx]
        heard = [(take, codes) for take, codes in made if take.edges]
        if not heard:
            self.pieces[piece_idx] = state if state.status == "made" else replace(state, status="failed")
            self.save()
            return
        stored = []
        for number, (take, codes) in enumerate(heard, len(state.takes) + 1):
            stored.append(StoredTake(take, f"takes/{piece_idx + 1:04d}-{number}.npy"))
            save_codes(self.folder / stored[-1].file, codes)
        chosen = len(state.takes) + _least_bad(stored)
        self.pieces[piece_idx] = PieceState("made", (*state.takes, *stored), chosen)
        self.save()

    def choose(self, number: int, take: int) -> None:
        """Let take `take` of piece `number` be heard, both counted from 1.

        Raises:
            NotFound: there is no such piece or take.
        """
        index = self.piece(number).index
        state = self.pieces[index]
        if not 1 <= take <= len(state.takes):
            raise NotFound(f"there is no take {take} of piece {number}; it has {len(state.takes) or 'none'}")
        self.pieces[index] = replace(state, chosen=take - 1)
        self.save()

    @property
    def is_as_made(self) -> bool:
        """Whether every piece is heard as a run makes it: nothing was made again or chosen by hand."""
        return all(
            state.chosen == _least_bad(state.takes)
            and all(stored.take.attempt <= self.recipe.making.retakes for stored in state.takes)
            for state in self.pieces
            if state.status == "made"
        )

    @property
    def missing(self) -> list[int]:
        """Indices of the pieces without a take."""
        return [index for index, state in enumerate(self.pieces) if state.status != "made"]


def text_hash(text: str) -> str:
    """What tells one script from another."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _least_bad(takes: Sequence[StoredTake]) -> int:
    return min(range(len(takes)), key=lambda index: takes[index].take.badness)


def _read_making(value: Mapping[str, Any]) -> Making:
    """In older projects `normalize` stands alone."""
    rest = dict(value)
    wording = rest.pop("wording", None) or {"normalize": rest.pop("normalize")}
    return Making(**rest, wording=Wording(**wording))


def _read_delivery(value: Mapping[str, Any] | None) -> Delivery:
    """That of an older project is the usual one."""
    if value is None:
        return Delivery()
    gaps = value.get("gaps")
    return Delivery(**{**value, "gaps": None if gaps is None else Gaps(**gaps)})


def _voice_file(number: int) -> str:
    # A slot may be any name that people have; files are called by number.
    return f"voices/{number}.npy"


def _written_piece(state: PieceState) -> dict[str, Any]:
    return {"status": state.status, "chosen": state.chosen, "takes": [asdict(stored) for stored in state.takes]}


def _read_piece(entry: Mapping[str, Any]) -> PieceState:
    takes = tuple(_read_take(stored) for stored in entry["takes"])
    status, chosen = entry["status"], entry["chosen"]
    if status not in get_args(Status) or not (0 <= chosen < max(len(takes), 1)):
        raise ValueError(f"status {status!r}, chosen {chosen}")
    return PieceState(status, takes, chosen)


def _read_take(entry: Mapping[str, Any]) -> StoredTake:
    fields = entry["take"]
    problems = cast("tuple[Problem, ...]", tuple(fields["problems"]))
    if not set(problems) <= set(get_args(Problem)) or Path(entry["file"]).parts[:1] != ("takes",):
        raise ValueError(f"take {entry['file']!r} with problems {problems}")
    return StoredTake(
        Take(**{**fields, "edges": tuple(fields["edges"]), "problems": problems, "cuts": tuple(fields["cuts"])}),
        entry["file"],
    )
