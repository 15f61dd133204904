"""`dia plan`: what a long script would become, before a second of it is generated. Needs no model, and no torch unless one is named."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dia.cli import options
from dia.cli.terminal import Terminal, printable
from dia.cli.texts import read_text

if TYPE_CHECKING:
    from dia.text.plan import Limits, Piece, Plan

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def plan(
    file: Annotated[Path, typer.Argument(help="The script; - is stdin.")],
    format: Annotated[
        str, typer.Option("--format", help="plain, tagged, play, json, markdown, srt or auto.")
    ] = "auto",
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Checkpoint whose limits count (default: those of the published model)."),
    ] = None,
    has_prompt: Annotated[
        bool, typer.Option("--with-prompt", help="A voice prompt stands before each piece.")
    ] = False,
    as_json: options.JsonFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Show how a long script would be cut into passes: pieces, seconds, pauses, warnings."""
    del debug
    from dia.text.planner import plan as make_plan

    text = read_text(None, file)
    made = make_plan(
        text,
        limits=_published() if model is None else _of(model),
        format=format,
        prompted=("S1",) if has_prompt else (),
    )
    if as_json:
        print(json.dumps(made.to_dict(), ensure_ascii=False, indent=2))
        return
    _show(made)
    Terminal().warn(made.warnings)


def _published() -> "Limits":
    """Dia-1.6B: 1024 bytes of text, 3072 steps less the delay of 15 and one, 86.13 frames a second."""
    from dia.text.plan import Limits

    return Limits(max_bytes=1024, max_frames=3056, frame_rate_hz=44_100 / 512)


def _of(model: str) -> "Limits":
    """The limits of a checkpoint on this machine; its frame rate is the published codec's if it brings no codec."""
    from dia import hub
    from dia.checkpoint import read_config, read_json
    from dia.text.plan import Limits

    source = hub.find(model, offline=True)
    config = read_config(read_json(source.config))
    rate = _published().frame_rate_hz
    if source.codec is not None:
        codec = read_json(source.codec / "config.json")
        rate = codec["sampling_rate"] / math.prod(codec["downsampling_ratios"])
    return Limits(max_bytes=config.data.text_length, max_frames=config.max_frames, frame_rate_hz=rate)


def _show(made: "Plan") -> None:
    """A table on stdout; the words are escaped, never interpreted."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "pause", "seconds", "bytes", "cut", "text", box=None, pad_edge=False)
    for piece in made.pieces:
        pause = f"{piece.pause_before_s:.2f}" if piece.pause_before_s else ""
        row = (str(piece.index + 1), pause, f"{piece.estimated_s:.1f}", str(piece.num_bytes), piece.cut_before)
        table.add_row(*(Text(cell) for cell in row), Text(printable(_spoken(piece))))
    console = Console(highlight=False)
    console.print(table)
    names = ", ".join(made.speakers)
    total = f"{len(made.pieces)} pieces, about {made.estimated_s:.0f} s, read as {made.format}; speakers: {names}"
    console.print(Text(printable(total)))


def _spoken(piece: "Piece") -> str:
    return " ".join(f"{turn.speaker}: {turn.text}" for turn in piece.turns)
