"""From the flags that name a model to a loaded one, or to where its files are."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from dia.cli.terminal import Terminal
from dia.errors import BadParameter, OutOfMemory
from dia.memory import keep_freed_memory

if TYPE_CHECKING:
    from dia.codec import Codec
    from dia.config import Family
    from dia.device import Placement
    from dia.hub import Source
    from dia.model import Dia

__all__ = ["ModelFlags", "check_flags", "find_source", "load_codec", "load_dia"]


@dataclass(frozen=True, slots=True)
class ModelFlags:
    """What was typed about the model; None and False mean "not typed"."""

    model: str | None = None
    repo_id: str | None = None
    local_paths: bool = False
    config: Path | None = None
    checkpoint: Path | None = None
    revision: str | None = None
    offline: bool = False
    codec: str | None = None
    family: str | None = None
    device: str | None = None
    compute_dtype: str | None = None
    quantization: str | None = None
    adapter: Path | None = None


def check_flags(flags: ModelFlags) -> None:
    """Refuse what contradicts itself, before anything heavy is imported.

    Raises:
        BadParameter: two models named, half of a pair of files or one that is not there, an adapter that is no file, an
            unknown family.
    """
    files = [flags.config, flags.checkpoint]
    named = [text for text in (flags.model, flags.repo_id) if text is not None]
    if len(named) + any(files) > 1:
        raise BadParameter("several models are named; use one of --model, --repo-id, or --config with --checkpoint")
    if (flags.local_paths or any(files)) and not all(files):
        raise BadParameter("a checkpoint of two files needs both --config config.json and --checkpoint WEIGHTS")
    missing = [str(path) for path in files if path is not None and not path.is_file()]
    if missing:
        raise BadParameter(f"{' and '.join(missing)} cannot be found; --config and --checkpoint name files")
    if flags.adapter is not None and not flags.adapter.is_file():
        raise BadParameter(
            f"the adapter {flags.adapter} is no file; name the adapter.safetensors that dia finetune wrote"
        )
    if flags.family not in (None, "v0_1", "0626"):
        raise BadParameter(f"family {flags.family!r} is not known; use v0_1 (April 2025) or 0626 (June 2025)")


def load_dia(flags: ModelFlags, terminal: Terminal, *, slots: int = 1) -> "Dia":
    """The model with its codec, for so many passages at a time; with more than one its engine runs in a thread of its own.

    Raises: as `Dia.from_pretrained`, BadParameter as `check_flags`, and OutOfMemory.
    """
    check_flags(flags)
    import torch

    from dia.device import place

    placement = place(flags.device, flags.compute_dtype)
    try:
        dia = _load(flags, placement, terminal, slots)
        if slots > 1:
            dia.start()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"the model does not fit into the memory of {placement.device} as {placement.dtype_name}; use "
            "--compute-dtype bfloat16, --device cpu or a smaller model"
        ) from error
    dia.settle_threads()
    keep_freed_memory()
    return dia


def _load(flags: ModelFlags, placement: "Placement", terminal: Terminal, slots: int) -> "Dia":
    from dia.model import Dia

    family = _family(flags)
    if flags.config is not None and flags.checkpoint is not None:
        return Dia.from_local(
            flags.config,
            flags.checkpoint,
            placement.dtype,
            placement.device,
            codec=flags.codec,
            family=family,
            offline=flags.offline,
            slots=slots,
            quantization=flags.quantization,
            adapter=flags.adapter,
        )
    return Dia.from_pretrained(
        _name(flags, placement, terminal),
        placement.dtype,
        placement.device,
        codec=flags.codec,
        family=family,
        revision=flags.revision,
        offline=flags.offline,
        slots=slots,
        quantization=flags.quantization,
        adapter=flags.adapter,
    )


def find_source(flags: ModelFlags, placement: "Placement", terminal: Terminal) -> "Source":
    """The files of the named model, without opening them. Raises CheckpointNotFound, BadParameter."""
    check_flags(flags)
    from dia import hub

    if flags.config is not None and flags.checkpoint is not None:
        return hub.from_files(flags.config, flags.checkpoint)
    return hub.find(_name(flags, placement, terminal), revision=flags.revision, offline=flags.offline)


def load_codec(flags: ModelFlags, terminal: Terminal) -> "Codec":
    """The codec alone: the named one, else that of the named model, else the published one.

    Raises: CodecUnavailable, CheckpointMismatch, and as `find_source`.
    """
    from dia.codec import Codec
    from dia.device import place
    from dia.hub import find_codec

    placement = place(flags.device)
    own = None if flags.codec else find_source(flags, placement, terminal).codec
    keep_freed_memory()
    return Codec.load(find_codec(flags.codec, own, offline=flags.offline), placement)


def _name(flags: ModelFlags, placement: "Placement", terminal: Terminal) -> str:
    named = flags.repo_id or flags.model or "auto"
    if named != "auto":
        return named
    from dia.hub import choose_default

    chosen = choose_default(placement, offline=flags.offline)
    terminal.note(f"model: {Path(chosen.model).name} ({chosen.reason}); --model NAME takes another")
    return chosen.model


def _family(flags: ModelFlags) -> "Family | None":
    from dia.config import Family

    assert flags.family is None or flags.family in get_args(Family)
    return cast("Family | None", flags.family)
