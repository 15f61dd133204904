"""Queue, time and cancellation over a real socket, with a model whose steps the test holds (promises R01 to R15)."""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.server.live import LiveServer, eventually
from tests.service.tone import ToneModel

TEXT = "Some words that take a while to say."
# Steps of 512 samples until sound leaves: what each codec holds back.
FIRST_BYTES = {"wav": 3, "pcm": 6, "flac": 11, "mp3": 9, "aac": 6, "opus": 20, "m4a": 24}
LONG = "Words, and more words, said one after the other. " * 20


async def _post_all(url: str, bodies: list[tuple[str, dict]]) -> list[tuple[httpx.Response, float]]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(verify=False, base_url=url, timeout=60.0, limits=limits) as client:

        async def one(path: str, body: dict) -> tuple[httpx.Response, float]:
            began = time.perf_counter()
            answer = await client.post(path, json=body)
            return answer, time.perf_counter() - began

        return await asyncio.gather(*(one(path, body) for path, body in bodies))


def _post_gated(live: LiveServer, model: ToneModel, bodies: list[tuple[str, dict]], refused: int) -> list[Any]:
    """Post everything at once against a closed gate; open it when so many were refused."""
    model.gate.close()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(asyncio.run(_post_all(live.url, bodies))))
    thread.start()
    counters = live.service.counters
    before = counters.value("rejected_total", "queue_full")
    assert eventually(lambda: counters.value("rejected_total", "queue_full") - before >= refused, 20)
    model.gate.open()
    thread.join(60)
    return answers


def test_r01_the_edge_of_the_queue_is_exact(make_live: Callable[..., LiveServer], model: ToneModel, promise: Any):
    """Trap of servers without admission: everything is taken in and nothing finishes."""
    live = make_live(workers=1, queue_capacity=8)
    slowest = 0.0
    for _ in range(2):
        answers = _post_gated(live, model, [("/v1/audio/speech", {"input": TEXT})] * 64, 55)
        statuses = [answer.status_code for answer, _ in answers]
        assert (statuses.count(200), statuses.count(429)) == (9, 55)
        for answer, took_s in answers:
            if answer.status_code == 429:
                slowest = max(slowest, took_s)
                assert 1 <= int(answer.headers["retry-after"]) <= 120
                assert answer.json()["error"]["type"] == "rate_limit_error"
        numbers = live.service.admission.numbers()
        assert (numbers.waiting, numbers.running) == (0, 0)
    promise("R01", f"2 x 64 requests on 1+8 places: 9 admitted, 55 refused each time; slowest refusal {slowest:.2f} s")


def test_r02_jobs_and_direct_requests_share_one_bound(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    live = make_live(workers=1, queue_capacity=8)
    bodies = [("/generate", {"text": TEXT}), ("/generate?async_mode=true", {"text": TEXT})] * 32
    statuses = [answer.status_code for answer, _ in _post_gated(live, model, bodies, 55)]
    assert (statuses.count(200), statuses.count(429)) == (9, 55)
    promise("R02", "32 direct and 32 jobs at once on 9 places: 9 admitted in all")


def test_r05_health_answers_while_every_lane_works(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    """F1 of the first server: the event loop stood still while it spoke."""
    model.step_s = 0.002
    live = make_live(workers=4)
    stop = threading.Event()

    def speak() -> None:
        with live.client() as client:
            while not stop.is_set():
                client.post("/generate", json={"text": TEXT})

    speakers = [threading.Thread(target=speak) for _ in range(4)]
    for speaker in speakers:
        speaker.start()
    times = []
    with live.client() as client:
        for _ in range(200):
            began = time.perf_counter()
            assert client.get("/health").status_code == 200
            times.append(time.perf_counter() - began)
    stop.set()
    for speaker in speakers:
        speaker.join()
    times.sort()
    p95, p99 = times[int(0.95 * len(times))], times[int(0.99 * len(times))]
    assert p95 < 0.25, f"p95 {p95:.3f} s"
    assert p99 < 1.0, f"p99 {p99:.3f} s"
    promise("R05", f"200 x GET /health beside 4 busy lanes: p95 {1000 * p95:.0f} ms, p99 {1000 * p99:.0f} ms")


def test_r06_a_deadline_holds_in_the_queue_and_in_the_engine(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    live = make_live(workers=1)
    model.gate.close()
    with live.client() as client:
        job = client.post("/generate?async_mode=true", json={"text": TEXT}).json()["job_id"]
        assert eventually(lambda: len(model.streams) == 1)
        began = time.perf_counter()
        answer = client.post("/v1/audio/speech", json={"input": TEXT, "timeout": 0.5})
        waited_s = time.perf_counter() - began
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert 0.45 <= waited_s < 2.0
        assert len(model.streams) == 1, "it was never started"
        client.delete(f"/jobs/{job}")
        assert eventually(lambda: live.service.admission.numbers().running == 0)
        steps = model.gate.steps
        answer = client.post("/generate", json={"text": TEXT, "timeout": 0.3})
        assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
        assert model.gate.steps - steps <= 2
        assert live.service.admission.numbers().running == 0
    promise("R06", f"504 after {waited_s:.2f} s of 0.5 s in the queue, never started; a running one stops in 2 steps")


def test_r06_the_queue_has_a_time_limit_of_its_own(make_live: Callable[..., LiveServer], model: ToneModel):
    live = make_live(workers=1, queue_timeout_s=0.3)
    model.gate.close()
    with live.client() as client:
        client.post("/generate?async_mode=true", json={"text": TEXT})
        assert eventually(lambda: len(model.streams) == 1)
        assert client.post("/generate", json={"text": TEXT}).status_code == 504
        assert live.service.admission.numbers().waiting == 0


@pytest.mark.parametrize("path", ["/generate", "/v1/audio/speech"])
def test_r10_a_client_that_leaves_stops_its_request(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any, path: str
):
    """Trap 11: servers that went on computing for nobody."""
    model.step_s = 0.01
    model.frames_per_char = 10
    live = make_live(workers=1)
    with live.client(timeout=0.3) as client, pytest.raises(httpx.ReadTimeout):
        client.post(path, json={"text": LONG, "response_format": "wav"})
    left_at = time.perf_counter()
    assert eventually(lambda: live.service.admission.numbers().running == 0, 2.0)
    took_s = time.perf_counter() - left_at
    steps = model.gate.steps
    time.sleep(0.1)
    assert model.gate.steps == steps, "it goes on without a listener"
    assert took_s < 0.25 + 0.3
    model.step_s = 0
    model.frames_per_char = 1
    with live.client() as client:
        assert client.post("/generate", json={"text": TEXT}).status_code == 200
        logs = client.get("/logs?status=cancelled").json()
    assert logs["filtered"] == 1
    promise("R10", f"client gone: {path} stopped and its place free after {1000 * took_s:.0f} ms of 10 ms steps")


def test_r12_whoever_leaves_the_queue_is_never_spoken(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    live = make_live(workers=1)
    model.gate.close()
    with live.client() as client:
        client.post("/generate?async_mode=true", json={"text": TEXT})
        assert eventually(lambda: len(model.streams) == 1)

        async def impatient() -> None:
            async with httpx.AsyncClient(verify=False, base_url=live.url, timeout=0.5) as other:
                await asyncio.gather(
                    *(other.post("/generate", json={"text": TEXT}) for _ in range(10)), return_exceptions=True
                )

        asyncio.run(impatient())
        assert eventually(lambda: live.service.admission.numbers().waiting == 0)
        model.gate.open()
        assert client.post("/generate", json={"text": TEXT}).status_code == 200
    assert len(model.streams) == 2, "the job and the last one only"
    promise("R12", "10 clients left the queue: 0 of them were started")


def test_r15_streams_cut_anywhere_leave_nothing_behind(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    model.step_s = 0.001
    live = make_live(workers=4)
    with live.client() as client:
        client.post("/generate", json={"text": TEXT})
    draw = random.Random(15)
    handles = len(os.listdir("/proc/self/fd"))
    for number in range(12):
        body = {"text": LONG, "stream": True, "response_format": ("wav", "mp3", "opus", "pcm")[number % 4]}
        wanted = draw.randrange(1, 40_000)
        with live.client() as client, client.stream("POST", "/generate", json=body) as answer:
            assert answer.status_code == 200
            got = 0
            for piece in answer.iter_raw():
                got += len(piece)
                if got >= wanted:
                    break
    assert eventually(lambda: live.service.admission.numbers().running == 0)
    assert eventually(lambda: live.open_connections == 0)
    assert eventually(lambda: live.service.speech.speeches() == ())
    assert len(os.listdir("/proc/self/fd")) <= handles + 5
    with live.client() as client:
        assert client.post("/generate", json={"text": TEXT}).status_code == 200
    promise("R15", "12 streams cut at random bytes: 0 requests, sockets or handles left")


def test_bytes_leave_while_the_model_works(live: LiveServer, model: ToneModel, promise: Any):
    """F34 of the first server: its streams were finished files cut into pieces."""
    for name, steps in FIRST_BYTES.items():
        model.gate.close()
        body = {"text": LONG[:200], "stream": True, "response_format": name}
        with live.client() as client:
            model.gate.allow(steps)
            with client.stream("POST", "/generate", json=body) as answer:
                pieces = answer.iter_raw()
                assert next(pieces)
                stream = model.streams[-1]
                assert stream.frames_done <= sum(FIRST_BYTES.values()) < stream.frames_estimate
                model.gate.open()
                assert sum(len(piece) for piece in pieces)
    promise("F34", f"sound leaves while the model works, after this many steps of 12 ms: {FIRST_BYTES}")


def test_a_failure_in_mid_stream_breaks_the_connection(live: LiveServer, model: ToneModel):
    model.fail_with, model.fail_at_step = RuntimeError("boom at /secret/path"), 20
    with live.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/generate", json={"text": LONG, "stream": True})
        events = client.post("/v1/audio/speech", json={"input": LONG, "stream_format": "sse"}).text
        assert '"type":"error"' in events
        assert "secret" not in events
        assert "speech.audio.done" not in events


def test_events_beat_while_there_is_nothing_to_say(
    live: LiveServer, model: ToneModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dia.server.speaking.HEARTBEAT_S", 0.1)
    model.gate.close()
    with (
        live.client() as client,
        client.stream("POST", "/v1/audio/speech", json={"input": TEXT, "stream_format": "sse"}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith(": ")
        model.gate.open()
        assert next(line for line in lines if line.startswith("data: "))


@pytest.mark.slow
def test_r04_fifty_clients_that_obey_retry_after_all_succeed(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    model.step_s = 0.0005
    live = make_live(workers=4, queue_capacity=20)

    async def one(client: httpx.AsyncClient) -> list[int]:
        statuses = []
        for _ in range(10):
            while True:
                answer = await client.post("/generate", json={"text": TEXT})
                if answer.status_code != 429:
                    break
                await asyncio.sleep(min(int(answer.headers["retry-after"]), 1) * random.random())
            statuses.append(answer.status_code)
        return statuses

    async def everybody() -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(verify=False, base_url=live.url, timeout=120, limits=limits) as client:
            return [status for row in await asyncio.gather(*(one(client) for _ in range(50))) for status in row]

    began = time.perf_counter()
    statuses = asyncio.run(everybody())
    assert statuses == [200] * 500
    promise("R04", f"50 clients x 10 requests on 4+20 places: 500 of 500 in {time.perf_counter() - began:.0f} s")


@pytest.mark.slow
def test_r11_a_storm_of_impatient_clients_costs_nothing_afterwards(
    make_live: Callable[..., LiveServer], model: ToneModel, promise: Any
):
    model.step_s = 0.01
    model.frames_per_char = 1
    live = make_live(workers=4, queue_capacity=200)

    async def storm() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(verify=False, base_url=live.url, timeout=0.5, limits=limits) as client:
            await asyncio.gather(
                *(client.post("/generate", json={"text": LONG}) for _ in range(200)), return_exceptions=True
            )

    asyncio.run(storm())
    asked = 200 * len(LONG)
    model.step_s = 0.0
    began = time.perf_counter()
    with live.client() as client:
        assert client.post("/generate", json={"text": TEXT}).status_code == 200
    took_s = time.perf_counter() - began
    assert took_s < 5
    assert model.gate.steps < 0.05 * asked
    promise(
        "R11",
        f"after 200 clients left at 0.5 s the next answer took {took_s:.2f} s; {model.gate.steps} of {asked} steps made",
    )
