"""A worker thread that makes sound ahead of its listener, as far as it may, and stops when the listener leaves."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from dia.errors import Cancelled, DiaError, GenerationFailed

__all__ = ["Ahead"]


class Ahead:
    """Runs `produce` in a thread of its own; `take` gives its chunks in order. `stop` may come from any thread.

    The thread waits while more than `max_samples` are ready, so memory stays bounded however slow the listener is.
    """

    def __init__(
        self, produce: Callable[[], Iterator[np.ndarray]], max_samples: int, cancel: Callable[[], None]
    ) -> None:
        """`cancel` is called once by `stop`, to end what `produce` is waiting for."""
        self._produce, self._cancel = produce, cancel
        self._max_samples = max_samples
        self._changed = threading.Condition()
        self._chunks: deque[np.ndarray] = deque()
        self._ready = 0
        self._is_over = self._is_stopped = False
        self._error: DiaError | None = None
        self._thread = threading.Thread(target=self._run, name="dia-narration", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def take(self) -> np.ndarray | None:
        """The next chunk, float32 [samples]; None at the end.

        Raises:
            DiaError: what ended the production, after the sound that came before it. Cancelled after `stop`.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._chunks) or self._is_over or self._is_stopped)
            if self._is_stopped:
                raise Cancelled("the narration was stopped")
            if self._chunks:
                chunk = self._chunks.popleft()
                self._ready -= len(chunk)
                self._changed.notify_all()
                return chunk
            if self._error is not None:
                raise self._error
            return None

    def stop(self) -> None:
        """End the thread; what is ready is thrown away. Harmless when it has ended."""
        with self._changed:
            if self._is_over or self._is_stopped:
                return
            self._is_stopped = True
            self._chunks.clear()
            self._changed.notify_all()
        self._cancel()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        # What the listener is told should this thread die of something unforeseen, whose trace then goes to stderr.
        error: DiaError | None = GenerationFailed("the narration ended by an internal error")
        try:
            for chunk in self._produce():
                if not self._put(chunk):
                    break
            error = None
        except DiaError as found:
            error = found
        finally:
            with self._changed:
                self._is_over, self._error = True, error
                self._changed.notify_all()

    def _put(self, chunk: np.ndarray) -> bool:
        """Whether anybody still listens."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready <= self._max_samples or self._is_stopped)
            if self._is_stopped:
                return False
            if len(chunk):
                self._chunks.append(chunk)
                self._ready += len(chunk)
                self._changed.notify_all()
            return True
