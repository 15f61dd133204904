"""The delay pattern against slow oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dia.audio import (
    apply_audio_delay,
    build_delay_indices,
    build_revert_indices,
    delay_prompt,
    revert_audio_delay,
    undelay_rows,
)

BOS, PAD = 1026, 1025
delays = st.lists(st.integers(0, 15), min_size=1, max_size=9).map(lambda rest: [0, *rest])


def slow_delay(frames: torch.Tensor, pattern: list[int]) -> torch.Tensor:
    out = torch.empty_like(frames)
    items, length, channels = frames.shape
    for item in range(items):
        for row in range(length):
            for channel in range(channels):
                source = row - pattern[channel]
                out[item, row, channel] = BOS if source < 0 else frames[item, source, channel]
    return out


@given(delays, st.integers(1, 2), st.integers(1, 20), st.randoms(use_true_random=False))
def test_delay_equals_the_cell_by_cell_oracle(pattern, items, length, random):
    frames = torch.tensor([[[random.randrange(1024) for _ in pattern] for _ in range(length)] for _ in range(items)])
    indices = build_delay_indices(items, length, len(pattern), pattern)
    assert torch.equal(apply_audio_delay(frames, PAD, BOS, indices), slow_delay(frames, pattern))


@given(delays, st.integers(1, 20))
def test_delay_then_revert_is_identity(pattern, length):
    frames = torch.randint(0, 1024, (2, length, len(pattern)))
    rows = length + max(pattern)
    padded = torch.cat([frames, torch.zeros(2, max(pattern), len(pattern), dtype=torch.int64)], dim=1)
    delayed = apply_audio_delay(padded, PAD, BOS, build_delay_indices(2, rows, len(pattern), pattern))
    back = revert_audio_delay(delayed, PAD, build_revert_indices(2, rows, len(pattern), pattern), rows)
    assert torch.equal(back[:, :length], frames)


def test_cells_behind_the_grid_become_pad():
    delayed = torch.arange(6).view(1, 3, 2)
    back = revert_audio_delay(delayed, PAD, build_revert_indices(1, 3, 2, [0, 2]), 3)
    assert back[0].tolist() == [[0, 5], [2, PAD], [4, PAD]]


@given(delays, st.integers(0, 12))
def test_prompt_grid_is_bos_then_prompt_then_free(pattern, frames):
    codes = torch.randint(0, 1024, (frames, len(pattern)))
    rows = frames + max(pattern) + 4
    grid = delay_prompt(codes, rows, pattern, BOS)
    for channel, delay in enumerate(pattern):
        for row in range(rows):
            frame = row - 1 - delay
            wanted = BOS if frame < 0 else (int(codes[frame, channel]) if frame < frames else -1)
            assert grid[row, channel] == wanted


@given(delays, st.integers(1, 12), st.integers(0, 5))
def test_undelayed_rows_are_the_frames(pattern, length, start):
    frames = np.random.default_rng(0).integers(0, 1024, (length + start, len(pattern)))
    padded = torch.cat([torch.tensor(frames), torch.zeros(max(pattern), len(pattern), dtype=torch.int64)])[None]
    indices = build_delay_indices(1, padded.shape[1], len(pattern), pattern)
    rows = list(apply_audio_delay(padded, PAD, BOS, indices)[0].numpy())
    np.testing.assert_array_equal(undelay_rows(rows, start, start + length, pattern), frames[start:])


def test_a_pattern_of_another_size_is_refused():
    with pytest.raises(ValueError, match="2 entries for 9 channels"):
        build_delay_indices(1, 4, 9, [0, 1])
