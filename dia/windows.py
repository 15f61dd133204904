"""Windows of codes that several streams want decoded at a time, put together into batches."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

MOST_WINDOWS = 16
"""In one batch: the widest layer of the 44.1 kHz decoder, 96 channels of 1.2 s in float32, takes 20 MB for each window."""

Decode = Callable[[torch.Tensor], torch.Tensor]
Wanted = tuple[torch.Tensor, Future[torch.Tensor]]


class WindowBatcher:
    """Decodes what threads bring, one batch at a time; whatever arrives meanwhile becomes the next batch.

    So a window that comes alone waits for nobody, and under load a device that is quicker with many at once gets many at
    once. Windows of one batch are of one length: streams cut theirs at the same places.
    """

    def __init__(self, decode: Decode, most: int = MOST_WINDOWS) -> None:
        """`decode`: int64 [n, C, T] to float32 [n, samples]; called by one thread only."""
        self._decode, self._most = decode, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dia-windows")
        self._lock = threading.Lock()
        self._waiting: list[Wanted] = []

    def decode(self, window: torch.Tensor) -> torch.Tensor:
        """Samples of codes [C, T]; blocks until they are there. Raises what `decode` raises for this window alone."""
        result: Future[torch.Tensor] = Future()
        with self._lock:
            self._waiting.append((window, result))
        # One turn for each window: those that were taken along by an earlier turn find nothing to do.
        self._thread.submit(self._take)
        return result.result()

    def _take(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            length = self._waiting[0][0].shape[-1]
            fitting = [one for one in self._waiting if one[0].shape[-1] == length][: self._most]
            self._waiting = [one for one in self._waiting if not any(one is other for other in fitting)]
        self._answer(fitting)

    def _answer(self, wanted: list[Wanted]) -> None:
        try:
            sounds = self._decode(torch.stack([window for window, _ in wanted]))
        except Exception as error:  # noqa: BLE001  # raised again where the sound is waited for
            if len(wanted) == 1:
                wanted[0][1].set_exception(error)
                return
            for one in wanted:  # whose error it is shows alone, and memory for fewer may be there
                self._answer([one])
            return
        for (_, result), sound in zip(wanted, sounds, strict=True):
            result.set_result(sound)
