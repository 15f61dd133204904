"""A short name for the weights of a model, in which every bit counts, for the price of reading them twice."""

import hashlib
import math
from collections.abc import Mapping

import torch


def fingerprint(header: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Twelve hex digits that follow from the header, the names, and every bit of the tensors.

    Each tensor is laid out as a square of 64-bit words, and the sums of all rows and of all columns go into a SHA-256,
    with what the square leaves over: neither a changed value nor an exchange of two can go unseen. It is no protection
    against a forger. On a GPU the sums are made there.
    """
    digest = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        stored = tensor.detach().contiguous().flatten().view(torch.uint8)
        if stored.storage_offset() % 8:  # a mapped file may begin a tensor between two words
            stored = stored.clone()
        edge = math.isqrt(len(stored) // 8)
        square = stored[: 8 * edge * edge].view(torch.int64).view(edge, edge)
        for part in (square.sum(0), square.sum(1), stored[8 * edge * edge :]):
            digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
