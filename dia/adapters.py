"""Adapters: low-rank changes to a checkpoint's linear layers, in a small file of their own (LoRA, Hu et al. 2021).

Beside the weight W of a layer lie A [rank, in] and B [out, rank]; with the adapter the layer has W + (alpha / rank) B A.
Knows names and shapes of weights, no model; nothing in a file is ever unpickled.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dia.errors import CheckpointMismatch, CheckpointNotFound, OutputUnwritable
from dia.fingerprint import fingerprint
from dia.tensorfile import fold_names

__all__ = ["MARKED", "Adapter", "load_adapter", "mark_of", "save_adapter"]

FORMAT = "dia-lora-2"
MARKED = "decoder.embedding.weight"
"""The weight whose first row an adapter keeps, to know its checkpoint again in any dialect and number type."""
_MARK = "base_mark"


@dataclass(frozen=True)
class Adapter:
    """Two adapters are equal if they do the same to the weights, whatever their files are called.

    Attributes:
        name: of its file, for messages.
        rank, alpha: see the module.
        pairs: A and B, float32 on the CPU, by the layer's name.
        mark: see `mark_of`, of the checkpoint beside which it was trained.
        id: twelve hex digits of what it does.
    """

    name: str = field(compare=False)
    rank: int = field(compare=False)
    alpha: float = field(compare=False)
    pairs: Mapping[str, tuple[Tensor, Tensor]] = field(compare=False, repr=False)
    mark: Tensor = field(compare=False, repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        header = f"{FORMAT} {self.rank} {self.alpha!r}"
        object.__setattr__(self, "id", fingerprint(header, _flat(self.pairs)))

    def check(self, shapes: Mapping[str, tuple[int, ...]], mark: Tensor) -> None:
        """Whether it fits a checkpoint with weights of these names and shapes, and this mark.

        Raises:
            CheckpointMismatch: lists the layers that do not fit, or says that it was trained beside other weights.
        """
        missing = [name for name in self.pairs if f"{name}.weight" not in shapes]
        wrong = [
            f"{name} would be {[len(b), a.shape[1]]}, is {list(shapes[f'{name}.weight'])}"
            for name, (a, b) in self.pairs.items()
            if name not in missing and shapes[f"{name}.weight"] != (len(b), a.shape[1])
        ]
        cure = "use it with the model that it was trained on, or train one on this model with `dia finetune`"
        if missing or wrong:
            problems = [f"this model has no {fold_names(missing)}"] if missing else []
            problems += [", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")] * bool(
                wrong
            )
            raise CheckpointMismatch(
                f"the adapter {self.name} was made for another architecture: {'; '.join(problems)}; {cure}"
            )
        if self.mark.shape != mark.shape or not torch.allclose(self.mark, mark.float().cpu(), rtol=1e-2, atol=1e-5):
            raise CheckpointMismatch(
                f"the adapter {self.name} was trained beside other weights than this model has; {cure}"
            )

    def changes(self, weight_name: str) -> bool:
        """Whether the weight of that name is another with the adapter."""
        return weight_name.removesuffix(".weight") in self.pairs

    def added(self, weight_name: str, weight: Tensor) -> Tensor:
        """The weight [out, in] with the adapter: float32, on its device, a tensor of its own."""
        a, b = (tensor.to(weight.device) for tensor in self.pairs[weight_name.removesuffix(".weight")])
        return torch.addmm(weight.float(), b, a, alpha=self.alpha / self.rank)


def mark_of(weight: Tensor) -> Tensor:
    """What tells a checkpoint from others of its architecture, float32 on the CPU, from its weight `MARKED`.

    Compared within 1 %, so that it is the same in every number type.
    """
    return weight[0].detach().float().cpu()


def _flat(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}.{part}": tensor for name, pair in pairs.items() for part, tensor in zip("ab", pair, strict=True)}


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Write one .safetensors file; an interrupted write leaves the old one.

    Raises:
        OutputUnwritable
    """
    header = {"format": FORMAT, "rank": str(adapter.rank), "alpha": repr(adapter.alpha)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _flat(adapter.pairs).items()}
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # As bytes, for the library makes files that their owner alone can read; a server may run as somebody else.
        temporary.write_bytes(save({**tensors, _MARK: adapter.mark}, metadata=header))
        os.replace(temporary, path)
    except OSError as error:
        raise OutputUnwritable(f"{path} cannot be written: {error.strerror}; choose another folder") from error


def load_adapter(path: str | os.PathLike[str]) -> Adapter:
    """Read an adapter whole.

    Raises:
        CheckpointNotFound: no such file. CheckpointMismatch: another kind of file, damaged, or of an older version.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        inside = " (a folder; name the file in it)" if path.is_dir() else ""
        raise CheckpointNotFound(f"the adapter {path} is no file{inside}; `dia finetune` makes adapter.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            if header.get("format") == FORMAT:
                # Copied, so that whoever writes over the file changes nothing here.
                tensors = {name: file.get_tensor(name).float().clone() for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(
            f"{path.name} is no readable adapter ({error}); an adapter is a .safetensors file of `dia finetune`"
        ) from error
    if header.get("format") == "dia-lora-1":
        raise CheckpointMismatch(
            f"{path.name} does not say which model it belongs to; run `dia finetune` once more with the same --run, which "
            "writes it anew without training"
        )
    if header.get("format") != FORMAT:
        raise CheckpointMismatch(
            f"{path.name} is no adapter of Dia (format {header.get('format')!r}); `dia finetune` makes adapter.safetensors"
        )
    try:
        return _checked(path.name, header, tensors)
    except (KeyError, ValueError) as error:
        raise CheckpointMismatch(f"the adapter {path.name} is damaged ({error}); make it anew") from error


def _checked(name: str, header: Mapping[str, str], tensors: dict[str, Tensor]) -> Adapter:
    """Raises KeyError, ValueError: what is missing or wrong."""
    rank, alpha, mark = int(header["rank"]), float(header["alpha"]), tensors.pop(_MARK)
    if rank < 1 or not math.isfinite(alpha):
        raise ValueError(f"rank {rank}, alpha {alpha:g}")
    layers = sorted({key.rpartition(".")[0] for key in tensors})
    pairs = {layer: (tensors.pop(f"{layer}.a"), tensors.pop(f"{layer}.b")) for layer in layers}
    if tensors or not pairs:
        raise ValueError(f"unknown tensors: {fold_names(tensors) or 'none at all'}")
    for layer, (a, b) in pairs.items():
        if a.ndim != 2 or b.ndim != 2 or not len(a) == b.shape[1] == rank:
            raise ValueError(f"{layer} has A {list(a.shape)} and B {list(b.shape)}, the rank is {rank}")
        if not (a.isfinite().all() and b.isfinite().all()):
            raise ValueError(f"{layer} holds values that are not finite")
    return Adapter(name, rank, alpha, pairs, mark)
