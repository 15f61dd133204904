"""Matrix products made ready for few rows: weights laid out for the CPU, or held as 8-bit integers.

A decode step multiplies every weight with a handful of rows, so it is bound by reading the weights. MKL reads row-major
float32 weights at the memory's whole speed for up to three rows on Intel's processors with AVX512, and at half of it or
less for more rows and elsewhere; oneDNN keeps the speed there, from its blocked layout or, with AVX512, from the
row-major one, which then need not be copied at all. Weights in 8 bits are a quarter of the bytes, with one scale per output. "int8"
quantises the rows that come in as well, with one scale for all of them, which is fastest for large models and many rows;
"int8-weights" leaves them alone, so that a request's codes never depend on what else is in its step; torch has that product
for other devices, too.
"""

import ctypes
import mmap
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from dia.config import DiaConfig
from dia.device import Placement
from dia.errors import BadParameter, DeviceUnavailable
from dia.layers import DiaModel

Quantization = Literal["int8", "int8-weights"]
QUANTIZATIONS: tuple[Quantization, ...] = ("int8", "int8-weights")

PACK_FROM = 1 << 14
"""Weights of a matrix below which the layout makes no difference: they stay in the cache."""
MKL_ROWS = 3
"""Rows that MKL multiplies at the memory's speed with AVX512 (two cores, 16384 x 2048 weights: 23, 22 and 23 GB/s for 1
to 3 rows and 11 for 4; oneDNN 23, 17, 17 and 18)."""
WHOLE_COLUMNS = 32
"""Weights are padded with zeros to a multiple of so many columns. With AVX512 the product of 8-bit weights and bfloat16
rows reads beyond the end where the width is no multiple of 16 (torch 2.13: wrong sums at 24 and 40 columns, or a crash)."""
PACK_ROWS = 2
"""Rows that the layout is chosen for. 2 to 256 all give the same one, byte for byte (AVX512); 1 gives row-major order."""


class PackedLinear(nn.Module):
    """A bias-free linear layer whose float32 weight lies in oneDNN's blocked layout; the product is the same."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), PACK_ROWS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], "")

    def dense(self) -> torch.Tensor:
        """The weight [out, in] in the ordinary layout."""
        return self._packed.to_dense()

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.dense()


class RowMajorLinear(nn.Module):
    """A bias-free linear layer over a float32 weight as it lies, even in a mapped file: MKL for few rows, else oneDNN."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() <= MKL_ROWS * self.in_features:
            return F.linear(x, self.weight)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")


class Int8Linear(nn.Module):
    """A bias-free linear layer with 8-bit weights, one scale per output, and rows quantised as they come.

    Relative error of one product on Gaussian data: 1 to 2 %.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        exact = weight.detach().float()
        scale = exact.abs().amax(1).clamp_min(1e-12).double() / 127
        zero = torch.zeros(len(scale), dtype=torch.int64)
        with warnings.catch_warnings():
            # The quantised tensor types are announced as deprecated; the product on them is still the fastest here.
            warnings.simplefilter("ignore")
            quantised = torch.quantize_per_channel(exact, scale, zero, 0, torch.qint8)
            torch.backends.quantized.engine = (
                "x86" if "x86" in torch.backends.quantized.supported_engines else "qnnpack"
            )
            self._packed = torch.ops.quantized.linear_prepack(quantised, None)
        # Without VNNI two products are added in 16 bits; seven-bit rows cannot overflow there.
        self._reduce_range = not torch.cpu._is_vnni_supported()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = torch.ops.quantized.linear_dynamic(x.float(), self._packed, self._reduce_range)
        return product.to(x.dtype)

    def dense(self) -> torch.Tensor:
        """The weight [out, in] as quantised, in float32."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weight, _ = torch.ops.quantized.linear_unpack(self._packed)
        return weight.dequantize()

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.dense()


class WeightOnlyLinear(nn.Module):
    """A bias-free linear layer with 8-bit weights, one scale per output, and rows by themselves: on a CPU in bfloat16,
    elsewhere in what they come in (torch's CUDA kernel sums in float32 and gives each output a warp of its own).

    Relative error of one product on Gaussian data: 0.8 %.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        exact = weight.detach().float()
        # The product takes scales in bfloat16; rounded first, they cost no exactness.
        self._scale = (exact.abs().amax(1).clamp_min(1e-12) / 127).to(torch.bfloat16)
        whole = (exact / self._scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self._padding = -self.in_features % WHOLE_COLUMNS
        self._whole = F.pad(whole, (0, self._padding))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = (x.to(torch.bfloat16) if x.device.type == "cpu" else x).reshape(-1, self.in_features)
        if self._padding:
            rows = F.pad(rows, (0, self._padding))
        product = torch._weight_int8pack_mm(rows, self._whole, self._scale)
        return product.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def dense(self) -> torch.Tensor:
        """The weight [out, in] as quantised, in float32."""
        return self._whole[:, : self.in_features] * self._scale.float()[:, None]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.dense()


def choose_quantization(name: str | None, config: DiaConfig, placement: Placement) -> Quantization | None:
    """What the weights are held in: what was asked for ("none": nothing), else what the checkpoint advises.

    The advice is for processors that compute in float32, and is not taken where this build of torch cannot.

    Raises:
        BadParameter: an unknown name. DeviceUnavailable: asked for, and not on this device or in this build of torch.
    """
    if name is None:
        advised = config.quantization
        exact_cpu = placement.device.type == "cpu" and placement.dtype == torch.float32
        return advised if advised is not None and exact_cpu and has_products(advised, "cpu") else None
    if name == "none":
        return None
    if name not in QUANTIZATIONS:
        raise BadParameter(f"quantization {name!r} is not known; use {', '.join(QUANTIZATIONS)} or none")
    device = placement.device.type
    if name == "int8" and device != "cpu":
        raise DeviceUnavailable(
            f"quantization int8 runs on the CPU only, not on {device}; use int8-weights or none there"
        )
    if not has_products(name, device):
        raise DeviceUnavailable(f"this build of torch has no {name} products on {device}; leave quantization out")
    return name


def has_products(name: Quantization, device: str) -> bool:
    """Whether this build of torch multiplies such weights on a kind of device (cpu, cuda, mps)."""
    if name == "int8" and device != "cpu":
        return False
    if name == "int8-weights":
        key = {"cpu": "CPU", "cuda": "CUDA", "mps": "MPS"}[device]
        return torch._C._dispatch_has_kernel_for_dispatch_key("aten::_weight_int8pack_mm", key)
    return bool(set(torch.backends.quantized.supported_engines) & {"x86", "qnnpack"})


def can_pack() -> bool:
    """Whether this build of torch has oneDNN's blocked layout."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def has_fast_mkl() -> bool:
    """Whether MKL multiplies few rows at the memory's speed: an Intel processor with AVX512.

    By the processor's name and not by a timing, which could come out otherwise the next time, and with it the last bit
    of a sum.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"):
        return False
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "GenuineIntel" in platform.processor()  # Windows says it there


def prepare(model: DiaModel, quantization: Quantization | None = None) -> None:
    """Exchange the model's linear layers in place for those that decode fastest on its device; harmless when repeated.

    Without quantization only the CPU has any. With "int8" every product but the logit head's is quantised, with "int8-weights" the head's too.
    Layer by layer, so that memory peaks at the model's size and one layer.
    """
    if quantization == "int8":
        _exchange(model, Int8Linear, lambda name, _: not name.endswith("logits_dense"))
    if quantization == "int8-weights":
        _exchange(model, WeightOnlyLinear, lambda _, layer: True)
    if model.device.type == "cpu" and model.dtype == torch.float32 and can_pack():
        kind = RowMajorLinear if has_fast_mkl() else PackedLinear
        _exchange(model, kind, lambda _, layer: layer.weight.numel() >= PACK_FROM)


def _exchange(model: nn.Module, kind: type[nn.Module], wanted: Callable[[str, nn.Linear], bool]) -> None:
    # By name: a list of the layers themselves would keep all the old weights until the end.
    for name in [name for name, layer in model.named_modules() if type(layer) is nn.Linear]:
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Linear) and wanted(name, layer):
            weight = layer.weight.data
            setattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], kind(weight))
            if kind is not RowMajorLinear:  # the others hold a copy
                _page_out(weight)


_MADV_PAGEOUT = 21


def _page_out(weight: torch.Tensor) -> None:
    """Let go of the file pages behind a mapped weight that has been copied (Linux; elsewhere the system does in time).

    Only a hint: pages of a file are dropped and read again if ever needed; nothing is lost.
    """
    if sys.platform != "linux" or weight.device.type != "cpu":
        return
    start = -(-weight.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (weight.data_ptr() + weight.nbytes - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_PAGEOUT)
