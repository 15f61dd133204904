"""What `dia doctor` looks at: one function for each thing that must be right, each giving findings with a cure.

Nothing is downloaded, no tensor is read, no model is built.
"""

import json
import math
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dia.cli.extras import EXTRAS, install_command, is_installed
from dia.cli.loading import ModelFlags, check_flags, find_source
from dia.cli.terminal import Terminal
from dia.errors import DiaError

if TYPE_CHECKING:
    from dia.config import DiaConfig
    from dia.device import Placement
    from dia.hub import Source

__all__ = ["CORE_PACKAGES", "Finding", "check_requirement", "examine", "to_json"]

Status = Literal["ok", "note", "problem"]

DISTRIBUTION = "dia-tts"
CORE_PACKAGES = ("torch", "transformers", "numpy", "safetensors", "huggingface-hub", "pydantic", "soxr", "av")
"""What is looked for in a source checkout that was not installed, whose requirements are therefore unknown."""

_PYTHONS = ((3, 10), (3, 14))
_ROOM_FOR_DOWNLOAD_BYTES = 9_000_000_000
_ROOM_FOR_OUTPUT_BYTES = 200_000_000
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. A `problem` keeps speech from being made; `cure` is one line, "" where all is well."""

    name: str
    status: Status
    detail: str
    cure: str = ""


def examine(flags: ModelFlags) -> Iterator[Finding]:
    """All findings, in the order in which trouble should be mended."""
    check_flags(flags)
    yield _python()
    packages = list(_packages())
    yield from packages
    if any(finding.status == "problem" and "is not installed" in finding.detail for finding in packages):
        return
    from dia.device import place

    try:
        placement = place(flags.device, flags.compute_dtype)
    except DiaError as error:
        yield Finding("device", "problem", str(error), "leave --device and --compute-dtype out")
        return
    yield _device(placement)
    yield from _model(replace(flags, offline=True), placement)
    yield from _disk()
    yield _formats()
    yield from _extras()
    yield _hub()


def _python() -> Finding:
    version = platform.python_version()
    low, high = _PYTHONS
    if low <= sys.version_info[:2] < high:
        return Finding("python", "ok", f"{version}, {platform.system()} {platform.machine()}")
    wanted = f"{low[0]}.{low[1]} to {high[0]}.{high[1] - 1}"
    return Finding(
        "python", "problem", f"{version}; supported are {wanted}", f"make an environment with Python {wanted}"
    )


def _packages() -> Iterator[Finding]:
    """Every requirement of the package itself, extras aside, against what is installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        lines = list(CORE_PACKAGES)
    wanted = [Requirement(line) for line in lines]
    found = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        finding = check_requirement(str(requirement))
        found.append(finding.detail)
        if finding.status != "ok":
            yield finding
    yield Finding("packages", "ok", ", ".join(found))


def check_requirement(line: str) -> Finding:
    """Whether a requirement such as `numpy>=1.26` is met here."""
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding("packages", "problem", f"{requirement.name} is not installed", f"pip install '{line}'")
    if requirement.specifier.contains(version, prereleases=True):
        return Finding("packages", "ok", f"{requirement.name} {version}")
    detail = f"{requirement.name} is {version}; {requirement.specifier} is needed"
    return Finding("packages", "problem", detail, f"pip install '{requirement.name}{requirement.specifier}'")


def _device(placement: "Placement") -> Finding:
    import torch

    from dia.device import free_memory_bytes

    kind = placement.device.type
    name = torch.cuda.get_device_name(placement.device) if kind == "cuda" else f"{os.cpu_count()} cores"
    free = free_memory_bytes(placement.device)
    memory = "" if free is None else f", {free / _GB:.1f} GB free"
    detail = f"{placement.device} ({name}){memory}, {placement.dtype_name}, {torch.get_num_threads()} threads"
    if kind == "cpu" and shutil.which("nvidia-smi") and not torch.cuda.is_available():
        return Finding("device", "note", f"{detail}; an NVIDIA driver is here, but this torch has no working CUDA",
                       "install a CUDA build of torch: https://pytorch.org/get-started/locally")  # fmt: skip
    return Finding("device", "ok", detail)


def _model(flags: ModelFlags, placement: "Placement") -> Iterator[Finding]:
    from dia.checkpoint import WeightSet, check_names, config_dialect, layout_for, read_config, read_json

    fetch = "fetch one with `dia download`, or name a folder with --model FOLDER"
    try:
        source = find_source(flags, placement, Terminal(quiet=True))
    except DiaError as error:
        yield Finding("checkpoint", "problem", str(error), fetch)
        yield from _codec(flags, None, None)
        return
    try:
        raw = read_json(source.config)
        generation = None if source.generation is None else read_json(source.generation)
        config = read_config(raw, flags.family, generation)  # type: ignore[arg-type]  # checked by check_flags
        shapes = WeightSet(source.weights).shapes
        check_names(layout_for(set(shapes), config)[0], shapes)
    except DiaError as error:
        yield Finding(
            "checkpoint", "problem", f"{source.name}: {error}", "fetch it again, or convert it with dia convert"
        )
        yield from _codec(flags, source, None)
        return
    parameters = sum(math.prod(shape) for shape in shapes.values())
    size = sum(path.stat().st_size for path in source.weights)
    implied = "--family" if flags.family else "its dialect"
    detail = (
        f"{source.name}: {config_dialect(raw)} dialect, family {config.family} (by {implied}), "
        f"{parameters / 1e6:.1f} M parameters, {size / 1e6:.1f} MB, {len(source.weights)} file(s), "
        f"{config.data.text_length} text bytes, {config.data.audio_length} steps"
    )
    yield Finding("checkpoint", "ok", detail)
    yield _memory(config, parameters, placement)
    yield from _codec(flags, source, config)


def _memory(config: "DiaConfig", parameters: int, placement: "Placement") -> Finding:
    from dia.device import free_memory_bytes

    decoder, data = config.model.decoder, config.data
    own = decoder.kv_heads * decoder.gqa_head_dim * data.audio_length * 2  # both branches of guidance
    cross = decoder.cross_query_heads * decoder.cross_head_dim * data.text_length
    caches = 2 * decoder.n_layer * (own + cross)  # keys and values
    needed = (parameters + caches) * placement.dtype.itemsize
    free = free_memory_bytes(placement.device)
    detail = f"about {needed / 1e6:,.0f} MB for the model and one passage"
    if free is None or needed <= free:
        return Finding("memory", "ok", detail)
    return Finding(
        "memory",
        "problem",
        f"{detail}, {free / 1e6:,.0f} MB are free on {placement.device}",
        "close other programs, use --compute-dtype bfloat16, or take a smaller model",
    )


def _codec(flags: ModelFlags, source: "Source | None", config: "DiaConfig | None") -> Iterator[Finding]:
    from dia.hub import find_codec

    try:
        path = find_codec(flags.codec, None if source is None else source.codec, offline=True)
    except DiaError:
        yield Finding(
            "codec",
            "problem",
            "no codec lies beside the checkpoint and none is in the cache",
            "fetch it with `dia download`, or name it with --codec",
        )
        return
    if path.is_file():
        yield Finding("codec", "ok", f"{path.name} (original release)")
        return
    from dia.checkpoint import read_json

    try:
        raw = read_json(path / "config.json")
        books, size = raw.get("n_codebooks"), raw.get("codebook_size")
        detail = f"{path.name}: {raw.get('sampling_rate')} Hz, {books} codebooks of {size}"
    except DiaError as error:
        yield Finding("codec", "problem", str(error), "fetch it again with `dia download`")
        return
    if not (path / "model.safetensors").is_file():
        yield Finding("codec", "problem", f"{detail}, but model.safetensors is missing", "fetch it again")
    elif config is not None and (books, size) != (config.data.channels, config.data.audio_eos_value):
        wanted = f"{config.data.channels} channels of {config.data.audio_eos_value}"
        yield Finding("codec", "problem", f"{detail}; the model speaks {wanted}", "name the right one with --codec")
    else:
        yield Finding("codec", "ok", detail)


def _disk() -> Iterator[Finding]:
    from dia.hub import DEFAULT_MODEL, cache_folder, is_cached

    here = shutil.disk_usage(Path.cwd()).free
    cache = cache_folder()
    while not cache.exists():
        cache = cache.parent
    room = shutil.disk_usage(cache).free
    detail = f"{here / _GB:.1f} GB free here, {room / _GB:.1f} GB for downloads"
    if here < _ROOM_FOR_OUTPUT_BYTES:
        yield Finding("disk", "problem", detail, "make room, or work on another disk")
    elif room < _ROOM_FOR_DOWNLOAD_BYTES and not is_cached(DEFAULT_MODEL):
        yield Finding("disk", "note", f"{detail}; {DEFAULT_MODEL} needs about 8", "point HF_HOME to a larger disk")
    else:
        yield Finding("disk", "ok", detail)


def _formats() -> Finding:
    """Whether every format can be written with the codecs inside PyAV, so that no ffmpeg need be installed."""
    import av

    from dia.media.formats import FORMATS

    missing = []
    for fmt in FORMATS.values():
        try:
            if fmt.codec is not None:
                av.codec.Codec(fmt.codec, "w")
        except ValueError:  # av's UnknownCodecError
            missing.append(fmt.name)
    if missing:
        return Finding("formats", "problem", f"cannot write {', '.join(missing)}", "pip install --force-reinstall av")
    return Finding("formats", "ok", f"{', '.join(FORMATS)} (no ffmpeg needed)")


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if not is_installed(module)]
        if missing:
            yield Finding(f"extra {extra}", "note", f"not installed: {', '.join(missing)}", install_command(extra))
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _hub() -> Finding:
    from dia.hub import has_token, is_offline

    token = "a token is set" if has_token() else "no token (needed for private repositories only)"
    return Finding("hub", "ok", f"{'offline by HF_HUB_OFFLINE' if is_offline() else 'may be asked'}; {token}")


def to_json(findings: list[Finding], version: str) -> str:
    """All findings for programs."""
    entries = [
        {"name": finding.name, "status": finding.status, "detail": finding.detail, "cure": finding.cure}
        for finding in findings
    ]
    problems = sum(finding.status == "problem" for finding in findings)
    return json.dumps(
        {"dia_version": version, "ok": not problems, "problems": problems, "findings": entries}, indent=2
    )
