"""Codebooks of measured sound: what quantises a spectrum, and the code vectors that a DacModel holds for it.

Spectra are turned onto their main directions and quantised one book after the other, each on what the ones before left
over. One channel is no book but the code of the voice (`dia.measured.analysis`).

Legend: `T` frames, `C` codebooks, `K` directions kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dia.measured.analysis import Analysis, AnalysisShape, analyse, voice_vectors
from dia.tensorfile import open_tensors, save_tensors

BOOKS_FILE = "books.safetensors"
"""The codebooks in a codec's folder."""
FORMAT = "dia-books-1"
TENSORS = ("mean", "directions", "spread", "tables")
VOICE_CHANNEL = 1
"""The channel of the voice's code: behind the first book, which says most of what is spoken."""
AT_ONCE = 65_536


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

    def encode_waveform(self, waveform: np.ndarray) -> np.ndarray:
        """Codes int16 [T, C] of float [samples], padded with silence to whole frames."""
        return self.encode(analyse(waveform, self.shape))

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
    return torch.cat([(squares - 2 * block @ table.T).argmin(1) for block in points.split(AT_ONCE)])


def code_tables(books: Books) -> np.ndarray:
    """The code vectors of all channels as `install` puts them into a DacModel, float32 [C, codes, voice values]."""
    count, codes, width = books.tables.shape
    tables = np.zeros((count, codes, books.shape.voice_values), np.float32)
    tables[..., :width] = books.tables
    tables[..., width] = 8.0 * np.linalg.norm(books.tables, axis=-1).max()
    return np.insert(tables, VOICE_CHANNEL, voice_vectors(books.shape), axis=0)
