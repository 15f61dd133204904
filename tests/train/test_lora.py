"""Training pairs: nothing changes at first, only they learn, and what they learnt equals weights changed by hand."""

import pytest
import torch

from dia.errors import CheckpointMismatch
from dia.train.lora import LoraConfig, attach, finished
from tests.tiny import tiny_model

TEXT = torch.tensor([[1, 72, 105, 46, 1]])
ROWS = torch.full((1, 4, 9), 1026)


def test_a_fresh_adapter_changes_nothing_and_leaves_only_itself_trainable():
    model = tiny_model()
    before = model(TEXT, ROWS)
    pairs = attach(model, LoraConfig(rank=4))
    assert torch.equal(model(TEXT, ROWS), before)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in pairs.parameters()}


def test_an_adapter_added_to_the_weights_computes_what_its_training_did():
    model, plain = tiny_model(), tiny_model()
    config = LoraConfig(rank=4, alpha=6.0)
    pairs = attach(model, config)
    for parameter in pairs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    adapter = finished(config, model, pairs.state_dict(), "a.safetensors")
    state = plain.state_dict()
    changed = [name for name in state if adapter.changes(name)]
    assert len(changed) == len(adapter.pairs) == len(pairs)
    before = plain(TEXT, ROWS)
    plain.load_state_dict({**state, **{name: adapter.added(name, state[name]) for name in changed}})
    assert torch.allclose(plain(TEXT, ROWS), model(TEXT, ROWS), atol=1e-4)
    assert not torch.allclose(plain(TEXT, ROWS), before, atol=1e-2)


def test_what_cannot_be_trained_is_refused():
    model = tiny_model()
    attach(model, LoraConfig())
    with pytest.raises(CheckpointMismatch, match="already"):
        attach(model, LoraConfig())
    with pytest.raises(CheckpointMismatch, match="no layer"):
        attach(tiny_model(), LoraConfig(targets=("nothing",)))
