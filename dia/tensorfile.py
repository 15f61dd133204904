"""One safetensors file with a header that names its format: written whole or not at all, refused if it is another kind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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
