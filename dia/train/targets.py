"""Frames to teacher-forced rows: the delayed grid with BOS in front, EOS on each channel's own step, PAD behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from dia.config import DataConfig
from dia.train.dialogues import Dialogue, expected_places

IGNORED = -100


class Framed(Protocol):
    """Anything that lasts some frames."""

    @property
    def frames(self) -> int: ...


Item = TypeVar("Item", bound=Framed)


def delayed_grid(codes: np.ndarray, data: DataConfig) -> np.ndarray:
    """Codes [F, C] to int64 rows [F + 2 + max delay, C].

    Channel c is BOS in rows 0 … d, holds frame f in row 1 + f + d, EOS in row 1 + F + d and PAD behind.
    """
    frames, channels = codes.shape
    grid = np.full((frames + 2 + data.max_delay, channels), data.audio_pad_value, dtype=np.int64)
    for channel, delay in enumerate(data.delay_pattern):
        grid[: delay + 1, channel] = data.audio_bos_value
        grid[delay + 1 : delay + 1 + frames, channel] = codes[:, channel]
        grid[delay + 1 + frames, channel] = data.audio_eos_value
    return grid


@dataclass(frozen=True)
class Batch:
    """Padded examples.

    `ids` int64 [R, S]; `text_mask` bool [R, S]; `rows` int64 [R, T, C], what the decoder reads; `targets` int64
    [R, T, C], the next row, `IGNORED` where nothing is to be predicted; `places` float32 [R, T], where in the text
    each row should look; `real` bool [R, T], rows that belong to the example.
    """

    ids: Tensor
    text_mask: Tensor
    rows: Tensor
    targets: Tensor
    places: Tensor
    real: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def make_batch(dialogues: Sequence[Dialogue], data: DataConfig) -> Batch:
    """Teacher-forced batch of some dialogues."""
    grids = [delayed_grid(dialogue.codes, data) for dialogue in dialogues]
    count, length = len(grids), max(len(grid) for grid in grids) - 1
    span = max(len(dialogue.ids) for dialogue in dialogues)
    ids = np.zeros((count, span), dtype=np.int64)
    rows = np.full((count, length, data.channels), data.audio_pad_value, dtype=np.int64)
    targets = np.full((count, length, data.channels), IGNORED, dtype=np.int64)
    places = np.zeros((count, length), dtype=np.float32)
    real = np.zeros((count, length), dtype=bool)
    for item, (dialogue, grid) in enumerate(zip(dialogues, grids, strict=True)):
        ids[item, : len(dialogue.ids)] = dialogue.ids
        size = len(grid) - 1
        rows[item, :size] = grid[:-1]
        after = grid[1:]
        known = (after != data.audio_bos_value) & (after != data.audio_pad_value)
        targets[item, :size] = np.where(known, after, IGNORED)
        places[item, :size] = expected_places(dialogue, size)
        real[item, :size] = True
    text = torch.from_numpy(ids)
    return Batch(
        text,
        text != data.text_pad_value,
        *(torch.from_numpy(array) for array in (rows, targets, places, real)),
    )


def spoken_places(batch: Batch) -> Tensor:
    """Where the frame stands that each row reads, float32 [R, T]: row t reads frame t - 1, row 0 the first to come."""
    return torch.cat([batch.places[:, :1], batch.places[:, :-1]], 1)


def group_by_length(items: Sequence[Item], max_rows: int, order: np.random.Generator) -> list[list[Item]]:
    """Batches of similar length with at most `max_rows` padded rows each, in random order."""
    batches: list[list[Item]] = []
    current: list[Item] = []
    for item in sorted(items, key=lambda item: item.frames):
        if current and (len(current) + 1) * item.frames > max_rows:
            batches.append(current)
            current = []
        current.append(item)
    if current:
        batches.append(current)
    return [batches[int(place)] for place in order.permutation(len(batches))]
