"""Products made ready for the CPU equal the plain ones, exactly enough or by a known error."""

import numpy as np
import pytest
import torch

from dia.checkpoint import read_json, save_model
from dia.device import Placement
from dia.engine import linear
from dia.engine.linear import (
    Int8Linear,
    PackedLinear,
    RowMajorLinear,
    WeightOnlyLinear,
    can_pack,
    choose_quantization,
    prepare,
)
from dia.errors import BadParameter, DeviceUnavailable
from dia.model import Dia
from tests.engine.parts import CONFIG, alone, make_engine, make_model, make_request

needs_packing = pytest.mark.skipif(not can_pack(), reason="this build of torch has no oneDNN")


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@needs_packing
@pytest.mark.parametrize("rows", [(1,), (2,), (7,), (64,), (3, 5)])
@pytest.mark.parametrize("kind", [PackedLinear, RowMajorLinear])
def test_products_in_either_layout_equal_plain_ones(kind, rows):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(192, 128, generator=generator), torch.randn(*rows, 128, generator=generator)
    layer = kind(weight)
    torch.testing.assert_close(layer(x), x @ weight.T, atol=1e-4, rtol=1e-5)
    assert torch.equal(layer.state_dict()["weight"], weight)


@needs_packing
def test_row_major_weights_are_not_copied():
    weight = torch.randn(192, 128)
    assert RowMajorLinear(weight).weight.data_ptr() == weight.data_ptr()


@pytest.mark.parametrize("rows", [1, 2, 32])
def test_8_bit_products_are_within_two_percent(rows):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(512, 256, generator=generator), torch.randn(rows, 256, generator=generator)
    layer = Int8Linear(weight)
    assert relative_error(layer(x), x @ weight.T) < 0.025
    assert relative_error(layer.dense(), weight) < 0.01


@pytest.mark.parametrize("rows", [(1,), (2,), (32,), (3, 5)])
def test_products_with_8_bit_weights_are_within_a_percent_and_each_row_is_its_own(rows):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(512, 256, generator=generator), torch.randn(*rows, 256, generator=generator)
    layer = WeightOnlyLinear(weight)
    found = layer(x)
    assert relative_error(found, x @ weight.T) < 0.012
    assert relative_error(layer.dense(), weight) < 0.01
    alone = torch.cat([layer(row[None]) for row in x.flatten(0, -2)]).view_as(found)
    assert torch.equal(found, alone)


@pytest.mark.parametrize("columns", [1, 24, 40, 63, 64, 100])
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_weights_of_any_width_multiply_as_the_weights_they_stand_for(rows: int, columns: int):
    torch.manual_seed(columns)
    layer = WeightOnlyLinear(torch.randn(17, columns))
    x = torch.randn(rows, columns).to(torch.bfloat16).float()
    assert layer.dense().shape == (17, columns)
    torch.testing.assert_close(layer(x), x @ layer.dense().T, rtol=2e-2, atol=2e-2 * columns**0.5)


@pytest.mark.parametrize("kind", [Int8Linear, WeightOnlyLinear])
def test_an_output_of_zeros_stays_zero_in_8_bits(kind):
    weight = torch.randn(16, 32)
    weight[3] = 0
    assert (kind(weight)(torch.randn(2, 32))[:, 3] == 0).all()


@needs_packing
@pytest.mark.parametrize("fast_mkl", [False, True])
def test_a_prepared_model_computes_the_same_and_keeps_its_state_dict(fast_mkl, monkeypatch):
    monkeypatch.setattr(linear, "has_fast_mkl", lambda: fast_mkl)
    plain, packed = make_model(), make_model()
    prepare(packed)
    kind = RowMajorLinear if fast_mkl else PackedLinear
    assert any(isinstance(module, kind) for module in packed.modules())
    text, tokens = torch.randint(1, 256, (1, 9)), torch.randint(0, 1024, (1, 7, 9))
    torch.testing.assert_close(packed(text, tokens), plain(text, tokens), atol=5e-5, rtol=1e-5)
    expected = plain.state_dict()
    state = packed.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_an_8_bit_model_stays_near_the_exact_one_and_its_head_is_exact():
    plain, small = make_model(), make_model()
    prepare(small, "int8")
    kinds = {name: type(module) for name, module in small.named_modules()}
    assert kinds["decoder.layers.0.mlp.down_proj"] is Int8Linear
    assert kinds["decoder.logits_dense"] is not Int8Linear
    text, tokens = torch.randint(1, 256, (1, 9)), torch.randint(0, 1024, (1, 7, 9))
    assert relative_error(small(text, tokens), plain(text, tokens)) < 0.15


def test_an_8_bit_model_generates_and_keeps_the_hash_of_its_weights(bundle):
    exact = Dia.from_pretrained(bundle, load_dac=False, slots=1)
    small = Dia.from_pretrained(bundle, load_dac=False, slots=1, quantization="int8")
    assert small.model_hash == exact.model_hash
    codes = small.generate("[S1] Eight bits.", max_tokens=40, seed=3)
    assert codes.shape == (40 - CONFIG.data.max_delay - 1, 9)


@pytest.mark.parametrize("name", ["int8", "int8-weights"])
def test_requests_in_8_bits_are_deterministic(name):
    model = make_model()
    prepare(model, name)
    request = make_request(1)
    assert (alone(model, request) == alone(model, request)).all()


def test_with_8_bit_weights_codes_do_not_depend_on_what_else_is_in_the_batch():
    model = make_model()
    prepare(model, "int8-weights")
    requests = [make_request(index) for index in range(3)]
    expected = [alone(model, request) for request in requests]
    engine = make_engine(model)
    tickets = [engine.submit(request) for request in requests]
    found = [np.concatenate(list(ticket.frames(engine.step))) for ticket in tickets]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


CPU, CUDA = (Placement(torch.device(name), torch.float32) for name in ("cpu", "cuda"))
ADVISED = CONFIG.model_copy(update={"quantization": "int8-weights"})


def test_unknown_quantizations_and_other_devices_are_refused():
    with pytest.raises(BadParameter, match="'int3' is not known; use int8, int8-weights or none"):
        choose_quantization("int3", CONFIG, CPU)
    with pytest.raises(DeviceUnavailable, match="CPU only, not on cuda; use int8-weights"):
        choose_quantization("int8", CONFIG, CUDA)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this build of torch has products on CUDA")
def test_a_build_without_the_products_says_so():
    with pytest.raises(DeviceUnavailable, match="no int8-weights products on cuda; leave quantization out"):
        choose_quantization("int8-weights", CONFIG, CUDA)


def test_a_checkpoints_advice_is_taken_where_it_can_be_and_nobody_asked_for_anything_else():
    assert choose_quantization(None, CONFIG, CPU) is None
    assert choose_quantization(None, ADVISED, CPU) == "int8-weights"
    assert choose_quantization(None, ADVISED, CUDA) is None
    assert choose_quantization(None, ADVISED, Placement(torch.device("cpu"), torch.float16)) is None
    assert choose_quantization("int8", ADVISED, CPU) == "int8"
    assert choose_quantization("none", ADVISED, CPU) is None


@pytest.mark.parametrize("dialect", ["flat", "transformers"])
def test_the_advice_stands_in_the_checkpoint(tmp_path, dialect):
    save_model(make_model(config=ADVISED), tmp_path, dialect)
    assert read_json(tmp_path / "config.json")["dia_quantization"] == "int8-weights"
    dia = Dia.from_pretrained(tmp_path, load_dac=False, slots=1, device="cpu")
    assert dia.quantization == "int8-weights"
    assert isinstance(dia.model.decoder.logits_dense, WeightOnlyLinear)
    assert Dia.from_pretrained(tmp_path, load_dac=False, device="cpu", quantization="none").quantization is None
