"""`dia plan`: what `dia say` would make of a script, before a second of it is generated. Reads the model's files, not
its weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dia.cli import options
from dia.cli.loading import ModelFlags, find_source
from dia.cli.narrate import describe
from dia.cli.script_flags import ScriptFlags, find_dictionary, parse_voices, read_gaps
from dia.cli.terminal import Terminal, printable
from dia.cli.texts import read_text
from dia.errors import CheckpointNotFound

if TYPE_CHECKING:
    from dia.narration.passes import Passes
    from dia.narration.script import PlannedScript
    from dia.prompts import VoicePrompt
    from dia.text.plan import Piece

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def plan(
    file: Annotated[Path, typer.Argument(help="The script; - is stdin.")],
    script_format: Annotated[
        str,
        typer.Option(
            "--script-format",
            "--format",
            help="What the text is: plain, tagged, play, json, markdown or srt (default: recognised).",
        ),
    ] = "auto",
    model: options.ModelFlag = None,
    voice: options.VoicesFlag = None,
    audio_prompt: Annotated[Path | None, typer.Option("--audio-prompt", help="The voice: a recording.")] = None,
    transcript: Annotated[str | None, typer.Option("--transcript", help="What is said in the recording.")] = None,
    transcript_file: Annotated[Path | None, typer.Option("--transcript-file", help="The same, from a file.")] = None,
    roleplay: options.RoleplayFlag = "off",
    normalize: options.NormalizeFlag = True,
    remarks: options.RemarksFlag = "keep",
    dictionary: options.DictionaryFlag = None,
    gap: options.GapsFlag = None,
    quiet: options.QuietFlag = False,
    as_json: options.JsonFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Show how dia say would cut a script into passes: pieces, seconds, pauses, chapters, warnings."""
    del debug
    from dia.narration.passes import plan_for
    from dia.narration.script import read_text as read_script
    from dia.narration.voices import default_voice, make_cast

    terminal = Terminal(quiet)
    flags = ScriptFlags(
        format=script_format,
        roleplay=roleplay,
        normalize=normalize,
        remarks=remarks,
        dictionary=find_dictionary(dictionary),
    )
    text = read_text(None, file)
    recordings = parse_voices(voice or (), audio_prompt, transcript, transcript_file)
    gaps = read_gaps(gap or ())
    script = read_script(text, format=flags.format, roleplay=flags.roles)
    passes, own = _model(model, terminal)
    voices = {name: _as_long(path, words, passes.frame_rate_hz) for name, (path, words) in recordings.items()}
    cast = make_cast(voices or default_voice(own, passes), script.speakers, passes.frame_rate_hz)
    made = plan_for(passes, script, cast, flags.making, gaps)
    if as_json:
        headings = {"headings": [asdict(heading) for heading in made.headings]}
        print(json.dumps({**made.plan.to_dict(), **headings}, ensure_ascii=False, indent=2))
        return
    _show(made)
    terminal.warn(made.plan.warnings)


def _model(name: str | None, terminal: Terminal) -> "tuple[Passes, VoicePrompt | None]":
    """What a pass of the named model takes (None and auto: of the one that dia say would take), and its own voice."""
    from dia.config import DiaConfig, read_json
    from dia.device import place
    from dia.narration.passes import Passes
    from dia.prompts import read_voice

    try:
        source = find_source(ModelFlags(model=name, offline=True), place(None), terminal)
    except CheckpointNotFound:
        if name is not None and name != "auto":
            raise
        terminal.note("its files are not on this machine yet; the plan is for the published model's limits")
        return Passes(text_bytes=1024, max_frames=3056, tail_rows=16, frame_rate_hz=44_100 / 512), None
    config = DiaConfig.load(source.config)
    rate = 44_100 / 512
    if source.codec is not None:
        codec: Mapping[str, Any] = read_json(source.codec / "config.json")
        rate = codec["sampling_rate"] / math.prod(codec["downsampling_ratios"])
    return Passes.of_config(config, rate), None if source.voice is None else read_voice(source.voice)


def _as_long(path: Path, words: str, frame_rate_hz: float) -> "VoicePrompt":
    """A prompt of the recording's length; what it sounds like does not matter to a plan."""
    import numpy as np

    from dia.cli.codefiles import load_codes
    from dia.media.read import probe
    from dia.prompts import VoicePrompt

    if path.suffix == ".npy":
        return VoicePrompt(load_codes(path), words)
    frames = math.ceil((probe(path).duration_s or 0.0) * frame_rate_hz)
    return VoicePrompt(np.zeros((frames, 1), np.int16), words)


def _show(made: "PlannedScript") -> None:
    """A table on stdout; the words are escaped, never interpreted."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headings = {heading.turn_idx for heading in made.headings}
    table = Table("", "pause", "seconds", "bytes", "cut", "text", box=None, pad_edge=False)
    for piece in made.plan.pieces:
        pause = f"{piece.pause_before_s:.2f}" if piece.pause_before_s else ""
        cut = "chapter" if piece.turns[0].turn_idx in headings else piece.cut_before
        row = (str(piece.index + 1), pause, f"{piece.estimated_s:.1f}", str(piece.num_bytes), cut)
        table.add_row(*(Text(cell) for cell in row), Text(printable(_spoken(piece))))
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(printable(describe(made.plan))))


def _spoken(piece: "Piece") -> str:
    return " ".join(f"{turn.speaker}: {turn.text}" for turn in piece.turns)
