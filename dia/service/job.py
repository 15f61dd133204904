"""What a job is, and what is told of jobs: data only, the work is in `jobs.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dia.errors import DeadlineExceeded, DiaError, DiskFull, EngineWedged, GenerationFailed, OutOfMemory
from dia.service.admission import Priority
from dia.service.request import Progress, SpeechRequest
from dia.service.workers import WorkerState

JobStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]
STATUSES: tuple[JobStatus, ...] = ("pending", "processing", "completed", "failed", "cancelled")
ENDED: tuple[JobStatus, ...] = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Job:
    """One job as stored, with its live progress. Times are seconds since 1970.

    `request.text` is empty once the job has ended, unless texts are shown. `seed` is the one that is used, drawn
    when the job was accepted. `result_type` is the content type. `processed_text` (if texts are shown), `prompt_id`,
    `file_name` and `warnings` are those of its log.
    """

    id: str
    status: JobStatus
    priority: Priority
    owner: str | None
    request: SpeechRequest
    seed: int
    attempts: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    log_id: str | None
    worker: str | None
    audio_duration_s: float | None
    generation_s: float | None
    result_name: str | None
    result_type: str | None
    result_size: int | None
    result_sha256: str | None
    error_code: str | None
    error_message: str | None
    processed_text: str | None
    prompt_id: str | None
    file_name: str | None
    warnings: tuple[str, ...]
    progress: Progress

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for each second of sound."""
        if not self.generation_s or not self.audio_duration_s:
            return None
        return self.generation_s / self.audio_duration_s


# What a failure is to whoever waits for the job as for a direct answer; every other one is a plain failure.
_FAILURES: Mapping[str, type[DiaError]] = {
    "deadline_exceeded": DeadlineExceeded, "out_of_memory": OutOfMemory, "engine_wedged": EngineWedged, "disk_full": DiskFull,
}  # fmt: skip


def failure_of(job: Job) -> DiaError:
    """The error that a failed job ended with, to be raised."""
    return _FAILURES.get(job.error_code or "", GenerationFailed)(job.error_message or "the job failed")


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job; `replayed` if an idempotency key found an older one."""

    job: Job
    replayed: bool


@dataclass(frozen=True, slots=True)
class JobPage:
    """`total` jobs in all, `filtered` that match, `jobs` the page of them, newest first."""

    jobs: tuple[Job, ...]
    total: int
    filtered: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """A finished job's file: `path` on disk, `name` to give it."""

    path: Path
    name: str
    content_type: str
    size_bytes: int
    sha256: str
    job: Job


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts of jobs by state, and how busy the engine's places are (direct requests included)."""

    pending_jobs: int
    processing_jobs: int
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    total_workers: int
    active_workers: int
    waiting_requests: int
    queue_capacity: int
    queue_wait_seconds_avg: float
    workers: tuple[WorkerState, ...]
