"""The generation log: one row for every request that was admitted, and the audio file if outputs are kept.

Texts are stored only while `show_prompts` is on; otherwise their length. Knows nothing of how speech is made.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dia.errors import BadParameter, DiaError, NotFound
from dia.service.clock import Clock, file_stamp, wall_clock
from dia.service.db import Database, Row
from dia.service.storage import DataFolder, new_id, write_file

LogStatus = Literal["processing", "completed", "failed", "cancelled"]
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One row. Times are seconds since 1970; None is not known (yet).

    `owner` names the API key that asked (never the key itself). `text` and `processed_text` are None unless
    `show_prompts` was on. `file_name` is a name inside the outputs folder, `sha256` the hash of that file.
    """

    id: str
    created_at: float
    status: LogStatus
    voice: str
    format: str
    owner: str | None
    text: str | None
    processed_text: str | None
    text_chars: int
    prompt_id: str | None
    speed: float
    seed: int | None
    parameters: Mapping[str, Any]
    warnings: tuple[str, ...]
    device: str | None
    job_id: str | None
    request_id: str | None
    frames: int | None
    audio_duration_s: float | None
    queue_s: float | None
    first_byte_s: float | None
    generation_s: float | None
    file_name: str | None
    file_size: int | None
    sha256: str | None
    error_code: str | None
    error_message: str | None

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for each second of sound; below 1 is faster than real time."""
        if not self.generation_s or not self.audio_duration_s:
            return None
        return self.generation_s / self.audio_duration_s


@dataclass(frozen=True, slots=True)
class NewLog:
    """What is known of a request when it is admitted."""

    voice: str
    format: str
    text: str
    speed: float
    seed: int
    parameters: Mapping[str, Any]
    owner: str | None = None
    prompt_id: str | None = None
    warnings: tuple[str, ...] = ()
    device: str | None = None
    job_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of it when it has ended. `waveform_file` is a whole WAV file if outputs are kept,
    `processed_text` the text as the model got it if texts are."""

    status: LogStatus
    frames: int = 0
    audio_duration_s: float = 0.0
    queue_s: float = 0.0
    first_byte_s: float | None = None
    generation_s: float = 0.0
    warnings: tuple[str, ...] = ()
    processed_text: str | None = None
    error: BaseException | None = None
    waveform_file: bytes | None = None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which rows to list, newest first. `before` is a log id: rows older than that one.

    Raises:
        BadParameter: limit not 1 to 500, or a negative offset.
    """

    voice: str | None = None
    status: LogStatus | None = None
    since: float | None = None
    until: float | None = None
    owner: str | None = None
    before: str | None = None
    limit: int = 50
    offset: int = 0

    def __post_init__(self) -> None:
        check_page(self.limit, self.offset)


@dataclass(frozen=True, slots=True)
class LogPage:
    """`total` rows in all, `filtered` that match, `entries` the page of them."""

    entries: tuple[LogEntry, ...] = field(default_factory=tuple)
    total: int = 0
    filtered: int = 0


def check_page(limit: int, offset: int) -> None:
    """Refuse a page that cannot be: limit 1 to 500, offset 0 or more."""
    if not 1 <= limit <= MAX_PAGE:
        raise BadParameter(f"limit is {limit}; it must lie between 1 and {MAX_PAGE}")
    if offset < 0:
        raise BadParameter(f"offset is {offset}; it must be 0 or more")


def error_code(error: BaseException) -> str:
    """The word under which a failure is stored and reported: `deadline_exceeded`; foreign errors are `engine_error`."""
    if not isinstance(error, DiaError):
        return "engine_error"
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def error_message(error: BaseException) -> str:
    """What may be told of a failure: our own errors in full, of foreign ones only that there was one."""
    return str(error) if isinstance(error, DiaError) else "the engine failed on this request; see the server's log"


class LogStore:
    """Rows and files of the generation log."""

    def __init__(self, database: Database, folder: DataFolder, clock: Clock = wall_clock) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock

    def open(self, new: NewLog, *, keep_text: bool) -> str:
        """Write the row of a request that was admitted; returns its id."""
        log_id = new_id()
        values: dict[str, Any] = {
            "id": log_id, "created_at": self._clock(), "status": "processing", "voice": new.voice, "format": new.format,
            "owner": new.owner, "text": new.text if keep_text else None, "text_chars": len(new.text),
            "prompt_id": new.prompt_id, "speed": new.speed, "seed": new.seed,
            "parameters": json.dumps(dict(new.parameters)), "warnings": json.dumps(new.warnings),
            "device": new.device, "job_id": new.job_id, "request_id": new.request_id,
        }  # fmt: skip
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        with self._database.write() as transaction:
            transaction.execute(f"INSERT INTO logs ({names}) VALUES ({marks})", values)
        return log_id

    def close(self, log_id: str, outcome: Outcome) -> None:
        """Write how a request ended, and its file first if there is one; a row that was deleted meanwhile stays so.

        Raises:
            DiskFull, OutputUnwritable: the file could not be kept; the row is closed all the same.
        """
        try:
            file_name = self._keep_file(log_id, outcome)
        except DiaError:
            self._close_row(log_id, outcome, None)
            raise
        self._close_row(log_id, outcome, file_name)

    def get(self, log_id: str) -> LogEntry:
        """One row.

        Raises:
            NotFound
        """
        row = self._database.row("SELECT * FROM logs WHERE id = ?", (log_id,))
        if row is None:
            raise NotFound(f"no log {log_id!r}; GET /logs lists them")
        return _entry(row)

    def page(self, wanted: LogFilter) -> LogPage:
        """A page of rows, newest first."""
        where, values = _conditions(wanted, self._database)
        total = self._count("", {})
        filtered = self._count(where, values)
        rows = self._database.rows(
            f"SELECT * FROM logs {where} ORDER BY created_at DESC, rowid DESC LIMIT :limit OFFSET :offset",
            {**values, "limit": wanted.limit, "offset": wanted.offset},
        )
        return LogPage(tuple(_entry(row) for row in rows), total, filtered)

    def file_path(self, log_id: str) -> Path:
        """The saved audio of a log.

        Raises:
            NotFound: unknown log, nothing saved, or deleted since.
        """
        entry = self.get(log_id)
        path = self._folder.room("outputs") / entry.file_name if entry.file_name else None
        if path is None or not path.is_file():
            raise NotFound(f"log {log_id} has no saved audio; turn on save_outputs before speaking")
        return path

    def delete(self, log_id: str, *, keep_file: bool = False) -> None:
        """Delete a row and its file.

        Raises:
            NotFound
        """
        entry = self.get(log_id)
        self._delete([entry], keep_file)

    def clear(self, *, keep_files: bool = False) -> int:
        """Delete all rows that have ended, and their files; returns how many rows."""
        rows = self._database.rows("SELECT * FROM logs WHERE status != 'processing'")
        return self._delete([_entry(row) for row in rows], keep_files)

    def mark_lost(self) -> int:
        """At start: rows that a killed process left open become failed ones."""
        with self._database.write() as transaction:
            return transaction.execute(
                "UPDATE logs SET status = 'failed', error_code = 'worker_lost', "
                "error_message = 'the server stopped before this was finished' "
                "WHERE status = 'processing'"
            )

    def delete_older(self, before: float) -> tuple[int, int, int]:
        """Delete ended rows created before that time, with files; returns rows, files and bytes freed."""
        rows = self._database.rows("SELECT * FROM logs WHERE created_at < ? AND status != 'processing'", (before,))
        return self._delete_counting([_entry(row) for row in rows])

    def delete_beyond(self, max_bytes: int) -> tuple[int, int, int]:
        """Delete the oldest rows with files until the files fit; returns rows, files and bytes freed."""
        rows = self._database.rows(
            "SELECT * FROM logs WHERE file_name IS NOT NULL ORDER BY created_at DESC, rowid DESC"
        )
        kept_bytes = 0
        too_much = []
        for entry in (_entry(row) for row in rows):
            kept_bytes += entry.file_size or 0
            if kept_bytes > max_bytes:
                too_much.append(entry)
        return self._delete_counting(too_much)

    def _delete_counting(self, entries: list[LogEntry]) -> tuple[int, int, int]:
        files = [entry for entry in entries if entry.file_name and self._output(entry).is_file()]
        rows = self._delete(entries, keep_files=False)
        return rows, len(files), sum(entry.file_size or 0 for entry in files)

    def _delete(self, entries: list[LogEntry], keep_files: bool) -> int:
        if not entries:
            return 0
        with self._database.write() as transaction:
            deleted = sum(transaction.execute("DELETE FROM logs WHERE id = ?", (entry.id,)) for entry in entries)
        if not keep_files:
            for entry in entries:
                if entry.file_name:
                    self._output(entry).unlink(missing_ok=True)
        return deleted

    def _output(self, entry: LogEntry) -> Path:
        return self._folder.room("outputs") / (entry.file_name or "")

    def _count(self, where: str, values: dict[str, Any]) -> int:
        row = self._database.row(f"SELECT count(*) AS number FROM logs {where}", values)
        return int(row["number"]) if row else 0

    def _keep_file(self, log_id: str, outcome: Outcome) -> str | None:
        row = self._database.row("SELECT created_at, voice FROM logs WHERE id = ?", (log_id,))
        if row is None or outcome.waveform_file is None:
            return None
        name = f"{file_stamp(row['created_at'])}_{log_id[:8]}_{row['voice']}.wav"
        write_file(self._folder.room("outputs") / name, outcome.waveform_file)
        return name

    def _close_row(self, log_id: str, outcome: Outcome, file_name: str | None) -> None:
        data = outcome.waveform_file if file_name else None
        values: dict[str, Any] = {
            "id": log_id, "status": outcome.status, "frames": outcome.frames,
            "audio_duration_s": outcome.audio_duration_s, "queue_s": outcome.queue_s,
            "first_byte_s": outcome.first_byte_s, "generation_s": outcome.generation_s,
            "warnings": json.dumps(outcome.warnings), "processed_text": outcome.processed_text, "file_name": file_name,
            "file_size": len(data) if data is not None else None,
            "sha256": hashlib.sha256(data).hexdigest() if data is not None else None,
            "error_code": error_code(outcome.error) if outcome.error else None,
            "error_message": error_message(outcome.error) if outcome.error else None,
        }  # fmt: skip
        assignments = ", ".join(f"{name} = :{name}" for name in values if name != "id")
        with self._database.write() as transaction:
            transaction.execute(f"UPDATE logs SET {assignments} WHERE id = :id", values)


def _entry(row: Row) -> LogEntry:
    values = dict(row)
    values["parameters"] = json.loads(values["parameters"])
    values["warnings"] = tuple(json.loads(values["warnings"]))
    return LogEntry(**values)


def _conditions(wanted: LogFilter, database: Database) -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    values: dict[str, Any] = {}
    tests = {
        "voice": "voice = :voice", "status": "status = :status", "since": "created_at >= :since",
        "until": "created_at <= :until", "owner": "owner = :owner",
    }  # fmt: skip
    for name, test in tests.items():
        value = getattr(wanted, name)
        if value is not None:
            parts.append(test)
            values[name] = value
    if wanted.before is not None:
        row = database.row("SELECT created_at, rowid AS number FROM logs WHERE id = ?", (wanted.before,))
        if row is None:
            raise NotFound(f"no log {wanted.before!r} to list the ones before")
        parts.append("(created_at, rowid) < (:before_time, :before_number)")
        values["before_time"], values["before_number"] = row["created_at"], row["number"]
    return ("WHERE " + " AND ".join(parts) if parts else ""), values
