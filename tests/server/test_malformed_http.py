"""Requests that are none: bytes changed at random on the wire (promise Q04)."""

import random
from contextlib import suppress
from typing import Any

import pytest

from tests.server.live import LiveServer, eventually
from tests.server.test_guards import all_routes

METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"BREW")
BODIES = (b"", b"{}", b'{"text": "Hi."}', b'{"voice_id": "x"}', b"\xff\0", b"[" * 2000)
PIECES = (
    b"\0", b"\r\n", b"\r", b"\n", b" ", b":", b"\xff", b"%00", b"%2e%2e", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"Host: evil.example\r\n", b"A" * 9000,
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Range: bytes=0-,0-\r\n", b"\x16\x03\x01",
)  # fmt: skip


def _request(draw: random.Random, paths: list[str]) -> bytes:
    """A whole request, changed in one to four places."""
    body = draw.choice(BODIES)
    head = b"%s %s HTTP/1.1\r\nHost: localhost\r\n" % (draw.choice(METHODS), draw.choice(paths).encode())
    data = bytearray(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        until = min(at + draw.choice((0, 0, 1, 8)), len(data))
        data[at:until] = draw.choice((b"", draw.choice(PIECES), draw.randbytes(3)))
    return bytes(data)


def _answer(live: LiveServer, request: bytes) -> bytes:
    """Everything that comes back after the last byte was sent."""
    answer = b""
    with live.socket() as connection, suppress(ConnectionError):
        connection.sendall(request)
        connection.shutdown(1)
        while piece := connection.recv(65_536):
            answer += piece
    return answer


@pytest.mark.parametrize("cases", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_q04_changed_bytes_meet_no_fault_and_leave_nothing(live: LiveServer, cases: int, promise: Any):
    draw = random.Random(4)
    paths = sorted({path for _, path in all_routes(live.app) if "whisper/load" not in path})
    seen: dict[str, int] = {}
    for _ in range(cases):
        request = _request(draw, paths)
        answer = _answer(live, request)
        status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.") else "none"
        assert status < "500" or status == "none", (request[:300], answer[:500])
        seen[status] = seen.get(status, 0) + 1
    assert {"400", "404"} <= set(seen)  # which others come depends on what routes there are to draw
    assert eventually(lambda: live.open_connections == 0)
    assert eventually(lambda: live.service.admission.numbers().running == 0)
    with live.client() as client:
        assert client.get("/health").json()["status"] == "healthy"
        assert client.post("/generate", json={"text": "Hi."}).status_code == 200
    promise(
        "Q04", f"{cases} requests changed at random on the wire: no 5xx, nothing left; {dict(sorted(seen.items()))}"
    )
