"""Muon: momentum whose steps are made orthogonal, for the matrices inside a network (Jordan et al. 2024).

Adam scales every weight by itself. A matrix's gradient mostly has a few strong directions, and Adam's steps keep them;
here each step is replaced by the nearest orthogonal matrix, so that weak directions are learnt as fast as strong ones.
Embeddings, norms and the logit head stay with AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, chosen by the paper for speed: singular values end between 0.7 and 1.2."""
ITERATIONS = 5
ADAM_STEP = 0.2
"""Root mean square of a step of AdamW at rate 1; steps are scaled to it, so that both take the same rate (Liu et al.
2025)."""


def orthogonal(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The orthogonal matrix near each of a stack, float32 [N, rows, columns], by Newton-Schulz iteration.

    In bfloat16 the iteration is as good (it only has to come near) and half as long where the processor multiplies it.
    """
    a, b, c = QUINTIC
    upright = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if upright else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)).to(dtype)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + torch.baddbmm(square, square, square, beta=b, alpha=c) @ x
    return (x.mT if upright else x).float()


class Muon(torch.optim.Optimizer):
    """Takes matrices only; those of one shape are stepped together. `lr` and `weight_decay` are as for AdamW; `dtype` is
    what the iteration computes in."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._dtype = dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        if any(parameter.ndim != 2 for group in self.param_groups for parameter in group["params"]):
            raise ValueError("Muon takes matrices; give vectors and stacks to another optimiser")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever given
        """One step of every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                moved = torch.stack([self._moved(one, group["momentum"]) for one in parameters])
                steps = orthogonal(moved, self._dtype)
                scale = -group["lr"] * ADAM_STEP * max(shape) ** 0.5
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=scale)

    def _moved(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient with Nesterov's momentum, float32."""
        gradient = parameter.grad
        assert gradient is not None
        kept = self.state[parameter].setdefault("momentum", torch.zeros_like(gradient))
        kept.lerp_(gradient, 1 - momentum)
        return gradient.lerp(kept, momentum).float()
