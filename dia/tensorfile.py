"""Files of tensors: safetensors with a header that names their format, and pickles, of which no code is run."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from dia.errors import CheckpointMismatch, CheckpointNotFound


def save_tensors(path: Path, form: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, str]) -> None:
    """Write tensors and header; an interrupted write leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    save_file(
        {name: np.ascontiguousarray(t) for name, t in tensors.items()}, temporary, metadata={"format": form, **header}
    )
    os.replace(temporary, path)


@contextmanager
def open_tensors(path: Path, form: str, what: str, made_by: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """(the open file, its header) of what `save_tensors` wrote; `what` and `made_by` are for the messages.

    Raises:
        CheckpointNotFound: no such file. CheckpointMismatch: another kind of file.
    """
    if not path.is_file():
        raise CheckpointNotFound(f"{path} does not exist; make it with `{made_by}`")
    with safe_open(path, framework="np") as file:
        header = file.metadata() or {}
        if header.get("format") != form:
            raise CheckpointMismatch(f"{path.name} holds no {what} (format {header.get('format')!r})")
        yield file, header


def load_pickle(path: Path) -> Any:
    """What a .pth, .pt or .bin file holds, on the CPU, mapped where its format allows that.

    Raises:
        CheckpointMismatch: damaged, or it holds more than tensors and plain values.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises whatever its unpickler met; all of it means "refused"
        # Torch's own words advise to load the file with its code.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        found = f"holds more than tensors ({asked[1]})" if asked else "is damaged or holds more than tensors"
        raise CheckpointMismatch(f"{path.name} {found}, which is never loaded; use a .safetensors file") from error


def fold_names(names: Iterable[str]) -> str:
    """All names in one line; those that differ in their first number alone are one entry: `layers.0-3,7.norm`."""
    groups: dict[tuple[str, str], list[int]] = {}
    for name in names:
        before, number, after = re.fullmatch(r"(?:(.*?\.)(\d+)(?=\.))?(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]  # matches everything
        groups.setdefault((before or "", after), []).extend([int(number)] if number else [])
    return ", ".join(f"{before}{_ranges(sorted(numbers))}{after}" for (before, after), numbers in groups.items())


def _ranges(numbers: list[int]) -> str:
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
