"""`LiveSpeech`: one admitted request run in a thread of its own, its sound followed on a track, stoppable at once."""

import logging
import math
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dia.errors import Cancelled, NotFound
from dia.service.logs import LogStatus, error_message
from dia.service.speech import Progress, Speech
from dia.service.takes import TakeStore
from dia.ui.marks import turn_marks
from dia.ui.track import Track

__all__ = ["LiveSpeech"]

_logger = logging.getLogger(__name__)


class LiveSpeech:
    """Runs a `Speech` to its end, or until nobody has listened for `patience_s`. `start` once; `cancel` from any thread."""

    def __init__(self, speech: Speech, takes: TakeStore, name: str, *, patience_s: float = math.inf) -> None:
        self.speech = speech
        self._takes = takes
        self._patience_s = patience_s
        self.track = Track(name, speech.sample_rate_hz, self._about(None))
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="dia-page", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """Stop the model at its next step; what was made stays on the track."""
        self.speech.cancel()

    @property
    def status(self) -> LogStatus:
        """`processing` until the track is done."""
        return self.speech.status if self.track.is_done else "processing"

    @property
    def failure(self) -> str | None:
        """What went wrong, in words for people; None if nothing did or the listener stopped it."""
        if self._error is None or isinstance(self._error, Cancelled):
            return None
        return error_message(self._error)

    def progress(self) -> Progress:
        return self.speech.progress()

    def _run(self) -> None:
        try:
            with self.speech:
                for chunk in self.speech.waveforms():
                    self.track.append(chunk)
                    if self.track.unheard_s > self._patience_s:
                        self.cancel()
        except Exception as error:  # handed to whoever watches, like a job's
            self._error = error
            if not isinstance(error, Cancelled):
                _logger.warning("speech %s of the page failed", self.speech.id, exc_info=error)
        finally:
            self.track.finish(self._about(self._pieces_s()))

    def _about(self, pieces_s: list[float] | None) -> Mapping[str, Any]:
        plan = self.speech.plan
        marks = turn_marks(plan.script, plan.speed, pieces_s)
        return {"marks": [asdict(mark) for mark in marks], "estimated_s": plan.estimated_s}

    def _pieces_s(self) -> list[float] | None:
        try:
            take = self._takes.get(self.speech.id)
        except NotFound:
            return None
        return [len(piece.waveform) / take.sample_rate_hz for piece in take.pieces]
