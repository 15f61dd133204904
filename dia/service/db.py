"""The one SQLite file: opening, pragmas, numbered migrations, one writer at a time, typed complaints.

Knows no table's meaning; sole importer of `sqlite3`. Rows are plain dictionaries.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dia.errors import Conflict, DiskFull, StoreUnavailable

Row = dict[str, Any]
Parameters = Sequence[Any] | Mapping[str, Any]

# One entry for each version, oldest first. An entry is never edited once released: a change is a new entry.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE config (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE voices (
        id TEXT PRIMARY KEY, record TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL
    ) STRICT;
    CREATE TABLE logs (
        id TEXT PRIMARY KEY, created_at REAL NOT NULL, status TEXT NOT NULL, voice TEXT NOT NULL, format TEXT NOT NULL,
        owner TEXT, text TEXT, processed_text TEXT, text_chars INTEGER NOT NULL, prompt_id TEXT, speed REAL NOT NULL,
        seed INTEGER, parameters TEXT NOT NULL, warnings TEXT NOT NULL, device TEXT, job_id TEXT, request_id TEXT,
        frames INTEGER, audio_duration_s REAL, queue_s REAL, first_byte_s REAL, generation_s REAL,
        file_name TEXT, file_size INTEGER, sha256 TEXT, error_code TEXT, error_message TEXT
    ) STRICT;
    CREATE INDEX logs_by_time ON logs (created_at);
    CREATE INDEX logs_by_voice ON logs (voice, created_at);
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, status TEXT NOT NULL, priority TEXT NOT NULL, owner TEXT,
        request TEXT NOT NULL, seed INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL,
        started_at REAL, finished_at REAL, log_id TEXT, worker TEXT, audio_duration_s REAL, generation_s REAL,
        result_name TEXT, result_type TEXT, result_size INTEGER, result_sha256 TEXT,
        error_code TEXT, error_message TEXT
    ) STRICT;
    CREATE INDEX jobs_by_status ON jobs (status, number);
    """,
    """
    CREATE TABLE idempotency (
        owner TEXT NOT NULL, key TEXT NOT NULL, request_hash TEXT NOT NULL, job_id TEXT NOT NULL,
        created_at REAL NOT NULL, PRIMARY KEY (owner, key)
    ) STRICT;
    CREATE TABLE expired_jobs (id TEXT PRIMARY KEY, expired_at REAL NOT NULL) STRICT;
    """,
)

_BUSY_TIMEOUT_S = 5.0
_COMPLAINTS: dict[str, tuple[type[Exception], str]] = {
    "SQLITE_FULL": (DiskFull, "no room left on the disk of the data folder; free some space and try again"),
    "SQLITE_BUSY": (StoreUnavailable, "the database is locked by another process; close whatever has it open"),
    "SQLITE_LOCKED": (StoreUnavailable, "the database is locked by another process; close whatever has it open"),
    "SQLITE_READONLY": (StoreUnavailable, "the database is read only; make the data folder writable"),
    "SQLITE_CORRUPT": (StoreUnavailable, "the database is damaged; restore it from a copy, or move it away"),
    "SQLITE_NOTADB": (StoreUnavailable, "the database file is no database; restore it from a copy, or move it away"),
    "SQLITE_CANTOPEN": (StoreUnavailable, "the database cannot be opened; check the data folder and its rights"),
    "SQLITE_IOERR": (StoreUnavailable, "the disk refuses to read or write the database; check the disk"),
}
# Python 3.10 gives no error code, only SQLite's own fixed message for it.
_CODE_OF_MESSAGE = {
    "database or disk is full": "SQLITE_FULL",
    "database is locked": "SQLITE_BUSY",
    "database table is locked": "SQLITE_LOCKED",
    "attempt to write a readonly database": "SQLITE_READONLY",
    "database disk image is malformed": "SQLITE_CORRUPT",
    "file is not a database": "SQLITE_NOTADB",
    "unable to open database file": "SQLITE_CANTOPEN",
    "disk I/O error": "SQLITE_IOERR",
}


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Conflict(f"the database refuses a row: {error}") from error
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", None) or _CODE_OF_MESSAGE.get(str(error), "")
        for known, (kind, message) in _COMPLAINTS.items():
            if name.startswith(known):
                raise kind(message) from error
        raise


class Database:
    """An open database. Any thread may call any method; writes take turns, reads do not wait for them.

    Everything written is on the disk when `write` returns (WAL with synchronous FULL).

    Raises:
        StoreUnavailable: not a database, damaged, locked, or written by a newer version of this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._is_closed = False
        with _typed_errors():
            self._writer = _connect(path)
            try:
                self._migrate()
                self._check()
                self._reader = _connect(path)
            except BaseException:
                self._writer.close()
                raise
            self._reader.execute("PRAGMA query_only = ON")

    @property
    def version(self) -> int:
        """How many migrations the file has had."""
        return int(self._writer.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def write(self) -> Iterator["Transaction"]:
        """All of the block's changes at once, or none if it raises.

        Raises:
            DiskFull, StoreUnavailable: nothing was changed.
            Conflict: a row with that key exists.
        """
        with self._write_lock, _typed_errors():
            self._check_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a SELECT, as committed by now."""
        with self._read_lock, _typed_errors():
            self._check_open()
            return [dict(row) for row in self._reader.execute(sql, parameters).fetchall()]

    def row(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def forget(self) -> None:
        """Make erased text vanish from the write-ahead log too. Does nothing while another connection reads."""
        with self._write_lock, _typed_errors():
            self._check_open()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def is_sound(self) -> bool:
        """SQLite's own check of the whole file; takes time in proportion to its size."""
        return self.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]

    def close(self) -> None:
        """Flush and close. May be called twice."""
        with self._write_lock, self._read_lock:
            self._is_closed = True
            self._reader.close()
            self._writer.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the database is closed; the server has stopped")

    def _migrate(self) -> None:
        version = self.version
        if version > len(MIGRATIONS):
            raise StoreUnavailable(
                f"the database is of version {version}, this program knows up to {len(MIGRATIONS)}; "
                f"install the newer program again or choose another data folder"
            )
        for number in range(version, len(MIGRATIONS)):
            statements = [statement for statement in MIGRATIONS[number].split(";") if statement.strip()]
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements:
                    self._writer.execute(statement)
                self._writer.execute(f"PRAGMA user_version = {number + 1}")
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _check(self) -> None:
        answer = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer != "ok":
            raise StoreUnavailable(_COMPLAINTS["SQLITE_CORRUPT"][1])


class Transaction:
    """The writing end inside `Database.write`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        return self._connection.execute(sql, parameters).rowcount

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a SELECT, this transaction's changes included."""
        return [dict(row) for row in self._connection.execute(sql, parameters).fetchall()]

    def row(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Deleted text is overwritten with zeros, not only unlinked.
        connection.execute("PRAGMA secure_delete = ON")
    except BaseException:
        connection.close()
        raise
    return connection
