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


@dataclass(frozen=True)
class CodecShape:
    """Sizes of a small DacModel. Defaults: 16 kHz, 512 samples a frame (31.25 frames a second), 2.8 kbit/s."""

    sample_rate_hz: int = 16000
    encoder_hidden: int = 16
    decoder_hidden: int = 256
    downsampling: tuple[int, ...] = (8, 4, 4, 4)
    upsampling: tuple[int, ...] = (8, 4, 4, 4)
    codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8

    @property
    def hop_samples(self) -> int:
        return math.prod(self.upsampling)


def build_dac(shape: CodecShape, seed: int) -> Any:
    """A float32 DacModel of this shape with a start that a narrow network can learn from."""
    from transformers import DacConfig, DacModel

    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "encoder_hidden_size": shape.encoder_hidden,
        "downsampling_ratios": list(shape.downsampling),
        "decoder_hidden_size": shape.decoder_hidden,
        "upsampling_ratios": list(shape.upsampling),
        "n_codebooks": shape.codebooks,
        "codebook_size": shape.codebook_size,
        "codebook_dim": shape.codebook_dim,
        "sampling_rate": shape.sample_rate_hz,
    }
    model = DacModel(DacConfig(**options))
    start_weights(model)
    return model


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
def calibrate(model: Any, sound: Tensor) -> None:
    """Scale every convolution until its output on real `sound` [batch, 1, samples] has the spread it should have.

    One, so that the snakes bend (x + sin(x)**2 is all but linear where x is small; a network that started linear
    needed more than twice the steps to the same distance); less for what is added to a residual stream; and near silence for
    the last layer, because a saturated tanh passes no gradient (after layer-sequential unit-variance initialisation,
    Mishkin and Matas 2016).
    """

    def scaled(module: nn.Module, _: Any, out: Tensor, *, spread: float) -> Tensor:
        factor = spread / out.std().clamp_min(1e-6)
        weight: Tensor = module.weight  # type: ignore[assignment]
        weight.mul_(factor)
        return out * factor

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d) and not name.startswith("quantizer"):
            added = ".res_unit" in name and name.endswith("conv2")
            spread = 0.05 if name == "decoder.conv2" else 0.3 if added else 1.0
            hooks.append(module.register_forward_hook(partial(scaled, spread=spread)))
    model.decoder(model.encoder(sound))
    for hook in hooks:
        hook.remove()


def fuse_snakes(model: nn.Module) -> None:
    """Compile the snake activations of `model`: run one by one, their passes over memory cost as much as its
    convolutions (0.17 s per second of sound became 0.12 s on two cores)."""
    compiled = torch.compile(_snake, dynamic=True)

    def fused(hidden: Tensor, module: Any) -> Tensor:
        # Validation runs clips of every length one by one: compiling for each would exhaust the compiler's limit.
        return compiled(hidden, module.alpha) if torch.is_grad_enabled() else _snake(hidden, module.alpha)

    for module in model.modules():
        if type(module).__name__ == "Snake1d":
            module.forward = partial(fused, module=module)


def _snake(x: Tensor, alpha: Tensor) -> Tensor:
    return x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)


def load_dac(folder: Path) -> Any:
    """The float32 DacModel of a codec folder."""
    return Codec.load(folder)._model


def export_codec(shape_of: Any, state: Mapping[str, Tensor], folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write `state` (say, averaged weights) of a model configured like `shape_of` as a codec folder."""
    from transformers import DacModel

    model = DacModel(shape_of.config)
    model.load_state_dict({name: tensor.detach().float().cpu() for name, tensor in state.items()})
    Codec(model, torch.device("cpu")).save(folder, dtype)
