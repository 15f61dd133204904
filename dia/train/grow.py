"""A deeper model that begins as good as the one it grew from."""

from pathlib import Path

import torch

from dia import hub
from dia.checkpoint import save_model
from dia.errors import BadParameter
from dia.layers import DiaModel
from dia.train.model_loop import trainable_model

__all__ = ["grow", "grow_checkpoint"]

_SILENT = ("o_proj.weight", "down_proj.weight")
"""What a layer writes to the residual stream with: at zero it changes nothing."""


@torch.no_grad()
def grow(model: DiaModel, *, encoder_layers: int | None = None, decoder_layers: int | None = None) -> DiaModel:
    """A model of more layers that gives the same logits (new layers write zeros at first, as in LLaMA Pro, Wu et al. 2024).

    The last layers of each half are doubled: below each comes a copy of it that writes nothing yet. The copy reads what
    the layer above it reads and looks where that one looks, so a pointer is moved as before where all layers above the
    pointer's are doubled, and nearly so elsewhere. The pointer's own layer and those below it are not.

    Args:
        encoder_layers, decoder_layers: how many there shall be, up to twice as many as there are, less those that are
            not doubled; None: as many as there are.

    Raises:
        BadParameter: a number out of that range.
    """
    halves = model.config.model
    wanted = {"encoder": encoder_layers, "decoder": decoder_layers}
    fixed = {"encoder": 0, "decoder": 0 if halves.pointer is None else halves.pointer.layer + 1}
    origins = {
        name: _origins(name, getattr(halves, name).n_layer, fixed[name], layers) for name, layers in wanted.items()
    }
    deeper = {
        name: getattr(halves, name).model_copy(update={"n_layer": len(layers)}) for name, layers in origins.items()
    }
    grown = DiaModel(model.config.model_copy(update={"model": halves.model_copy(update=deeper)}))
    weights = {}
    old = model.state_dict()
    for name in grown.state_dict():
        half, part, *rest = name.split(".")
        if part != "layers":
            weights[name] = old[name].clone()
            continue
        source, is_copy = origins[half][int(rest[0])]
        tensor = old[".".join((half, part, str(source), *rest[1:]))]
        weights[name] = torch.zeros_like(tensor) if is_copy and name.endswith(_SILENT) else tensor.clone()
    grown.load_state_dict(weights)
    return grown


def grow_checkpoint(
    folder: Path, out: Path, *, encoder_layers: int | None = None, decoder_layers: int | None = None
) -> None:
    """Write the model of the checkpoint folder `folder` with more layers (see `grow`) to `out`, float32, without a codec.

    Raises:
        BadParameter: as `grow`.
        CheckpointMismatch: what is in the folder is no whole checkpoint.
    """
    model = trainable_model(hub.from_folder(folder), "cpu")
    save_model(grow(model, encoder_layers=encoder_layers, decoder_layers=decoder_layers), out, "flat", torch.float32)


def _origins(half: str, layers: int, fixed: int, wanted: int | None) -> list[tuple[int, bool]]:
    """Of each layer that there shall be, from below: which one it comes from, and whether it is a silent copy of it."""
    wanted, most = layers if wanted is None else wanted, 2 * layers - fixed
    if not layers <= wanted <= most:
        raise BadParameter(f"{half}_layers {wanted} cannot grow from {layers}; give {layers} to {most}")
    doubled = range(2 * layers - wanted, layers)
    return [(source, copy) for source in range(layers) for copy in ((True, False) if source in doubled else (False,))]
