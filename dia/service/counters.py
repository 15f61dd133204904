"""Numbers for /metrics: named counters and sums with a fixed set of label values, so that series stay few.

Knows nothing of Prometheus; the server turns `snapshot` into its text.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

# Name to (what it counts, its one label or None). Nothing outside this table can be counted.
COUNTERS: Mapping[str, tuple[str, str | None]] = {
    "speeches_total": ("Requests that ended, by outcome.", "status"),
    "jobs_total": ("Jobs that ended, by outcome.", "status"),
    "jobs_recovered_total": ("Jobs taken up again after a restart.", None),
    "rejected_total": ("Requests refused before they ran, by reason.", "reason"),
    "queue_seconds_total": ("Time requests waited for their turn, seconds.", None),
    "generate_seconds_total": ("Time the model worked on requests, seconds.", None),
    "first_byte_seconds_total": ("Time from turn to first sound, seconds.", None),
    "audio_seconds_total": ("Sound made, seconds.", None),
    "upload_bytes_total": ("Audio taken in as prompts, bytes.", None),
    "log_failures_total": ("Log rows or files that could not be written, by error.", "error"),
    "engine_failures_total": ("Requests that failed in the engine, by error.", "error"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One series: `label_value` is None for a counter without label."""

    name: str
    label_value: str | None
    value: float


class Counters:
    """All counters of one server; only ever rising; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str | None], float] = {
            (name, None): 0.0 for name, (_, label) in COUNTERS.items() if label is None
        }

    def add(self, name: str, amount: float = 1.0, label_value: str | None = None) -> None:
        """Add to a counter of the table; a label value must be one of our own words, never a user's."""
        label = COUNTERS[name][1]
        assert (label is None) == (label_value is None), name
        with self._lock:
            self._values[name, label_value] = self._values.get((name, label_value), 0.0) + amount

    def value(self, name: str, label_value: str | None = None) -> float:
        with self._lock:
            return self._values.get((name, label_value), 0.0)

    def snapshot(self) -> list[Sample]:
        """All series, sorted by name and label."""
        with self._lock:
            items = list(self._values.items())
        return [
            Sample(name, label, value)
            for (name, label), value in sorted(items, key=lambda i: (i[0][0], i[0][1] or ""))
        ]
