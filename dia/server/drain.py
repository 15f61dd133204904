"""The end of a server: nothing new, let what runs finish for a while, then it may close. Knows no signals."""

import time

from dia.service.build import Service

__all__ = ["Drain"]


class Drain:
    """Begun once, then asked until it is over. Not for several threads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._began_at: float | None = None

    def begin(self) -> None:
        """Refuse new requests, send those that wait away, keep waiting jobs for the next start."""
        if self._began_at is not None:
            return
        self._began_at = time.monotonic()
        self._service.jobs.stop()
        self._service.admission.close(0.0)
        for speech in self._service.speech.speeches():
            if not speech.has_turn:
                speech.cancel()

    @property
    def is_over(self) -> bool:
        """Whether nothing runs any more, or the time for it is up."""
        if self._began_at is None:
            return False
        waited_s = time.monotonic() - self._began_at
        return self._service.admission.numbers().running == 0 or waited_s >= self._service.settings.drain_s
