"""What the host tells a step and what it gets back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]

MIN_CANDIDATES = 64
"""Tokens kept per channel before top-k masks them to each request's own number; grows in powers of two when asked."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step wrote: `packed` int64 [n, C + 2] holds the new row, the slot's eos_row and 1 where the logits were
    finite. `done` is set where `packed` is being copied to the host while later work is launched."""

    packed: torch.Tensor
    done: "torch.cuda.Event | None" = None

    @property
    def is_ready(self) -> bool:
        """Whether `read` would return without waiting for the device."""
        return self.done is not None and self.done.query()

    def read(self) -> Array:
        """Wait for the step and give back `packed`."""
        if self.done is not None:
            self.done.synchronize()
        return self.packed.numpy(force=True).copy()


@dataclass(frozen=True, slots=True)
class StepShape:
    """What the host knows about a step before it is made.

    Attributes:
        count: n, slots 0 … n-1 run.
        span: at least the rows of the longest, the new one excluded.
        text_span: at least the longest text.
        top_k: at least the largest cfg_filter_top_k.
        combined: whether any request uses the "combined" guidance.
        guided: whether any request is guided at all; without, the unconditional branch is left out.
    """

    count: int
    span: int
    text_span: int
    top_k: int
    combined: bool = False
    guided: bool = True

    def candidates(self, vocabulary: int) -> int:
        return min(max(MIN_CANDIDATES, 1 << (self.top_k - 1).bit_length()), vocabulary)
