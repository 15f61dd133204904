"""Memory is taken as it is needed, up to a limit, and given back."""

import time

import numpy as np
import pytest
import torch

from dia.device import Placement
from dia.engine import EngineOptions
from dia.engine.options import choose_slots
from dia.engine.runner import ROW_BLOCK
from dia.errors import BadParameter, CheckpointMismatch, CheckpointNotFound, DiaError
from dia.model import Dia
from dia.state import DecoderInferenceState, KVCache
from tests.engine.parts import again, alone, codes_of, finish, make_engine, make_model, make_request
from tests.tiny import tiny_config, tiny_model, write_bundle

CPU = Placement(torch.device("cpu"), torch.float32)


def slot_bytes(engine) -> int:
    state = engine._runner.state
    return sum(cache.nbytes for cache in (*state.self_kv, *state.cross_kv))


@pytest.mark.parametrize("kind", ["full", "int8"])
def test_one_request_takes_one_slot_of_a_short_length_however_many_are_allowed(kind):
    config = tiny_config(audio_length=2048, text_length=1024)
    engine = make_engine(tiny_model(config), slots=16, kv_cache=kind)
    engine.submit(make_request(frames=4))
    finish(engine)
    full = DecoderInferenceState.bytes_per_slot(config, 2048, 1024, torch.float32, kind)
    assert slot_bytes(engine) <= full / 6


def test_slots_grow_with_requests_and_rows_and_codes_stay_the_same():
    model = tiny_model(tiny_config(audio_length=600, text_length=300, layers=(1, 1)))
    requests = [make_request(0, frames=ROW_BLOCK, text_length=200), make_request(1, frames=4), make_request(2)]
    expected = [alone(model, request) for request in requests]
    engine = make_engine(model, slots=3)
    tickets = [engine.submit(again(requests[0]))]
    for request in requests[1:]:
        for _ in range(5):
            engine.step()
        tickets.append(engine.submit(again(request)))
    finish(engine)
    assert engine._runner.state.slots == 3
    assert engine._runner.state.rows == 2 * ROW_BLOCK
    for ticket, codes in zip(tickets, expected, strict=True):
        np.testing.assert_array_equal(codes_of(ticket), codes)


@pytest.mark.parametrize("kind", ["full", "int8"])
def test_a_slot_takes_the_bytes_that_are_foretold(kind):
    config = tiny_config()
    state = DecoderInferenceState.new(config, 2, 48, 32, CPU.device, torch.float16, kind)
    taken = sum(cache.nbytes for cache in (*state.self_kv, *state.cross_kv))
    assert taken == 2 * DecoderInferenceState.bytes_per_slot(config, 48, 32, torch.float16, kind)


def test_rows_kept_in_8_bits_come_back_within_half_a_step_each_by_its_own_scale():
    rows = torch.randn(6, 64) * torch.logspace(-6, 3, 6)[:, None]
    rows[2] = 0
    cache = KVCache((2, 1, 1, 1, 6, 64), torch.float32, CPU.device, "int8")
    cache.write(torch.arange(6), rows)
    found = cache.get((0, 0, 0, 0))
    assert ((found - rows).abs().amax(1) <= rows.abs().amax(1) / 254 * 1.001).all()
    cache.put((1, 0, 0, 0, slice(2, 5)), rows[2:5])
    assert torch.equal(cache.read(1, 6, 1)[1][0, 0, 2:5], found[2:5])


def test_growing_without_memory_leaves_everything_as_it_was(monkeypatch):
    state = DecoderInferenceState.new(tiny_config(), 2, 16, 16, CPU.device, CPU.dtype)
    for cache in (*state.self_kv, *state.cross_kv):
        cache.tensors[0].normal_()
    before = [cache.tensors[0].clone() for cache in (*state.self_kv, *state.cross_kv)]
    real, calls = torch.Tensor.new_zeros, [0]

    def new_zeros(self, *args, **kwargs):
        calls[0] += 1
        if calls[0] == 4:  # both cross caches and one of the two self caches have grown
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "new_zeros", new_zeros)
    with pytest.raises(torch.OutOfMemoryError):
        state.reserve(3, 64, 32)
    assert (state.slots, state.rows, state.text_rows) == (2, 16, 16)
    for cache, tensor in zip((*state.self_kv, *state.cross_kv), before, strict=True):
        assert torch.equal(cache.tensors[0], tensor)
    assert state.reserve(3, 64, 32)
    assert not state.reserve(1, 1, 1)


def test_slots_follow_free_memory_and_the_devices_bound(monkeypatch):
    config = tiny_config()
    each = DecoderInferenceState.bytes_per_slot(config, 256, 256, torch.float32)
    for free, slots in ((10 * each, 5), (each, 1), (1000 * each, 16), (None, 16)):
        monkeypatch.setattr("dia.engine.options.free_memory_bytes", lambda device, free=free: free)
        assert choose_slots(config, CPU, EngineOptions()) == slots
    assert choose_slots(config, CPU, EngineOptions(slots=40)) == 40


def test_a_memory_limit_bounds_the_slots_or_is_refused_with_the_numbers():
    config = tiny_config()
    each = DecoderInferenceState.bytes_per_slot(config, 256, 256, torch.float32)
    weights = 10 * each
    limited = EngineOptions(memory_limit_gb=13.5 * each / 1e9)
    assert choose_slots(config, CPU, limited, weights) == 3
    with pytest.raises(BadParameter, match=rf"1 slots of {each / 1e9:.3g} GB need .*raise it or ask for fewer slots"):
        choose_slots(config, CPU, EngineOptions(memory_limit_gb=10.5 * each / 1e9), weights)
    with pytest.raises(BadParameter, match="4 slots"):
        choose_slots(config, CPU, EngineOptions(slots=4, memory_limit_gb=13.5 * each / 1e9), weights)


@pytest.mark.parametrize(
    "options",
    [
        *({"slots": 0}, {"slots": 2.5}, {"slots": "3"}, {"slots": 10**7}, {"lag": -1}, {"max_waiting": -1}),
        *({"memory_limit_gb": -1.0}, {"memory_limit_gb": float("inf")}, {"keep_alive_s": float("nan")}),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(BadParameter, match=f"{next(iter(options))} is .* it must be a .*number of at least"):
        EngineOptions(**options)
    with pytest.raises(BadParameter, match="watchdog_s is 0"):
        EngineOptions(watchdog_s=0)


def test_a_deadline_that_is_no_number_is_refused(dia):
    with pytest.raises(BadParameter, match="deadline_s is not a number"):
        dia.stream("[S1] Never spoken.", deadline_s=float("nan"))


def test_a_model_unloaded_gives_its_memory_back_and_is_loaded_again_for_the_next_request(bundle):
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=2)
    params = {"max_tokens": 40, "seed": 5}
    before = dia.generate("[S1] Here.", **params)
    model_hash = dia.model_hash
    assert dia.unload()
    assert not dia.engine.health.is_loaded
    assert (dia.model_hash, dia.num_parameters > 0) == (model_hash, True)
    assert not dia.engine.health.is_loaded
    np.testing.assert_array_equal(dia.generate("[S1] Here.", **params), before)
    assert dia.engine.health.is_loaded


def test_a_model_is_not_unloaded_while_anything_runs_or_where_it_cannot_be_loaded_again(bundle):
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=2)
    with dia.stream("[S1] Still here.") as stream:
        assert not dia.unload()
        assert stream.run_codes is not None
    assert dia.unload()
    assert not Dia(make_model(), None, name="parts").unload()


def test_a_started_engine_unloads_after_its_idle_time_and_wakes_up(bundle):
    options = EngineOptions(keep_alive_s=0.05)
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=2, options=options)
    dia.start()
    try:
        before = dia.generate("[S1] Here.", max_tokens=40, seed=5)
        give_up = time.monotonic() + 20
        while dia.engine.health.is_loaded and time.monotonic() < give_up:
            time.sleep(0.02)
        assert not dia.engine.health.is_loaded
        np.testing.assert_array_equal(dia.generate("[S1] Here.", max_tokens=40, seed=5), before)
    finally:
        dia.close()


def test_a_checkpoint_that_went_away_while_unloaded_fails_the_request_and_not_the_engine(tmp_path):
    folder = write_bundle(tmp_path / "model")
    dia = Dia.from_pretrained(folder, load_dac=False, slots=2)
    assert dia.unload()
    weights = folder / "model.safetensors"
    kept = weights.rename(folder / "elsewhere")
    with pytest.raises(DiaError) as caught:
        dia.generate("[S1] Gone.", max_tokens=40)
    assert isinstance(caught.value, (CheckpointNotFound, CheckpointMismatch))
    kept.rename(weights)
    assert len(dia.generate("[S1] Back.", max_tokens=40)) == 24
