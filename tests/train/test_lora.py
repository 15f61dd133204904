"""Adapters: nothing changes at first, taking one off leaves no trace, files come back, wrong ones are refused."""

from pathlib import Path

import pytest
import torch

from dia.errors import CheckpointMismatch, CheckpointNotFound
from dia.train.lora import Adapter, LoraConfig, apply_adapter, attach, detach, load_adapter, save_adapter
from tests.tiny import tiny_config, tiny_model

TEXT = torch.tensor([[1, 72, 105, 46, 1]])
ROWS = torch.full((1, 4, 9), 1026)


def some_adapter(seed: int = 1) -> Adapter:
    pairs = attach(tiny_model(), LoraConfig(rank=4), seed)
    for parameter in pairs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Adapter(LoraConfig(rank=4), dict(pairs.state_dict()))


def test_a_fresh_adapter_changes_nothing_and_leaves_only_itself_trainable():
    model = tiny_model()
    before = model(TEXT, ROWS)
    pairs = attach(model, LoraConfig(rank=4))
    assert torch.equal(model(TEXT, ROWS), before)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in pairs.parameters()}


def test_an_adapter_equals_weights_changed_by_hand():
    model, adapter = tiny_model(), some_adapter()
    by_hand = tiny_model()
    state = by_hand.state_dict()
    for name in {key.rsplit(".", 1)[0] for key in adapter.tensors}:
        update = adapter.tensors[f"{name}.b"] @ adapter.tensors[f"{name}.a"]
        state[f"{name.replace('/', '.')}.weight"] += adapter.config.alpha / adapter.config.rank * update
    by_hand.load_state_dict(state)
    apply_adapter(model, adapter)
    assert torch.allclose(model(TEXT, ROWS), by_hand(TEXT, ROWS), atol=1e-4)


def test_adapters_are_swapped_and_taken_off_without_a_trace():
    model, one, other = tiny_model(), some_adapter(), some_adapter(2)
    before, names = model(TEXT, ROWS), list(model.state_dict())
    apply_adapter(model, one)
    with_one = model(TEXT, ROWS)
    apply_adapter(model, other)
    assert not torch.equal(model(TEXT, ROWS), with_one)
    apply_adapter(model, one)
    assert torch.equal(model(TEXT, ROWS), with_one)
    detach(model)
    assert torch.equal(model(TEXT, ROWS), before)
    assert list(model.state_dict()) == names


def test_an_adapter_comes_back_from_its_file(tmp_path: Path):
    adapter = some_adapter()
    save_adapter(adapter, tmp_path / "a.safetensors")
    back = load_adapter(tmp_path / "a.safetensors")
    assert back.config == adapter.config
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in adapter.tensors.items())


def test_wrong_adapters_and_models_are_refused(tmp_path: Path):
    wider = tiny_model(tiny_config(layers=(1, 1)))
    with pytest.raises(CheckpointMismatch, match="does not fit"):
        apply_adapter(wider, some_adapter())
    assert "base" not in " ".join(wider.state_dict())
    model = tiny_model()
    attach(model, LoraConfig())
    with pytest.raises(CheckpointMismatch, match="already"):
        attach(model, LoraConfig())
    with pytest.raises(CheckpointMismatch, match="no layer"):
        attach(tiny_model(), LoraConfig(targets=("nothing",)))
    with pytest.raises(CheckpointNotFound):
        load_adapter(tmp_path / "none")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(CheckpointMismatch, match="readable"):
        load_adapter(tmp_path / "junk")
