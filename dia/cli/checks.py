"""What `dia doctor` looks at: one function for each thing that must be right, each giving findings with a cure.

Nothing is downloaded; of all tensors only the codec's are read.
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

from dia.cli.loading import ModelFlags, check_flags, find_source
from dia.cli.terminal import Terminal
from dia.errors import DiaError
from dia.packages import DISTRIBUTION, EXTRAS, install_command, is_installed

if TYPE_CHECKING:
    from dia.config import DiaConfig
    from dia.device import Placement
    from dia.hub import Source

__all__ = ["CORE_PACKAGES", "Finding", "check_requirement", "examine", "to_json"]

Status = Literal["ok", "note", "problem"]

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
    name = torch.cuda.get_device_name(placement.device) if kind == "cuda" else _count(os.cpu_count() or 1, "core")
    free = free_memory_bytes(placement.device)
    memory = "" if free is None else f", {free / _GB:.1f} GB free"
    threads = _count(torch.get_num_threads(), "thread")
    detail = f"{placement.device} ({name}){memory}, {placement.dtype_name}, {threads}"
    if kind == "cpu" and shutil.which("nvidia-smi") and not torch.cuda.is_available():
        return Finding("device", "note", f"{detail}; an NVIDIA driver is here, but this torch has no working CUDA",
                       "install a CUDA build of torch: https://pytorch.org/get-started/locally")  # fmt: skip
    return Finding("device", "ok", detail)


def _model(flags: ModelFlags, placement: "Placement") -> Iterator[Finding]:
    """Checkpoint, memory and codec."""
    source, config, parameters = None, None, 0
    try:
        source = find_source(flags, placement, Terminal(quiet=True))
    except DiaError as error:
        yield Finding("checkpoint", "problem", str(error), _fetch(flags))
    if source is not None:
        finding, config, parameters = _checkpoint(source, flags)
        yield finding
    finding, codec_bytes = _codec(flags, source, config)
    if config is not None:
        yield _memory(config, parameters, codec_bytes, placement)
    yield finding


def _fetch(flags: ModelFlags) -> str:
    """How to get the checkpoint that is not here."""
    name = flags.repo_id or flags.model
    if flags.config is not None or name is not None and (Path(name).is_dir() or name.count("/") != 1):
        return "name a folder that holds config.json and weights, or fetch one with `dia download`"
    return f"fetch it with `dia download{'' if name in (None, 'auto') else f' {name}'}`, or name a folder with --model"


def _checkpoint(source: "Source", flags: ModelFlags) -> tuple[Finding, "DiaConfig | None", int]:
    """The finding and, where all is well, what config.json says and how many parameters there are."""
    from dia.checkpoint import check_names, layout_for
    from dia.config import DiaConfig, config_dialect, read_json
    from dia.weightfile import WeightSet

    cure = "name a checkpoint of Dia with --model: this config.json is of another model, or was changed"
    try:
        raw = read_json(source.config)
        config = DiaConfig.load(source.config, flags.family)  # type: ignore[arg-type]  # checked by check_flags
        cure = "fetch the weights again, or take the .safetensors file"
        shapes = WeightSet(source.weights).shapes
        cure = "take config.json and weights from the same checkpoint, and fetch them again if a download broke off"
        check_names(layout_for(set(shapes), config)[0], shapes)
    except DiaError as error:
        return Finding("checkpoint", "problem", f"{source.name}: {error}", cure), None, 0
    parameters = sum(math.prod(shape) for shape in shapes.values())
    size = sum(path.stat().st_size for path in source.weights)
    decided = "--family" if flags.family else "dia_family in config.json" if raw.get("dia_family") else "its dialect"
    detail = (
        f"{source.name}: {config_dialect(raw)} dialect, family {config.family} (by {decided}), "
        f"{parameters / 1e6:.1f} M parameters, {size / 1e6:.1f} MB in {_count(len(source.weights), 'file')}, "
        f"{config.data.text_length} text bytes, {config.data.audio_length} steps"
    )
    return Finding("checkpoint", "ok", detail), config, parameters


def _memory(config: "DiaConfig", parameters: int, codec_bytes: int, placement: "Placement") -> Finding:
    from dia.device import free_memory_bytes

    decoder, data = config.model.decoder, config.data
    own = decoder.kv_heads * decoder.gqa_head_dim * data.audio_length * 2  # both branches of guidance
    cross = decoder.cross_query_heads * decoder.cross_head_dim * data.text_length
    caches = 2 * decoder.n_layer * (own + cross)  # keys and values
    needed = (parameters + caches) * placement.dtype.itemsize + codec_bytes
    free = free_memory_bytes(placement.device)
    parts = "model, codec and one passage" if codec_bytes else "model and one passage, without a codec"
    detail = f"about {needed / 1e6:,.0f} MB for {parts}"
    if free is None or needed <= free:
        return Finding("memory", "ok", detail)
    smaller = "" if placement.dtype.itemsize < 4 else "use --compute-dtype bfloat16, "
    return Finding(
        "memory",
        "problem",
        f"{detail}, {free / 1e6:,.0f} MB are free on {placement.device}",
        f"close other programs, {smaller}or take a smaller model",
    )


def _codec(flags: ModelFlags, source: "Source | None", config: "DiaConfig | None") -> tuple[Finding, int]:
    """The finding, and how many bytes the codec's weights take in memory. It is loaded: damage shows in no other way."""
    from dia.codec import Codec
    from dia.hub import DAC_REPOSITORY, find_codec

    name, own = flags.codec, None if source is None else source.codec
    try:
        path = find_codec(name, own, offline=True)
    except DiaError:
        return _missing_codec(name), 0
    try:
        codec = Codec.load(path)
    except DiaError as error:
        cure = "fetch it again, or name another with --codec"
        return Finding("codec", "problem", str(error), "copy it again" if path == own else cure), 0
    books, size = codec.num_codebooks, codec.codebook_size
    # What lies in the hub's cache is called by a commit there.
    title = path.name if path == own or (name and Path(name).expanduser().exists()) else name or DAC_REPOSITORY
    detail = f"{title}: {codec.sample_rate_hz} Hz, {books} codebooks of {size}"
    if config is not None and (books, size) != (config.data.channels, config.data.audio_eos_value):
        wanted = f"{config.data.channels} channels of {config.data.audio_eos_value}"
        return Finding(
            "codec", "problem", f"{detail}; the model speaks {wanted}", "name the right one with --codec"
        ), 0
    return Finding("codec", "ok", detail), codec.weight_bytes


def _missing_codec(name: str | None) -> Finding:
    if name is None:
        detail = "no codec lies beside the checkpoint and none is in the cache"
        return Finding("codec", "problem", detail, "fetch it with `dia download`, or name it with --codec")
    fetch = f", or fetch it with `dia download --codec {name}`" if name.count("/") == 1 else ""
    detail = f"{name} is not a folder or file, and not in the cache"
    return Finding("codec", "problem", detail, f"check what --codec names{fetch}, or leave it out")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


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
            yield Finding(f"extra {extra}", "note", f"not installed: {', '.join(missing)}", install_command(*missing))
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
