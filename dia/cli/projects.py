"""`dia redo` and `dia render`: a project of `dia say`, one piece of it again, or another file from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dia.cli import options
from dia.cli.loading import ModelFlags, load_codec, load_dia
from dia.cli.narrate import deliver, parse_delivery
from dia.cli.outputs import AudioTarget, check_audio_target
from dia.cli.terminal import Terminal
from dia.errors import BadParameter

if TYPE_CHECKING:
    from dia.narration.project import Project

__all__ = ["redo_app", "render_app"]

redo_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
render_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

ProjectArgument = Annotated[Path, typer.Argument(help="The project's folder, as dia say named it.")]
SpeedFlag = Annotated[float, typer.Option("--speed", help="Tempo without a change of pitch, 0.25 to 4.")]
SpeedsFlag = Annotated[
    list[str] | None, typer.Option("--speed-of", help="Tempo of one speaker, as in Alice=1.1; again for others.")
]
LoudnessFlag = Annotated[
    str | None, typer.Option("--loudness", help="LUFS of the whole, or off (default: -18).", metavar="LUFS")
]
RelevelFlag = Annotated[
    bool, typer.Option("--relevel", help="Measure the loudness again, which may change every sample.")
]
SubtitlesFlag = Annotated[
    list[Path] | None, typer.Option("--subtitles", help="Also write subtitles, .srt or .vtt; again for both.")
]


@redo_app.command(context_settings={"help_option_names": ["-h", "--help"]})
def redo(
    project: ProjectArgument,
    piece: Annotated[int, typer.Argument(help="Number of the piece, from 1, as dia plan and the warnings count.")],
    *,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the new take (default: another one).")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Also write the whole to this file.")] = None,
    model: options.ModelFlag = None,
    offline: options.OfflineFlag = False,
    codec: options.CodecFlag = None,
    device: options.DeviceFlag = None,
    compute_dtype: options.DtypeFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Make one piece of a long script again; no other sample changes."""
    del debug
    terminal = Terminal(quiet)
    target = _target(output) if output is not None else None
    found = _load(project)
    found.piece(piece)
    from dia.narration.run import redo_piece

    dia = load_dia(_flags(found, model, offline, codec, device, compute_dtype), terminal)
    try:
        terminal.warn(redo_piece(found, dia, piece, seed=seed))
        terminal.result(f"seed {found.kept(piece - 1)[1].seed}")
        if target is not None:
            delivery = parse_delivery(1.0, (), None)
            deliver(found, dia.codec, target, delivery, (), terminal, {})
    finally:
        dia.close()


@render_app.command(context_settings={"help_option_names": ["-h", "--help"]})
def render(
    project: ProjectArgument,
    *,
    output: Annotated[str, typer.Option("--output", "-o", help="Audio file, its format by its ending.")],
    format: Annotated[str | None, typer.Option("--format", help="Audio format, whatever the file is called.")] = None,
    speed: SpeedFlag = 1.0,
    speed_of: SpeedsFlag = None,
    loudness: LoudnessFlag = None,
    relevel: RelevelFlag = False,
    subtitles: SubtitlesFlag = None,
    model: options.ModelFlag = None,
    offline: options.OfflineFlag = False,
    codec: options.CodecFlag = None,
    device: options.DeviceFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Write a long script to another file, without generating: other tempo, loudness or format."""
    del debug
    terminal = Terminal(quiet)
    target = _target(output, format)
    delivery = parse_delivery(speed, speed_of or (), loudness)
    found = _load(project)
    delivery.check_names(found.plan.speakers)
    loaded = load_codec(_flags(found, model, offline, codec, device, None), terminal)
    deliver(found, loaded, target, delivery, subtitles or (), terminal, {}, relevel=relevel)


def _target(output: str, format: str | None = None) -> AudioTarget:
    target = check_audio_target(output, format)
    if target.path is None:
        raise BadParameter("a project is written to a file; name one with --output")
    return target


def _load(folder: Path) -> "Project":
    from dia.narration.project import Project

    return Project.load(folder)


def _flags(
    project: "Project", model: str | None, offline: bool, codec: str | None, device: str | None, dtype: str | None
) -> ModelFlags:
    """The model that the project was begun with, if it is one of the hub's and no other is named."""
    known = project.recipe.model if "/" in project.recipe.model else None
    return ModelFlags(model=model or known, offline=offline, codec=codec, device=device, compute_dtype=dtype)
