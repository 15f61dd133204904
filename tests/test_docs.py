"""The documents are true: their Python runs, their commands exist, their links lead somewhere, their messages are ours."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_config, tiny_model, write_adapter, write_bundle

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVER = "http://localhost:7860"
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
    for seed, name in enumerate(("anna", "ben")):
        write_adapter(desk / f"{name}.safetensors", seed, tiny_model(tiny_config("v0_1")))
    monkeypatch.chdir(desk)
    return desk


def programs(page: Path) -> list[str]:
    """The page's Python that needs no server; the rest runs in tests/server/test_docs_http.py."""
    return [text for text in blocks(page, "python") if SERVER not in text]


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page)], ids=named)
def test_python_examples_run(page: Path, desk: Path):
    names: dict[str, object] = {}
    for text in programs(page):
        exec(compile(text, named(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for target, part in re.findall(r"\]\(([^)#\s]*)(?:#([\w-]+))?[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            file = page.parent / target if target else page
            assert file.exists(), target
            assert not part or part in anchors(file), f"{target}#{part}"


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in addresses."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def pictures(page: Path) -> list[str]:
    """The pictures that a page shows, in either way to write that."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"[^>]* alt="[^"]+"', text)


def test_pictures_are_there_small_and_said_in_words():
    shown = {page: pictures(page) for page in PAGES}
    for page, targets in shown.items():
        text = page.read_text(encoding="utf-8")
        assert len(targets) == text.count("![") + text.count("<img"), f"{named(page)}: a picture without words"
        for target in targets:
            data = (page.parent / target).read_bytes()
            assert data.startswith((b"\x89PNG", b"<svg ")), target
            assert len(data) < 250_000, target
    assert "docs/images/page.png" in shown[ROOT / "README.md"]
    assert {"images/page.png", "images/page-phone.png"} <= set(shown[ROOT / "docs" / "page.md"])


def test_the_picture_of_the_architecture_is_the_codes_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_architecture

    said = make_architecture.picture()
    assert make_architecture.PICTURE.read_text("utf-8") == said, "run python scripts/make_architecture.py"


def test_the_sound_in_the_readme_is_the_bundled_models():
    from dia.hub import BUNDLED
    from dia.media.read import probe, read_metadata
    from dia.model import Dia

    file = ROOT / "docs" / "sounds" / "dialogue.mp3"
    assert "docs/sounds/dialogue.mp3" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert file.stat().st_size < 250_000
    tags = {key.lower(): value for key, value in read_metadata(file).items()}
    model = Dia.from_pretrained(BUNDLED, device="cpu", load_dac=False)
    assert tags["model_hash"] == model.model_hash, "made by other weights: make it again"
    model.close()
    assert 2 < (probe(file).duration_s or 0) < 20


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
