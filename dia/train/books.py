"""Codebooks fitted to measured sound, and put into the quantiser of a DacModel.

Residual k-means, each book on what the ones before left over (product of Juang and Gray 1982, as in every residual
codec). Nothing here needs gradients; a corpus of two hours takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dia.errors import BadInput, BadParameter
from dia.measured.analysis import Analysis, AnalysisShape
from dia.measured.books import VOICE_CHANNEL, Books, code_tables, nearest

ROUNDS, FULL_ROUNDS, DRAWN = 30, 4, 65_536


def fit_books(
    measured: Sequence[Analysis], shape: AnalysisShape, *, channels: int = 9, directions: int = 64, seed: int = 0
) -> Books:
    """Fit mean, directions and books to a corpus.

    Raises:
        BadInput: fewer frames than codes. BadParameter: more directions than a code vector holds beside its constant.
    """
    if directions >= shape.voice_values:
        raise BadParameter(f"{directions} directions do not fit into code vectors of {shape.voice_values} values")
    spectra = torch.from_numpy(np.concatenate([one.spectra for one in measured]))
    if len(spectra) < shape.codebook_size:
        raise BadInput(f"{len(spectra)} frames of sound are too few for books of {shape.codebook_size} codes")
    mean = spectra.mean(0)
    spectra = spectra - mean
    _, vectors = torch.linalg.eigh(spectra.T @ spectra / len(spectra))
    basis = vectors.flip(1)[:, :directions].contiguous()
    rest = spectra @ basis
    spread = rest.std(0)
    generator = torch.Generator().manual_seed(seed)
    tables = []
    for _ in range(channels - 1):
        table = _kmeans(rest, shape.codebook_size, generator)
        rest = rest - table[nearest(rest, table)]
        tables.append(table)
    return Books(
        shape,
        mean.numpy(),
        basis.numpy(),
        spread.clamp_min(0.03 * float(spread[0])).numpy(),
        torch.stack(tables).numpy(),
    )


def _kmeans(points: Tensor, size: int, generator: torch.Generator) -> Tensor:
    table = points[torch.randperm(len(points), generator=generator)[:size]].clone()
    for number in range(ROUNDS):
        whole = number >= ROUNDS - FULL_ROUNDS
        drawn = points if whole else points[torch.randperm(len(points), generator=generator)[:DRAWN]]
        chosen = nearest(drawn, table)
        counts = torch.bincount(chosen, minlength=size)
        sums = torch.zeros_like(table).index_add_(0, chosen, drawn)
        table = sums / counts.clamp_min(1)[:, None]
        lost = (counts == 0).nonzero()[:, 0]
        table[lost] = drawn[torch.randint(len(drawn), (len(lost),), generator=generator)]
    return table


def code_dim(books: Books) -> int:
    """Width of a DacModel's code vectors that hold these books."""
    return int(code_tables(books).shape[-1])


def hidden_dim(books: Books) -> int:
    """How many values a frame has in front of the decoder."""
    return int(books.tables.shape[2]) + books.shape.voice_values


@torch.no_grad()
def install(books: Books, quantizer: Any) -> None:
    """Give a DacModel's quantiser these books: its hidden states are K directions of the spectrum, divided by the
    square root of their spread, and behind them the vector of the voice's code.

    DacModel chooses codes by cosine. A large constant beside each vector makes that the choice of the nearest one:
    all vectors then have nearly the same length.
    """
    count = books.tables.shape[2]
    scale = torch.from_numpy(books.spread).sqrt()
    tables = torch.from_numpy(code_tables(books))
    for channel, book in enumerate(quantizer.quantizers):
        for part in (book.in_proj, book.out_proj):
            part.weight.zero_()
            part.bias.zero_()
        book.codebook.weight.copy_(tables[channel])
        if channel == VOICE_CHANNEL:
            places = torch.arange(books.shape.voice_values)
            book.in_proj.weight[places, count + places, 0] = 1.0
            book.out_proj.weight[count + places, places, 0] = 1.0
        else:
            places = torch.arange(count)
            book.in_proj.weight[places, places, 0] = scale
            book.in_proj.bias[count] = tables[channel, 0, count]
            book.out_proj.weight[places, places, 0] = 1.0 / scale
