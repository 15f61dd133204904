"""The durable queue: accepted means kept, one end for each job, the same bytes after a restart."""

import contextlib
import dataclasses
import hashlib
import re
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dia.errors import (
    BadParameter,
    BadScript,
    Conflict,
    DiskFull,
    EngineStopped,
    GenerationFailed,
    KeyReused,
    NotFinished,
    NotFound,
    QueueFull,
    ResultGone,
)
from dia.service.build import Service, build
from dia.service.job import ENDED
from dia.service.logs import LogFilter
from dia.service.request import Progress
from dia.service.speech import SpeechRequest
from tests.service.conftest import make_settings
from tests.service.test_speech import in_thread, until
from tests.service.tone import ToneModel

HELLO = SpeechRequest("Hello there, this is a test.")


def test_a_job_goes_its_way_and_leaves_a_result(service: Service, model: ToneModel):
    model.gate.close()
    job = service.jobs.submit(HELLO).job
    until(lambda: service.jobs.get(job.id).status == "processing")
    with pytest.raises(NotFinished):
        service.jobs.result(job.id)
    model.gate.open()
    done = service.jobs.wait(job.id, 10)
    assert (done.status, done.attempts, done.progress.percent, done.error_message) == ("completed", 1, 100.0, None)
    assert done.audio_duration_s and done.generation_s and done.real_time_factor
    assert done.progress == Progress(100.0, done.audio_duration_s, 0.0, 0)
    result = service.jobs.result(job.id)
    data = result.path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (result.size_bytes, result.sha256)
    assert (result.content_type, result.name) == ("audio/wav", f"speech_{job.id[:8]}.wav")
    assert done.log_id is not None
    assert service.logs.get(done.log_id).job_id == job.id


def test_a_job_says_what_the_same_direct_request_says(service: Service):
    job = service.jobs.submit(dataclasses.replace(HELLO, format="flac", speed=1.2, seed=5)).job
    service.jobs.wait(job.id, 10)
    with service.speech.open(dataclasses.replace(HELLO, format="flac", speed=1.2, seed=5)) as speech:
        assert service.jobs.result(job.id).path.read_bytes() == speech.read()


def test_progress_and_position_are_told_while_it_runs(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1)
    model.gate.close()
    jobs = [service.jobs.submit(HELLO).job for _ in range(3)]
    until(lambda: service.jobs.get(jobs[0].id).status == "processing")
    assert [service.jobs.get(job.id).progress.position for job in jobs] == [0, 0, 1]
    with pytest.raises(NotFinished) as early:
        service.jobs.result(jobs[1].id)
    assert early.value.retry_after_s == 2.0  # nothing is known yet
    model.gate.allow(60)
    until(lambda: service.jobs.get(jobs[0].id).progress.audio_duration_s > 0.5)
    progress = service.jobs.get(jobs[0].id).progress
    assert 10 < progress.percent < 99
    assert progress.eta_s is not None
    with pytest.raises(NotFinished) as early:
        service.jobs.result(jobs[0].id)
    assert early.value.retry_after_s == pytest.approx(progress.eta_s, abs=0.5)
    stats = service.jobs.stats()
    assert (stats.pending_jobs, stats.processing_jobs, stats.active_workers, stats.total_workers) == (2, 1, 1, 1)
    assert [(worker.state, worker.job_id) for worker in stats.workers] == [("busy", jobs[0].id)]
    model.gate.open()
    assert [service.jobs.wait(job.id, 10).status for job in jobs] == ["completed"] * 3


def test_what_is_refused_is_refused_before_it_is_accepted(service: Service):
    with pytest.raises(BadScript):
        service.jobs.submit(dataclasses.replace(HELLO, text=" "))
    assert service.jobs.page().total == 0
    assert service.admission.numbers().running == 0


def test_a_pending_job_that_is_cancelled_never_runs(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1)
    model.gate.close()
    first, second, third = (service.jobs.submit(HELLO).job for _ in range(3))
    until(lambda: service.jobs.get(first.id).status == "processing")
    assert service.admission.numbers().waiting == 2
    assert service.jobs.cancel(second.id).status == "cancelled"
    assert service.admission.numbers().waiting == 1
    assert service.jobs.cancel(second.id).status == "cancelled"
    model.gate.open()
    assert service.jobs.wait(third.id, 10).status == "completed"
    assert service.jobs.get(second.id).started_at is None
    assert len(model.streams) == 2
    with pytest.raises(ResultGone, match="cancelled"):
        service.jobs.result(second.id)
    with pytest.raises(Conflict, match="completed"):
        service.jobs.cancel(first.id)
    with pytest.raises(NotFound):
        service.jobs.cancel("no-such-job")


def test_a_running_job_that_is_cancelled_stops_within_three_steps(service: Service, model: ToneModel):
    model.gate.close()
    model.gate.allow(10)
    job = service.jobs.submit(HELLO).job
    until(lambda: model.gate.steps == 10)
    assert service.jobs.cancel(job.id).status == "cancelled"
    until(lambda: service.admission.numbers().running == 0)
    assert model.gate.steps <= 13
    assert service.jobs.get(job.id).status == "cancelled"
    model.gate.open()
    until(lambda: service.jobs.stats().workers[0].state == "idle")
    assert list(service.folder.room("results").iterdir()) == []
    ended = service.jobs.get(job.id)
    assert (ended.error_code, ended.error_message) == (None, None)
    assert ended.progress == Progress(0.0, 0.0, None, 0)


@pytest.mark.parametrize(
    ("failure", "code", "is_logged"),
    [
        (RuntimeError("secret /path"), "engine_error", True),
        (GenerationFailed("no sound"), "generation_failed", False),
        (EngineStopped("the engine has stopped"), "engine_stopped", False),
    ],
    ids=["unknown", "ours", "stopped"],
)
def test_a_failed_job_says_why_and_the_next_goes_well(
    service: Service, model: ToneModel, failure: Exception, code: str, is_logged: bool, caplog: Any
):
    model.fail_with = failure
    failed = service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    assert (failed.status, failed.attempts, failed.error_code) == ("failed", 1, code)
    assert "secret" not in (failed.error_message or "")
    assert (f"job {failed.id} failed in the engine" in caplog.text) is is_logged
    with pytest.raises(GenerationFailed, match=re.escape(failed.error_message or "nothing")):
        service.jobs.result(failed.id)
    model.fail_with = None
    assert service.jobs.wait(service.jobs.submit(HELLO).job.id, 10).status == "completed"


def test_direct_requests_and_jobs_share_one_bound(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1, queue_capacity=8)
    model.gate.close()

    def job() -> str:
        return service.jobs.submit(HELLO).job.id

    def direct() -> bytes:
        with service.speech.open(HELLO) as speech:
            return speech.read()

    asked = [in_thread(job if number % 2 else direct) for number in range(40)]
    until(lambda: sum(isinstance(error, QueueFull) for _, ended in asked for error in ended) == 31)
    assert service.admission.numbers().waiting + service.admission.numbers().running == 9
    model.gate.open()
    for thread, _ in asked:
        thread.join(20)
    made = [item for _, ended in asked for item in ended if not isinstance(item, Exception)]
    assert len(made) == 9
    for item in made:
        assert isinstance(item, bytes) or service.jobs.wait(item, 10).status == "completed"
    until(lambda: service.admission.numbers().running == 0)
    assert service.counters.value("rejected_total", "queue_full") == 31


def test_jobs_end_in_the_order_they_came_and_interactive_ones_first(
    make_service: Callable[..., Service], model: ToneModel
):
    service = make_service(workers=1)
    model.frames_per_char = 0.1
    model.gate.close()
    first = service.jobs.submit(HELLO).job
    until(lambda: service.jobs.get(first.id).status == "processing")
    batch = [service.jobs.submit(HELLO).job.id for _ in range(10)]
    urgent = [service.jobs.submit(HELLO, priority="interactive").job.id for _ in range(2)]
    model.gate.open()
    for job_id in batch:
        service.jobs.wait(job_id, 20)
    ended = sorted((service.jobs.get(job_id) for job_id in [*batch, *urgent]), key=lambda job: job.finished_at or 0)
    assert [job.id for job in ended] == [*urgent, *batch]


def test_never_more_jobs_run_than_there_are_workers(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=3)
    model.frames_per_char = 0.2
    jobs = [service.jobs.submit(HELLO).job.id for _ in range(20)]
    most = 0
    while service.jobs.stats().completed_jobs < 20:
        most = max(most, service.jobs.stats().processing_jobs)
    assert 1 <= most <= 3
    assert all(service.jobs.get(job_id).status == "completed" for job_id in jobs)


def test_a_key_gives_one_job_however_often_it_comes(service: Service, model: ToneModel):
    results = [in_thread(lambda: service.jobs.submit(HELLO, idempotency_key="k-1")) for _ in range(20)]
    for thread, _ in results:
        thread.join(20)
    submitted = [ended[0] for _, ended in results]
    assert len({item.job.id for item in submitted}) == 1
    assert sorted(item.replayed for item in submitted) == [False] + [True] * 19
    assert service.jobs.wait(submitted[0].job.id, 10).status == "completed"
    assert len(model.streams) == 1
    assert service.jobs.submit(HELLO, idempotency_key="k-1").replayed
    with pytest.raises(KeyReused):
        service.jobs.submit(dataclasses.replace(HELLO, text="Other."), idempotency_key="k-1")
    assert not service.jobs.submit(dataclasses.replace(HELLO, owner="other"), idempotency_key="k-1").replayed
    until(lambda: service.admission.numbers().running == 0)


@pytest.mark.parametrize("bad", ["", "x" * 256, "ä", "a\nb"])
def test_a_key_that_is_none_is_refused(service: Service, bad: str):
    with pytest.raises(BadParameter, match="idempotency key"):
        service.jobs.submit(HELLO, idempotency_key=bad)


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(tmp_path: Path, model: ToneModel, clock: Clock):
    service = build(make_settings(tmp_path / "data", save_outputs=True), model=model, clock=clock)
    service.start()
    yield service
    service.close(0)


def test_results_and_keys_live_their_time_and_no_longer(timed: Service, clock: Clock):
    job = timed.jobs.wait(timed.jobs.submit(HELLO, idempotency_key="k").job.id, 10)
    assert job.expires_at == clock.now + 3600
    clock.now += 3599
    assert timed.retention.clean().jobs_removed == 0
    assert timed.jobs.result(job.id).path.is_file()
    assert timed.jobs.submit(HELLO, idempotency_key="k").replayed
    clock.now += 1
    assert timed.retention.clean().jobs_removed == 1
    for call in (timed.jobs.get, timed.jobs.result, timed.jobs.cancel):
        with pytest.raises(ResultGone, match="expired"):
            call(job.id)
    assert list(timed.folder.room("results").iterdir()) == []
    assert not timed.jobs.submit(HELLO, idempotency_key="k").replayed
    clock.now += 90_000
    timed.retention.clean()
    with pytest.raises(NotFound):
        timed.jobs.get(job.id)


def test_an_expired_job_is_told_apart_for_a_day_to_the_second(timed: Service, clock: Clock):
    job = timed.jobs.wait(timed.jobs.submit(HELLO).job.id, 10)
    assert timed.jobs.clear() == 1
    clock.now += 86_400
    timed.jobs.expire()
    with pytest.raises(ResultGone):
        timed.jobs.get(job.id)
    clock.now += 0.5
    timed.jobs.expire()
    with pytest.raises(NotFound):
        timed.jobs.get(job.id)


def test_what_expires_by_age_and_by_size_is_counted_together(make_service: Callable[..., Service]):
    service = make_service(workers=1)
    jobs = [service.jobs.wait(service.jobs.submit(HELLO).job.id, 10) for _ in range(3)]
    with service.database.write() as transaction:
        transaction.execute("UPDATE jobs SET finished_at = 0 WHERE id = ?", (jobs[0].id,))
        transaction.execute("UPDATE jobs SET result_size = 1000000000000 WHERE id = ?", (jobs[2].id,))
    assert service.jobs.expire() == 2
    assert [job.id for job in service.jobs.page().jobs] == [jobs[2].id]


def test_a_result_whose_file_is_gone_is_gone(service: Service):
    job = service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    service.jobs.result(job.id).path.unlink()
    with pytest.raises(ResultGone, match="is gone; send it again"):
        service.jobs.result(job.id)


def test_results_outlive_a_restart_and_what_was_never_finished_does_not(make_service: Callable[..., Service]):
    service = make_service()
    job = service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    data = service.jobs.result(job.id).path.read_bytes()
    stray = service.folder.room("results") / "stray"
    stray.mkdir()
    (stray / "audio").write_bytes(b"half")
    service.close(10)
    service = make_service()
    assert service.jobs.result(job.id).path.read_bytes() == data
    assert not stray.exists()


@pytest.mark.parametrize("show_prompts", [False, True])
def test_the_text_of_an_ended_job_is_on_disk_only_if_texts_are_shown(
    make_service: Callable[..., Service], model: ToneModel, show_prompts: bool
):
    """Erased rows would live on in the write-ahead log for as long as the server runs."""
    service = make_service(show_prompts=show_prompts, workers=1)
    ended = service.jobs.submit(dataclasses.replace(HELLO, text="The canary sings.")).job
    assert service.jobs.wait(ended.id, 10).status == "completed"
    model.gate.close()
    running, waiting = (service.jobs.submit(dataclasses.replace(HELLO, text="The canary.")).job for _ in range(2))
    until(lambda: service.jobs.get(running.id).status == "processing")
    service.jobs.cancel(waiting.id)
    service.jobs.cancel(running.id)
    until(lambda: service.admission.numbers().running == 0)
    until(lambda: service.jobs.stats().workers[0].state == "idle")
    kept = b"".join(path.read_bytes() for path in service.folder.root.glob("dia.sqlite3*"))
    assert (b"canary" in kept) is show_prompts


def test_a_clock_that_jumps_back_deletes_nothing(timed: Service, clock: Clock):
    job = timed.jobs.wait(timed.jobs.submit(HELLO).job.id, 10)
    clock.now -= 86_400
    cleaned = timed.retention.clean()
    assert (cleaned.jobs_removed, cleaned.logs_removed, cleaned.files_removed) == (0, 0, 0)
    assert timed.jobs.result(job.id).path.is_file()


def test_a_result_that_is_being_read_survives_its_expiry(timed: Service, clock: Clock):
    job = timed.jobs.wait(timed.jobs.submit(HELLO).job.id, 10)
    result = timed.jobs.result(job.id)
    with result.path.open("rb") as file:
        start = file.read(100)
        clock.now += 4000
        timed.retention.clean()
        assert len(start + file.read()) == result.size_bytes


def test_results_stay_under_their_cap_and_the_newest_stays(make_service: Callable[..., Service]):
    service = make_service(max_result_bytes=500_000, workers=1)
    jobs = []
    for _ in range(5):  # 203 kB each
        jobs.append(service.jobs.wait(service.jobs.submit(HELLO).job.id, 10))
        until(lambda: service.admission.numbers().running == 0)
        kept = sum(path.stat().st_size for path in service.folder.room("results").rglob("audio"))
        assert kept <= 500_000 + (jobs[0].result_size or 0)
    until(lambda: service.jobs.page().total == 2)
    assert [job.id for job in service.jobs.page().jobs] == [jobs[4].id, jobs[3].id]
    with pytest.raises(ResultGone):
        service.jobs.result(jobs[0].id)


@pytest.mark.parametrize(("size", "kept"), [(250_000, 2), (250_001, 1), (500_000, 1), (900_000, 1)])
def test_the_cap_on_results_is_exact(make_service: Callable[..., Service], size: int, kept: int):
    service = make_service(max_result_bytes=500_000, workers=1)
    jobs = [service.jobs.wait(service.jobs.submit(HELLO).job.id, 10) for _ in range(2)]
    with service.database.write() as transaction:
        transaction.execute("UPDATE jobs SET result_size = ?", (size,))
    assert service.jobs.expire() == 2 - kept
    assert [job.id for job in service.jobs.page().jobs] == [job.id for job in jobs[::-1]][:kept]


def test_clearing_leaves_what_still_runs(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1)
    done = service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    model.gate.close()
    running = service.jobs.submit(HELLO).job
    until(lambda: service.jobs.get(running.id).status == "processing")
    assert service.jobs.clear() == 1
    assert [job.id for job in service.jobs.page().jobs] == [running.id]
    assert not service.folder.place("results", done.id).exists()
    model.gate.open()
    service.jobs.wait(running.id, 10)


def test_pages_filters_and_their_limits(make_service: Callable[..., Service]):
    service = make_service()
    ids = [service.jobs.submit(dataclasses.replace(HELLO, owner=f"o{number % 2}")).job.id for number in range(6)]
    for job_id in ids:
        service.jobs.wait(job_id, 10)
    page = service.jobs.page(limit=2, offset=1)
    assert [job.id for job in page.jobs] == [ids[4], ids[3]]
    assert (page.total, page.filtered) == (6, 6)
    assert service.jobs.page(owner="o1").filtered == 3
    assert service.jobs.page(status="failed").jobs == ()
    for bad in ({"limit": 0}, {"limit": -1}, {"limit": 501}, {"offset": -1}, {"status": "x"}):
        with pytest.raises(BadParameter):
            service.jobs.page(**bad)  # type: ignore[arg-type]


def test_a_page_is_of_fifty_where_nothing_is_said(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1, queue_capacity=60)
    model.gate.close()
    for _ in range(51):
        service.jobs.submit(HELLO)
    assert len(service.jobs.page().jobs) == 50
    assert len(service.jobs.page(limit=500).jobs) == 51


def test_a_disk_that_is_full_refuses_and_later_accepts(make_service: Callable[..., Service]):
    service = make_service()
    writer = service.database._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    accepted: list[str] = []

    def submit_until_full() -> None:
        for _ in range(200):
            accepted.append(service.jobs.submit(dataclasses.replace(HELLO, text="word " * 500)).job.id)

    with pytest.raises(DiskFull):
        submit_until_full()
    assert service.jobs.page().total == len(accepted)
    writer.execute("PRAGMA max_page_count = 1000000")
    assert service.jobs.wait(service.jobs.submit(HELLO).job.id, 20).status == "completed"
    assert service.database.is_sound()


def test_a_database_that_is_locked_for_a_while_loses_no_job(
    make_service: Callable[..., Service], model: ToneModel, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    monkeypatch.setattr("dia.service.db._BUSY_TIMEOUT_S", 0.02)
    service = make_service(workers=1, queue_capacity=1)
    model.gate.close()
    job = service.jobs.submit(HELLO).job
    until(lambda: service.jobs.get(job.id).status == "processing" and model.streams)
    other = sqlite3.connect(service.folder.database_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    model.gate.open()
    until(lambda: "could not be brought to an end" in caplog.text)
    other.execute("ROLLBACK")
    other.close()
    until(lambda: service.jobs.stats().workers[0].state == "idle")
    assert service.jobs.get(job.id).status == "processing"
    model.gate.close()
    others = [service.jobs.submit(HELLO).job.id for _ in range(2)]  # the queue is full now
    service.retention.clean()
    model.gate.open()
    assert [service.jobs.wait(other_id, 10).status for other_id in others] == ["completed"] * 2
    done = service.jobs.wait(job.id, 10)
    assert (done.status, done.attempts) == ("completed", 2)


def test_a_job_that_no_thread_works_on_can_be_cancelled(make_service: Callable[..., Service]):
    service = make_service()
    job = service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    with service.database.write() as transaction:
        transaction.execute("UPDATE jobs SET status = 'processing' WHERE id = ?", (job.id,))
    assert service.jobs.cancel(job.id).status == "cancelled"


def test_a_result_that_finds_no_room_fails_by_name_and_the_next_is_kept(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    def full(path: Path, data: bytes) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr("dia.service.jobs.write_file", full)
    failed = service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    assert (failed.status, failed.error_code) == ("failed", "disk_full")
    monkeypatch.undo()
    assert service.jobs.wait(service.jobs.submit(HELLO).job.id, 10).status == "completed"


def test_what_waited_and_what_ran_at_shutdown_runs_after_it(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1)
    expected = service.jobs.wait(service.jobs.submit(dataclasses.replace(HELLO, seed=11)).job.id, 10).result_sha256
    model.gate.close()
    jobs = [service.jobs.submit(dataclasses.replace(HELLO, seed=11)).job.id for _ in range(3)]
    until(lambda: service.jobs.get(jobs[0]).status == "processing")
    service.close(0)
    model.gate.open()
    model.is_closed = False
    service = make_service()
    ended = [service.jobs.wait(job_id, 10) for job_id in jobs]
    assert [(job.status, job.attempts, job.result_sha256) for job in ended] == [("completed", 1, expected)] * 3


def test_a_shorter_queue_after_a_restart_loses_no_job(make_service: Callable[..., Service], model: ToneModel):
    service = make_service(workers=1, queue_capacity=5)
    model.gate.close()
    jobs = [service.jobs.submit(HELLO).job.id for _ in range(6)]
    service.close(0)
    model.gate.open()
    model.is_closed = False
    service = make_service(workers=1, queue_capacity=1)
    assert [service.jobs.wait(job_id, 10).status for job_id in jobs] == ["completed"] * 6


def test_a_long_job_that_was_cut_short_begins_again_at_its_start(
    make_service: Callable[..., Service], model: ToneModel
):
    """As the documents say; what the client gets is the same bytes."""
    long = dataclasses.replace(
        HELLO, text="This is a sentence of some length, and there are many of it. " * 12, seed=11
    )
    service = make_service(workers=1)
    expected = service.jobs.wait(service.jobs.submit(long).job.id, 30).result_sha256
    said, first_frames = [stream.text for stream in model.streams], model.streams[0].frames_done
    assert len(said) > 2
    model.streams.clear()
    model.gate.close()
    job_id = service.jobs.submit(long).job.id
    until(lambda: len(model.streams) == 1)
    model.gate.allow(first_frames + 5)
    until(lambda: len(model.streams) == 2)
    service.close(0)
    assert len(model.streams) < len(said)
    model.gate.open()
    model.is_closed = False
    model.streams.clear()
    job = make_service().jobs.wait(job_id, 30)
    assert (job.status, job.attempts, job.result_sha256) == ("completed", 1, expected)
    assert [stream.text for stream in model.streams] == said


def test_jobs_of_before_wait_for_the_model(tmp_path: Path, model: ToneModel):
    first = build(make_settings(tmp_path / "data"), model=model)
    model.gate.close()
    first.start()
    job = first.jobs.submit(HELLO).job
    first.close(0)
    second = build(make_settings(tmp_path / "data"))
    second.start()
    assert second.jobs.get(job.id).status == "pending"
    with pytest.raises(EngineStopped):
        second.jobs.submit(HELLO)
    second.speech.attach(ToneModel())
    assert second.jobs.wait(job.id, 10).status == "completed"
    second.close(0)


def test_a_poison_job_ends_and_those_behind_it_go_well(make_service: Callable[..., Service], model: ToneModel):
    """What a kill leaves is a row in `processing`; three of those are enough."""
    service = make_service(workers=1)
    model.gate.close()
    poison = service.jobs.submit(HELLO).job.id
    until(lambda: service.jobs.get(poison).status == "processing")
    behind = [service.jobs.submit(HELLO).job.id for _ in range(3)]
    service.close(0)
    model.gate.open()
    model.is_closed = False
    for attempts, status in ((2, "completed"), (3, "failed")):
        _leave_processing(make_service, model, poison, attempts)
        service = make_service()
        ended = service.jobs.wait(poison, 10)
        assert ended.status == status
        service.close(0)
        model.is_closed = False
    assert (ended.error_code, ended.attempts) == ("worker_lost", 3)
    service = make_service()
    assert [service.jobs.wait(job_id, 10).status for job_id in behind] == ["completed"] * 3


def _leave_processing(make_service: Callable[..., Service], model: ToneModel, job_id: str, attempts: int) -> None:
    service = make_service()
    service.jobs.wait(job_id, 10)
    with service.database.write() as transaction:
        request = dataclasses.replace(HELLO, job_id=job_id, seed=1).to_json()
        transaction.execute(
            "UPDATE jobs SET status = 'processing', attempts = ?, request = ?, finished_at = NULL WHERE id = ?",
            (attempts, request, job_id),
        )
    service.close(0)
    model.is_closed = False


actions = st.lists(st.sampled_from(["create", "cancel", "step", "finish", "clear", "cancel_last"]), max_size=30)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=actions, data=st.data())
def test_any_interleaving_gives_each_job_one_end(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str], data: st.DataObject
):
    model = ToneModel(frames_per_char=0.2)
    service = build(make_settings(tmp_path_factory.mktemp("jobs"), workers=2, queue_capacity=4), model=model)
    service.start()
    model.gate.close()
    known: list[str] = []
    ends: dict[str, str] = {}

    def note() -> None:
        for job in service.jobs.page(limit=500).jobs:
            if job.status in ENDED:
                assert ends.setdefault(job.id, job.status) == job.status

    try:
        for action in actions:
            _act(service, model, known, action, data)
            note()
        model.gate.open()
        for job_id in known:
            if any(job.id == job_id for job in service.jobs.page(limit=500).jobs):
                assert service.jobs.wait(job_id, 10).status in ENDED
        note()
        until(lambda: service.admission.numbers().running == 0)
        assert service.admission.numbers().waiting == 0
        counted = sum(service.counters.value("jobs_total", status) for status in ENDED)
        assert counted == len(known)
    finally:  # a draw may end an example at any point; its threads would keep the process from ending
        model.gate.open()
        service.close(0)


def _act(service: Service, model: ToneModel, known: list[str], action: str, data: st.DataObject) -> None:
    if action == "create":
        try:
            known.append(service.jobs.submit(HELLO).job.id)
        except QueueFull:
            assert service.admission.numbers().waiting >= 4
    elif action.startswith("cancel") and known:
        job_id = known[-1] if action == "cancel_last" else data.draw(st.sampled_from(known))
        with contextlib.suppress(Conflict, ResultGone):
            assert service.jobs.cancel(job_id).status == "cancelled"
    elif action == "step":
        model.gate.allow(1)
    elif action == "finish":
        model.gate.allow(20)
    elif action == "clear":
        service.jobs.clear()


def test_threads_and_queue_are_gone_after_closing(make_service: Callable[..., Service]):
    before = threading.active_count()
    service = make_service()
    for _ in range(3):
        service.jobs.submit(HELLO)
    service.close(10)
    until(lambda: threading.active_count() <= before)


def test_each_attempt_has_its_log(service: Service):
    job = service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    page = service.logs.page(LogFilter())
    assert [(entry.id, entry.job_id) for entry in page.entries] == [(job.log_id, job.id)]


def test_stats_count_what_is_listed(service: Service, model: ToneModel):
    stats = service.jobs.stats()
    assert (stats.pending_jobs, stats.processing_jobs, stats.completed_jobs) == (0, 0, 0)
    assert (stats.failed_jobs, stats.cancelled_jobs, stats.active_workers) == (0, 0, 0)
    for number in range(3):
        model.fail_with = RuntimeError() if number == 1 else None
        service.jobs.wait(service.jobs.submit(HELLO).job.id, 10)
    stats = service.jobs.stats()
    assert (stats.completed_jobs, stats.failed_jobs, stats.cancelled_jobs, stats.pending_jobs) == (2, 1, 0, 0)
