"""Weight files of every kind as one mapping of names to tensors: mapped, read one at a time, no code in them run."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from dia.errors import CheckpointMismatch
from dia.tensorfile import load_pickle


class SafetensorsFile:
    """One .safetensors file, mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt")
            names = list(self._file.keys())
            self.shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in names}
        except (SafetensorError, OSError) as error:
            raise CheckpointMismatch(f"{path.name} is not a readable safetensors file: {error}") from error

    def view(self, name: str) -> torch.Tensor:
        """The tensor as a view of the mapped file."""
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor

    def once(self, name: str) -> torch.Tensor:
        """The tensor through a mapping of its own, whose pages go when the tensor does."""
        with safe_open(self.path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor


class PickleFile:
    """One .pth or .bin file: tensors only, mapped where the format allows it. Code in it is refused, not run."""

    def __init__(self, path: Path) -> None:
        loaded = load_pickle(path)
        if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
            loaded = loaded["state_dict"]
        if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
            raise CheckpointMismatch(f"{path.name} does not hold a dictionary of tensors")
        self._tensors: dict[str, torch.Tensor] = {str(name): tensor for name, tensor in loaded.items()}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def view(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    once = view


def open_weights(path: Path) -> SafetensorsFile | PickleFile:
    """Open one weight file by its suffix.

    Raises:
        CheckpointMismatch: another suffix, a damaged file, a file with code in it.
    """
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if path.suffix in (".pth", ".bin", ".pt"):
        return PickleFile(path)
    raise CheckpointMismatch(f"{path.name}: weights must be .safetensors, .bin, .pt or .pth")


class WeightSet:
    """All weight files of a checkpoint as one mapping of names."""

    def __init__(self, paths: list[Path]) -> None:
        self._home: dict[str, SafetensorsFile | PickleFile] = {}
        for path in paths:
            file = open_weights(path)
            for name in file.shapes:
                self._home[name] = file
        self.shapes = {name: file.shapes[name] for name, file in self._home.items()}

    def view(self, name: str) -> torch.Tensor:
        return self._home[name].view(name)

    def once(self, name: str) -> torch.Tensor:
        return self._home[name].once(name)
