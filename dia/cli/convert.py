"""`dia convert`: any checkpoint to any dialect. The new folder appears whole or not at all."""

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dia.cli import options
from dia.cli.loading import ModelFlags, check_flags
from dia.cli.terminal import Terminal
from dia.errors import BadParameter, Conflict, OutputUnwritable

if TYPE_CHECKING:
    import torch

    from dia.config import DiaConfig
    from dia.hub import Source

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

DIALECTS = ("nested", "flat", "transformers")


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def convert(
    source: Annotated[str, typer.Argument(help="Checkpoint folder or hub repository, in any dialect.")],
    destination: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    to: Annotated[
        str,
        typer.Option("--to", help="nested (Dia-1.6B), flat (Dia-1.6B-0626) or transformers."),
    ],
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, float16 or bfloat16 (default: as stored).")
    ] = None,
    family: options.FamilyFlag = None,
    revision: options.RevisionFlag = None,
    offline: options.OfflineFlag = False,
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", help="Adapter of dia finetune to add to the weights, for programs that know none."),
    ] = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Write a checkpoint in another dialect, its codec, voice and sampling defaults beside it.

    For transformers, the files of its processor as well, which name a codec beside the model by its path.
    """
    del debug
    if to not in DIALECTS:
        raise BadParameter(f"dialect {to!r} is not known; use one of {', '.join(DIALECTS)}")
    flags = ModelFlags(model=source, family=family, revision=revision, offline=offline, adapter=adapter)
    check_flags(flags)
    _refuse_full(destination)
    from dia import hub
    from dia.config import known_to_dia_alone
    from dia.device import choose_device, choose_dtype

    chosen = None if dtype is None else choose_dtype(choose_device("cpu"), dtype)
    found = hub.find(source, revision=revision, offline=offline)
    temporary = destination.absolute().parent / f".{destination.name}.{secrets.token_hex(6)}.part"
    try:
        temporary.mkdir(parents=True)
        stored, config = _write(found, temporary, to, chosen, flags)
        is_spoken_for = to != "transformers" or _write_processor(found, config, temporary, destination)
        if destination.is_dir():
            destination.rmdir()
        os.replace(temporary, destination)
    except OSError as error:
        raise OutputUnwritable(f"cannot write {destination}: {error.strerror}; choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    terminal = Terminal(quiet)
    if unknown := known_to_dia_alone(config, to):  # type: ignore[arg-type]  # checked above
        terminal.warn([f"other programs that read {to} compute without {', '.join(unknown)}: what they speak from "
                       "these files differs from what Dia does"])  # fmt: skip
    codec = ", with its codec" if found.codec is not None else ", without a codec (none lies beside the source)"
    voice = " and its voice" if found.voice is not None else ""
    added = "" if adapter is None else f", with the adapter {adapter.name}"
    terminal.note(f"{destination}: {to}, {stored}{added}{codec}{voice}")
    if not is_spoken_for:
        terminal.note("no files for transformers' processor: it knows the published delays and 44.1 kHz alone")


def _refuse_full(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not an empty folder; name a new one")


def _write(
    source: "Source", folder: Path, dialect: str, dtype: "torch.dtype | None", flags: ModelFlags
) -> "tuple[str, DiaConfig]":
    """Write model, codec and voice into the folder; gives back the stored number type and the configuration."""
    import torch

    from dia.adapters import load_adapter
    from dia.checkpoint import load_model, save_model
    from dia.config import DiaConfig
    from dia.device import Placement

    config = DiaConfig.load(source.config, flags.family)  # type: ignore[arg-type]  # checked by check_flags
    kept = dtype or _stored_dtype(source)
    adapter = None if flags.adapter is None else load_adapter(flags.adapter)
    model = load_model(config, source.weights, Placement(torch.device("cpu"), kept), adapter)
    save_model(model, folder, dialect)  # type: ignore[arg-type]  # checked by convert
    if source.codec is not None:
        shutil.copytree(source.codec, folder / "codec")
    if source.voice is not None:
        shutil.copyfile(source.voice, folder / source.voice.name)
    return str(kept).removeprefix("torch."), config


def _write_processor(source: "Source", config: "DiaConfig", folder: Path, destination: Path) -> bool:
    """Write transformers' processor into the folder, which will be the destination; False where it has none for this."""
    from dia.checkpoint import known_to_the_processor, save_processor
    from dia.config import read_json
    from dia.hub import DAC_REPOSITORY

    # The published codec, in DacConfig's words.
    codec, name = {"sampling_rate": 44_100, "downsampling_ratios": [2, 4, 8, 8]}, DAC_REPOSITORY
    if source.codec is not None:
        codec, name = read_json(source.codec / "config.json"), str(destination.absolute() / "codec")
    if not known_to_the_processor(config, codec):
        return False
    save_processor(config, folder, codec, name)
    return True


def _stored_dtype(source: "Source") -> "torch.dtype":
    """The number type of the checkpoint's largest tensor; small ones are sometimes kept finer."""
    import math

    from dia.weightfile import WeightSet

    weights = WeightSet(source.weights)
    largest = max(weights.shapes, key=lambda name: math.prod(weights.shapes[name]))
    return weights.view(largest).dtype
