"""The places that jobs run in, by name: which is busy with what, and how much each has done."""

import threading
import time
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One place in the engine, as the queue's statistics show it."""

    id: str
    state: Literal["idle", "busy"]
    job_id: str | None
    jobs_done: int
    busy_fraction: float


class Workers:
    """`count` places. Any thread may call; never more are taken than there are."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._names = [f"worker_{number}" for number in range(1, count + 1)]
        self._jobs: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._done = dict.fromkeys(self._names, 0)
        self._busy_s = dict.fromkeys(self._names, 0.0)

    def take(self, job_id: str) -> str:
        with self._lock:
            name = next(name for name in self._names if name not in self._jobs)
            self._jobs[name] = job_id
            self._since[name] = time.monotonic()
            return name

    def give_back(self, name: str) -> None:
        with self._lock:
            del self._jobs[name]
            self._done[name] += 1
            self._busy_s[name] += time.monotonic() - self._since.pop(name)

    def states(self) -> tuple[WorkerState, ...]:
        with self._lock:
            now = time.monotonic()
            life_s = max(now - self._began, 1e-9)
            return tuple(
                WorkerState(
                    name,
                    "busy" if name in self._jobs else "idle",
                    self._jobs.get(name),
                    self._done[name],
                    min((self._busy_s[name] + now - self._since.get(name, now)) / life_s, 1.0),
                )
                for name in self._names
            )
