"""Making a project: begin, go on after any interruption, make one piece again. Pieces are made in order, one by one."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dia.errors import BadParameter, Conflict, GenerationFailed
from dia.narration.delivery import Delivery
from dia.narration.files import locked, sweep
from dia.narration.passes import Making, Narrator, Passes, least_bad, plan_for
from dia.narration.project import MANIFEST, Project, Recipe, text_hash
from dia.narration.script import read_text
from dia.narration.voices import Cast, default_voice, make_cast
from dia.text.plan import Gaps
from dia.text.roles import Roleplay

if TYPE_CHECKING:
    import numpy as np

    from dia.model import Dia
    from dia.prompts import VoicePrompt
    from dia.sampling import SamplingParams
    from dia.stream import SpeechStream

__all__ = ["Event", "Hear", "Watch", "make_pieces", "open_project", "redo_piece"]


@dataclass(frozen=True, slots=True)
class Event:
    """A piece was begun (`stream` is its first or next take) or is finished (`stream` is None, `notes` say how)."""

    piece_idx: int
    stream: "SpeechStream | None" = None
    notes: tuple[str, ...] = ()


Watch = Callable[[Event], None]
Hear = Callable[["np.ndarray", int], str]
"""What is heard in float32 samples [samples] of a rate in Hz, as text."""


def open_project(
    folder: Path,
    dia: "Dia",
    text: str,
    *,
    voices: "Mapping[str, VoicePrompt] | VoicePrompt | None" = None,
    params: "SamplingParams | None" = None,
    making: Making | None = None,
    gaps: Gaps | None = None,
    format: str = "auto",
    roleplay: Roleplay | None = None,
    resume: bool = False,
    delivery: Delivery | None = None,
) -> Project:
    """The project of a text: a new one, or with `resume` the one that is there. `delivery` is kept in it.

    Without a seed in `params` a new project draws one and a resumed one keeps its own. Nothing is generated.

    Raises:
        Conflict: there is one and it is not to be resumed, or it was made of other ingredients, which are named.
        BadScript, BadParameter, BadPrompt, UnknownVoice: the caller changes something. OutputUnwritable, DiskFull.
    """
    making, params = making or Making(), params or dia.defaults
    script = read_text(text, format=format, roleplay=roleplay)
    passes = Passes.of(dia)
    passes.check(params)
    cast = make_cast(voices or default_voice(dia.default_voice, passes), script.speakers, dia.frame_rate_hz)
    if not (resume and (folder / MANIFEST).exists()):
        recipe = _recipe(dia, text, cast, params, making, secrets.randbits(63))
        planned = plan_for(passes, script, cast, making, gaps)
        return Project.create(folder, recipe, planned.plan, planned.headings, cast, delivery)
    project = Project.load(folder)
    recipe = _recipe(dia, text, cast, params, making, project.recipe.seed)
    different = project.recipe.differences(recipe)
    if different:
        raise Conflict(
            f"{folder} was begun with another {', '.join(different)}; resume it with the same, or name another folder"
        )
    if delivery is not None and delivery != project.delivery:
        project.delivery = delivery
        project.save()
    return project


def make_pieces(project: Project, dia: "Dia", watch: Watch | None = None, hear: Hear | None = None) -> tuple[str, ...]:
    """Make every piece that has no take yet, each safe on disk before the next begins. Gives back what to know.

    Args:
        hear: the recogniser that a project with `Making.proofread` names.

    Raises:
        Conflict: another model, or another process is at work here.
        BadParameter: the project is to be proofread, and there is nobody to hear it.
        GenerationFailed: pieces came out empty after all takes; the others are made and kept.
        DiaError: what the engine or the disk says; what is finished is kept.
    """
    _check_model(project, dia)
    notes: list[str] = []
    with locked(project.folder):
        sweep(project.folder)
        narrator = _narrator(project, dia, hear)
        for piece in project.plan.pieces:
            if project.pieces[piece.index].status != "made":
                notes += _make(project, narrator, piece.index, watch)
            if project.pieces[piece.index].status == "made":
                narrator.accept(piece, *project.kept(piece.index))
    if project.missing:
        numbers = ", ".join(str(index + 1) for index in project.missing)
        raise GenerationFailed(
            f"of {len(project.pieces)} pieces these came out empty in all takes: {numbers}; redo them with another "
            "seed, or change their text"
        )
    return tuple(notes)


def redo_piece(
    project: Project,
    dia: "Dia",
    number: int,
    *,
    seed: int | None = None,
    watch: Watch | None = None,
    hear: Hear | None = None,
) -> tuple[str, ...]:
    """Another take of one piece (1 …), as it follows from the pieces before it. The other pieces are not touched.

    Args:
        seed: of the new take; None takes one that no take had yet.
        hear: as for `make_pieces`.

    Raises:
        NotFound: no such piece, or pieces before it are not made. GenerationFailed: nothing came out; the old take
            stays. Else as `make_pieces`.
    """
    _check_model(project, dia)
    piece = project.piece(number)
    with locked(project.folder):
        narrator = _narrator(project, dia, hear)
        for earlier in project.plan.pieces[: piece.index]:
            narrator.accept(earlier, *project.kept(earlier.index))
        before = len(project.pieces[piece.index].takes)
        # Every sitting has attempts, and so seeds, of its own.
        first_attempt = max(before, 1) * (project.recipe.making.retakes + 1)
        notes = _make(project, narrator, piece.index, watch, seed=seed, first_attempt=first_attempt)
        if len(project.pieces[piece.index].takes) == before:
            raise GenerationFailed(f"piece {number} came out empty in all takes; the one before is kept")
    return notes


def _make(
    project: Project,
    narrator: Narrator,
    piece_idx: int,
    watch: Watch | None,
    *,
    seed: int | None = None,
    first_attempt: int = 0,
) -> tuple[str, ...]:
    piece = project.plan.pieces[piece_idx]

    def begun(stream: "SpeechStream") -> None:
        if watch is not None:
            watch(Event(piece_idx, stream))

    takes = list(narrator.takes(piece, seed=seed, first_attempt=first_attempt, watch=begun))
    project.add_takes(piece_idx, [(made.take, made.codes) for made in takes])
    made = least_bad(takes)
    take = made.take
    found = [f"cut off: {cut}" for cut in take.cuts]
    if take.attempt > first_attempt:
        found.append(
            f"take {take.attempt - first_attempt + 1} of {narrator.making.retakes + 1} is heard, earlier ones were bad"
        )
    wrong = f" (words heard as others: {take.wrong_words})"
    found += [f"{problem} in all takes{wrong if problem == 'misread' else ''}" for problem in take.problems]
    notes = tuple(f"piece {piece_idx + 1}: {note}" for note in (*made.warnings, *found))
    if watch is not None:
        watch(Event(piece_idx, None, notes))
    return notes


def _narrator(project: Project, dia: "Dia", hear: Hear | None) -> Narrator:
    params = dia.defaults.updated(**project.recipe.params)
    recipe = project.recipe
    if recipe.making.proofread is not None and hear is None:
        raise BadParameter(
            f"the takes of this project are heard by {recipe.making.proofread}; give it with `hear`, or begin another project"
        )
    hear = hear if recipe.making.proofread is not None else None
    return Narrator(dia, Passes.of(dia), project.plan, project.cast, recipe.making, recipe.seed, params, hear=hear)


def _recipe(dia: "Dia", text: str, cast: Cast, params: "SamplingParams", making: Making, seed: int) -> Recipe:
    values = asdict(params)
    asked = values.pop("seed")
    return Recipe(
        model=dia.name,
        model_hash=dia.model_hash,
        compute_dtype=dia.placement.dtype_name,
        sample_rate_hz=dia.sample_rate_hz,
        hop_samples=dia.codec.hop_samples if dia.codec else 0,
        text_sha256=text_hash(text),
        seed=seed if asked is None else asked,
        params=values,
        making=making,
        voices={slot: hashlib.sha256(codes.tobytes()).hexdigest()[:12] for slot, codes in (cast.codes or {}).items()},
        adapter=None if dia.adapter is None else dia.adapter.id,
    )


def _check_model(project: Project, dia: "Dia") -> None:
    found, wanted = None if dia.adapter is None else dia.adapter.id, project.recipe.adapter
    if found != wanted:
        raise Conflict(
            f"the project was begun with {'no adapter' if wanted is None else f'adapter {wanted}'}, this is "
            f"{'none' if dia.adapter is None else f'{dia.adapter.name} ({found})'}; use the same or begin a new project"
        )
    if dia.model_hash != project.recipe.model_hash:
        raise Conflict(
            f"the project was begun with model {project.recipe.model} ({project.recipe.model_hash}), this is {dia.name} "
            f"({dia.model_hash}); use that model or begin a new project"
        )
