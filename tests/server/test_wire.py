"""Slow, silent and greedy connections (traps 4 and 5, promises R07, R08, S01)."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.server.live import LiveServer, eventually
from tests.service.conftest import wav
from tests.service.tone import ToneModel

HEAD = b"POST /generate HTTP/1.1\r\nHost: localhost\r\n"


def _closed_after(connection: socket.socket) -> float:
    began = time.perf_counter()
    with suppress(ConnectionResetError):
        while connection.recv(65_536):
            continue
    return time.perf_counter() - began


def _trickle(connection: socket.socket) -> float:
    began = time.perf_counter()
    with suppress(OSError):
        for byte in HEAD * 100:
            connection.send(bytes([byte]))
            time.sleep(0.05)
            connection.setblocking(False)
            with suppress(BlockingIOError):
                if connection.recv(1) == b"":
                    break
            connection.setblocking(True)
    return time.perf_counter() - began


@pytest.mark.parametrize(
    "sent",
    [b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{", None],
    ids=["silent", "half head", "half body", "trickle"],
)
def test_r07_half_a_request_is_cut_at_its_deadline(
    make_live: Callable[..., LiveServer], promise: Any, sent: bytes | None
):
    """Trap 4: uvicorn holds such connections for ever."""
    live = make_live(receive_timeout_s=0.6)
    with live.socket() as connection:
        if sent is None:
            took_s = _trickle(connection)
        else:
            connection.sendall(sent)
            took_s = _closed_after(connection)
    assert 0.5 <= took_s < 2.0
    assert eventually(lambda: live.open_connections == 0)
    if sent is None:
        promise("R07", f"a head of one byte each 50 ms was cut after {took_s:.2f} s of 0.6 s")


def test_r07_a_long_answer_and_a_kept_connection_are_left_alone(
    make_live: Callable[..., LiveServer], model: ToneModel
):
    live = make_live(receive_timeout_s=0.4)
    model.step_s = 0.03
    with live.client() as client:
        for _ in range(2):
            assert client.post("/generate", json={"text": "Words that take a second to say."}).status_code == 200
            time.sleep(0.5)


def test_r07_a_reader_that_stops_reading_is_dropped_and_others_are_served(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    live = make_live(write_timeout_s=0.5, workers=2)
    model.frames_per_char = 40
    body = b'{"text": "' + b"Words and words. " * 30 + b'", "stream": true}'
    with live.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        began = time.perf_counter()
        assert eventually(lambda: len(model.streams) == 1)
        model.frames_per_char = 1
        with live.client() as client:
            assert client.post("/generate", json={"text": "Somebody else."}).status_code == 200
        assert eventually(lambda: live.service.admission.numbers().running == 0, 10)
        promise("R07b", f"a reader that read nothing was dropped after {time.perf_counter() - began:.1f} s of 0.5 s")


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault(
    live: LiveServer, caplog: pytest.LogCaptureFixture
):
    """Each was an error with a traceback in the log."""
    with live.socket() as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    left = 'dia_http_requests_total{code="499",method="POST",route="/generate"} 1.0'
    with live.client() as client:
        assert eventually(lambda: left in client.get("/metrics").text)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.slow
def test_an_idle_connection_outlives_the_pools_of_clients(make_live: Callable[..., LiveServer]):
    """httpx and OpenAI's clients drop a connection after 5 s; a server that did the same closed it under a request."""
    live = make_live()
    with live.socket() as connection:
        for wait_s in (0, 6):
            time.sleep(wait_s)
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"alive"}'):  # head and body may come apart
                received = connection.recv(65_536)
                assert received, answer
                answer += received
            assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_r07_a_hundred_half_requests_hold_nobody_up(make_live: Callable[..., LiveServer], promise: Any):
    live = make_live(receive_timeout_s=5)
    idle = [live.socket() for _ in range(100)]
    began = time.perf_counter()
    for number, connection in enumerate(idle):
        connection.sendall((b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{")[number % 3])
    with live.client() as client:
        assert [client.post("/generate", json={"text": "Hi."}).status_code for _ in range(20)] == [200] * 20
        served_s = time.perf_counter() - began
    assert eventually(lambda: live.open_connections == 0, 15)
    for connection in idle:
        connection.close()
    promise(
        "R07c", f"100 half requests: 20 whole ones beside them done in {served_s:.1f} s, all cut at their deadline"
    )


def test_r08_too_many_connections_get_503_and_the_rest_goes_on(make_live: Callable[..., LiveServer], promise: Any):
    live = make_live(max_connections=40, receive_timeout_s=20)
    idle = [live.socket() for _ in range(60)]
    try:
        assert eventually(lambda: live.open_connections >= 60)
        with live.client() as client:
            assert client.get("/health").status_code == 503
        for connection in idle:
            connection.close()
        assert eventually(lambda: live.open_connections == 0)
        with live.client() as client:
            assert client.get("/health").status_code == 200
        promise("R08", "60 idle sockets at a limit of 40: 503, and 200 once they are gone")
    finally:
        for connection in idle:
            connection.close()


def _post_raw(live: LiveServer, path: str, body: bytes, *, chunked: bool, kind: bytes) -> int:
    """The status of a request, 0 if the connection was reset before it could be read."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s\r\n\r\n" % (path.encode(), kind, framing)
    data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    with live.socket() as connection:
        with suppress(ConnectionError):
            connection.sendall(head + data)
        with suppress(ConnectionError):
            return int(connection.recv(4096).split(b" ")[1])
    return 0


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_s01_the_body_cap_is_exact(make_live: Callable[..., LiveServer], chunked: bool):
    """Trap 5: a 50 MB body was read to its end before it was refused."""
    live = make_live(max_body_bytes=2000, max_upload_bytes=100_000)
    for size, wanted in ((1999, 200), (2000, 200), (2001, 413)):
        body = b'{"text": "Hello there.", "pad": "' + b"x" * (size - 35) + b'"}'
        assert len(body) == size
        assert _post_raw(live, "/generate", body, chunked=chunked, kind=b"text/plain") == wanted
    mark = b"xxBOUNDARYxx"
    form = b'--%s\r\nContent-Disposition: form-data; name="prompt_id"\r\n\r\np%d\r\n' % (mark, chunked)
    form += b'--%s\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\n' % mark
    kind = b"multipart/form-data; boundary=" + mark
    for size, wanted in ((100_000 + 65_536, 422), (100_000 + 65_537, 413)):
        tail = b"\r\n--%s--\r\n" % mark
        body = form + b"\0" * (size - len(form) - len(tail)) + tail
        assert _post_raw(live, "/audio_prompts/upload", body, chunked=chunked, kind=kind) == wanted


def test_s01_an_endless_body_is_cut_early_and_costs_no_memory(live: LiveServer, promise: Any):
    process = psutil.Process()
    before = process.memory_info().rss
    sent = 0
    with live.socket() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n" % 65_536 + b" " * 65_536 + b"\r\n"
        with suppress(ConnectionError):
            for _ in range(3200):  # 200 MB
                connection.sendall(piece)
                sent += 65_536
    grown = process.memory_info().rss - before
    assert sent <= 262_144 + 8_000_000
    assert grown < 20_000_000
    promise("S01", f"a body of 200 MB was cut after {sent / 1e6:.1f} MB; memory +{grown / 1e6:.0f} MB")


def test_uploads_over_the_wire_are_taken_in_while_others_speak(live: LiveServer):
    results = []

    def upload(number: int) -> None:
        with live.client() as client:
            files = {"audio_file": ("a.wav", wav(2.0))}
            results.append(
                client.post("/audio_prompts/upload", data={"prompt_id": f"p{number}"}, files=files).status_code
            )

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    with live.client() as client:
        assert client.post("/generate", json={"text": "Hello."}).status_code == 200
    for thread in threads:
        thread.join()
    assert results == [200] * 4
