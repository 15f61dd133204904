"""Windows that several streams want decoded at a time, put together into batches."""

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

MOST_WINDOWS = 16
"""In one batch: the widest layer of the 44.1 kHz decoder, 96 channels of 0.74 s in float32, takes 13 MB for each window."""


class Window(Protocol):
    """Something to decode; those of one kind can be decoded in one batch."""

    @property
    def kind(self) -> Hashable: ...


W = TypeVar("W", bound=Window)
R = TypeVar("R")


class WindowBatcher(Generic[W, R]):
    """Decodes what threads bring, one batch at a time; whatever arrives meanwhile becomes the next batch.

    So a window that comes alone waits for nobody, and under load a device that is quicker with many at once gets many at
    once. Windows of one batch are of one kind: streams cut theirs at the same places.
    """

    def __init__(self, decode: Callable[[Sequence[W]], Sequence[R]], most: int = MOST_WINDOWS) -> None:
        """`decode`: a result for each window; called by one thread only."""
        self._decode, self._most = decode, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dia-windows")
        self._lock = threading.Lock()
        self._waiting: list[tuple[W, Future[R]]] = []

    def decode(self, window: W) -> R:
        """What becomes of a window; blocks until it is there. Raises what `decode` raises for this window alone."""
        result: Future[R] = Future()
        with self._lock:
            self._waiting.append((window, result))
        # One turn for each window: those that were taken along by an earlier turn find nothing to do.
        self._thread.submit(self._take)
        return result.result()

    def _take(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            kind = self._waiting[0][0].kind
            fitting = [one for one in self._waiting if one[0].kind == kind][: self._most]
            self._waiting = [one for one in self._waiting if not any(one is other for other in fitting)]
        self._answer(fitting)

    def _answer(self, wanted: list[tuple[W, Future[R]]]) -> None:
        try:
            made = self._decode([window for window, _ in wanted])
        except Exception as error:  # noqa: BLE001  # raised again where the sound is waited for
            if len(wanted) == 1:
                wanted[0][1].set_exception(error)
                return
            for one in wanted:  # whose error it is shows alone, and memory for fewer may be there
                self._answer([one])
            return
        for (_, result), one_made in zip(wanted, made, strict=True):
            result.set_result(one_made)
