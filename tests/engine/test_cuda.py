"""On a GPU: captured steps give what plain ones give, and the engine's promises hold there."""

import numpy as np
import pytest
import torch

from dia.engine.graphs import COUNT_BUCKETS, bucket
from dia.engine.linear import WeightOnlyLinear
from tests.engine.parts import again, codes_of, finish, make_engine, make_model, make_request


def test_buckets_hold_what_they_are_asked_for():
    assert [bucket(n, COUNT_BUCKETS, 64) for n in (1, 2, 3, 5, 9, 17, 33, 64)] == [1, 2, 4, 8, 12, 24, 48, 64]
    assert bucket(5, COUNT_BUCKETS, 6) == 6
    assert bucket(700, (256, 512), 700) == 700


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("lag", [0, 4])
def test_captured_steps_give_the_codes_of_the_cpu(cuda, lag):
    """In float64, so that neither device's order of sums can turn a draw."""
    requests = [make_request(number, frames=30, prompt_frames=number % 2 * 20) for number in range(6)]
    on_cpu = make_engine(make_model(torch.float64), slots=3)
    expected = [codes_of(on_cpu.submit(again(request)), on_cpu.step) for request in requests]
    engine = make_engine(make_model(torch.float64).to(cuda), slots=3, lag=lag)
    tickets = [engine.submit(again(request)) for request in requests]
    finish(engine)
    assert len(engine._runner._tensors.graphs) > 0
    for ticket, codes in zip(tickets, expected, strict=True):
        np.testing.assert_array_equal(codes_of(ticket), codes)


@pytest.mark.gpu
def test_without_graphs_the_codes_are_the_same_and_nothing_is_captured(cuda):
    codes = []
    for graphs in (True, False):
        engine = make_engine(make_model(torch.float64).to(cuda), slots=2, graphs=graphs)
        assert engine._runner.captures is graphs
        codes.append(codes_of(engine.submit(make_request(1, frames=30)), engine.step))
        assert (len(engine._runner._tensors.graphs) > 0) is graphs
    np.testing.assert_array_equal(*codes)


def test_a_processor_has_nothing_to_capture():
    assert not make_engine(make_model(), slots=1, graphs=True)._runner.captures


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_number_type_generates_after_everything_is_reserved(cuda, dtype):
    engine = make_engine(make_model(dtype).to(cuda), slots=4)
    engine._runner.reserve()
    tickets = [engine.submit(make_request(number, frames=40)) for number in range(8)]
    finish(engine)
    assert all(ticket.status == "finished" for ticket in tickets)


@pytest.mark.gpu
def test_8_bit_weights_multiply_as_on_the_cpu(cuda):
    weight, x = torch.randn(512, 256), torch.randn(3, 256)
    layer, there = WeightOnlyLinear(weight), WeightOnlyLinear(weight.to(cuda))
    assert torch.equal(layer.dense(), there.dense().cpu())
    torch.testing.assert_close(there(x.to(cuda)).cpu(), x @ layer.dense().T, atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
def test_a_model_with_8_bit_weights_and_keys_generates_in_captured_steps(cuda):
    model = make_model(torch.bfloat16).to(cuda)
    engine = make_engine(model, slots=4, quantization="int8-weights", kv_cache="int8")
    tickets = [engine.submit(make_request(number, frames=40, prompt_frames=12)) for number in range(6)]
    finish(engine)
    assert all(ticket.status == "finished" for ticket in tickets)
    assert len(engine._runner._tensors.graphs) > 0


@pytest.mark.gpu
def test_a_step_does_not_wait_for_the_device(cuda):
    engine = make_engine(make_model().to(cuda), slots=2)
    engine.submit(make_request(0, frames=60))
    for _ in range(8):
        engine.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            engine._runner.step(engine._shape())
    finally:
        torch.cuda.set_sync_debug_mode("default")
