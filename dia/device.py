"""Where tensors live and how precise they are: chosen once, handed on as a value."""

from dataclasses import dataclass
from enum import Enum

import torch

from dia.errors import BadParameter, DeviceUnavailable


class ComputeDtype(str, Enum):
    """The number types that a model can compute in; their names as plain strings mean the same."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


DTYPES: dict[str, torch.dtype] = {kind.value: getattr(torch, kind.value) for kind in ComputeDtype}


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and the number type of weights and activations on it."""

    device: torch.device
    dtype: torch.dtype

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def choose_device(name: "str | torch.device | None" = None) -> torch.device:
    """The device of that name, or for None the best one here: CUDA, else MPS, else CPU.

    Raises:
        DeviceUnavailable: the name is no device, or this machine has none such.
    """
    if name is None or name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceUnavailable(f"{name!r} is no device name; use cpu, cuda, cuda:0 or mps") from error
    if device.type == "cuda" and not _cuda_has(device.index):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise DeviceUnavailable(f"device {name} is not here ({count} CUDA devices found); use cpu or leave it to auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceUnavailable("device mps is not here; it needs a Mac with Apple silicon; use cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceUnavailable(f"device {name} is not supported; use cpu, cuda or mps")
    return device


def _cuda_has(index: int | None) -> bool:
    return torch.cuda.is_available() and (index or 0) < torch.cuda.device_count()


def imitates_bfloat16(device: torch.device) -> bool:
    """Whether this is an x86 processor that has to imitate bfloat16 (no AVX512-BF16, no AMX).

    Products then take 6 to 25 times as long as in float32 (measured on a Zen 1 EPYC). False where it cannot be told.
    """
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    has = torch.cpu.get_capabilities()
    return has.get("architecture") == "x86_64" and not (has.get("avx512_bf16") or has.get("amx_bf16"))


def choose_dtype(device: torch.device, name: "str | torch.dtype | None" = None) -> torch.dtype:
    """The number type of that name; for None: bfloat16 on CUDA (float16 where it lacks that), else float32.

    A CPU without bfloat16 instructions computes it five times slower than float32, so it is never chosen here.

    Raises:
        BadParameter: not one of float32, float16, bfloat16.
    """
    if name is None or name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if isinstance(name, torch.dtype):
        name = str(name).removeprefix("torch.")
    name = getattr(name, "value", name)
    if name not in DTYPES:
        raise BadParameter(f"compute_dtype {name!r} is not known; use one of {', '.join(DTYPES)}")
    return DTYPES[name]


def place(device: "str | torch.device | None" = None, dtype: "str | torch.dtype | None" = None) -> Placement:
    """Device and number type together; see `choose_device` and `choose_dtype` for the rules and errors."""
    chosen = choose_device(device)
    return Placement(chosen, choose_dtype(chosen, dtype))


def free_memory_bytes(device: torch.device) -> int | None:
    """Memory that may still be allocated, in bytes; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
