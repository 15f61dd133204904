"""Who may import whom: the floors of the house, as data. A file imports its own room or a lower floor."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dia"

FLOORS: list[set[str]] = [
    {"errors", "memory", "packages", "windows"},
    {"config", "device", "audio", "sampling", "text", "media", "tensorfile", "fingerprint", "dac"},
    {"state", "measured", "weightfile", "adapters"},
    {"layers", "codec"},
    {"checkpoint", "engine"},
    {"hub", "prompts", "stream"},
    {"model", "train"},
    {"narration"},
    {"service", "evals", "bench", "door"},
    {"server", "ui"},
    {"cluster", "cli"},
]
NO_TORCH = {"text", "media", "service", "server", "ui", "cli", "errors", "memory", "packages", "door"}
"""Rooms that never import torch while they are imported themselves."""


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def floor_of(room: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if room in rooms)


def modules() -> list[Path]:
    doors = (PACKAGE / "__init__.py", PACKAGE / "__main__.py")  # which lead into rooms and are none
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path not in doors]


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [f"{node.module}.{alias.name}" if node.module == "dia" else node.module for alias in node.names]
    return []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward(path: Path):
    room = room_of(path)
    assert any(room in rooms for rooms in FLOORS), f"{room} has no floor: add it to FLOORS"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
        for name in imported(node):
            if not name.startswith("dia."):
                continue
            other = name.split(".")[1]
            if other in ("__version__", room):
                continue
            assert floor_of(other) < floor_of(room), f"{room} (floor {floor_of(room)}) imports {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_light_rooms_do_not_load_torch(path: Path):
    if room_of(path) not in NO_TORCH:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    heavy = {"torch", "transformers", "gradio", "ray", "faster_whisper", "matplotlib"}
    for node in tree.body:
        for name in imported(node):
            assert name.split(".")[0] not in heavy, f"{path} imports {name} at module level"


def test_sqlite_and_the_environment_have_one_reader_each():
    for path in modules():
        source = path.read_text(encoding="utf-8")
        relative = str(path.relative_to(PACKAGE))
        if "import sqlite3" in source:
            assert relative == "service/db.py"
        if "huggingface_hub" in source:
            assert relative in ("hub.py", "cli/checks.py", "cli/doctor.py", "server/checks.py"), (
                f"{relative} talks to the hub"
            )
