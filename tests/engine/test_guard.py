"""What a step may do, counted and not timed: no waiting for the device, few kernels, reads bounded by live lengths."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dia.engine.shapes import StepShape
from tests.engine.parts import CONFIG, make_engine, make_model, make_request

SYNCS = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal", "item"}
VIEWS = {
    *("view", "slice", "select", "transpose", "t", "unsqueeze", "squeeze", "expand", "alias", "permute", "unbind"),
    *("split", "split_with_sizes", "detach", "_unsafe_view", "as_strided", "_reshape_alias", "unflatten", "chunk"),
    *("flatten", "reshape", "narrow", "to"),
}


class Counter(TorchDispatchMode):
    """Every operation that reaches a kernel, and the bytes of keys and values that attention is given."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attended_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.names.append(name)
        if "scaled_dot_product" in name:
            self.attended_bytes += args[1].nbytes + args[2].nbytes
        return func(*args, **(kwargs or {}))

    @property
    def kernels(self) -> int:
        return sum(name not in VIEWS for name in self.names)


@pytest.fixture
def engine():
    engine = make_engine(make_model(), slots=4)
    for number, text_length in enumerate((9, 30, 17)):
        engine.submit(make_request(number, frames=60, text_length=text_length))
    for _ in range(10):
        engine.step()
    return engine


def count_step(engine, **changes) -> Counter:
    shape = engine._shape()
    with Counter() as counter:
        engine._runner.step(StepShape(**{**{name: getattr(shape, name) for name in shape.__slots__}, **changes}))
    return counter


def test_a_step_never_waits_for_the_device(engine):
    names = count_step(engine).names
    assert not SYNCS.intersection(names)
    assert not [name for name in names if "_to_copy" in name and "cpu" in name]


@pytest.mark.parametrize("method", ["item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__"])
def test_a_step_never_asks_a_tensor_for_a_value(engine, monkeypatch, method):
    def refuse(*args, **kwargs):
        raise AssertionError(f"Tensor.{method} was called in a step")

    shape = engine._shape()
    monkeypatch.setattr(torch.Tensor, method, refuse)
    result = engine._runner.step(shape)
    monkeypatch.undo()
    assert result.read().shape == (3, 11)


def test_kernels_per_step_are_bounded_and_do_not_grow_with_requests(engine):
    layers = CONFIG.model.decoder.n_layer
    three = count_step(engine).kernels
    one = count_step(engine, count=1).kernels
    assert three <= 38 * layers + 115
    assert three - one <= 12  # the masks


def test_attention_reads_the_live_rows_and_no_more(engine):
    shape = engine._shape()
    assert (shape.count, shape.span, shape.text_span) == (3, 11, 30)
    decoder = CONFIG.model.decoder
    own = 2 * 3 * 2 * decoder.kv_heads * shape.span * decoder.gqa_head_dim * 4
    cross = 2 * 3 * decoder.cross_query_heads * shape.text_span * decoder.cross_head_dim * 4
    assert count_step(engine).attended_bytes == decoder.n_layer * (own + cross)


def test_a_step_multiplies_every_weight_once_whatever_the_number_of_requests(engine):
    def products(counter: Counter) -> int:
        return sum(name in ("mm", "addmm", "linear", "_linear_pointwise") for name in counter.names)

    # Per layer qkv, o, q, o, gate and up, down; and the head.
    assert (
        products(count_step(engine)) == products(count_step(engine, count=1)) == 6 * CONFIG.model.decoder.n_layer + 1
    )
