"""Clean-up: logs and saved audio past their time or beyond the size cap, expired jobs, freed memory. Deletes only its own.

What is its own is told by the log rows, never by what lies in a folder.
"""

import logging
import threading
from dataclasses import dataclass

from dia.errors import DiaError
from dia.memory import give_back_freed_memory
from dia.service.clock import Clock, wall_clock
from dia.service.jobs import JobQueue
from dia.service.logs import LogStore
from dia.service.settings import ConfigStore, Settings

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What one clean-up removed."""

    files_removed: int
    bytes_freed: int
    logs_removed: int
    jobs_removed: int


class Retention:
    """Cleans when asked, and by itself between `start` and `stop`."""

    def __init__(
        self, *, settings: Settings, config: ConfigStore, logs: LogStore, jobs: JobQueue, clock: Clock = wall_clock
    ) -> None:
        self._settings = settings
        self._config = config
        self._logs = logs
        self._jobs = jobs
        self._clock = clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def clean(self) -> Cleaned:
        """Remove what is too old or too much; saved audio goes with its log, whether or not outputs are kept now."""
        oldest = self._clock() - 3600.0 * self._config.current.output_retention_hours
        logs, files, freed = self._logs.delete_older(oldest)
        more_logs, more_files, more_freed = self._logs.delete_beyond(self._settings.max_output_bytes)
        jobs = self._jobs.expire()
        return Cleaned(files + more_files, freed + more_freed, logs + more_logs, jobs)

    def start(self) -> None:
        """Clean every `cleanup_interval_s` from now on, and give freed memory back."""
        self._thread = threading.Thread(target=self._work, name="dia-retention", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while not self._stopping.wait(self._settings.cleanup_interval_s):
            try:
                self.clean()
            except DiaError as error:
                _logger.error("clean-up failed: %s", error)
            give_back_freed_memory()
