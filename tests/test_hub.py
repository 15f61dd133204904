"""The hub, online: a real HTTP server on a free port stands where it would be, asked by a process of its own."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dia.model import VoicePrompt
from dia.stream import write_voice
from tests.tiny import write_bundle

COMMIT = "c" * 40
NOBODY = "http://127.0.0.1:9"
"""The discard service, which nobody runs."""
FIND = """
import sys
from dia import hub
from dia.errors import CheckpointNotFound
try:
    found = hub.from_hub("somebody/something", offline="--offline" in sys.argv)
    files = [*found.weights, found.config, found.codec, found.voice]
    print(*[path.relative_to(found.config.parent) for path in files if path is not None])
except CheckpointNotFound as error:
    print(error)
"""
TIMED = """
import contextlib, time
from huggingface_hub import HfApi, snapshot_download  # which takes seconds itself
from dia import hub
from dia.errors import CheckpointNotFound
began = time.monotonic()
with contextlib.suppress(CheckpointNotFound):
    hub.from_hub("somebody/something")
print(time.monotonic() - began)
"""
REACHED = 'from dia import hub; print(hub.is_reachable("somebody/something"))'


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


def said(script: str, url: str, cache: os.PathLike[str], *words: str) -> tuple[str, str]:
    """What a script prints to stdout and stderr where the hub has that address."""
    environ = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HOME": str(cache)}
    environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", script, *words]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout, run.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository: a checkpoint with codec and voice, and what is not wanted of it."""
    folder = write_bundle(tmp_path_factory.mktemp("published") / "tiny")
    write_voice(folder / "voice.safetensors", VoicePrompt(np.ones((12, 9), np.int16), "[S1] One."))
    (folder / "README.md").write_text("A card.")
    (folder / "model.pth").write_bytes(b"the same weights once more")
    return folder


def test_a_repository_without_weights_is_called_that(tmp_path):
    (tmp_path / "empty").mkdir()
    with hub_with(tmp_path / "empty") as url:
        assert said(REACHED, url, tmp_path)[0].strip() == "True"
        error, _ = said(FIND, url, tmp_path)
    assert "holds no weights" in error and "reached" not in error


def test_a_hub_that_refuses_connections_is_not_reachable(tmp_path):
    assert said(REACHED, NOBODY, tmp_path)[0].strip() == "False"


def test_what_was_fetched_once_is_complete_and_needs_no_hub(published, tmp_path):
    """Codec and voice are fetched, other files are not; afterwards neither a dead hub nor `offline` is in the way.

    The library remembers that the repository holds more files than were wanted, and called the copy incomplete.
    """
    files = "model.safetensors config.json codec voice.safetensors\n"
    with hub_with(published) as url:
        assert said(FIND, url, tmp_path) == (files, "")
    assert not list(tmp_path.rglob("README.md")) and not list(tmp_path.rglob("model.pth"))
    out, err = said(FIND, NOBODY, tmp_path)
    assert out == files
    assert re.fullmatch(r"somebody/something: the hub cannot be reached \(.+\); the copy in .+ cache is taken\n", err)
    assert said(FIND, NOBODY, tmp_path, "--offline") == (files, "")


def test_a_hub_that_is_down_is_asked_once_and_not_for_half_a_minute(tmp_path):
    out, _ = said(TIMED, NOBODY, tmp_path)
    assert float(out) < 10


def test_without_hub_and_copy_the_error_says_what_to_do(published, tmp_path):
    out, err = said(FIND, NOBODY, tmp_path)
    assert "the hub cannot be reached" in out and "no complete copy" in out and "connect to the network" in out
    assert err == ""
    with hub_with(published) as url:
        said(FIND, url, tmp_path)
    next(tmp_path.rglob("codec/model.safetensors")).unlink()
    assert "no complete copy" in said(FIND, NOBODY, tmp_path)[0], "a codec that is half here"


def test_a_repository_that_is_not_there_is_told_by_the_hub_s_answer(published, tmp_path):
    with hub_with(published) as url:
        out, _ = said(FIND.replace("somebody/something", "nobody/nothing"), url, tmp_path)
    assert "the hub answers 404" in out and "check the name" in out
    with hub_with(published) as url:
        out, _ = said(FIND.replace("somebody/something", "busy/thing"), url, tmp_path)
    assert "the hub answers 503" in out and "try again later" in out


def test_a_cache_that_cannot_be_written_is_told(published, tmp_path):
    (tmp_path / "hub").write_text("a file where the folder should be")
    with hub_with(published) as url:
        out, _ = said(FIND, url, tmp_path)
    assert f"{tmp_path / 'hub'} cannot be written (" in out and "point HF_HOME elsewhere" in out
