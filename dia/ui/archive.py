"""History and queue at the page: the last entries of the log, replay of what was kept, what runs now. Without Gradio."""

from dataclasses import asdict, dataclass

import numpy as np

from dia.errors import DiaError, NotFound
from dia.media.read import read_audio
from dia.service.build import Service
from dia.service.job import QueueStats
from dia.service.logs import LogEntry, LogFilter
from dia.service.prompts import SAMPLE_RATE_HZ
from dia.service.request import SpeechRequest
from dia.service.speech import Speech
from dia.ui.desk import Access
from dia.ui.library import PREVIEW_ID
from dia.ui.marks import Mark, turn_marks
from dia.ui.shelf import Shelf
from dia.ui.track import Track

__all__ = ["Archive", "Queue"]

PAGE_SIZE = 30


@dataclass(frozen=True, slots=True)
class Queue:
    """What runs and waits; `speeches` are those that the caller may see."""

    stats: QueueStats
    speeches: tuple[Speech, ...]


class Archive:
    """The log and the queue of the service as the page needs them. Any thread may call."""

    def __init__(self, service: Service, shelf: Shelf) -> None:
        self.service = service
        self.shelf = shelf

    def entries(self, access: Access) -> tuple[LogEntry, ...]:
        """The newest entries that have ended, previews of voices left out."""
        owner = None if access.sees_all else access.owner
        page = self.service.logs.page(LogFilter(owner=owner, limit=2 * PAGE_SIZE))
        shown = [entry for entry in page.entries if entry.request_id != PREVIEW_ID and entry.status != "processing"]
        return tuple(shown[:PAGE_SIZE])

    def replay(self, log_id: str, access: Access) -> tuple[LogEntry, str]:
        """An entry and the token of its sound, from the saved file or else from the takes at hand.

        Raises:
            NotFound: no such entry for this caller, or its sound was not kept.
        """
        entry = self.entry(log_id, access)
        return entry, self.shelf.add(self._track(entry))

    def track(self, log_id: str, access: Access) -> Track:
        """The sound of an entry; raises as `replay`."""
        return self._track(self.entry(log_id, access))

    def entry(self, log_id: str, access: Access) -> LogEntry:
        """One entry.

        Raises:
            NotFound: unknown, or not for this caller.
        """
        entry = self.service.logs.get(log_id)
        if not access.may_see(entry.owner):
            raise NotFound(f"no log {log_id[:64]!r}")
        return entry

    def queue(self, access: Access) -> Queue:
        speeches = [speech for speech in self.service.speech.speeches() if access.may_see(speech.plan.request.owner)]
        return Queue(self.service.jobs.stats(), tuple(speeches))

    def cancel(self, log_id: str, access: Access) -> bool:
        """Stop a speech or the job behind it; False if it has ended meanwhile."""
        for speech in self.queue(access).speeches:
            if speech.id == log_id:
                if speech.plan.request.job_id is not None:
                    self.service.jobs.cancel(speech.plan.request.job_id)
                else:
                    speech.cancel()
                return True
        return False

    def _track(self, entry: LogEntry) -> Track:
        waveform, rate_hz = self._kept(entry)
        about = {"marks": [asdict(mark) for mark in self._marks(entry, len(waveform) / rate_hz)]}
        return Track.finished(f"dia_{entry.voice}_{entry.id[:8]}", waveform, rate_hz, about)

    def _marks(self, entry: LogEntry, duration_s: float) -> tuple[Mark, ...]:
        """Where the turns lie, from the text if it was kept, planned again and stretched over the sound."""
        if not entry.text:
            return ()
        try:
            plan = self.service.speech.plan(SpeechRequest(entry.text, entry.voice))
        except DiaError:
            # The voice is gone or the model is not there: the sound can still be heard.
            return ()
        return turn_marks(plan.script, plan.script.estimated_s / duration_s)

    def _kept(self, entry: LogEntry) -> tuple[np.ndarray, int]:
        if entry.file_name is not None:
            path = self.service.logs.file_path(entry.id)
            return read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ), SAMPLE_RATE_HZ
        try:
            take = self.service.takes.get(entry.id)
        except NotFound as error:
            raise NotFound("the sound of this entry was not kept; turn on save_outputs to keep all of them") from error
        return np.concatenate([piece.waveform for piece in take.pieces]), take.sample_rate_hz
