"""Windows of several streams decoded in one batch: each gets its own sound, and its own error."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dia.codec import Codec
from dia.windows import WindowBatcher
from tests.tiny import tiny_codec

CPU = torch.device("cpu")


def test_streams_that_share_batches_sound_as_each_alone():
    alone = tiny_codec()
    shared = Codec(alone._model, CPU, batches=True)
    sizes, decode = [], shared._batcher._decode
    gate = threading.Event()

    def counted(windows: list) -> list:
        sizes.append(len(windows))
        gate.wait(10)
        return decode(windows)

    shared._batcher._decode = counted
    random = np.random.default_rng(3)
    grids = [random.integers(0, 1024, (frames, 9)) for frames in (30, 30, 41, 130, 200, 7)]
    with ThreadPoolExecutor(len(grids)) as threads:
        futures = [threads.submit(shared.decode, grid) for grid in grids]
        while len(shared._batcher._waiting) + sum(sizes) < len(grids):
            pass  # until all have brought their first window
        gate.set()
        sounds = [future.result(60) for future in futures]
    for grid, sound in zip(grids, sounds, strict=True):
        np.testing.assert_allclose(sound, alone.decode(grid), atol=1e-5)
    assert max(sizes) > 1
    assert sum(sizes) > len(sizes)


@dataclass(frozen=True)
class Number:
    value: int
    kind: int = 0


def all_at_once(windows: list[Number], most: int) -> tuple[list[Future], list[int]]:
    """Bring all windows before the first batch is decoded; their results, and the sizes of the batches."""
    gate, sizes = threading.Event(), []

    def doubled(batch: list[Number]) -> list[int]:
        sizes.append(len(batch))
        gate.wait(10)
        assert len({window.kind for window in batch}) == 1
        if any(window.value == 13 for window in batch):
            raise RuntimeError("no memory for this one")
        return [2 * window.value for window in batch]

    batcher = WindowBatcher(doubled, most)
    with ThreadPoolExecutor(len(windows)) as threads:
        futures = [threads.submit(batcher.decode, window) for window in windows]
        while len(batcher._waiting) + sum(sizes) < len(windows):
            pass
        gate.set()
    return futures, sizes


def test_one_bad_window_of_a_batch_fails_alone():
    windows = [Number(value) for value in (1, 2, 13, 4, 5, 6)]
    futures, sizes = all_at_once(windows, most=4)
    for window, future in zip(windows, futures, strict=True):
        if window.value == 13:
            with pytest.raises(RuntimeError, match="no memory for this one"):
                future.result(10)
        else:
            assert future.result(10) == 2 * window.value
    assert max(sizes) <= 4


def test_windows_of_other_kinds_wait_for_a_batch_of_their_own():
    windows = [Number(value, kind=value % 3) for value in (3, 4, 6, 7, 5)]
    futures, sizes = all_at_once(windows, most=2)
    assert [future.result(10) for future in futures] == [6, 8, 12, 14, 10]
    assert sum(sizes) == len(windows)
    assert len(sizes) < len(windows)
