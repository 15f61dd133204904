"""The hub, online: a real HTTP server on a free port stands where it would be, asked by a process of its own."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

ASK = """
from dia import hub
from dia.errors import CheckpointNotFound
print(hub.is_reachable("somebody/something"))
try:
    hub.from_hub("somebody/something")
except CheckpointNotFound as error:
    print(error)
"""
REACHED = 'from dia import hub; print(hub.is_reachable("somebody/something"))'


class _EmptyRepository(http.server.BaseHTTPRequestHandler):
    """A hub whose every repository is there and holds no file."""

    def do_GET(self) -> None:
        body = b"[]" if "/tree/" in self.path else b'{"id": "somebody/something", "siblings": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing into the test's output."""


@pytest.fixture
def hub_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _EmptyRepository)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def said(script: str, url: str, cache: os.PathLike[str]) -> str:
    environ = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HOME": str(cache)}
    run = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def test_a_repository_without_weights_is_called_that(hub_url, tmp_path):
    reached, error = said(ASK, hub_url, tmp_path).splitlines()
    assert reached == "True"
    assert "holds no weights" in error and "reached" not in error


def test_a_hub_that_refuses_connections_is_not_reachable(tmp_path):
    # Port 9 is the discard service, which nobody runs.
    assert said(REACHED, "http://127.0.0.1:9", tmp_path).strip() == "False"
