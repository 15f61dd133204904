"""However requests share the engine, each gets the codes that it gets alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.errors import Cancelled
from tests.engine.parts import (
    CONFIG,
    POINTED,
    SMALL,
    SMALL_POINTED,
    again,
    alone,
    codes_of,
    finish,
    make_engine,
    make_model,
    make_request,
)


@pytest.fixture(scope="module", params=[CONFIG, POINTED], ids=["plain", "pointer"])
def model(request):
    return make_model(config=request.param)


@pytest.fixture(scope="module", params=[SMALL, SMALL_POINTED], ids=["plain", "pointer"])
def exact_model(request):
    """In float64 the order of sums cannot turn a draw, whatever the machine's products do with a row more or less."""
    return make_model(torch.float64, request.param)


@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "seeded"])
@pytest.mark.parametrize("options", [{}, {"rounds": True, "lag": 3}, {"kv_cache": "int8"}], ids=str)
def test_sixteen_requests_joining_at_random_steps_equal_each_alone(model, greedy, options):
    random = np.random.default_rng(7)
    requests = [
        make_request(
            number,
            frames=int(random.integers(1, 40)),
            prompt_frames=int(random.choice([0, 0, 3, 40])),
            text_length=int(random.integers(1, 60)),
            params={
                "temperature": 0.0 if greedy else float(random.choice([0.7, 1.8])),
                "guidance": str(random.choice(["filter", "combined"])),
                "cfg_scale": float(random.choice([0.0, 3.0])),
                "cfg_filter_top_k": int(random.choice([1, 45, 100])),
            },
        )
        for number in range(16)
    ]
    kept = {name: options[name] for name in ("kv_cache",) if name in options}
    expected = [alone(model, request, **kept) for request in requests]
    engine = make_engine(model, slots=5, **options)
    tickets = {}
    for step in range(60):
        for index in random.permutation(16)[: random.integers(0, 3)].tolist():
            if index not in tickets and step % 2 == 0:
                tickets[index] = engine.submit(again(requests[index]))
        engine.step()
    for index in range(16):
        tickets.setdefault(index, None)
        if tickets[index] is None:
            tickets[index] = engine.submit(again(requests[index]))
    finish(engine)
    for index, ticket in tickets.items():
        np.testing.assert_array_equal(codes_of(ticket), expected[index])
        assert len(expected[index]) <= requests[index].rows


def test_without_guidance_half_of_the_rows_are_computed_and_the_codes_are_those_of_both_branches(exact_model):
    config = exact_model.config
    unguided = make_request(1, frames=12, prompt_frames=20, config=config, params={"cfg_scale": 0.0})
    guided = make_request(2, frames=12, prompt_frames=9, config=config)
    head, rows = exact_model.decoder.head, []
    exact_model.decoder.head = lambda x: (rows.append(len(x)), head(x))[1]
    try:
        expected = alone(exact_model, unguided)
        assert set(rows) == {1}
        rows.clear()
        engine = make_engine(exact_model)
        first, second = engine.submit(again(guided)), engine.submit(again(unguided))
        finish(engine)
        assert set(rows) <= {1, 2, 4}
        assert 4 in rows
    finally:
        del exact_model.decoder.head
    np.testing.assert_array_equal(codes_of(second), expected)
    np.testing.assert_array_equal(codes_of(first), alone(exact_model, guided))


def test_guidance_that_was_learnt_is_told_apart_from_what_a_request_asks_for(exact_model):
    """Logits of a model that has learnt guidance s count as c + s (c - u): the same request then needs less of it."""
    config = exact_model.config
    request = make_request(3, frames=10, prompt_frames=7, config=config, params={"cfg_scale": 3.0})
    expected = alone(exact_model, request)
    learnt = exact_model.config.model_copy(update={"learnt_guidance": 0.6})
    try:
        exact_model.config = learnt
        # (1 + 5.4) / (1 + 0.6) - 1 = 3: what is left to do is what the first request asked for.
        asked = replace(again(request), params=request.params.updated(cfg_scale=5.4))
        np.testing.assert_array_equal(alone(exact_model, asked), expected)
        own = replace(again(request), params=request.params.updated(cfg_scale=0.6))
        spoken = alone(exact_model, own)
    finally:
        exact_model.config = config
    unguided = replace(again(request), params=request.params.updated(cfg_scale=0.0))
    np.testing.assert_array_equal(spoken, alone(exact_model, unguided))


POOL = [
    {"frames": 3, "text_length": 5},
    {"frames": 14, "text_length": 20},
    {"frames": 1, "text_length": 64},
    {"frames": 9, "text_length": 2, "prompt_frames": 5},
    {"frames": 6, "text_length": 30, "prompt_frames": 37},
    {"frames": 25, "text_length": 12},
    {"frames": 5, "text_length": 40, "prompt_frames": 80},
]


@pytest.fixture(scope="module")
def pool(exact_model):
    """Requests and what each gives alone."""
    requests = [make_request(number, config=SMALL, **shape) for number, shape in enumerate(POOL)]
    return [(request, alone(exact_model, request)) for request in requests]


schedules = st.lists(
    st.tuples(
        st.integers(0, len(POOL) - 1),
        st.integers(0, 12),  # steps before the next one comes
        st.one_of(st.none(), st.integers(0, 30)),  # cancelled after so many steps
        st.sampled_from(["interactive", "batch"]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=200, deadline=None)
@given(schedule=schedules, slots=st.integers(1, 4), lag=st.integers(0, 3), rounds=st.booleans())
def test_any_schedule_with_cancels_leaves_the_others_codes_as_they_are_alone(
    exact_model, pool, schedule, slots, lag, rounds
):
    engine = make_engine(exact_model, slots=slots, lag=lag, rounds=rounds)
    tickets, cancels, step = [], [], 0

    def tick():
        nonlocal step
        for due, ticket in cancels:
            if due == step:
                ticket.cancel()
        engine.step()
        step += 1

    for which, pause, cancel_after, priority in schedule:
        request = again(pool[which][0])
        object.__setattr__(request, "priority", priority)
        ticket = engine.submit(request)
        tickets.append((which, ticket))
        if cancel_after is not None:
            cancels.append((step + cancel_after, ticket))
        for _ in range(pause):
            tick()
    while engine.num_running or engine.num_waiting:
        tick()
        assert step < 1000
    for which, ticket in tickets:
        expected = pool[which][1]
        if ticket.is_cancelled and ticket.status == "failed":
            received = []
            with pytest.raises(Cancelled):
                received.extend(ticket.frames())
            got = np.concatenate([expected[:0], *received])
            np.testing.assert_array_equal(got, expected[: len(got)])
        else:
            np.testing.assert_array_equal(codes_of(ticket), expected)


@pytest.mark.parametrize("which", [4, 6])
def test_a_prompt_is_read_in_beside_steps_of_rounded_shape(exact_model, pool, which):
    engine = make_engine(exact_model, slots=4, rounds=True)
    others = [engine.submit(again(pool[5][0])) for _ in range(3)]
    # Three run in a step for four; the fourth place is where the prompt is being read in.
    ticket = engine.submit(again(pool[which][0]))
    finish(engine)
    np.testing.assert_array_equal(codes_of(ticket), pool[which][1])
    for other in others:
        np.testing.assert_array_equal(codes_of(other), pool[5][1])


def test_an_engine_in_its_own_thread_gives_what_one_driven_inline_gives(model):
    requests = [make_request(number, frames=6 + number, prompt_frames=number % 2 * 4) for number in range(5)]
    expected = [alone(model, request) for request in requests]
    engine = make_engine(model, slots=2)
    engine.start()
    try:
        tickets = [engine.submit(again(request)) for request in requests]
        for ticket, codes in zip(tickets, expected, strict=True):
            np.testing.assert_array_equal(codes_of(ticket), codes)
    finally:
        engine.close()


def test_frames_come_as_soon_as_their_last_channel_is_there(model):
    engine = make_engine(model)
    ticket = engine.submit(make_request(frames=20))
    steps_until_first = next(count for count in range(1, 100) if (engine.step(), ticket.has_frames)[1])
    # Row 1 holds frame 0 of channel 0; its last channel stands max_delay rows later.
    assert steps_until_first == 1 + model.config.data.max_delay


def test_a_lag_delays_delivery_by_so_many_steps_and_nothing_else(model):
    request = make_request(frames=5)
    prompt, late = make_engine(model), make_engine(model, lag=3)
    first = []
    for engine in (prompt, late):
        ticket = engine.submit(again(request))
        first.append(next(count for count in range(1, 100) if (engine.step(), ticket.has_frames)[1]))
        finish(engine)
    assert first[1] - first[0] == 3
