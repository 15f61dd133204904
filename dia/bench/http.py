"""Many clients at the HTTP server at once: time to the first sound, failures, throughput; beside a blocking server.

Servers run as processes of their own; the clients here speak plain HTTP over asyncio, so that neither side shares an
event loop with the other. Clients that are told to come back later do so, and their time runs on meanwhile.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Load", "Outcome", "measure_blocking", "measure_server", "summarise"]

TEXT = "[S1] Fifty people speak at once, and nobody waits for long. Number {} of them."
_PCM_BYTES_PER_S = 44_100 * 2
_START_S = 300.0
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """Who asks: `clients` of them, each with one request at a time, new ones until `duration_s` is over."""

    clients: int = 50
    duration_s: float = 120.0
    max_tokens: int = 100


@dataclass(slots=True)
class Outcome:
    """What came of it. `first_s` holds the time to the first sound of each finished request, from its first try."""

    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    told_to_wait: int = 0
    sound_bytes: int = 0
    wall_s: float = 0.0


def measure_server(folder: Path, load: Load, *, workers: int) -> dict[str, Any]:
    """Our server on that checkpoint under the load; figures in seconds."""
    with tempfile.TemporaryDirectory() as data, _server(folder, Path(data), workers, load) as port:
        asyncio.run(_until_ready(port))
        outcome = asyncio.run(_run(port, load, "/generate", {"stream": True}))
        numbers = asyncio.run(_request(port, "GET", "/metrics"))[1].decode()
    delay = re.search(r"^dia_event_loop_delay_p99_seconds (\S+)$", numbers, re.MULTILINE)
    return {**summarise(outcome), "event_loop_delay_p99_s": round(float(delay.group(1)), 4) if delay else None}


def measure_blocking(folder: Path, load: Load) -> dict[str, Any]:
    """The blocking server on the same checkpoint under the same load."""
    command = [sys.executable, "-m", "dia.bench.blocking", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            outcome = asyncio.run(_run(port, load, "/generate", {}))
        finally:
            process.kill()
    return summarise(outcome)


def summarise(outcome: Outcome) -> dict[str, Any]:
    """Counts, quantiles and throughput."""
    sound_s = outcome.sound_bytes / _PCM_BYTES_PER_S
    return {
        "finished": len(outcome.whole_s),
        "failures": len(outcome.failures),
        "first_failures": outcome.failures[:3],
        "told_to_wait": outcome.told_to_wait,
        "first_byte_s": _quantiles(outcome.first_s),
        "whole_s": _quantiles(outcome.whole_s),
        "sound_s_per_s": round(sound_s / outcome.wall_s, 3) if outcome.wall_s else 0.0,
        "requests_per_s": round(len(outcome.whole_s) / outcome.wall_s, 3) if outcome.wall_s else 0.0,
        "wall_s": round(outcome.wall_s, 1),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"p{share}": round(ordered[min(share * len(ordered) // 100, len(ordered) - 1)], 3)
        for share in (50, 95, 99)
        if ordered
    }


@contextmanager
def _server(folder: Path, data: Path, workers: int, load: Load) -> Iterator[int]:
    """A server process on a free port; stopped by a signal at the end."""
    command = [sys.executable, "-m", "dia.server", "--port", "0", "--model", str(folder), "--data-dir", str(data)]
    environ = {
        **os.environ,
        "DIA_QUEUE_CAPACITY": str(load.clients),
        "DIA_MAX_CONNECTIONS": str(4 * load.clients + 20),
    }
    log = data / "server.log"
    # A file, not a pipe: a full pipe would stop the server in the middle of its log line.
    with (
        log.open("w") as lines,
        subprocess.Popen([*command, "--workers", str(workers), "--offline"], stderr=lines, env=environ) as process,
    ):
        try:
            yield _port_of(process, log)
        finally:
            process.terminate()


def _port_of(process: "subprocess.Popen[bytes]", log: Path) -> int:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        found = re.search(r"Uvicorn running on http://[^ ]*:(\d+)", log.read_text(encoding="utf-8"))
        if found:
            return int(found.group(1))
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')[-500:]}")


async def _until_ready(port: int) -> None:
    until = time.monotonic() + _START_S
    while (await _request(port, "GET", "/health/ready"))[0] != 200:
        if time.monotonic() > until:
            raise RuntimeError(f"the server was not ready within {_START_S:g} s")
        await asyncio.sleep(0.2)


async def _run(port: int, load: Load, path: str, extra: dict[str, Any]) -> Outcome:
    outcome = Outcome()
    began = time.perf_counter()
    until = began + load.duration_s

    async def client(number: int) -> None:
        round_number = 0
        while time.perf_counter() < until:
            seed = number + load.clients * round_number
            body = {"text": TEXT.format(number), "seed": seed, "max_tokens": load.max_tokens, **extra}
            await _speak(port, path, body, outcome)
            round_number += 1

    await asyncio.gather(*(client(number) for number in range(load.clients)))
    outcome.wall_s = time.perf_counter() - began
    return outcome


async def _speak(port: int, path: str, body: dict[str, Any], outcome: Outcome) -> None:
    """One request to its end, however often it is told to come back."""
    began = time.perf_counter()
    while True:
        try:
            status, data, headers, first_at = await _exchange(port, "POST", path, json.dumps(body).encode())
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            outcome.failures.append(type(error).__name__)
            return
        if status != 429:
            break
        outcome.told_to_wait += 1
        await asyncio.sleep(min(float(headers.get("retry-after", "1")), _LONGEST_PAUSE_S))
    if status != 200 or len(data) <= 44:
        outcome.failures.append(f"status {status}")
        return
    outcome.first_s.append(first_at - began)
    outcome.whole_s.append(time.perf_counter() - began)
    outcome.sound_bytes += len(data) - 44


async def _request(port: int, method: str, path: str) -> tuple[int, bytes]:
    status, data, _, _ = await _exchange(port, method, path, b"")
    return status, data


async def _exchange(port: int, method: str, path: str, body: bytes) -> tuple[int, bytes, dict[str, str], float]:
    """Status, body, headers, and when the first byte of the body came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:] if line)}
        status = int(lines[0].split(" ")[1])
        data, first_at = bytearray(), 0.0
        async for piece in _pieces(reader, headers):
            first_at = first_at or time.perf_counter()
            data += piece
    finally:
        writer.close()
    return status, bytes(data), headers, first_at


async def _pieces(reader: asyncio.StreamReader, headers: dict[str, str]) -> Any:
    """The body as it comes, framed either way; a body that is cut off raises IncompleteReadError."""
    if headers.get("transfer-encoding") != "chunked":
        yield await reader.readexactly(int(headers.get("content-length", "0")))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
