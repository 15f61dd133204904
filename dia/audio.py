"""The delay pattern: nine channels of one frame are emitted in different decoder rows.

Row `r` of channel `c` holds frame `r - delay[c]` (before the BOS row is put in front). All functions here move
integers; no waveform, no codec.

Legend: `B` items, `T` frames or rows, `C` channels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Indices = tuple[torch.Tensor, torch.Tensor]


def build_delay_indices(B: int, T: int, C: int, delay_pattern: Sequence[int]) -> Indices:
    """Where each cell of a delayed grid comes from.

    Returns `(source, flat)`: `source` [B, T, C] is the frame each cell takes, negative before a channel starts and
    `>= T` behind its end; `flat` [B*T*C, 3] are the (item, frame, channel) triples with the frame clamped into range.
    """
    return _indices(B, T, C, [-delay for delay in delay_pattern])


def build_revert_indices(B: int, T: int, C: int, delay_pattern: Sequence[int]) -> Indices:
    """The inverse of `build_delay_indices`: cell (t, c) of the frames comes from row `t + delay[c]`."""
    return _indices(B, T, C, list(delay_pattern))


def _indices(B: int, T: int, C: int, shifts: list[int]) -> Indices:
    if len(shifts) != C:
        raise ValueError(f"delay pattern has {len(shifts)} entries for {C} channels")
    source = (torch.arange(T)[:, None] + torch.tensor(shifts)[None, :]).expand(B, T, C)
    items = torch.arange(B)[:, None, None].expand(B, T, C)
    channels = torch.arange(C)[None, None, :].expand(B, T, C)
    frames = source.clamp(0, max(T - 1, 0))
    return source, torch.stack([items.reshape(-1), frames.reshape(-1), channels.reshape(-1)], dim=1)


def apply_audio_delay(audio: torch.Tensor, pad_value: int, bos_value: int, precomp: Indices) -> torch.Tensor:
    """Frames [B, T, C] to a delayed grid of the same shape: BOS before a channel starts, PAD behind its end.

    Append `max(delay)` rows of anything to `audio` first if the last frames must stay complete.
    """
    source, flat = (part.to(audio.device) for part in precomp)
    moved = audio[flat[:, 0], flat[:, 1], flat[:, 2]].view(audio.shape)
    moved = torch.where(source < 0, torch.full_like(moved, bos_value), moved)
    return torch.where(source >= audio.shape[1], torch.full_like(moved, pad_value), moved)


def revert_audio_delay(audio: torch.Tensor, pad_value: int, precomp: Indices, T: int) -> torch.Tensor:
    """A delayed grid [B, T, C] back to frames; cells whose row lies behind the grid become PAD.

    `T` is the number of rows that count as present (at most `audio.shape[1]`).
    """
    source, flat = (part.to(audio.device) for part in precomp)
    moved = audio[flat[:, 0], flat[:, 1], flat[:, 2]].view(audio.shape)
    return torch.where(source >= T, torch.full_like(moved, pad_value), moved)


def delay_prompt(codes: torch.Tensor, rows: int, delay_pattern: Sequence[int], bos_value: int) -> torch.Tensor:
    """The grid a request starts from: BOS row, the prompt in its delayed cells, -1 in every cell still free.

    Args:
        codes: prompt codes [P, C], P may be 0.
        rows: rows of the grid, at least `P + 1 + max(delay)`.

    Returns:
        int64 [rows, C]: channel `c` is BOS in rows `0 … delay[c]`, holds frame `f` in row `1 + f + delay[c]`, and is
        -1 from row `P + 1 + delay[c]` on.
    """
    frames, channels = codes.shape
    grid = torch.full((rows, channels), -1, dtype=torch.int64, device=codes.device)
    for channel, delay in enumerate(delay_pattern):
        grid[: delay + 1, channel] = bos_value
        grid[delay + 1 : delay + 1 + frames, channel] = codes[:, channel]
    return grid


def undelay_rows(
    rows: Sequence[np.ndarray[Any, Any]], start: int, end: int, delay_pattern: Sequence[int]
) -> np.ndarray[Any, Any]:
    """Frames start … end-1 as int16 [end - start, C] from delayed rows [C] that begin with frame 0 of channel 0."""
    frames = np.empty((end - start, len(delay_pattern)), dtype=np.int16)
    for channel, delay in enumerate(delay_pattern):
        for frame in range(start, end):
            frames[frame - start, channel] = rows[frame + delay][channel]
    return frames
