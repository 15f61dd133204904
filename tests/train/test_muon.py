"""Muon: its step against the singular value decomposition, and a run with it against its own resumption."""

import pytest
import torch
from torch import nn

from dia.train.muon import ADAM_STEP, Muon, orthogonal


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 24, 40), (2, 40, 16)])
def test_a_step_is_near_the_orthogonal_matrix_of_the_decomposition(shape: tuple[int, int, int], dtype: torch.dtype):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    found = orthogonal(matrices, dtype)
    assert found.dtype == torch.float32
    singular = torch.linalg.svdvals(found)
    assert singular.min() > 0.6 and singular.max() < 1.25
    cosine = nn.functional.cosine_similarity(found.flatten(1), (left @ right).flatten(1))
    assert (cosine > 0.97).all()


def test_matrices_of_one_shape_step_as_each_would_alone():
    torch.manual_seed(1)
    together = [nn.Parameter(torch.randn(6, 9)) for _ in range(3)] + [nn.Parameter(torch.randn(9, 6))]
    alone = [nn.Parameter(one.detach().clone()) for one in together]
    first, others = Muon(together, 0.1, weight_decay=0.1), [Muon([one], 0.1, weight_decay=0.1) for one in alone]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        first.step()
        for optimizer in others:
            optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_has_the_size_of_adams():
    parameter = nn.Parameter(torch.zeros(64, 128))
    parameter.grad = torch.randn(64, 128)
    Muon([parameter], 1e-3).step()
    assert parameter.detach().square().mean().sqrt().item() == pytest.approx(1e-3 * ADAM_STEP, rel=0.15)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="matrices"):
        Muon([nn.Parameter(torch.zeros(3))], 1e-3)
