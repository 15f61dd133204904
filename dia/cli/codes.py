"""`dia encode` and `dia decode`: sound to codec codes and back, without the transformer.

Codes are the product of the model: 1.6 kB per second, from which the same sound comes again in any format and tempo.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import dia as package
from dia.cli import options
from dia.cli.codefiles import load_codes
from dia.cli.loading import ModelFlags, load_codec
from dia.cli.outputs import check_audio_target, check_path, save_codes
from dia.cli.terminal import Terminal
from dia.errors import BadCodes, BadParameter

if TYPE_CHECKING:
    import numpy as np

    from dia.codec import Codec

__all__ = ["decode_app", "encode_app"]

encode_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
decode_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_HELP = {"help_option_names": ["-h", "--help"]}
_PIECE_FRAMES = 860
"""Codes decoded at a time, ten seconds with the published codec: a long recording never stands in memory as a whole."""


@encode_app.command("encode", context_settings=_HELP)
def encode(
    source: Annotated[Path, typer.Argument(help="A recording: wav, flac, mp3, opus, m4a, …")],
    codes: Annotated[Path, typer.Argument(help="Where to save its codes (.npy).")],
    model: options.ModelFlag = None,
    codec: options.CodecFlag = None,
    revision: options.RevisionFlag = None,
    offline: options.OfflineFlag = False,
    device: options.DeviceFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Turn a recording into codec codes, int16 [frames, codebooks]."""
    del debug
    terminal = Terminal(quiet)
    if codes.suffix != ".npy":
        raise BadParameter(f"{codes.name}: codes are saved as .npy; name such a file")
    check_path(codes)
    from dia.media.read import probe, read_audio

    probe(source)
    loaded = load_codec(_flags(model, codec, revision, offline, device), terminal)
    found = loaded.encode(read_audio(source, sample_rate_hz=loaded.sample_rate_hz))
    save_codes(codes, found)
    terminal.note(f"{codes}: {len(found)} frames, {len(found) / loaded.frame_rate_hz:.1f} s")


@decode_app.command("decode", context_settings=_HELP)
def decode(
    codes: Annotated[Path, typer.Argument(help="Codes saved by --save-codes or dia encode (.npy).")],
    output: Annotated[str, typer.Argument(help="Audio file, its format by its ending; - is stdout.")],
    format: Annotated[str | None, typer.Option("--format", help="Audio format, whatever the file is called.")] = None,
    speed: Annotated[float, typer.Option("--speed", help="Tempo without a change of pitch, 0.25 to 4.")] = 1.0,
    model: options.ModelFlag = None,
    codec: options.CodecFlag = None,
    revision: options.RevisionFlag = None,
    offline: options.OfflineFlag = False,
    device: options.DeviceFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Turn saved codec codes into an audio file."""
    del debug
    terminal = Terminal(quiet)
    target = check_audio_target(output, format)
    grid = load_codes(codes)
    if not len(grid):
        raise BadCodes(f"{codes.name} holds no frames; there is nothing to decode")
    from dia.media.stretch import Stretcher

    Stretcher(44_100, speed)
    loaded = load_codec(_flags(model, codec, revision, offline, device), terminal)
    loaded.check(grid)
    stretcher = Stretcher(loaded.sample_rate_hz, speed)
    with target.open(loaded.sample_rate_hz, {"dia_version": package.__version__}) as sink:
        for chunk in _decoded(loaded, grid):
            sink.write(stretcher.push(chunk))
        sink.write(stretcher.flush())
    terminal.note(f"{output}: {len(grid) / loaded.frame_rate_hz / speed:.1f} s")


def _decoded(codec: "Codec", grid: "np.ndarray[Any, Any]") -> "Iterator[np.ndarray[Any, Any]]":
    stream = codec.stream()
    for start in range(0, len(grid), _PIECE_FRAMES):
        yield stream.push(grid[start : start + _PIECE_FRAMES])
    yield stream.flush()


def _flags(
    model: str | None, codec: str | None, revision: str | None, offline: bool, device: str | None
) -> ModelFlags:
    return ModelFlags(model=model, codec=codec, revision=revision, offline=offline, device=device)
