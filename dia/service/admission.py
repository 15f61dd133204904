"""Who may be in the engine: a bounded queue with `workers` places, interactive before batch, first come first served.

Direct requests and jobs share the one bound. Knows nothing of speech; all methods are quick and thread-safe.
"""

import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dia.errors import Cancelled, DeadlineExceeded, EngineStopped, QueueFull

Priority = Literal["interactive", "batch"]
_RANK: dict[Priority, int] = {"interactive": 0, "batch": 1}
_SMOOTHING = 0.2  # weight of the newest duration in the running mean
_FIRST_GUESS_S = 10.0  # before anything has been measured


@dataclass(frozen=True, slots=True)
class QueueNumbers:
    """How full the queue is, at one moment."""

    waiting: int
    running: int
    workers: int
    capacity: int
    mean_wait_s: float
    mean_run_s: float


class Place:
    """One request's place: waiting, then running, then left. Whoever reserved it must `leave` it."""

    def __init__(self, admission: "Admission", priority: Priority) -> None:
        self.priority = priority
        self._admission = admission
        self._turn = threading.Event()
        self._on_turn: Callable[[], None] | None = None
        self._state: Literal["waiting", "running", "left"] = "waiting"
        self._asked_at = time.monotonic()
        self._began_at = 0.0
        self.wait_s = 0.0

    @property
    def has_turn(self) -> bool:
        return self._state == "running"

    @property
    def position(self) -> int:
        """How many stand before this one, 0 when it is next or runs."""
        return self._admission.position(self)

    def on_turn(self, callback: Callable[[], None]) -> None:
        """Call back once, from some thread, when the turn comes or the place is left; at once if it has come."""
        with self._admission.lock:
            if self._state == "waiting":
                self._on_turn = callback
                return
        callback()

    def wait(self, timeout_s: float) -> None:
        """Block until it is this one's turn.

        Raises:
            DeadlineExceeded: it did not come in time; the place is left.
            Cancelled: the place was left by another thread.
        """
        if not self._turn.wait(max(timeout_s, 0.0)) and not self.has_turn:
            self.leave()
            raise DeadlineExceeded(f"no turn within {timeout_s:.1f} s in the queue; try again when it is shorter")
        if self._state == "left":
            raise Cancelled("cancelled while it waited")

    def leave(self) -> None:
        """Give the place up, from any state and thread; a second call does nothing."""
        self._admission.remove(self)


class Admission:
    """The queue.

    Args:
        workers: how many may run at once.
        capacity: how many may wait beside them.
    """

    def __init__(self, workers: int, capacity: int) -> None:
        self.workers = workers
        self.capacity = capacity
        self.lock = threading.RLock()
        self._empty = threading.Condition(self.lock)
        self._queue: list[tuple[int, int, Place]] = []  # a heap; places that left stay until they come up
        self._number = 0
        self._waiting = 0
        self._running = 0
        self._paused = False
        self._closed = False
        self._mean_run_s = 0.0
        self._mean_wait_s = 0.0

    def reserve(self, priority: Priority, *, beyond_capacity: bool = False) -> Place:
        """Take a place at the end of the queue of that priority; never blocks.

        Args:
            beyond_capacity: for jobs that were accepted before a restart.

        Raises:
            QueueFull: no room; `retry_after_s` comes from the measured throughput.
            EngineStopped: the server is shutting down.
        """
        place = Place(self, priority)
        with self.lock:
            if self._closed:
                raise EngineStopped("the server is shutting down; try again in a moment", retry_after_s=10.0)
            if not beyond_capacity and self._waiting + self._running >= self.capacity + self.workers:
                raise QueueFull(
                    f"{self._waiting} requests wait and {self._running} run; at most {self.capacity} may wait; "
                    f"try again later",
                    retry_after_s=self.retry_after_s(),
                )
            self._number += 1
            self._waiting += 1
            heapq.heappush(self._queue, (_RANK[priority], self._number, place))
            granted = self._grant()
        _call(granted)
        return place

    def retry_after_s(self) -> float:
        """When a place should be free, from the mean time a request runs: 1 to 600 s."""
        with self.lock:
            mean = self._mean_run_s or _FIRST_GUESS_S
            ahead = max(self._waiting - self.capacity, 0) + 1
            return min(max(ahead * mean / self.workers, 1.0), 600.0)

    def position(self, place: Place) -> int:
        with self.lock:
            if place._state != "waiting":
                return 0
            mine = next((item for item in self._queue if item[2] is place), None)
            if mine is None:
                return 0
            return sum(1 for item in self._queue if item[2]._state == "waiting" and item[:2] < mine[:2])

    def remove(self, place: Place) -> None:
        with self.lock:
            if place._state == "left":
                return
            if place._state == "running":
                self._running -= 1
                self._mean_run_s = _smooth(self._mean_run_s, time.monotonic() - place._began_at)
            else:
                self._waiting -= 1
            place._state = "left"
            callback, place._on_turn = place._on_turn, None
            place._turn.set()
            granted = self._grant()
            self._empty.notify_all()
        _call(granted)
        if callback is not None:
            callback()

    def pause(self) -> None:
        """Let nobody new run until `resume`: the model is not there yet."""
        with self.lock:
            self._paused = True

    def resume(self) -> None:
        with self.lock:
            self._paused = False
            granted = self._grant()
        _call(granted)

    def close(self, drain_s: float) -> bool:
        """Refuse new requests, start none, and wait for the running ones; True if all of them ended in time."""
        with self.lock:
            self._closed = True
            return self._empty.wait_for(lambda: self._running == 0, timeout=drain_s)

    @property
    def is_closed(self) -> bool:
        """Whether new requests are refused for good."""
        return self._closed

    def numbers(self) -> QueueNumbers:
        with self.lock:
            return QueueNumbers(
                waiting=self._waiting, running=self._running, workers=self.workers, capacity=self.capacity,
                mean_wait_s=self._mean_wait_s, mean_run_s=self._mean_run_s,
            )  # fmt: skip

    def _grant(self) -> list[Place]:
        granted = []
        while self._queue and self._running < self.workers and not (self._paused or self._closed):
            place = heapq.heappop(self._queue)[2]
            if place._state != "waiting":
                continue
            place._state = "running"
            place._began_at = time.monotonic()
            place.wait_s = place._began_at - place._asked_at
            self._mean_wait_s = _smooth(self._mean_wait_s, place.wait_s)
            self._waiting -= 1
            self._running += 1
            place._turn.set()
            granted.append(place)
        return granted


def _call(granted: list[Place]) -> None:
    for place in granted:
        callback, place._on_turn = place._on_turn, None
        if callback is not None:
            callback()


def _smooth(mean: float, newest: float) -> float:
    return newest if mean == 0.0 else mean + _SMOOTHING * (newest - mean)
