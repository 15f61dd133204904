"""Low-rank adapters: small trainable updates beside frozen projections, saved apart and swapped at will.

Every chosen linear layer computes W x + (alpha / rank) * B A x with W frozen (Hu et al. 2021). B starts at zero, so a
fresh adapter changes nothing; taking an adapter off gives the very weights from before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dia.errors import CheckpointMismatch, CheckpointNotFound

FORMAT = "dia-lora-1"


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


@dataclass(frozen=True)
class Adapter:
    """An adapter as it is stored: its config and one pair of tensors per layer name."""

    config: LoraConfig
    tensors: dict[str, Tensor]


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
        raise CheckpointMismatch("the model carries an adapter already; detach it first")
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


def detach(model: nn.Module) -> None:
    """Take the adapter off; the layers are the very ones from before. Without an adapter nothing happens."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            _replace(model, name, module.base)


def apply_adapter(model: nn.Module, adapter: Adapter) -> None:
    """Attach a stored adapter, replacing the one that is attached, if any.

    Raises:
        CheckpointMismatch: it was made for another architecture; the model then carries no adapter.
    """
    detach(model)
    pairs = attach(model, adapter.config)
    try:
        pairs.load_state_dict(adapter.tensors)
    except RuntimeError as error:
        detach(model)
        raise CheckpointMismatch(f"the adapter does not fit this model: {str(error)[:300]}") from error


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Write one .safetensors file; an interrupted write leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    header = {"format": FORMAT, "config": json.dumps(asdict(adapter.config))}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.tensors.items()}
    save_file(tensors, temporary, metadata=header)
    os.replace(temporary, path)


def load_adapter(path: Path) -> Adapter:
    """Read an adapter.

    Raises:
        CheckpointNotFound: no such file. CheckpointMismatch: another kind of file.
    """
    if not path.is_file():
        raise CheckpointNotFound(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointMismatch(f"{path.name} is no adapter (format {header.get('format')!r})")
            raw = json.loads(header["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except SafetensorError as error:
        raise CheckpointMismatch(f"{path.name} is no readable adapter: {error}") from error
    return Adapter(LoraConfig(int(raw["rank"]), float(raw["alpha"]), tuple(raw["targets"])), tensors)
