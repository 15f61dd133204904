"""Launching one step: as it is on CPU and MPS, as a captured CUDA graph per bucket of shapes on CUDA.

A graph replays hundreds of kernels by one launch and takes no arguments: everything that changes from step to step
lies in the slots' tensors. Shapes are rounded up to a few buckets; slots beyond the running ones stand still
(`DecoderOutput.finished`) and their results are not read. The first step of a new bucket runs as it is, which also
warms the libraries up; the second is captured. Results go to pinned memory behind the replay, so that the host may
launch further steps before it reads them.
"""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from dia.engine.shapes import MIN_CANDIDATES, StepResult, StepShape

if TYPE_CHECKING:
    from dia.engine.runner import Runner

_log = logging.getLogger(__name__)

COUNT_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
SPAN_BUCKETS = (256, 512, 1024, 1536, 2048, 3072)
TEXT_BUCKETS = (128, 256, 512, 1024)

Key = tuple[int, int, int, int, bool, bool]


def bucket(value: int, buckets: tuple[int, ...], most: int) -> int:
    """The smallest bucket that holds `value`, at most `most` (which `value` never exceeds)."""
    return min(next((size for size in buckets if size >= value), most), most)


class StepGraphs:
    """Launches a runner's steps; owns captured graphs and the memory that results are copied to."""

    def __init__(self, device: torch.device, *, wanted: bool = True, rounds: bool = False) -> None:
        """`wanted`: capture where it is possible; `rounds`: round shapes up on every device as graphs need it on CUDA."""
        self._device = device
        self._rounds = rounds
        self._captured: dict[Key, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self._seen: set[Key] = set()
        self._usable = wanted and device.type == "cuda"
        self._pool = torch.cuda.graph_pool_handle() if self._usable else None
        self._side: torch.cuda.Stream | None = None
        self._ring: list[torch.Tensor] = []
        self._turn = 0

    def __len__(self) -> int:
        return len(self._captured)

    @property
    def usable(self) -> bool:
        """Whether steps are captured: wanted, and neither device nor driver has refused."""
        return self._usable

    def forget(self) -> None:
        """Drop all graphs: tensors that they use have moved."""
        if self._captured:
            torch.cuda.synchronize(self._device)
        self._captured.clear()
        self._seen.clear()

    def rounded(self, runner: "Runner", shape: StepShape) -> StepShape:
        """The bucket that a step of this shape is made in."""
        state = runner.state
        return replace(
            shape,
            count=bucket(shape.count, COUNT_BUCKETS, state.slots),
            span=bucket(shape.span, SPAN_BUCKETS, state.rows),
            text_span=bucket(shape.text_span, TEXT_BUCKETS, state.text_rows),
        )

    def step(self, runner: "Runner", shape: StepShape) -> StepResult:
        """Launch one step of `runner`; see `Runner.step`."""
        if self._device.type == "cuda":
            packed = self._launch(runner, shape) if self._usable else runner.compute(shape)
            return self._fetch(runner, packed[: shape.count])
        if not self._rounds:
            return StepResult(runner.compute(shape))
        runner.model.pads_spans = True
        return StepResult(runner.compute(self.rounded(runner, shape))[: shape.count])

    def _launch(self, runner: "Runner", shape: StepShape) -> torch.Tensor:
        runner.model.pads_spans = True
        rounded = self.rounded(runner, shape)
        vocabulary = runner.config.model.tgt_vocab_size
        candidates = rounded.candidates(vocabulary)
        key = (rounded.count, rounded.span, rounded.text_span, candidates, rounded.combined, rounded.guided)
        if key not in self._seen:
            self._seen.add(key)
            return runner.compute(rounded)
        if key not in self._captured and not self._capture(runner, rounded, key):
            return runner.compute(rounded)
        graph, packed = self._captured[key]
        graph.replay()
        return packed

    def _capture(self, runner: "Runner", shape: StepShape, key: Key) -> bool:
        """Record one step without making it. False, and no more attempts, where this device or driver refuses."""
        current = torch.cuda.current_stream(self._device)
        self._side = self._side or torch.cuda.Stream(self._device)
        self._side.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(self._side):
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    packed = runner.compute(shape)
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            _log.warning("steps run without captured graphs: %s", str(error)[:300])
            self._usable = False
            self._captured.clear()
            return False
        current.wait_stream(self._side)
        self._captured[key] = (graph, packed)
        return True

    def capture_all(self, runner: "Runner") -> None:
        """Record the buckets that requests begin in, with the model's own kind of guidance, while all slots stand still,
        so that no request waits for it."""
        if not self._usable:
            return
        defaults = runner.config.defaults
        guided = runner.config.needs_guidance(defaults.cfg_scale)
        kind = {"combined": defaults.guidance == "combined", "guided": guided}
        for count in sorted({bucket(n, COUNT_BUCKETS, runner.slots) for n in COUNT_BUCKETS}, reverse=True):
            for span in SPAN_BUCKETS[:3]:
                shape = StepShape(count, span, TEXT_BUCKETS[1], MIN_CANDIDATES, **kind)
                for _ in range(2):
                    self._launch(runner, shape)
        torch.cuda.synchronize(self._device)

    def _fetch(self, runner: "Runner", packed: torch.Tensor) -> StepResult:
        """Start copying a result to the host behind what was launched so far."""
        if not self._ring:
            size = (runner.lag + 2, runner.slots, packed.shape[1])
            self._ring = list(torch.empty(size, dtype=packed.dtype, pin_memory=True))
        self._turn = (self._turn + 1) % len(self._ring)
        target = self._ring[self._turn][: len(packed)]
        target.copy_(packed, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self._device))
        return StepResult(target, done)
