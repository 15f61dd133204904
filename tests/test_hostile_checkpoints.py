"""Weight files and configurations that are damaged or made to harm: one typed error each, cheaply (promise S16)."""

import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import psutil
import pytest

from dia.checkpoint import save_model
from dia.errors import CheckpointMismatch
from dia.model import Dia
from tests.tiny import tiny_model

ROOT = Path(__file__).parent.parent


def load(folder: Path) -> Dia:
    return Dia.from_pretrained(folder, load_dac=False, slots=1)


def head(claims: dict[str, Any], data: bytes = b"") -> bytes:
    """A safetensors file with that head."""
    text = json.dumps(claims).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


LIES = {
    "nothing": b"",
    "a head of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a head longer than the file": struct.pack("<Q", 100_000_000) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"\xff\xfe{}",
    "offsets beyond the end": head({"a": tensor([10], 0, 40)}, b"\0" * 8),
    "offsets backwards": head({"a": tensor([1], 8, 4)}, b"\0" * 8),
    "overlapping": head({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, b"\0" * 12),
    "a shape of 2^60": head({"a": tensor([2**30, 2**30], 0, 8)}, b"\0" * 8),
    "a pickle": b"\x80\x04cposix\nsystem\n(X\x04\x00\x00\x00truetR.",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_head_that_lies_is_refused(tmp_path: Path, lie: str):
    save_model(tiny_model(), tmp_path, "flat")
    (tmp_path / "model.safetensors").write_bytes(LIES[lie])
    before = psutil.Process().memory_info().rss
    with pytest.raises(CheckpointMismatch):
        load(tmp_path)
    assert psutil.Process().memory_info().rss - before < 200_000_000


@pytest.mark.parametrize("changes", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_damage_anywhere_is_loaded_or_refused(tmp_path: Path, changes: int):
    save_model(tiny_model(), tmp_path, "flat")
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    head_end = 8 + struct.unpack("<Q", whole[:8])[0]
    draw = random.Random(16)
    refused = 0
    for _ in range(changes):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(head_end if draw.random() < 0.8 else len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.randrange(len(data))] if draw.random() < 0.1 else data)
        try:
            load(tmp_path)
        except CheckpointMismatch:
            refused += 1
    assert refused > changes / 3


@pytest.mark.parametrize("layers", [10**9, -1, "many", None, 1.5])
def test_a_config_of_another_size_is_refused_before_anything_is_made(tmp_path: Path, layers: Any):
    save_model(tiny_model(), tmp_path, "flat")
    path = tmp_path / "config.json"
    raw = json.loads(path.read_text())
    raw["decoder_config"]["num_hidden_layers"] = layers
    path.write_text(json.dumps(raw))
    before = psutil.Process().memory_info().rss
    with pytest.raises(CheckpointMismatch):
        load(tmp_path)
    assert psutil.Process().memory_info().rss - before < 200_000_000


def test_nothing_in_the_package_runs_what_it_reads():
    """No pickle but torch's own with weights only, no eval, no shell, no code from a hub."""
    forbidden = re.compile(
        r"(?<![\w.])(eval|exec)\(|pickle\.loads?\(|shell=True|yaml\.load\(|trust_remote_code=True|os\.system\("
    )
    loads = re.compile(r"torch\.load\((?:[^()]|\([^()]*\))*\)")
    for path in sorted((ROOT / "dia").rglob("*.py")):
        source = path.read_text()
        assert not forbidden.search(source), (path, forbidden.search(source))
        for call in loads.findall(source):
            assert "weights_only=True" in call, (path, call)
