"""What ends one request must not touch the others, and never the engine."""

import threading
import time

import numpy as np
import pytest
import torch

from dia.engine import Engine
from dia.errors import (
    Cancelled,
    CodecFailed,
    DeadlineExceeded,
    EngineStopped,
    EngineWedged,
    GenerationFailed,
    NonFiniteLogits,
    OutOfMemory,
    QueueFull,
)
from tests.engine.parts import SMALL, again, alone, codes_of, finish, make_engine, make_model, make_request

REQUESTS = [make_request(number, frames=20, prompt_frames=6 * (number == 2), config=SMALL) for number in range(4)]

ALLOCATOR_ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: 99 bytes"),
    MemoryError(),
]


@pytest.fixture(scope="module")
def model():
    return make_model(config=SMALL)


@pytest.fixture(scope="module")
def expected(model):
    return [alone(model, request) for request in REQUESTS]


def submit_all(engine: Engine):
    return [engine.submit(again(request)) for request in REQUESTS]


def assert_others_equal(tickets, expected, but: int):
    for index, ticket in enumerate(tickets):
        if index != but:
            np.testing.assert_array_equal(codes_of(ticket), expected[index])


def fail_once(monkeypatch, runner, method: str, error: Exception, *, calls: tuple[int, ...] = (3,)):
    """Let the real method raise instead in its n-th calls, counted from 1."""
    real, count = getattr(runner, method), [0]

    def call(*args, **kwargs):
        count[0] += 1
        if count[0] in calls:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(runner, method, call)


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("which", range(4))
def test_a_cancel_stops_within_three_steps_and_the_others_go_on(model, expected, which, lag):
    engine = make_engine(model, lag=lag)
    tickets = submit_all(engine)
    for _ in range(10):
        engine.step()
    tickets[which].cancel()
    before = engine.steps
    while not tickets[which].is_done:
        engine.step()
    assert engine.steps - before <= 3
    with pytest.raises(Cancelled):
        codes_of(tickets[which])
    finish(engine)
    assert_others_equal(tickets, expected, which)


def test_a_deadline_stops_within_three_steps_and_the_others_go_on(model, expected):
    engine = make_engine(model)
    tickets = [engine.submit(again(request)) for request in REQUESTS[:3]]
    late = make_request(3, frames=100, config=SMALL, deadline=time.monotonic() + 0.05)
    tickets.append(engine.submit(late))
    while time.monotonic() < late.deadline:
        engine.step()
    before = engine.steps
    while not tickets[3].is_done:
        engine.step()
    assert engine.steps - before <= 3
    with pytest.raises(DeadlineExceeded):
        codes_of(tickets[3])
    finish(engine)
    assert_others_equal(tickets, expected, 3)


def test_a_request_whose_deadline_passes_while_it_waits_is_never_started(model):
    engine = make_engine(model, slots=1)
    first = engine.submit(again(REQUESTS[0]))
    waiting = engine.submit(make_request(5, config=SMALL, deadline=time.monotonic() - 1))
    engine.step()
    assert (first.status, waiting.status) == ("running", "failed")


def test_a_cancel_while_waiting_is_never_started(model):
    engine = make_engine(model, slots=1)
    engine.submit(again(REQUESTS[0]))
    waiting = engine.submit(again(REQUESTS[1]))
    waiting.cancel()
    engine.step()
    assert waiting.status == "failed"
    assert engine.num_waiting == 0


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("options", [{}, {"rounds": True}], ids=str)
def test_logits_that_are_not_finite_end_their_request_alone(model, expected, lag, options):
    engine = make_engine(model, lag=lag, **options)
    tickets = submit_all(engine)
    for _ in range(6):
        engine.step()
    with torch.inference_mode():  # what an overflow leaves behind in one request's memory
        engine._runner.state.self_kv[0].tensors[0][1, 1, 0, 0, 2] = torch.nan
    finish(engine)
    with pytest.raises(NonFiniteLogits, match="row"):
        codes_of(tickets[1])
    assert_others_equal(tickets, expected, 1)
    # The slot is clean again for whoever comes next.
    followers = submit_all(engine)
    finish(engine)
    assert_others_equal(followers, expected, -1)


@pytest.mark.parametrize("error", ALLOCATOR_ERRORS, ids=["cuda", "cpu", "python"])
def test_out_of_memory_in_a_step_ends_the_newest_request_and_the_others_make_the_step_again(
    model, expected, monkeypatch, error
):
    engine = make_engine(model)
    tickets = submit_all(engine)
    fail_once(monkeypatch, engine._runner, "step", error, calls=(12,))
    finish(engine)
    failed = [index for index, ticket in enumerate(tickets) if ticket.status == "failed"]
    assert len(failed) == 1
    with pytest.raises(OutOfMemory):
        codes_of(tickets[failed[0]])
    assert_others_equal(tickets, expected, failed[0])
    assert engine.slots == 3


def test_out_of_memory_inside_a_step_repeats_it_without_a_trace(model, expected, monkeypatch):
    """The allocation that fails may be any of a step: nothing may have moved on before the last one."""
    engine = make_engine(model)
    tickets = submit_all(engine)
    fail_once(monkeypatch, engine._runner.output, "_commit", ALLOCATOR_ERRORS[1], calls=(9,))
    finish(engine)
    failed = [index for index, ticket in enumerate(tickets) if ticket.status == "failed"]
    assert len(failed) == 1
    assert_others_equal(tickets, expected, failed[0])


@pytest.mark.parametrize("method", ["begin", "prefill"])
def test_out_of_memory_while_joining_waits_for_room_and_tries_once_more(model, expected, monkeypatch, method):
    engine = make_engine(model)
    fail_once(monkeypatch, engine._runner, method, ALLOCATOR_ERRORS[1], calls=(3 if method == "begin" else 1,))
    tickets = submit_all(engine)
    finish(engine)
    assert_others_equal(tickets, expected, -1)


def test_out_of_memory_twice_while_joining_ends_that_request(model, expected, monkeypatch):
    engine = make_engine(model)
    fail_once(monkeypatch, engine._runner, "prefill", ALLOCATOR_ERRORS[0], calls=(1, 2))
    tickets = submit_all(engine)
    finish(engine)
    with pytest.raises(OutOfMemory, match="shorter text or fewer slots"):
        codes_of(tickets[2])
    assert_others_equal(tickets, expected, 2)


def test_the_only_request_that_finds_no_memory_ends_at_once(model, monkeypatch):
    engine = make_engine(model)
    fail_once(monkeypatch, engine._runner, "begin", ALLOCATOR_ERRORS[2], calls=(1,))
    ticket = engine.submit(again(REQUESTS[0]))
    engine.step()
    with pytest.raises(OutOfMemory):
        codes_of(ticket)


def test_slots_given_up_for_memory_come_back_after_calm_steps(model, monkeypatch):
    monkeypatch.setattr("dia.engine.loop.RECOVERY_STEPS", 5)
    engine = make_engine(model)
    fail_once(monkeypatch, engine._runner, "step", ALLOCATOR_ERRORS[0], calls=(2,))
    submit_all(engine)
    engine.step()
    engine.step()
    assert engine.slots == 3
    finish(engine)
    assert engine.slots == 4


def test_fifty_failures_leave_no_memory_behind(model, expected, monkeypatch):
    psutil = pytest.importorskip("psutil")
    engine = make_engine(model)
    fail_once(monkeypatch, engine._runner, "step", ALLOCATOR_ERRORS[1], calls=tuple(range(1, 51)))
    before = psutil.Process().memory_info().rss
    for _ in range(50):
        ticket = engine.submit(again(REQUESTS[0]))
        engine.step()
        assert ticket.status == "failed"
    last = engine.submit(again(REQUESTS[0]))
    finish(engine)
    np.testing.assert_array_equal(codes_of(last), expected[0])
    assert psutil.Process().memory_info().rss - before < 50e6


@pytest.mark.parametrize("method", ["begin", "prefill"])
def test_an_unforeseen_error_while_joining_ends_that_request_alone(model, expected, monkeypatch, method):
    engine = make_engine(model)
    fail_once(monkeypatch, engine._runner, method, KeyError("secret"), calls=(3 if method == "begin" else 1,))
    tickets = submit_all(engine)
    finish(engine)
    with pytest.raises(GenerationFailed, match="internal engine error") as caught:
        codes_of(tickets[2])
    assert "secret" not in str(caught.value)
    assert_others_equal(tickets, expected, 2)


def test_an_unforeseen_error_in_a_step_ends_what_runs_and_the_engine_goes_on(model, expected, monkeypatch):
    engine = make_engine(model, slots=2)
    fail_once(monkeypatch, engine._runner, "step", ZeroDivisionError("secret"), calls=(5,))
    engine.start()
    try:
        tickets = [engine.submit(again(request)) for request in REQUESTS[:2]]
        for ticket in tickets:
            with pytest.raises(GenerationFailed, match="internal engine error"):
                codes_of(ticket)
        after = engine.submit(again(REQUESTS[3]))
        np.testing.assert_array_equal(codes_of(after), expected[3])
        assert engine.health.state == "idle"
    finally:
        engine.close()


def test_a_codec_failure_ends_its_stream_alone(dia, monkeypatch):
    text = "[S1] One of two speaks on."
    params = dia.defaults.updated(seed=1, max_tokens=80)
    whole = np.concatenate(list(dia.stream(text, params=params)))
    good, bad = dia.stream(text, params=params), dia.stream(text, params=params)
    first = next(good)

    def no_decode(*args, **kwargs):
        raise RuntimeError("the kernel failed")

    with monkeypatch.context() as patch:
        patch.setattr(dia.codec._decoder(), "decode", no_decode)
        with pytest.raises(CodecFailed):
            next(bad)
    np.testing.assert_array_equal(np.concatenate([first, *good]), whole)
    bad.close()
    assert dia.engine.num_running == 0


def test_a_step_that_hangs_is_noticed_and_nobody_waits_for_it(model, expected, monkeypatch):
    engine = make_engine(model, slots=2, watchdog_s=0.2)
    hang, real = threading.Event(), engine._runner.step

    def step(shape):
        if engine.steps == 5 and not hang.is_set():
            hang.wait(20)
        return real(shape)

    monkeypatch.setattr(engine._runner, "step", step)
    engine.start()
    try:
        tickets = submit_all(engine)  # two run, two wait
        for ticket in tickets:
            with pytest.raises(EngineWedged, match="did not come back in time"):
                codes_of(ticket)
        health = engine.health
        assert health.state == "wedged"
        assert health.round_s > 0.2
        with pytest.raises(EngineStopped, match="hangs"):
            engine.submit(again(REQUESTS[0]))
        hang.set()  # it was only slow: the engine is well again
        give_up = time.monotonic() + 10
        while engine.health.state != "idle" and time.monotonic() < give_up:
            time.sleep(0.01)
        np.testing.assert_array_equal(codes_of(engine.submit(again(REQUESTS[0]))), expected[0])
    finally:
        hang.set()
        engine.close()
    assert engine.health.state == "stopped"


def test_a_model_says_how_long_its_engine_hangs(dia, monkeypatch):
    assert dia.hangs_s == 0.0
    watchdog = dia.engine._watchdog
    monkeypatch.setattr(watchdog, "_began", time.monotonic() - 61)
    assert dia.hangs_s == 0.0, "it may be slow"
    monkeypatch.setattr(watchdog, "_wedged", True)
    assert 61 <= dia.hangs_s < 70


def test_the_waiting_line_is_bounded(model):
    engine = make_engine(model, slots=1, max_waiting=2)
    engine.submit(again(REQUESTS[0]))
    engine.step()
    kept = [engine.submit(again(REQUESTS[1])) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 requests are waiting"):
        engine.submit(again(REQUESTS[3]))
    assert [engine.position(ticket) for ticket in kept] == [0, 1]
    finish(engine)
    assert all(ticket.status == "finished" for ticket in kept)


def test_close_fails_what_runs_and_waits_and_refuses_what_comes(model):
    engine = make_engine(model, slots=1)
    engine.start()
    tickets = [engine.submit(make_request(number, frames=100, config=SMALL)) for number in range(3)]
    engine.close()
    for ticket in tickets:
        if ticket.status == "failed":
            with pytest.raises(EngineStopped):
                list(ticket.frames())
    assert tickets[2].status == "failed"
    with pytest.raises(EngineStopped):
        engine.submit(again(REQUESTS[0]))


def test_close_lets_running_requests_finish_within_the_drain_time(model, expected):
    engine = make_engine(model, slots=1)
    engine.start()
    ticket = engine.submit(again(REQUESTS[0]))
    engine.close(drain_s=30)
    np.testing.assert_array_equal(codes_of(ticket), expected[0])
