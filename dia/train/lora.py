"""Training of low-rank adapters: small trainable updates beside frozen projections. What they are, and their files, is in
`dia.adapters`.

B starts at zero, so a fresh adapter changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dia.adapters import MARKED, Adapter, mark_of
from dia.errors import CheckpointMismatch


@dataclass(frozen=True)
class LoraConfig:
    """`targets` are the last parts of the names of linear layers."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ("qkv_proj", "q_proj", "kv_proj", "o_proj", "gate_up_proj", "down_proj")


class LoraPair(nn.Module):
    """A [rank, in] and B [out, rank] of one layer."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.normal_(self.a, std=inputs**-0.5)


class LoraLinear(nn.Module):
    """A frozen linear layer with its pair beside it."""

    def __init__(self, base: nn.Linear, pair: LoraPair, scale: float) -> None:
        super().__init__()
        self.base = base
        self.pair = pair
        self.scale = scale

    @property
    def weight(self) -> Tensor:
        """The frozen weight: callers ask a linear layer for it."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        update = nn.functional.linear(nn.functional.linear(x, self.pair.a.to(x.dtype)), self.pair.b.to(x.dtype))
        out: Tensor = self.base(x) + self.scale * update
        return out


def target_layers(model: nn.Module, config: LoraConfig) -> Iterator[tuple[str, nn.Linear]]:
    """Names and layers that this config adapts."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in config.targets:
            yield name, module


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)


def attach(model: nn.Module, config: LoraConfig, seed: int = 0) -> nn.ModuleDict:
    """Freeze `model` and put fresh pairs beside its target layers; returns the pairs (the only trainable part).

    Raises:
        CheckpointMismatch: an adapter is attached already, or no layer has such a name.
    """
    if any(isinstance(module, LoraLinear) for module in model.modules()):
        raise CheckpointMismatch("the model carries an adapter already")
    layers = list(target_layers(model, config))
    if not layers:
        raise CheckpointMismatch(f"no layer of the model is called any of {', '.join(config.targets)}")
    model.requires_grad_(False)
    pairs = nn.ModuleDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, base in layers:
            pair = LoraPair(base.in_features, base.out_features, config.rank).to(base.weight.device)
            pairs[name.replace(".", "/")] = pair
            _replace(model, name, LoraLinear(base, pair, config.alpha / config.rank))
    return pairs


def finished(config: LoraConfig, model: nn.Module, pairs: Mapping[str, Tensor], name: str) -> Adapter:
    """The adapter of trained pairs, as the state of `attach`'s module holds them, for the model that they stand in."""
    layers = sorted({key.rpartition(".")[0] for key in pairs})
    trained = {
        layer.replace("/", "."): (
            pairs[f"{layer}.a"].detach().float().cpu(),
            pairs[f"{layer}.b"].detach().float().cpu(),
        )
        for layer in layers
    }
    return Adapter(name, config.rank, config.alpha, trained, mark_of(model.get_parameter(MARKED)))
