"""Numbers for Prometheus: requests at the edge, the service's counters, and what is true at the moment of asking.

Label values are route templates and our own words, so series stay few whatever is asked for.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dia.service.build import Service
from dia.service.counters import COUNTERS

__all__ = ["LoopDelay", "Metrics"]

_TICK_S = 0.02
_KEPT_TICKS = 15_000  # five minutes


class LoopDelay:
    """How late the event loop wakes up, measured by sleeping: the time a health check would have to wait."""

    def __init__(self) -> None:
        self._delays_s: deque[float] = deque(maxlen=_KEPT_TICKS)

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            expected = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._delays_s.append(max(loop.time() - expected, 0.0))

    def quantile(self, share: float) -> float:
        """Delay in seconds that this share (0 to 1) of the wakings stayed under; 0 before the first."""
        ordered = sorted(self._delays_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Metrics:
    """All series of one server."""

    def __init__(self, service: Service) -> None:
        self.loop_delay = LoopDelay()
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "dia_http_requests", "HTTP requests by route, method and status.", ("route", "method", "code"),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "dia_http_request_seconds", "Time from request to the last byte of the answer.", ("route",),
            registry=self._registry, buckets=(0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )  # fmt: skip
        self._open = Gauge("dia_http_open_requests", "Requests under way.", registry=self._registry)
        self._registry.register(_ServiceNow(service, self.loop_delay))

    def began(self) -> None:
        self._open.inc()

    def ended(self, route: str, method: str, status: int, duration_s: float) -> None:
        self._open.dec()
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(duration_s)

    def render(self) -> bytes:
        """All series as Prometheus's text."""
        return generate_latest(self._registry)


_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])


class _ServiceNow(Collector):
    """Reads the service when asked."""

    def __init__(self, service: Service, loop_delay: LoopDelay) -> None:
        self._service = service
        self._loop_delay = loop_delay
        self._started_at = time.time()

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._counters()
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        for sample in self._service.counters.snapshot():
            help_text, label = COUNTERS[sample.name]
            family = families.setdefault(
                sample.name,
                CounterMetricFamily(f"dia_{sample.name}", help_text, labels=[label] if label else None),
            )
            family.add_metric([sample.label_value] if sample.label_value is not None else [], sample.value)
        yield from families.values()

    def _gauges(self) -> Iterator[Metric]:
        numbers = self._service.admission.numbers()
        stats = self._service.jobs.stats()
        values = {
            "queue_depth": ("Requests and jobs that wait for their turn.", numbers.waiting),
            "running": ("Requests and jobs in the engine.", numbers.running),
            "workers": ("Places in the engine.", numbers.workers),
            "queue_capacity": ("Places to wait in.", numbers.capacity),
            "model_ready": ("1 when the model is loaded and well.", self._service.speech.model_state == "ready"),
            "disk_bytes": ("Size of the data folder.", self._service.folder.used_bytes()),
            "event_loop_delay_p99_seconds": ("Lateness of the event loop.", self._loop_delay.quantile(0.99)),
            "start_time_seconds": ("When this server started, seconds since 1970.", self._started_at),
        }
        for name, (help_text, value) in values.items():
            yield GaugeMetricFamily(f"dia_{name}", help_text, value=float(value))
        jobs = GaugeMetricFamily("dia_jobs", "Jobs kept, by state.", labels=["state"])
        for state in ("pending", "processing", "completed", "failed", "cancelled"):
            jobs.add_metric([state], getattr(stats, f"{state}_jobs"))
        yield jobs
