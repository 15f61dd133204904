"""The database: migrations from the oldest schema, all or nothing, complaints by their right names."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dia.errors import Conflict, DiskFull, StoreUnavailable
from dia.service import db
from dia.service.db import MIGRATIONS, Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dia.sqlite3"


def insert(database: Database, *pairs: tuple[str, str]) -> None:
    insert_from(database, iter(pairs))


def insert_from(database: Database, pairs: Iterator[tuple[str, str]]) -> None:
    """All pairs in one block."""
    with database.write() as transaction:
        for pair in pairs:
            transaction.execute("INSERT INTO config VALUES (?, ?)", pair)


def old_database(path: Path) -> None:
    """A file as version 1 wrote it, one job and one voice in it."""
    connection = sqlite3.connect(path)
    connection.executescript(MIGRATIONS[0])
    connection.execute("INSERT INTO voices VALUES ('mine', '{}', 1.0, 1.0)")
    connection.execute(
        "INSERT INTO jobs (id, number, status, priority, request, seed, created_at) "
        "VALUES ('j', 1, 'pending', 'batch', '{}', 7, 1.0)"
    )
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()


def test_the_oldest_schema_is_brought_up_and_keeps_its_rows(path: Path):
    old_database(path)
    database = Database(path)
    assert database.version == len(MIGRATIONS)
    assert database.rows("SELECT id, seed, attempts FROM jobs") == [{"id": "j", "seed": 7, "attempts": 0}]
    assert database.rows("SELECT id FROM voices") == [{"id": "mine"}]
    assert database.rows("SELECT * FROM idempotency") == []
    database.close()


def test_a_fresh_file_and_a_migrated_one_have_the_same_tables(path: Path, tmp_path: Path):
    old_database(path)
    migrated, fresh = Database(path), Database(tmp_path / "fresh.sqlite3")
    schema = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    assert migrated.rows(schema) == fresh.rows(schema)
    migrated.close()
    fresh.close()


def test_a_newer_file_is_refused_and_left_alone(path: Path):
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="newer program"):
        Database(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("junk", [b"this is no database at all, not even a small one" * 50])
def test_a_file_that_is_no_database_is_named(path: Path, junk: bytes):
    path.write_bytes(junk)
    with pytest.raises(StoreUnavailable, match="no database"):
        Database(path)
    assert path.read_bytes() == junk


def test_a_damaged_file_is_named(path: Path):
    database = Database(path)
    with database.write() as transaction:
        for number in range(200):
            transaction.execute("INSERT INTO config VALUES (?, ?)", (f"n{number}", "x" * 500))
    database.close()
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096 - 1):
        data[page * 4096 : page * 4096 + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    with pytest.raises(StoreUnavailable, match="damaged"):
        Database(path)


def test_a_full_disk_is_named_and_passes(path: Path):
    """SQLite's own page limit gives the very error of a full disk."""
    database = Database(path)
    pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
    database._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(DiskFull):
        insert(database, *((f"n{number}", "x" * 1000) for number in range(100)))
    assert database.rows("SELECT * FROM config") == []
    database._writer.execute("PRAGMA max_page_count = 100000")
    with database.write() as transaction:
        transaction.execute("INSERT INTO config VALUES ('a', '1')")
    assert database.is_sound()
    database.close()


def test_a_locked_database_is_named_and_reads_go_on(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(db, "_BUSY_TIMEOUT_S", 0.05)
    database = Database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"), database.write():
        pass
    assert database.rows("SELECT * FROM jobs") == []
    other.execute("ROLLBACK")
    other.close()
    with database.write() as transaction:
        transaction.execute("INSERT INTO config VALUES ('a', '1')")
    database.close()


def test_a_block_that_raises_changes_nothing(path: Path):
    database = Database(path)
    with pytest.raises(ZeroDivisionError):
        insert_from(database, ((str(number), str(1 // (3 - number))) for number in range(5)))
    with pytest.raises(Conflict):
        insert(database, ("b", "1"), ("b", "2"))
    assert database.rows("SELECT * FROM config") == []
    database.close()


def test_writers_take_turns(path: Path):
    database = Database(path)
    with database.write() as transaction:
        transaction.execute("INSERT INTO config VALUES ('n', '0')")

    def add() -> None:
        for _ in range(25):
            with database.write() as transaction:
                row = transaction.row("SELECT value FROM config")
                assert row is not None
                transaction.execute("UPDATE config SET value = ?", (str(int(row["value"]) + 1),))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.row("SELECT value FROM config") == {"value": "100"}
    database.close()


def test_forgotten_text_is_in_no_file(path: Path):
    database = Database(path)
    with database.write() as transaction:
        transaction.execute("INSERT INTO config VALUES ('a', 'canary-4711')")
    assert any(b"canary-4711" in file.read_bytes() for file in path.parent.iterdir())
    with database.write() as transaction:
        transaction.execute("UPDATE config SET value = ''")
    database.forget()
    assert not any(b"canary-4711" in file.read_bytes() for file in path.parent.iterdir())
    database.close()
