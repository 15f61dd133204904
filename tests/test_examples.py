"""Every command of the documents is typed as it is printed there, in one folder, with the small model or a real server.

A line that is not typed stands in `NOT_TYPED` with the reason. Three things differ from the print: `python` and `dia` are
this environment's; the server is at a port of its own; where a line serves for ever it is stopped once it answers.
The examples in Python and the requests by curl run in tests/test_docs.py and tests/server/test_docs_http.py.
"""

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dia.checkpoint import load_model, read_config, read_json
from dia.cli import root
from dia.device import Placement
from dia.hub import BUNDLED
from dia.media.read import read_audio
from dia.service.build import Service
from tests.server.live import ChildServer, LiveServer
from tests.service.conftest import make_service, model, wav
from tests.test_docs import PAGES, blocks, named
from tests.tiny import write_adapter

__all__ = ["make_service", "model"]  # fixtures from next door

CPU = Placement(torch.device("cpu"), torch.float32)
GENERATED = {"docs/cli.md", "docs/http-api.md", "docs/settings.md"}
NOT_TYPED = {
    r"docker ": "no container engine; tests/test_docker.py does what can be done without one",
    r"make |\.venv|python3 -m venv|pip install": "installs; .ci/run types both commands of the README",
    r"cp ": "a file is copied; tests/server/test_adapters_http.py has it where it belongs",
    r"tests/clients/": "Node and SillyTavern, see tests/clients",
    r"(\w+=\S* )*python -m pytest": "these tests",
    r"dia (train|data|finetune|eval) |python scripts/|dia say .* --model work/nano": "hours; flags in tests/test_docs.py",
    r"dia say .* --proofread ": "Whisper comes from the hub; tests/cli/test_proofread.py",
    r"(\w+=\S* )*\S*curl |\w+=\$\(curl": "tests/server/test_docs_http.py",
}
SERVES = re.compile(r"(\w+=(\$\(.*?\)|\S*) )*(python (start_server|fastapi_server|app)\.py|dia (serve|ui))( |$)")


def lines() -> list[tuple[str, str]]:
    """Page and line of every shell example, in order."""
    found = []
    for page in PAGES:
        if named(page) not in GENERATED:
            for text in blocks(page, "bash"):
                joined = re.sub(r"\\\n\s*", "", text).splitlines()
                found += [(named(page), line.strip()) for line in joined if line.strip()]
    return found


def is_typed(line: str) -> bool:
    return not any(re.match(pattern, line) for pattern in NOT_TYPED)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples name."""
    (tmp_path / "speaker.wav").write_bytes(wav(3.0))
    for name in ("script.txt", "chapter.txt"):
        (tmp_path / name).write_text("Anna: Is it far?\nBert: Three days on foot.\n")
    (tmp_path / "book.md").write_text("# One\n\nIt rained.\n\n# Two\n\nIt stopped.\n\n# Three\n\nWe left early.\n")
    (tmp_path / "own.txt").write_text("far -> a long way\n")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "one.txt").write_text("It rained all night.\n")
    (tmp_path / "path" / "to").mkdir(parents=True)
    (tmp_path / "path" / "to" / "checkpoint").symlink_to(BUNDLED)
    bundled = load_model(read_config(read_json(BUNDLED / "config.json")), [BUNDLED / "model.safetensors"], CPU)
    write_adapter(tmp_path / "runs" / "mine" / "adapter.safetensors", model=bundled, std=1e-3)
    (tmp_path / "lines.jsonl").write_text('{"id": "noon", "text": "It stopped at noon."}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page", sorted({page for page, line in lines() if line.startswith("dia ") and is_typed(line)})
)
def test_commands_do_what_is_said(
    page: str, desk: Path, make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, capsys
):
    server = LiveServer(make_service(port=0))
    monkeypatch.setenv("DIA_SERVER", server.url)
    try:
        for where, line in lines():
            if where != page or not line.startswith("dia ") or not is_typed(line) or SERVES.match(line):
                continue
            words = shlex.split(line.replace("http://localhost:7860", server.url), comments=True)[1:]
            code = root.main(words)
            assert code == 0, f"{line}\n{capsys.readouterr().err}"
            for flag in ("-o", "--output"):
                if flag in words:
                    out = desk / words[words.index(flag) + 1]
                    sounds = (
                        [path for path in out.iterdir() if path.suffix in (".mp3", ".wav")] if out.is_dir() else [out]
                    )
                    assert sounds, line
                    assert all(len(read_audio(sound, sample_rate_hz=24_000)) > 2400 for sound in sounds), line
    finally:
        server.close()


@pytest.mark.slow
@pytest.mark.parametrize("line", sorted({line for _, line in lines() if SERVES.match(line)}))
def test_servers_start_as_printed_and_stop(line: str, bundle: Path, desk: Path):
    tools = desk / "bin"
    tools.mkdir()
    for name, command in (("python", sys.executable), ("dia", f"{sys.executable} -m dia")):
        (tools / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tools / name).chmod(0o755)
    typed = line.replace("7860", "0").replace("~/.local/share/dia", str(desk / "data"))
    # The shell makes way for what it starts, so that the signal comes to it.
    typed = re.sub(r"(python|dia) ", r"exec \1 ", typed, count=1)
    environ = {
        "DIA_MODEL": str(bundle), "DIA_DATA_DIR": str(desk / "data"), "DIA_PORT": "0", "GRADIO_SERVER_PORT": "0",
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    start = f"import os; os.execvp('bash', ['bash', '-c', {typed!r}])"
    server = ChildServer(command=("-c", start), **environ)
    try:
        until = time.monotonic() + 120
        while not any("Uvicorn running on" in said or "Dia is at" in said for said in server.lines + server.output):
            assert server.process.poll() is None and time.monotonic() < until, "".join(server.lines)[-2000:]
            time.sleep(0.1)
        server.signal(signal.SIGTERM)
        assert server.wait(30) == 0, "".join(server.lines)[-2000:]
    finally:
        server.close()


def test_every_line_is_typed_or_has_its_reason():
    for page, line in lines():
        assert not is_typed(line) or line.startswith("dia ") or SERVES.match(line), (
            f"{page}: {line} is typed by no test"
        )
