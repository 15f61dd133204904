"""Codebooks fitted to measured sound, and the quantiser of a DacModel that holds them.

Spectra are turned onto their main directions and quantised by residual k-means, each book on what the ones before left
over (product of Juang and Gray 1982, as in every residual codec). One book is not fitted: the code of the voice
(`dia.train.analysis`). Nothing here needs gradients; a corpus of two hours takes minutes.

Legend: `T` frames, `C` codebooks, `K` directions kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dia.errors import BadInput, BadParameter
from dia.train.analysis import Analysis, AnalysisShape, voice_vectors
from dia.train.tensorfile import open_tensors, save_tensors

FORMAT = "dia-books-1"
TENSORS = ("mean", "directions", "spread", "tables")
VOICE_CHANNEL = 1
"""The channel of the voice's code: behind the first book, which says most of what is spoken."""
ROUNDS, FULL_ROUNDS, DRAWN = 30, 4, 65_536


@dataclass(frozen=True)
class Books:
    """`mean` [slices * bands], `directions` [slices * bands, K], `spread` [K] (standard deviations, bounded below),
    `tables` [C - 1, codes, K]: all float32, of spectra as `analyse` gives them."""

    shape: AnalysisShape
    mean: np.ndarray
    directions: np.ndarray
    spread: np.ndarray
    tables: np.ndarray

    @property
    def channels(self) -> int:
        return len(self.tables) + 1

    def encode(self, analysis: Analysis) -> np.ndarray:
        """Codes int16 [T, C] of measured sound."""
        rest = torch.from_numpy((analysis.spectra - self.mean) @ self.directions)
        codes = []
        for table in torch.from_numpy(self.tables):
            chosen = nearest(rest, table)
            rest = rest - table[chosen]
            codes.append(chosen.numpy())
        codes.insert(VOICE_CHANNEL, analysis.voice)
        return np.stack(codes, 1).astype(np.int16)

    def save(self, path: Path) -> None:
        """Write one safetensors file; an interrupted write leaves the old file."""
        header = {name: repr(value) for name, value in asdict(self.shape).items()}
        save_tensors(path, FORMAT, {name: getattr(self, name) for name in TENSORS}, header)

    @classmethod
    def open(cls, path: Path) -> Books:
        """Read what `save` wrote.

        Raises:
            CheckpointNotFound: no such file. CheckpointMismatch: another kind of file.
        """
        with open_tensors(path, FORMAT, "codebooks", "dia data books") as (file, header):
            defaults = asdict(AnalysisShape())
            shape = AnalysisShape(**{name: type(value)(float(header[name])) for name, value in defaults.items()})
            return cls(shape, *(file.get_tensor(name) for name in TENSORS))


def nearest(points: Tensor, table: Tensor) -> Tensor:
    """Index [n] of the nearest row of `table` to each of `points` [n, K]."""
    squares = table.square().sum(1)
    return torch.cat([(squares - 2 * block @ table.T).argmin(1) for block in points.split(DRAWN)])


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


def code_tables(books: Books) -> np.ndarray:
    """The code vectors of all channels as `install` puts them into a DacModel, float32 [C, codes, voice values]."""
    count, codes, width = books.tables.shape
    tables = np.zeros((count, codes, books.shape.voice_values), np.float32)
    tables[..., :width] = books.tables
    tables[..., width] = 8.0 * np.linalg.norm(books.tables, axis=-1).max()
    return np.insert(tables, VOICE_CHANNEL, voice_vectors(books.shape), axis=0)


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
