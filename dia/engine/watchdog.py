"""Notices a round that does not come back. A thread that only looks at a clock; touches no tensor and no queue."""

import threading
import time
from collections.abc import Callable


class Watchdog:
    """Between `begin` and `end` a round is under way; one longer than the limit is reported once."""

    def __init__(self, limit_s: float, on_wedged: Callable[[], None]) -> None:
        self.limit_s = limit_s
        self._on_wedged = on_wedged
        self._began: float | None = None
        self._wedged = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_wedged(self) -> bool:
        """Whether the present round is overdue."""
        return self._wedged

    @property
    def round_s(self) -> float:
        """Seconds since the present round began; 0 between rounds."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="dia-watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> bool:
        """The round came back; whether it had been given up meanwhile."""
        with self._lock:
            was, self._wedged, self._began = self._wedged, False, None
            return was

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self.limit_s / 4)):
            with self._lock:
                if self._wedged or self.round_s <= self.limit_s:
                    continue
                self._wedged = True
            self._on_wedged()
