"""The durable queue: a job that was accepted is on disk, is run until it ends, and keeps its result for a while.

Rows move by conditional UPDATE, so every transition has one winner. Results are written beside, synced and renamed
before the row says `completed`. Knows no HTTP; speech is made by `SpeechService`.
"""

import hashlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from dia.errors import (
    BadParameter,
    Cancelled,
    Conflict,
    DiaError,
    EngineStopped,
    GenerationFailed,
    KeyReused,
    NotFinished,
    NotFound,
    QueueFull,
    ResultGone,
    StoreUnavailable,
    WorkerLost,
)
from dia.service.admission import Admission, Place, Priority
from dia.service.clock import Clock, wall_clock
from dia.service.counters import Counters
from dia.service.db import Database, Row, Transaction
from dia.service.job import STATUSES, Job, JobPage, JobResult, JobStatus, QueueStats, Submitted
from dia.service.logs import check_page, error_code, error_message
from dia.service.request import Progress, SpeechRequest
from dia.service.settings import ConfigStore, Settings
from dia.service.speech import Speech, SpeechService
from dia.service.storage import DataFolder, new_id, write_file
from dia.service.workers import Workers

__all__ = ["Job", "JobPage", "JobQueue", "JobResult", "JobStatus", "QueueStats", "Submitted"]

TOMBSTONE_S = 86_400.0  # so long an expired job is told apart from one that never was
MAX_KEY_CHARS = 255
_SELECT = (
    "SELECT jobs.*, logs.processed_text, logs.prompt_id, logs.file_name, logs.warnings "
    "FROM jobs LEFT JOIN logs ON logs.id = jobs.log_id"
)

_logger = logging.getLogger(__name__)


class JobQueue:
    """All jobs of a server. Any thread may call; `start` once, `close` once."""

    def __init__(
        self,
        *,
        settings: Settings,
        config: ConfigStore,
        database: Database,
        folder: DataFolder,
        speech: SpeechService,
        admission: Admission,
        counters: Counters,
        clock: Clock = wall_clock,
        at_step: Callable[[str], None] | None = None,
    ) -> None:
        """`at_step` is told the name of each durable step before it is taken; tests crash there."""
        self._settings = settings
        self._config = config
        self._database = database
        self._folder = folder
        self._speech = speech
        self._admission = admission
        self._counters = counters
        self._clock = clock
        self._at_step = at_step or (lambda step: None)
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        self._running: dict[str, Speech] = {}
        self._unended: list[str] = []
        self._stopping = False
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="dia-job")
        self._workers = Workers(settings.workers)

    def start(self) -> int:
        """Take up what a stopped or killed server left: returns how many jobs wait again.

        Jobs that were running are tried again; those tried too often become failed with `worker_lost`.
        """
        self._take_up([row["id"] for row in self._database.rows("SELECT id FROM jobs WHERE status = 'processing'")])
        waiting = self._database.rows("SELECT id, priority FROM jobs WHERE status = 'pending' ORDER BY number")
        self._sweep_results()
        for row in waiting:
            place = self._admission.reserve(row["priority"], beyond_capacity=True)
            self._enqueue(row["id"], place)
        return len(waiting)

    def submit(
        self, request: SpeechRequest, *, priority: Priority = "batch", idempotency_key: str | None = None
    ) -> Submitted:
        """Check a request and have it on disk before returning.

        Args:
            priority: takes the place of the request's own.
            idempotency_key: 1 to 255 printable ASCII characters; a second call with the same key, owner and request
                returns the first job.

        Raises:
            What `SpeechService.plan` raises; QueueFull; KeyReused: that key came with another request;
            BadParameter: a key that is none; DiskFull, StoreUnavailable: not accepted.
        """
        request = replace(request, priority=priority)
        plan = self._speech.plan(request)
        request_hash = hashlib.sha256(replace(request, request_id=None).to_json().encode()).hexdigest()
        _check_key(idempotency_key)
        earlier = self._earlier(self._database.row, request.owner, idempotency_key, request_hash)
        if earlier is not None:
            return Submitted(self.get(earlier), replayed=True)
        try:
            place = self._admission.reserve(request.priority)
        except QueueFull:
            self._counters.add("rejected_total", label_value="queue_full")
            raise
        job_id = new_id()
        try:
            self._at_step("insert")
            with self._database.write() as transaction:
                earlier = self._earlier(transaction.row, request.owner, idempotency_key, request_hash)
                if earlier is None:
                    self._insert(transaction, job_id, replace(plan.request, seed=plan.seed, job_id=job_id))
                    if idempotency_key is not None:
                        transaction.execute(
                            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)",
                            (request.owner or "", idempotency_key, request_hash, job_id, self._clock()),
                        )
            self._at_step("inserted")
        except BaseException:
            place.leave()
            raise
        if earlier is not None:
            place.leave()
            return Submitted(self.get(earlier), replayed=True)
        self._enqueue(job_id, place)
        return Submitted(self.get(job_id), replayed=False)

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: never was, or long gone; ResultGone: it expired.
        """
        row = self._database.row(f"{_SELECT} WHERE jobs.id = ?", (job_id,))
        if row is None:
            if self._database.row("SELECT id FROM expired_jobs WHERE id = ?", (job_id,)) is not None:
                raise ResultGone(
                    f"job {job_id!r} has expired; results are kept {self._settings.result_ttl_s:g} s; send it again"
                )
            raise NotFound(f"Job {job_id!r} not found")
        return self._job(row)

    def page(
        self, *, status: JobStatus | None = None, owner: str | None = None, limit: int = 50, offset: int = 0
    ) -> JobPage:
        """A page of jobs, newest first.

        Raises:
            BadParameter: limit not 1 to 500, negative offset, or no such status.
        """
        check_page(limit, offset)
        if status is not None and status not in STATUSES:
            raise BadParameter(f"status {status!r} is not known; use one of {', '.join(STATUSES)}")
        where = "WHERE (:status IS NULL OR jobs.status = :status) AND (:owner IS NULL OR jobs.owner = :owner)"
        values = {"status": status, "owner": owner, "limit": limit, "offset": offset}
        rows = self._database.rows(f"{_SELECT} {where} ORDER BY number DESC LIMIT :limit OFFSET :offset", values)
        total = self._database.rows("SELECT count(*) AS number FROM jobs")[0]["number"]
        filtered = self._database.rows(f"SELECT count(*) AS number FROM jobs {where}", values)[0]["number"]
        return JobPage(tuple(self._job(row) for row in rows), total, filtered)

    def result(self, job_id: str) -> JobResult:
        """The file of a completed job.

        Raises:
            NotFound, ResultGone: no such job, expired, or cancelled; NotFinished: not yet; GenerationFailed: it
            failed, with the job's message.
        """
        job = self.get(job_id)
        if job.status in ("pending", "processing"):
            raise NotFinished(
                f"job {job_id} is {job.status}; ask again later", retry_after_s=job.progress.eta_s or 2.0
            )
        if job.status == "cancelled":
            raise ResultGone(f"job {job_id} was cancelled; there is no result")
        if job.status == "failed":
            raise GenerationFailed(job.error_message or "the job failed")
        path = self._folder.place("results", job_id, "audio")
        if not path.is_file() or job.result_type is None:
            raise ResultGone(f"the result of job {job_id} is gone; send it again")
        return JobResult(
            path, job.result_name or "speech", job.result_type, job.result_size or 0, job.result_sha256 or "", job
        )

    def cancel(self, job_id: str) -> Job:
        """Cancel a pending job at once, a running one within a few steps of the model; again does nothing.

        Raises:
            NotFound, ResultGone; Conflict: it has completed or failed.
        """
        with self._database.write() as transaction:
            row = transaction.row("SELECT * FROM jobs WHERE id = ?", (job_id,))
            changed = row is not None and self._end_row(transaction, row, row["status"], "cancelled", {})
        job = self.get(job_id)
        if not changed:
            if job.status != "cancelled":
                raise Conflict(f"job {job_id} is {job.status}; only pending and processing jobs can be cancelled")
            return job
        with self._lock:
            place, speech = self._places.get(job_id), self._running.get(job_id)
        if speech is not None:
            speech.cancel()
        elif place is not None and not place.has_turn:
            place.leave()
        self._forget_texts()
        return job

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """Poll until the job has ended or the time is over; returns it as it then is."""
        until = time.monotonic() + timeout_s
        job = self.get(job_id)
        while not job.is_ended and time.monotonic() < until:
            time.sleep(0.02)
            job = self.get(job_id)
        return job

    def clear(self) -> int:
        """Delete all jobs that have ended, with their results; returns how many."""
        return self._delete(
            self._database.rows("SELECT id FROM jobs WHERE status IN ('completed', 'failed', 'cancelled')")
        )

    def expire(self) -> int:
        """Delete jobs that ended longer ago than results are kept, and the oldest beyond the size cap; returns how many."""
        now = self._clock()
        if not self._stopping:
            self._retry_unended()
        rows = self._database.rows(
            "SELECT id FROM jobs WHERE finished_at IS NOT NULL AND finished_at <= ?",
            (now - self._settings.result_ttl_s,),
        )
        removed = self._delete(rows) + self._fit_results()
        with self._database.write() as transaction:
            transaction.execute("DELETE FROM expired_jobs WHERE expired_at < ?", (now - TOMBSTONE_S,))
            transaction.execute(
                "DELETE FROM idempotency WHERE created_at < ?", (now - self._settings.idempotency_ttl_s,)
            )
        return removed

    def stats(self) -> QueueStats:
        """Counts now."""
        rows = self._database.rows("SELECT status, count(*) AS number FROM jobs GROUP BY status")
        counts = {row["status"]: row["number"] for row in rows}
        numbers = self._admission.numbers()
        return QueueStats(
            pending_jobs=counts.get("pending", 0), processing_jobs=counts.get("processing", 0),
            completed_jobs=counts.get("completed", 0), failed_jobs=counts.get("failed", 0),
            cancelled_jobs=counts.get("cancelled", 0), total_workers=numbers.workers, active_workers=numbers.running,
            waiting_requests=numbers.waiting, queue_capacity=numbers.capacity,
            queue_wait_seconds_avg=numbers.mean_wait_s, workers=self._workers.states(),
        )  # fmt: skip

    def stop(self) -> None:
        """Begin the end: jobs cut short from now on go back to the queue, to be taken up at the next start."""
        self._stopping = True

    def close(self) -> None:
        """Cut short what still runs and wait for the threads. Call `stop` and drain before."""
        self.stop()
        with self._lock:
            running = list(self._running.values())
        for speech in running:
            speech.cancel()
        self._pool.shutdown(wait=True)

    def _insert(self, transaction: Transaction, job_id: str, request: SpeechRequest) -> None:
        transaction.execute(
            "INSERT INTO jobs (id, number, status, priority, owner, request, seed, created_at) "
            "VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM jobs), 'pending', ?, ?, ?, ?, ?)",
            (job_id, request.priority, request.owner, request.to_json(), request.seed, self._clock()),
        )

    def _earlier(
        self, find: Callable[..., Row | None], owner: str | None, key: str | None, request_hash: str
    ) -> str | None:
        if key is None:
            return None
        row = find(
            "SELECT idempotency.* FROM idempotency JOIN jobs ON jobs.id = job_id "
            "WHERE idempotency.owner = ? AND key = ? AND idempotency.created_at > ?",
            (owner or "", key, self._clock() - self._settings.idempotency_ttl_s),
        )
        if row is None:
            return None
        if row["request_hash"] != request_hash:
            raise KeyReused("this idempotency key came with another request before; use a fresh key for each request")
        return str(row["job_id"])

    def _enqueue(self, job_id: str, place: Place) -> None:
        with self._lock:
            self._places[job_id] = place
        place.on_turn(lambda: self._hand_over(job_id, place))

    def _hand_over(self, job_id: str, place: Place) -> None:
        if place.has_turn and not self._stopping:
            self._pool.submit(self._work, job_id, place)
        else:
            with self._lock:
                self._places.pop(job_id, None)
            place.leave()

    def _work(self, job_id: str, place: Place) -> None:
        """One job from claim to end. Nothing may escape: the thread serves the next one."""
        worker = self._workers.take(job_id)
        try:
            self._run(job_id, place, worker)
        except Exception:
            # The row stays as it is, and is taken up by the next clean-up or at the next start.
            _logger.exception("job %s could not be brought to an end", job_id)
            with self._lock:
                self._unended.append(job_id)
        finally:
            place.leave()
            with self._lock:
                self._places.pop(job_id, None)
                self._running.pop(job_id, None)
            self._workers.give_back(worker)

    def _run(self, job_id: str, place: Place, worker: str) -> None:
        if self._stopping:
            return
        self._at_step("claim")
        with self._database.write() as transaction:
            claimed = transaction.execute(
                "UPDATE jobs SET status = 'processing', attempts = attempts + 1, started_at = ?, worker = ? "
                "WHERE id = ? AND status = 'pending'",
                (self._clock(), worker, job_id),
            )
        if not claimed:
            return
        self._at_step("claimed")
        row = self._database.rows("SELECT * FROM jobs WHERE id = ?", (job_id,))[0]
        request = SpeechRequest.from_json(row["request"])
        longest_s = self._settings.job_timeout_s
        request = replace(request, job_id=job_id, timeout_s=min(request.timeout_s or longest_s, longest_s))
        try:
            with self._speech.open(request, place=place) as speech:
                self._adopt(job_id, speech)
                data = speech.read()
                self._store(row, speech, data)
        except StoreUnavailable:
            raise  # not the job's fault: it is tried again
        except Exception as error:  # noqa: BLE001  # a job's failure is kept in its row
            self._failed(row, error)
        self._forget_texts()

    def _adopt(self, job_id: str, speech: Speech) -> None:
        with self._lock:
            self._running[job_id] = speech
        with self._database.write() as transaction:
            changed = transaction.execute(
                "UPDATE jobs SET log_id = ? WHERE id = ? AND status = 'processing'", (speech.id, job_id)
            )
        if not changed or self._stopping:  # cancelled between claim and here
            speech.cancel()

    def _store(self, row: Row, speech: Speech, data: bytes) -> None:
        path = self._folder.place("results", row["id"], "audio")
        self._at_step("write")
        path.parent.mkdir(exist_ok=True)
        write_file(path, data)
        self._at_step("written")
        result = {
            "result_name": f"speech_{row['id'][:8]}{speech.extension}", "result_type": speech.content_type,
            "result_size": len(data), "result_sha256": hashlib.sha256(data).hexdigest(),
            "audio_duration_s": speech.audio_duration_s, "generation_s": speech.generation_s,
        }  # fmt: skip
        with self._database.write() as transaction:
            won = self._end_row(transaction, row, "processing", "completed", result)
            self._at_step("commit")
        self._at_step("committed")
        if won:
            self._fit_results()
        else:  # cancelled meanwhile
            shutil.rmtree(path.parent, ignore_errors=True)

    def _failed(self, row: Row, error: Exception) -> None:
        if not isinstance(error, DiaError):
            _logger.error("job %s failed in the engine", row["id"], exc_info=error)
        with self._database.write() as transaction:
            if self._stopping and isinstance(error, (Cancelled, EngineStopped)):
                transaction.execute(
                    "UPDATE jobs SET status = 'pending', attempts = attempts - 1 WHERE id = ? AND status = 'processing'",
                    (row["id"],),
                )
            else:
                status: JobStatus = "cancelled" if isinstance(error, Cancelled) else "failed"
                self._end_row(transaction, row, "processing", status, {"error": error})

    def _end_row(
        self, transaction: Transaction, row: Row, now: str, status: JobStatus, result: dict[str, Any]
    ) -> bool:
        """Move a row to its end if it still is in the state `now` and that is no end; the text goes with it."""
        values = dict(result)
        error = values.pop("error", None)
        if error is not None and status == "failed":
            values.update(error_code=error_code(error), error_message=error_message(error))
        if not self._config.current.show_prompts:
            values["request"] = replace(SpeechRequest.from_json(row["request"]), text="").to_json()
        values.update(status=status, finished_at=self._clock())
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        changed = transaction.execute(
            f"UPDATE jobs SET {assignments} WHERE id = :id AND status = :now AND status IN ('pending', 'processing')",
            {**values, "id": row["id"], "now": now},
        )
        if changed:
            self._counters.add("jobs_total", label_value=status)
        return changed == 1

    def _forget_texts(self) -> None:
        if not self._config.current.show_prompts:
            self._database.forget()

    def _delete(self, rows: list[Row]) -> int:
        if not rows:
            return 0
        now = self._clock()
        with self._database.write() as transaction:
            for row in rows:
                transaction.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))
                transaction.execute("INSERT OR REPLACE INTO expired_jobs VALUES (?, ?)", (row["id"], now))
        for row in rows:
            shutil.rmtree(self._folder.place("results", row["id"]), ignore_errors=True)
        return len(rows)

    def _fit_results(self) -> int:
        """Expire the oldest results beyond the size cap; the newest always stays. Returns how many."""
        rows = self._database.rows(
            "SELECT id, sum(result_size) OVER (ORDER BY finished_at DESC, number DESC) AS upto, "
            "row_number() OVER (ORDER BY finished_at DESC, number DESC) AS rank FROM jobs WHERE status = 'completed'"
        )
        return self._delete([row for row in rows if row["upto"] > self._settings.max_result_bytes and row["rank"] > 1])

    def _take_up(self, job_ids: list[str]) -> list[str]:
        """Rows in `processing` that nobody works on any more go back to `pending`, or to their end if that was tried
        too often; returns those that wait again."""
        tries = self._settings.job_attempts
        lost = WorkerLost(f"work on this job was cut off {tries} times; it will not be tried again")
        recovered = []
        with self._database.write() as transaction:
            for job_id in job_ids:
                row = transaction.row("SELECT * FROM jobs WHERE id = ? AND status = 'processing'", (job_id,))
                if row is not None and row["attempts"] >= tries:
                    self._end_row(transaction, row, "processing", "failed", {"error": lost})
                elif row is not None:
                    transaction.execute("UPDATE jobs SET status = 'pending' WHERE id = ?", (job_id,))
                    recovered.append(job_id)
        self._counters.add("jobs_recovered_total", len(recovered))
        return recovered

    def _retry_unended(self) -> None:
        """Try again the jobs whose end could not be written, now that the database may be writable."""
        with self._lock:
            unended, self._unended = self._unended, []
        for job_id in self._take_up(unended):
            self._enqueue(job_id, self._admission.reserve("batch", beyond_capacity=True))

    def _sweep_results(self) -> None:
        """Results whose row never said `completed` were written by a process that was killed before it could."""
        kept = {row["id"] for row in self._database.rows("SELECT id FROM jobs WHERE status = 'completed'")}
        for path in self._folder.room("results").iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _job(self, row: Row) -> Job:
        values = dict(row)
        values.pop("number")
        request = SpeechRequest.from_json(values.pop("request"))
        warnings = tuple(json.loads(values.pop("warnings") or "[]"))
        finished_at = values["finished_at"]
        with self._lock:
            speech, place = self._running.get(row["id"]), self._places.get(row["id"])
        if row["status"] == "processing" and speech is not None:
            progress = speech.progress()
        else:
            done = row["status"] == "completed"
            progress = Progress(
                100.0 if done else 0.0,
                row["audio_duration_s"] or 0.0,
                0.0 if done else None,
                place.position if place else 0,
            )
        expires_at = None if finished_at is None else finished_at + self._settings.result_ttl_s
        return Job(request=request, progress=progress, expires_at=expires_at, warnings=warnings, **values)


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
        raise BadParameter(
            f"an idempotency key is 1 to {MAX_KEY_CHARS} printable ASCII characters; make a shorter one"
        )
