"""Growing a model: more layers, the same logits, and every weight ready to learn."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dia.checkpoint import load_model
from dia.config import DiaConfig, PointerConfig
from dia.device import Placement
from dia.errors import BadParameter
from dia.hub import from_folder
from dia.layers import DiaModel
from dia.train.commands import app
from dia.train.grow import grow
from tests.tiny import tiny_config, tiny_model


def logits_of(model: DiaModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(1, 256, (2, 17), generator=generator)
    rows = torch.randint(0, 1024, (2, 9, 3), generator=generator)
    spoken = torch.linspace(0, 12, 9).expand(2, 9)
    return model(ids, rows, torch.ones(2, 17, dtype=torch.bool), spoken)


@pytest.mark.parametrize("pointer", [None, PointerConfig(layer=0, heads=1)])
@pytest.mark.parametrize("more", [0, 1, 2])  # of two layers
def test_more_layers_give_the_same_logits(pointer: PointerConfig | None, more: int):
    model = tiny_model(tiny_config("0626", delays=(0, 2, 3), pointer=pointer))
    halves = model.config.model
    more = min(more, halves.decoder.n_layer - 1) if pointer else more
    grown = grow(
        model, encoder_layers=halves.encoder.n_layer + min(more, 1), decoder_layers=halves.decoder.n_layer + more
    )
    assert grown.config.model.decoder.n_layer == len(grown.decoder.layers) == halves.decoder.n_layer + more
    assert torch.allclose(logits_of(grown), logits_of(model), atol=1e-5)


def test_new_layers_learn_and_soon_say_something():
    model = tiny_model(tiny_config("0626", delays=(0, 2, 3)))
    grown = grow(model, decoder_layers=model.config.model.decoder.n_layer + 1).requires_grad_(True)
    optimizer = torch.optim.SGD(grown.parameters(), 0.1)
    before = {name: tensor.clone() for name, tensor in grown.state_dict().items()}
    for _ in range(2):  # the first step moves what writes, the second what reads
        optimizer.zero_grad()
        logits_of(grown).square().mean().backward()
        optimizer.step()
    still = [name for name, tensor in grown.named_parameters() if torch.equal(tensor, before[name])]
    assert not [name for name in still if ".layers." in name], still


def test_numbers_out_of_range_are_refused():
    model = tiny_model()
    layers = model.config.model.decoder.n_layer
    with pytest.raises(BadParameter, match=f"decoder_layers {layers - 1} cannot grow from {layers}"):
        grow(model, decoder_layers=layers - 1)
    with pytest.raises(BadParameter, match=f"give {layers} to {2 * layers}"):
        grow(model, decoder_layers=2 * layers + 1)
    led = tiny_model(tiny_config(pointer=PointerConfig(layer=0, heads=1)))
    with pytest.raises(BadParameter, match=f"give {layers} to {2 * layers - 1}"):
        grow(led, decoder_layers=2 * layers)


def test_the_command_writes_a_checkpoint_to_start_from(bundle: Path, tmp_path: Path):
    layers = DiaConfig.load(bundle / "config.json").model.decoder.n_layer
    out = tmp_path / "deep"
    done = CliRunner().invoke(
        app, ["train", "grow", str(bundle), "--decoder-layers", str(layers + 1), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    source = from_folder(out)
    config = DiaConfig.load(source.config)
    assert config.model.decoder.n_layer == layers + 1
    load_model(config, source.weights, Placement(torch.device("cpu"), torch.float32))
