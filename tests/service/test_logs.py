"""The generation log and its clean-up: pages, filters, files, and whose files are deleted."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dia.errors import BadParameter, NotFound
from dia.service.build import Service, build
from dia.service.clock import file_stamp, iso_utc, iso_utc_or_none
from dia.service.logs import LogFilter, error_code
from dia.service.speech import SpeechRequest
from tests.service.conftest import make_settings
from tests.service.test_jobs import Clock
from tests.service.tone import ToneModel

HELLO = SpeechRequest("Hello there, this is a test.")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock):
    service = build(
        make_settings(tmp_path / "data", save_outputs=True), model=ToneModel(frames_per_char=1), clock=clock
    )
    service.start()
    yield service
    service.close(0)


def speak(service: Service, **changes: Any) -> str:
    with service.speech.open(dataclasses.replace(HELLO, **changes)) as speech:
        speech.read()
    return speech.id


def test_pages_are_newest_first_and_filters_hold(service: Service, clock: Clock):
    ids = []
    for number in range(6):
        clock.now += 1
        ids.append(speak(service, voice=("alloy", "nova")[number % 2], owner=f"o{number % 3}"))
    start = clock.now - 5

    def listed(**wanted: Any) -> list[int]:
        page = service.logs.page(LogFilter(**wanted))
        assert page.total == 6
        return [ids.index(entry.id) for entry in page.entries]

    assert listed() == [5, 4, 3, 2, 1, 0]
    assert listed(limit=2) == [5, 4]
    assert listed(limit=2, offset=2) == [3, 2]
    assert listed(voice="nova") == [5, 3, 1]
    assert listed(owner="o0") == [3, 0]
    assert listed(since=start + 2, until=start + 3) == [3, 2]
    assert listed(before=ids[2]) == [1, 0]
    assert listed(status="failed") == []
    assert service.logs.page(LogFilter(voice="nova", limit=1)).filtered == 3
    with pytest.raises(NotFound):
        listed(before="nothing")


def test_paging_by_the_last_one_misses_none_of_the_same_moment(service: Service):
    ids = [speak(service) for _ in range(5)]
    seen: list[str] = []
    while len(seen) < 5:
        page = service.logs.page(LogFilter(limit=2, before=seen[-1] if seen else None))
        seen += [entry.id for entry in page.entries]
    assert seen == ids[::-1]


@pytest.mark.parametrize("bad", [{"limit": 0}, {"limit": -1}, {"limit": 501}, {"offset": -1}])
def test_pages_have_limits(bad: dict[str, int]):
    with pytest.raises(BadParameter):
        LogFilter(**bad)  # type: ignore[arg-type]


def test_deleting_takes_the_file_unless_told_otherwise(service: Service):
    one, two, three = (speak(service) for _ in range(3))
    paths = [service.logs.file_path(log_id) for log_id in (one, two, three)]
    service.logs.delete(one)
    service.logs.delete(two, keep_file=True)
    assert [path.exists() for path in paths] == [False, True, True]
    assert service.logs.clear() == 1
    assert not paths[2].exists()
    for call in (service.logs.get, service.logs.delete, service.logs.file_path):
        with pytest.raises(NotFound):
            call(one)


def test_a_file_that_is_not_kept_or_gone_is_not_found(service: Service):
    service.config.update({"save_outputs": False})
    log_id = speak(service)
    with pytest.raises(NotFound, match="save_outputs"):
        service.logs.file_path(log_id)
    service.config.update({"save_outputs": True})
    log_id = speak(service)
    service.logs.file_path(log_id).unlink()
    with pytest.raises(NotFound):
        service.logs.file_path(log_id)


def test_clean_up_deletes_what_is_old_and_only_its_own(service: Service, clock: Clock):
    old = speak(service)
    size = service.logs.file_path(old).stat().st_size
    foreign = service.folder.room("outputs") / "20200101_000000_12345678_alloy.wav"
    foreign.write_bytes(b"somebody's")
    clock.now += 23 * 3600
    young = speak(service)
    service.config.update({"save_outputs": False})
    assert service.retention.clean().logs_removed == 0
    clock.now += 3601
    cleaned = service.retention.clean()
    assert (cleaned.logs_removed, cleaned.files_removed, cleaned.bytes_freed) == (1, 1, size)
    assert foreign.exists()
    assert service.logs.file_path(young).exists()
    service.config.update({"output_retention_hours": 1})
    clock.now += 3600
    assert service.retention.clean().logs_removed == 1


def test_clean_up_keeps_the_newest_under_the_size_cap(tmp_path: Path, clock: Clock):
    settings = make_settings(tmp_path / "data", save_outputs=True, max_output_bytes=80_000)
    service = build(settings, model=ToneModel(frames_per_char=1), clock=clock)
    service.start()
    ids = []
    for _ in range(5):
        clock.now += 1
        ids.append(speak(service))  # 34 kB each
    cleaned = service.retention.clean()
    assert [entry.id for entry in service.logs.page(LogFilter()).entries] == ids[:2:-1]
    assert (cleaned.logs_removed, cleaned.files_removed) == (3, 3)
    assert sum(path.stat().st_size for path in service.folder.room("outputs").iterdir()) <= 80_000
    service.close(0)


def test_rows_left_open_by_a_kill_are_closed_at_the_next_start(service: Service):
    log_id = speak(service)
    with service.database.write() as transaction:
        transaction.execute("UPDATE logs SET status = 'processing' WHERE id = ?", (log_id,))
    assert service.logs.mark_lost() == 1
    assert service.logs.get(log_id).error_code == "worker_lost"


def test_a_log_deleted_while_it_runs_stays_deleted(service: Service):
    with service.speech.open(HELLO) as speech:
        service.logs.delete(speech.id)
        speech.read()
    assert service.logs.page(LogFilter()).total == 0
    assert list(service.folder.room("outputs").iterdir()) == []


def test_times_are_utc_and_marked():
    assert iso_utc(0.123) == "1970-01-01T00:00:00.123Z"
    assert iso_utc_or_none(None) is None
    assert file_stamp(0) == "19700101_000000"


def test_codes_of_errors_are_words():
    assert error_code(NotFound("x")) == "not_found"
    assert error_code(RuntimeError("x")) == "engine_error"
