"""Killed at any point with SIGKILL: accepted jobs are kept, results are whole, the same seed gives the same bytes."""

import hashlib
import multiprocessing
import os
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from dia.service.build import Service, build
from dia.service.speech import SpeechRequest
from tests.service.conftest import make_settings
from tests.service.killed_server import serve
from tests.service.test_speech import until
from tests.service.tone import ToneModel

TEXTS = [f"Sentence number {number} is said here." for number in range(6)]
STEPS = ["insert", "inserted", "claim", "claimed", "write", "written", "commit", "committed"]


def start(folder: Path, texts: list[str], *, step: str = "never", step_s: float = 0.0) -> ForkServerProcess:
    """A fresh process for each; a fork server has the imports done once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.service.killed_server"])
    process = context.Process(target=serve, args=(str(folder), texts, step, step_s))
    process.start()
    return process


def expected_hashes(tmp_path: Path) -> list[str]:
    service = build(make_settings(tmp_path / "expected"), model=ToneModel())
    service.start()
    hashes = []
    for number, text in enumerate(TEXTS):
        with service.speech.open(SpeechRequest(text, seed=number)) as speech:
            hashes.append(hashlib.sha256(speech.read()).hexdigest())
    service.close(0)
    return hashes


def check_results(service: Service, accepted: list[str], hashes: list[str]) -> None:
    for job in service.jobs.page().jobs:  # one more than accepted if the kill came before the answer
        assert service.jobs.wait(job.id, 20).is_ended
    for job_id in accepted:
        job = service.jobs.get(job_id)
        assert job.status == "completed"
        result = service.jobs.result(job_id)
        assert hashlib.sha256(result.path.read_bytes()).hexdigest() == result.sha256 == hashes[job.seed]
    assert service.database.is_sound()
    assert list(service.folder.root.rglob(".unfinished-*")) == []
    done = {job.id for job in service.jobs.page().jobs if job.status == "completed"}
    assert {path.name for path in service.folder.room("results").iterdir()} == done


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_nothing_accepted_is_lost(tmp_path: Path, step: str):
    hashes = expected_hashes(tmp_path)
    process = start(tmp_path, TEXTS, step=step)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, "it was to be killed"
    accepted = (tmp_path / "accepted").read_text().split()
    service = build(make_settings(tmp_path / "data"), model=ToneModel())
    service.start()
    check_results(service, accepted, hashes)
    service.close(0)


def test_killed_again_and_again_all_jobs_end_well(tmp_path: Path):
    hashes = expected_hashes(tmp_path)
    accepted: list[str] = []
    for kill in range(4):
        process = start(tmp_path, [] if accepted else TEXTS, step_s=0.002)
        until(lambda: len(_lines(tmp_path / "accepted")) == len(TEXTS), 30)
        accepted = _lines(tmp_path / "accepted")
        time.sleep(0.1 + 0.1 * kill)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
    service = build(make_settings(tmp_path / "data", job_attempts=10), model=ToneModel())
    service.start()
    jobs = [service.jobs.wait(job_id, 20) for job_id in accepted]
    assert [job.status for job in jobs] == ["completed"] * len(TEXTS)
    check_results(service, accepted, hashes)
    service.close(0)


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
