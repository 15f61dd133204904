"""One request and the ticket through which its frames reach whoever asked."""

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dia.adapters import Adapter
from dia.errors import Cancelled, DiaError
from dia.sampling import SamplingParams

Array = np.ndarray[Any, Any]
Priority = Literal["interactive", "batch"]

UNSPOKEN = (1, 2, ord(" "))
"""Ids that stand before the first word: speaker tags and spaces."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Request:
    """What to generate. Checked by the caller: text fits the encoder, prompt and `rows` fit the decoder.

    Attributes:
        text: token ids of the whole text, the prompt's transcript included.
        prompt: codes [P, C] of the voice prompt, or None.
        params: sampling; `params.seed` is set.
        rows: decoder rows that may be used, BOS, prompt and delay tail included.
        priority: interactive requests are admitted before batch ones.
        deadline: `time.monotonic()` after which the request is given up, or None.
        adapter: with which the weights are to be, or None for the checkpoint's own.
        prompt_ids: how many ids of `text` the prompt speaks (for models with a pointer into the text).
    """

    text: list[int]
    params: SamplingParams
    rows: int
    prompt: Array | None = None
    priority: Priority = "interactive"
    deadline: float | None = None
    prompt_ids: int = 0
    adapter: Adapter | None = None
    id: str = field(default_factory=lambda: f"request-{next(_numbers)}")

    @property
    def prompt_frames(self) -> int:
        return 0 if self.prompt is None else len(self.prompt)

    @property
    def first_spoken(self) -> int:
        """The id that is spoken first: behind the speaker's tag and its space."""
        spoken = (place for place, id in enumerate(self.text) if id not in UNSPOKEN)
        return next(spoken, 0)

    @property
    def prompt_end(self) -> int:
        """The id just spoken when generation begins: the prompt's last, or the first of all."""
        return max(self.first_spoken, min(self.prompt_ids, len(self.text)) - 1)


Status = Literal["waiting", "running", "finished", "failed"]


class Ticket:
    """The consumer's end of a request: frames come out in order, then the end or a typed error.

    All methods may be called from any thread.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._changed = threading.Condition()
        self._frames: list[Array] = []
        self._status: Status = "waiting"
        self._error: DiaError | None = None
        self._cancelled = False
        self.was_put_back = False  # the engine's: it had no memory for it and will try once more

    @property
    def status(self) -> Status:
        return self._status

    @property
    def is_done(self) -> bool:
        return self._status in ("finished", "failed")

    @property
    def has_frames(self) -> bool:
        """Whether `take` would give frames without waiting."""
        return bool(self._frames)

    @property
    def is_cancelled(self) -> bool:
        """True once `cancel` was called; the engine acts on it before its next step."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask the engine to stop; the ticket then fails with `Cancelled`. Harmless when already done."""
        self._cancelled = True

    def take(self, drive: Callable[[], bool] | None = None, timeout_s: float | None = None) -> Array | None:
        """The frames [n, C] that came since the last call; waits for at least one. None is the end.

        Args:
            drive: called again and again while there is nothing to take: runs the engine in this thread.
            timeout_s: longest wait without `drive`.

        Raises:
            DiaError: the request failed; frames that came before were given out first.
            TimeoutError: nothing came in time.
        """
        while drive is not None and not self._frames and not self.is_done:
            drive()
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._frames) or self.is_done, timeout_s):
                raise TimeoutError(f"{self.request.id} gave no frame within {timeout_s} s")
            if self._frames:
                frames, self._frames = np.concatenate(self._frames), []
                return frames
            if self._error is not None:
                raise self._error
            return None

    def frames(self, drive: Callable[[], bool] | None = None) -> Iterator[Array]:
        """All frames as they come."""
        while (frames := self.take(drive)) is not None:
            yield frames

    # The engine's side.

    def set_running(self) -> None:
        with self._changed:
            if not self.is_done:
                self._status = "running"

    def put(self, frames: Array) -> None:
        with self._changed:
            self._frames.append(frames)
            self._changed.notify_all()

    def finish(self) -> None:
        self._end("finished", None)

    def fail(self, error: DiaError) -> None:
        self._end("failed", error)

    def _end(self, status: Status, error: DiaError | None) -> None:
        with self._changed:
            if self.is_done:
                return
            self._status, self._error = status, error
            self._changed.notify_all()

    def cancelled_error(self) -> Cancelled:
        return Cancelled(f"{self.request.id} was cancelled")
