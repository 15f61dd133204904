"""Residual vector quantisation while a codec learns: codebooks follow averages, unused codes move.

The modules are DacModel's own (in_proj, codebook, out_proj); only the training rule is ours. Codebooks
are exponential averages of the latents assigned to them (van den Oord et al. 2017, appendix A.1), which
settles in far fewer steps than gradients; a code that is hardly chosen is moved onto a latent of the
present batch (as in Jukebox, Dhariwal et al. 2020). Assignment is by cosine, as DacModel encodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Quantised:
    """`hidden` [batch, width, frames] with straight-through gradient, `codes` [batch, books, frames]."""

    hidden: Tensor
    codes: Tensor
    commitment: Tensor


class CodebookTrainer(nn.Module):
    """Averages and use counts of every codebook; its buffers belong into the checkpoint."""

    usage: Tensor
    sums: Tensor

    def __init__(self, quantizer: Any, decay: float = 0.99, restart_below: float = 0.1) -> None:
        super().__init__()
        books = len(quantizer.quantizers)
        size, dim = quantizer.quantizers[0].codebook.weight.shape
        self.decay = decay
        self.restart_below = restart_below
        self.register_buffer("usage", torch.zeros(books, size))
        self.register_buffer("sums", torch.zeros(books, size, dim))
        self.books = books
        for book in quantizer.quantizers:
            book.codebook.weight.requires_grad_(False)

    def quantise(
        self, quantizer: Any, hidden: Tensor, *, kept_books: Tensor | None = None, through: bool = False
    ) -> Quantised:
        """Quantise [batch, width, frames]; in training mode the codebooks follow.

        `kept_books` [batch] says how many books each item uses (quantiser dropout); None = all.
        `through` lets the projected latents pass unquantised and leaves the codebooks alone: the first
        steps of a run need it, or the encoder collapses onto one point before it has said anything.
        """
        residual, total = hidden, torch.zeros_like(hidden)
        commitment = hidden.new_zeros(())
        codes = []
        for index, book in enumerate(quantizer.quantizers):
            latents = book.in_proj(residual)
            flat = latents.detach().transpose(1, 2).reshape(-1, latents.shape[1])
            if self.training and not through and not self.usage[index].any():
                self._start(index, book, flat)
            chosen = nearest_codes(flat, book.codebook.weight)
            values = functional.embedding(chosen, book.codebook.weight)
            values = values.reshape(latents.shape[0], latents.shape[2], -1).transpose(1, 2)
            # Relative to the spread of the latents, so that shrinking all of them is no way to a smaller loss.
            spread = flat.var(0).mean().clamp_min(1e-8)
            commitment = commitment + functional.mse_loss(latents, values) / spread
            if self.training and not through:
                self._follow(index, book, flat, chosen)
            passed = book.out_proj(latents if through else latents + (values - latents).detach())
            if kept_books is not None:
                passed = passed * (kept_books > index)[:, None, None]
            total = total + passed
            residual = residual - passed
            codes.append(chosen.reshape(latents.shape[0], latents.shape[2]))
        return Quantised(total, torch.stack(codes, 1), commitment / self.books)

    @torch.no_grad()
    def adopt(self, quantizer: Any, expected: float) -> None:
        """Take finished codebooks for a start: each code counts as used `expected` times a step so far."""
        for index, book in enumerate(quantizer.quantizers):
            self.usage[index].fill_(expected)
            self.sums[index].copy_(book.codebook.weight * expected)

    @torch.no_grad()
    def _start(self, index: int, book: Any, flat: Tensor) -> None:
        size = book.codebook.weight.shape[0]
        drawn = flat[torch.randint(len(flat), (size,), device=flat.device)]
        book.codebook.weight.copy_(drawn + 0.01 * drawn.std() * torch.randn_like(drawn))
        expected = len(flat) / size
        self.usage[index].fill_(expected)
        self.sums[index].copy_(book.codebook.weight * expected)

    @torch.no_grad()
    def _follow(self, index: int, book: Any, flat: Tensor, chosen: Tensor) -> None:
        size = book.codebook.weight.shape[0]
        counts = torch.zeros(size, device=flat.device).index_add_(0, chosen, torch.ones(len(flat), device=flat.device))
        sums = torch.zeros_like(self.sums[index]).index_add_(0, chosen, flat)
        self.usage[index].lerp_(counts, 1 - self.decay)
        self.sums[index].lerp_(sums, 1 - self.decay)
        expected = len(flat) / size
        unused = (self.usage[index] < self.restart_below * expected).nonzero()[:, 0]
        if len(unused):
            drawn = flat[torch.randint(len(flat), (len(unused),), device=flat.device)]
            self.usage[index, unused] = expected
            self.sums[index, unused] = drawn * expected
        book.codebook.weight.copy_(self.sums[index] / self.usage[index].clamp_min(1e-6)[:, None])

    def perplexity(self) -> list[float]:
        """Effective number of codes in use, per codebook (1 … codebook size)."""
        odds = self.usage / self.usage.sum(1, keepdim=True).clamp_min(1e-9)
        entropy = -(odds * odds.clamp_min(1e-12).log()).sum(1)
        return [float(value) for value in entropy.exp()]


@torch.no_grad()
def nearest_codes(flat: Tensor, codebook: Tensor) -> Tensor:
    """Index [n] of the codeword with the largest cosine to each row of `flat` [n, dim]."""
    return (functional.normalize(flat) @ functional.normalize(codebook).t()).argmax(1)
