"""`dia redo`, `dia takes` and `dia render`: a project of `dia say`, one piece of it again, a choice, or another file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dia.cli import options
from dia.cli.loading import ModelFlags, load_codec, load_dia
from dia.cli.narrate import deliver
from dia.cli.outputs import AudioTarget, check_audio_target, make_folder
from dia.cli.proofreading import load_proofreader
from dia.cli.script_flags import check_subtitles, parse_delivery
from dia.cli.terminal import Terminal, printable
from dia.errors import BadParameter

if TYPE_CHECKING:
    from dia.codec import Codec
    from dia.narration.project import Project

__all__ = ["redo_app", "render_app", "takes_app"]

redo_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
takes_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
render_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

ProjectArgument = Annotated[Path, typer.Argument(help="The project's folder, as dia say named it.")]
RelevelFlag = Annotated[
    bool, typer.Option("--relevel", help="Measure the loudness again, which may change every sample.")
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
    adapter: options.AdapterFlag = None,
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

    hear = load_proofreader(found.recipe.making.proofread, offline=offline)
    flags = replace(_flags(found, model, offline, codec, device, compute_dtype), adapter=adapter)
    dia = load_dia(flags, terminal)
    try:
        terminal.warn(redo_piece(found, dia, piece, seed=seed, hear=hear))
        terminal.result(f"seed {found.kept(piece - 1)[1].seed}")
        if target is not None:
            deliver(found, dia.codec, target, found.delivery, (), terminal, {})
    finally:
        dia.close()


@takes_app.command(context_settings={"help_option_names": ["-h", "--help"]})
def takes(
    project: ProjectArgument,
    piece: Annotated[int | None, typer.Argument(help="Number of a piece (default: all).")] = None,
    take: Annotated[int | None, typer.Argument(help="Number of the take that shall be heard.")] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder: write the takes there as wav files, to compare them by ear."),
    ] = None,
    model: options.ModelFlag = None,
    offline: options.OfflineFlag = False,
    codec: options.CodecFlag = None,
    device: options.DeviceFlag = None,
    as_json: options.JsonFlag = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Show the takes of a project's pieces, and choose the one that is heard."""
    del debug
    terminal = Terminal(quiet)
    found = _load(project)
    if take is not None:
        if piece is None:
            raise BadParameter("a take is chosen for a piece; name both, as in dia takes book.dia 3 1")
        found.choose(piece, take)
        terminal.note(f"take {take} of piece {piece} is heard from now on; dia render writes the file again")
    pieces = found.plan.pieces if piece is None else (found.piece(piece),)
    if output is not None:
        loaded = load_codec(_flags(found, model, offline, codec, device, None), terminal)
        for one in pieces:
            _write_takes(found, one.index, loaded, output, terminal)
    if as_json:
        print(json.dumps([_described(found, one.index) for one in pieces], ensure_ascii=False))
    elif take is None and output is None:
        _show_takes(found, [one.index for one in pieces])


def _described(project: "Project", index: int) -> dict[str, Any]:
    state, piece, rate = project.pieces[index], project.plan.pieces[index], project.recipe.sample_rate_hz
    return {
        "piece": index + 1,
        "text": " ".join(turn.written for turn in piece.turns),
        "estimated_s": round(piece.estimated_s, 2),
        "takes": [
            {
                "take": number,
                "is_heard": state.status == "made" and number - 1 == state.chosen,
                "seconds": round((stored.take.edges[-1] - stored.take.edges[0]) / rate, 2),
                "seed": stored.take.seed,
                "problems": list(stored.take.problems),
                "cuts": list(stored.take.cuts),
            }
            for number, stored in enumerate(state.takes, 1)
        ],
    }


def _show_takes(project: "Project", indices: list[int]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("piece", "take", "heard", "seconds", "expected", "wrong"):
        table.add_column(name, no_wrap=True)
    table.add_column("text", overflow="ellipsis", no_wrap=True)
    for index in indices:
        told = _described(project, index)
        for take in told["takes"] or [None]:
            row = ("", "", "", "", "not made") if take is None else (
                str(take["take"]), "*" if take["is_heard"] else "", f"{take['seconds']:.1f}", f"{told['estimated_s']:.1f}",
                ", ".join(take["problems"]),
            )  # fmt: skip
            table.add_row(*(Text(cell) for cell in (str(told["piece"]), *row, printable(told["text"][:32]))))
    Console(highlight=False).print(table)


def _write_takes(project: "Project", index: int, codec: "Codec", folder: Path, terminal: Terminal) -> None:
    """Each take's words alone, as `0003-1.wav`."""
    from dia.media.encode import write_audio
    from dia.narration.files import load_codes

    for number, stored in enumerate(project.pieces[index].takes, 1):
        path = folder / f"{index + 1:04d}-{number}.wav"
        make_folder(path)
        first, last = stored.take.edges[0], stored.take.edges[-1]
        sound = codec.decode(load_codes(project.folder / stored.file))[first:last]
        write_audio(path, sound, codec.sample_rate_hz)
        terminal.note(f"{path}: {len(sound) / codec.sample_rate_hz:.1f} s")


@render_app.command(context_settings={"help_option_names": ["-h", "--help"]})
def render(
    project: ProjectArgument,
    *,
    output: Annotated[str, typer.Option("--output", "-o", help="Audio file, its format by its ending.")],
    format: Annotated[str | None, typer.Option("--format", help="Audio format, whatever the file is called.")] = None,
    speed: Annotated[
        float | None,
        typer.Option("--speed", help="Tempo without a change of pitch, 0.25 to 4 (default: the project's)."),
    ] = None,
    speed_of: options.SpeedsFlag = None,
    gap: options.GapsFlag = None,
    loudness: Annotated[
        str | None,
        typer.Option("--loudness", help="LUFS of the whole, or off (default: the project's).", metavar="LUFS"),
    ] = None,
    longest_silence: options.LongestSilenceFlag = None,
    balance: Annotated[
        bool | None, typer.Option("--balance/--no-balance", help=f"{options.BALANCE} (default: as the project).")
    ] = None,
    relevel: RelevelFlag = False,
    subtitles: options.SubtitlesFlag = None,
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
    check_subtitles(subtitles or ())
    found = _load(project)
    delivery = parse_delivery(
        speed,
        speeds=speed_of or (),
        loudness=loudness,
        gaps=gap or (),
        longest_silence=longest_silence,
        balance=balance,
        base=found.delivery,
    )
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
