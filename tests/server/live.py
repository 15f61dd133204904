"""Servers that tests talk to over a socket: in a thread with a gated model, or as a child process with signals."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from dia.server.app import create_app
from dia.server.wire import DrainingServer, make_config
from dia.service.build import Service, build
from dia.service.settings import Settings

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def served(settings: Settings) -> Iterator["LiveServer"]:
    """A server with a real model, loaded."""
    service = build(settings)
    service.start()
    service.load_model()
    server = LiveServer(service)
    yield server
    server.close()
    service.close(0)


class LiveServer:
    """A real uvicorn on a free port, in a thread of this process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.app = create_app(service=service)
        self.server = DrainingServer(make_config(self.app, service.settings, factory=False))
        self._thread = threading.Thread(target=self._run, name="test-server", daemon=True)
        self._thread.start()
        until = time.monotonic() + 20
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        assert self.server.started, "the server did not start"
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        asyncio.run(self.server.serve())

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(**{"base_url": self.url, "timeout": 30.0, "verify": False, **options})

    def socket(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(20)
        return connection

    @property
    def open_connections(self) -> int:
        return len(self.server.server_state.connections)

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server did not stop"


class ChildServer:
    """`python -m tests.server.child`, or any other server command, in its own process group."""

    def __init__(
        self,
        *arguments: str,
        command: tuple[str, ...] = ("-m", "tests.server.child"),
        root: Path = ROOT,
        **environ: str,
    ) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("DIA_")}
        env.update(OMP_NUM_THREADS="1", PYTHONPATH=str(root), PYTHONUNBUFFERED="1", **environ)
        self.process = subprocess.Popen(
            [sys.executable, *command, *arguments], env=env, cwd=root, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self.output: list[str] = []
        self._ready = threading.Event()
        self.port = 0
        self._readers = [
            threading.Thread(target=self._read, args=(stream, into), daemon=True)
            for stream, into in ((self.process.stderr, self.lines), (self.process.stdout, self.output))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, into: list[str]) -> None:
        for line in stream:
            into.append(line)
            if "Uvicorn running on" in line:
                message = json.loads(line)["message"]
                self.port = int(message.split("://", 1)[1].split(" ")[0].rsplit(":", 1)[1])
                self._ready.set()

    def await_start(self, timeout_s: float = 60.0) -> "ChildServer":
        until = time.monotonic() + timeout_s
        while not self._ready.wait(0.05):
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {''.join(self.lines)[-2000:]}"
            assert time.monotonic() < until, f"did not start: {''.join(self.lines)[-2000:]}"
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(**{"base_url": self.url, "timeout": 30.0, "verify": False, **options})

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        code = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(5)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def eventually(claim: Any, timeout_s: float = 5.0) -> bool:
    """Wait until `claim()` is true; False if it never was."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if claim():
            return True
        time.sleep(0.01)
    return bool(claim())
