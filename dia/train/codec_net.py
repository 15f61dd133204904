"""The codec network while it is trained: built, started, loaded, exported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dia.codec import Codec
from dia.measured.books import Books


@dataclass(frozen=True)
class CodecShape:
    """Sizes of a small DacModel. Defaults: 16 kHz, 400 samples a frame (40 frames a second).

    The encoder is never used; `encoder_hidden` and `downsampling` decide how many values a frame can hold.

    Most of the work is done at 400 Hz, in one step from the frames: wide layers at low rates are quick, and the codec
    looks only 12 frames ahead.
    """

    sample_rate_hz: int = 16000
    encoder_hidden: int = 16
    decoder_hidden: int = 384
    downsampling: tuple[int, ...] = (10, 2, 2, 10)
    upsampling: tuple[int, ...] = (10, 2, 2, 10)

    @property
    def hop_samples(self) -> int:
        return math.prod(self.upsampling)


def build_dac(shape: CodecShape, codebooks: int, codebook_size: int, codebook_dim: int, seed: int) -> Any:
    """A float32 DacModel of this shape with random weights."""
    from transformers import DacConfig, DacModel

    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "encoder_hidden_size": shape.encoder_hidden,
        "downsampling_ratios": list(shape.downsampling),
        "decoder_hidden_size": shape.decoder_hidden,
        "upsampling_ratios": list(shape.upsampling),
        "n_codebooks": codebooks,
        "codebook_size": codebook_size,
        "codebook_dim": codebook_dim,
        "sampling_rate": shape.sample_rate_hz,
    }
    return DacModel(DacConfig(**options))


def start_weights(model: nn.Module) -> None:
    """Random convolutions without biases; `calibrate` gives them their scale.

    DacModel's own start (std 0.02) suits wide layers; at 16 channels the signal dies in it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.normal_(module.weight, std=(module.in_channels * module.kernel_size[0]) ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def calibrate(part: nn.Module, inputs: Tensor, *, last_spread: float) -> None:
    """Scale every convolution of a decoder until its output on real `inputs` has the spread it should have.

    One, so that the snakes bend (x + sin(x)**2 is all but linear where x is small; a network that started linear
    needed more than twice the steps to the same distance); less for what is added to a residual stream; `last_spread`
    for the last layer, near silence for a decoder, because a saturated tanh passes no gradient (after layer-sequential
    unit-variance initialisation, Mishkin and Matas 2016).
    """

    def scaled(module: nn.Module, _: Any, out: Tensor, *, spread: float) -> Tensor:
        factor = spread / out.std().clamp_min(1e-6)
        weight: Tensor = module.weight  # type: ignore[assignment]
        weight.mul_(factor)
        return out * factor

    hooks = []
    for name, module in part.named_modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            added = "res_unit" in name and name.endswith("conv2")
            spread = last_spread if name == "conv2" else 0.3 if added else 1.0
            hooks.append(module.register_forward_hook(partial(scaled, spread=spread)))
    part(inputs)
    for hook in hooks:
        hook.remove()


def load_dac(folder: Path) -> Any:
    """The float32 DacModel of a codec folder."""
    return Codec.load(folder)._model


def export_codec(
    shape_of: Any, state: Mapping[str, Tensor], books: Books, folder: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write `state` (say, averaged weights) of a model configured like `shape_of` as a codec folder.

    Its encoder is written as zeros: it was never trained, sound becomes codes by `books`.
    """
    from transformers import DacModel

    model = DacModel(shape_of.config)
    model.load_state_dict({name: tensor.detach().float().cpu() for name, tensor in state.items()})
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    Codec(model, torch.device("cpu"), books).save(folder, dtype)
