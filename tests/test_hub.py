"""The hub, online: a real HTTP server on a free port stands where it would be, asked by a process of its own."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dia.model import VoicePrompt
from dia.prompts import write_voice
from tests.tiny import write_bundle

COMMIT = "c" * 40
NOBODY = "http://127.0.0.1:9"
"""The discard service, which nobody runs."""
ASK = """
import json, sys, time
import huggingface_hub.hf_api  # which takes seconds itself
from dia import hub
from dia.errors import CheckpointNotFound
for name in [word for word in sys.argv[1:] if word != "--offline"]:
    began, said = time.monotonic(), {}
    try:
        found = hub.from_hub(name, offline="--offline" in sys.argv)
        files = [*found.weights, found.config, found.codec, found.voice]
        said["files"] = [str(path.relative_to(found.config.parent)) for path in files if path is not None]
    except CheckpointNotFound as error:
        said["error"] = str(error)
    print(json.dumps({**said, "took_s": time.monotonic() - began, "is_reachable": hub.is_reachable(name)}))
"""
NAME = "somebody/something"
FILES = ["model.safetensors", "config.json", "codec", "voice.safetensors"]


def _handler(folder: Path) -> type[http.server.BaseHTTPRequestHandler]:
    """A hub that holds one repository: what lies in a folder."""

    class Repository(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
            if "/api/models/busy/" in self.path:
                self._answer(503, b"{}")
            elif not self.path.lstrip("/").startswith(("api/models/somebody/something", "somebody/something")):
                self._answer(404, b"{}")
            elif "/tree/" in self.path:
                tree = [{"type": "file", "path": name, **self._facts(name)} for name in names]
                self._answer(200, json.dumps(tree).encode())
            elif "/resolve/" in self.path:
                name = self.path.split("?")[0].split("/", 5)[5]
                facts = {"ETag": f'"{self._facts(name)["oid"]}"', "X-Repo-Commit": COMMIT}
                self._answer(200, (folder / name).read_bytes(), facts)
            else:
                about = {
                    "id": "somebody/something",
                    "sha": COMMIT,
                    "siblings": [{"rfilename": name} for name in names],
                }
                self._answer(200, json.dumps(about).encode())

        def _facts(self, name: str) -> dict[str, object]:
            data = (folder / name).read_bytes()
            return {"size": len(data), "oid": hashlib.sha1(data).hexdigest()}

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing into the test's output."""

    return Repository


@contextlib.contextmanager
def hub_with(folder: Path) -> Iterator[str]:
    """The address of a hub that holds this folder as somebody/something."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(url: str, cache: os.PathLike[str], *words: str) -> tuple[list[dict], str]:
    """What a process of its own finds for each name where the hub has that address, and what it says to stderr."""
    environ = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HOME": str(cache)}
    environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", ASK, *words]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines()], run.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository: a checkpoint with codec and voice, and what is not wanted of it."""
    folder = write_bundle(tmp_path_factory.mktemp("published") / "tiny")
    write_voice(folder / "voice.safetensors", VoicePrompt(np.ones((12, 9), np.int16), "[S1] One."))
    (folder / "README.md").write_text("A card.")
    (folder / "model.pth").write_bytes(b"the same weights once more")
    return folder


@pytest.fixture(scope="module")
def fetched(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache after the repository was fetched once."""
    cache = tmp_path_factory.mktemp("cache")
    with hub_with(published) as url:
        (answer,), err = ask(url, cache, NAME)
    assert (answer["files"], answer["is_reachable"], err) == (FILES, True, "")
    return cache


def test_codec_and_voice_are_fetched_and_other_files_are_not(fetched):
    assert not list(fetched.rglob("README.md")) and not list(fetched.rglob("model.pth"))


def test_what_was_fetched_once_is_complete_and_needs_no_hub(fetched):
    """Neither a dead hub nor `offline` is in the way.

    The library remembers that the repository holds more files than were wanted, and called the copy incomplete.
    """
    (answer,), err = ask(NOBODY, fetched, NAME)
    assert (answer["files"], answer["is_reachable"]) == (FILES, False)
    assert re.fullmatch(rf"{NAME}: the hub cannot be reached \(.+\); the copy in the local cache is taken\n", err)
    (answer,), err = ask(NOBODY, fetched, NAME, "--offline")
    assert (answer["files"], err) == (FILES, "")


def test_without_hub_and_copy_the_error_comes_soon_and_says_what_to_do(tmp_path):
    """It took half a minute: the library asked again and again."""
    (answer,), err = ask(NOBODY, tmp_path, NAME)
    assert answer["took_s"] < 10 and err == ""
    for part in ("the hub cannot be reached", "no complete copy", "connect to the network"):
        assert part in answer["error"]


def test_half_a_copy_is_none(fetched, tmp_path):
    shutil.copytree(fetched, tmp_path / "half", symlinks=True)
    next((tmp_path / "half").rglob("codec/model.safetensors")).unlink()
    (answer,), _ = ask(NOBODY, tmp_path / "half", NAME)
    assert "no complete copy" in answer["error"]


def test_what_the_hub_answers_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with hub_with(tmp_path / "empty") as url:
        (empty, unknown, busy), _ = ask(url, tmp_path, NAME, "nobody/nothing", "busy/thing")
    assert "holds no weights" in empty["error"] and "reached" not in empty["error"] and empty["is_reachable"]
    assert "the hub answers 404" in unknown["error"] and "check the name" in unknown["error"]
    assert "the hub answers 503" in busy["error"] and "try again later" in busy["error"]


def test_a_cache_that_cannot_be_written_is_told(published, tmp_path):
    (tmp_path / "hub").write_text("a file where the folder should be")
    with hub_with(published) as url:
        (answer,), _ = ask(url, tmp_path, NAME)
    assert (
        f"{tmp_path / 'hub'} cannot be written (" in answer["error"] and "point HF_HOME elsewhere" in answer["error"]
    )
