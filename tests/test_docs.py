"""The documents are true: their Python runs, their commands exist, their links lead somewhere, their messages are ours."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_config, write_bundle

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples name: the published checkpoint (a tiny one) in the hub's cache, a recording."""
    from huggingface_hub import constants

    from dia.media.encode import write_audio

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    root = cache / "models--nari-labs--Dia-1.6B"
    snapshot = root / "snapshots" / ("a" * 40)
    write_bundle(snapshot, "nested", tiny_config("v0_1"))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("a" * 40)
    desk = tmp_path / "desk"
    desk.mkdir()
    shutil.copy(snapshot / "config.json", desk)
    shutil.copytree(snapshot / "codec", desk / "codec")
    torch.save(load_file(snapshot / "model.safetensors"), desk / "model.pth")
    write_audio(desk / "speaker.wav", np.sin(np.arange(30_000) / 9).astype(np.float32) * 0.3, 44_100)
    monkeypatch.chdir(desk)
    return desk


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_python_examples_run(page: Path, desk: Path):
    names: dict[str, object] = {}
    for text in blocks(page, "python"):
        exec(compile(text, named(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for text in blocks(page, "bash"):
            lines = text.replace("\\\n", " ").splitlines()
            found += [line.strip() for line in lines if re.match(r"\s*(dia|python -m dia\.\w+|python \w+\.py) ", line)]
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_documented_commands_and_their_flags_exist(command: str):
    """Every flag that the documents use stands in the command's own help."""
    from typer.testing import CliRunner

    from dia.cli.root import app

    words = shlex.split(command, comments=True)
    if words[0] != "dia":
        assert (ROOT / words[1]).exists() or words[1] == "-m", command
        return
    path = []
    for word in words[1:]:
        if word.startswith("-") or CliRunner().invoke(app, [*path, word, "--help"]).exit_code != 0:
            break
        path.append(word)
        if len(path) == 2:
            break
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=300)
    assert shown.exit_code == 0, shown.output
    for word in words[1 + len(path) :]:
        if word.startswith("--"):
            assert word.split("=")[0] in shown.output, f"{command}: {word} is unknown"
