"""Start, stop and crash of whole server processes (trap 18; promises R20, R21, R27, R31, Q06)."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dia.hub import BUNDLED
from dia.server import main
from dia.service.build import Service, build
from dia.service.storage import DataFolder
from tests.server.live import ROOT, ChildServer, eventually
from tests.service.conftest import make_settings
from tests.service.tone import ToneModel

TEXT = "x" * 60  # steps of the tone generator


def start(make_child: Callable[..., ChildServer], folder: Path, *flags: str, **environ: str) -> ChildServer:
    return make_child("--port", "0", "--data-dir", str(folder), "--workers", "3", *flags, **environ).await_start()


@contextmanager
def taken_up(folder: Path) -> Iterator[Service]:
    """The next server on that folder, without its HTTP."""
    service = build(make_settings(folder), model=ToneModel(frames_per_char=1.0))
    service.start()
    try:
        yield service
    finally:
        service.close(0)


def states(folder: Path) -> dict[str, str]:
    with closing(sqlite3.connect(folder / "dia.sqlite3")) as database:
        return dict(database.execute("SELECT id, status FROM jobs"))


def test_r20_a_first_signal_lets_running_work_finish_and_keeps_the_rest(make_child: Any, tmp_path: Path, promise: Any):
    server = start(make_child, tmp_path, TONE_STEP_S="0.025", DIA_DRAIN_S="10")
    with server.client() as client:
        jobs = [client.post("/generate?async_mode=true", json={"text": TEXT}).json()["job_id"] for _ in range(6)]
        assert eventually(lambda: client.get("/queue/stats").json()["processing_jobs"] == 3)
        server.signal(signal.SIGTERM)
        assert eventually(lambda: client.get("/health/ready").status_code == 503)
        ready = client.get("/health/ready")
        assert int(ready.headers["retry-after"]) >= 1
        assert client.get("/health/live").status_code == 200
        assert client.get("/health").json()["status"] == "stopping"
        refused = client.post("/generate", json={"text": "Hi."})
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    began = time.perf_counter()
    assert server.wait(12) == 0, "".join(server.lines)
    took_s = time.perf_counter() - began
    kept = states(tmp_path)
    assert [kept[job] for job in jobs] == ["completed"] * 3 + ["pending"] * 3
    assert not any("Traceback" in line for line in server.lines)
    with taken_up(tmp_path) as service:
        assert service.jobs.wait(jobs[-1], 20).status == "completed"
    promise(
        "R20",
        f"SIGTERM: 3 running jobs done, 3 waiting kept for the next start, exit 0 {took_s:.1f} s after the last request",
    )


def test_r21_a_second_signal_stops_at_once_and_loses_nothing(make_child: Any, tmp_path: Path, promise: Any):
    server = start(make_child, tmp_path, TONE_STEP_S="0.5")
    with server.client() as client:
        job = client.post("/generate?async_mode=true", json={"text": TEXT}).json()["job_id"]
        assert eventually(lambda: client.get(f"/jobs/{job}").json()["status"] == "processing")
    server.signal(signal.SIGINT)
    time.sleep(0.2)
    began = time.perf_counter()
    server.signal(signal.SIGINT)
    assert server.wait(8) == 0
    took_s = time.perf_counter() - began
    assert took_s < 5
    assert states(tmp_path)[job] == "pending"
    promise("R21", f"second SIGINT: exit 0 after {took_s:.1f} s, the running job waits for the next start")


@pytest.fixture
def serve_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], tuple[int, str]]:
    """`main` in this process, for starts that come to nothing."""

    def serve(folder: Path) -> tuple[int, str]:
        monkeypatch.setattr(os, "environ", dict(os.environ))
        monkeypatch.setattr(main, "configure_logging", lambda: None)
        code = main.main(["--port", "0", "--data-dir", str(folder)])
        return code, capsys.readouterr().err

    return serve


def test_r27_two_servers_never_share_a_data_folder(serve_here: Any, tmp_path: Path, promise: Any):
    with closing(DataFolder(tmp_path)):
        code, complaint = serve_here(tmp_path)
    assert code == 3
    assert "in use by another server" in complaint
    promise("R27", "a second server on the same folder: exit 3 with the cure in one line")


def test_r31_a_data_folder_that_cannot_be_is_told_at_the_start(serve_here: Any, tmp_path: Path, promise: Any):
    (tmp_path / "file").write_text("not a folder")
    code, complaint = serve_here(tmp_path / "file" / "data")
    assert code == 2
    assert "DIA_DATA_DIR" in complaint
    promise("R31", "a data folder that is none: exit 2 with path and cure")


@pytest.mark.slow
def test_r22_a_killed_server_loses_no_accepted_job(make_child: Any, tmp_path: Path, promise: Any):
    server = start(make_child, tmp_path, TONE_STEP_S="0.005")
    with server.client() as client:
        jobs = [
            client.post("/generate?async_mode=true", json={"text": TEXT, "seed": 3}).json()["job_id"]
            for _ in range(12)
        ]
        assert eventually(lambda: client.get("/queue/stats").json()["completed_jobs"] >= 2)
    server.signal(signal.SIGKILL)
    server.wait(5)
    with taken_up(tmp_path) as service:
        assert all(service.jobs.wait(job, 30).status == "completed" for job in jobs)
        sounds = {service.jobs.result(job).path.read_bytes() for job in jobs}
    assert len(sounds) == 1, "the same request gives the same bytes before and after"
    promise("R22", "SIGKILL amid 12 jobs: 12 completed after the restart, all bytes equal")


def test_q06_health_answers_while_the_model_loads_and_tells_when_it_cannot(
    make_child: Any, tmp_path: Path, promise: Any
):
    server = make_child(
        "--port",
        "0",
        "--data-dir",
        str(tmp_path),
        "--model",
        str(tmp_path),
        "--offline",
        command=("fastapi_server.py",),
        DIA_PAGE="false",
    ).await_start()
    with server.client() as client:
        assert client.get("/health/live").status_code == 200
        first = client.get("/health").json()
        assert first["status"] in ("starting", "degraded")
        assert client.get("/health/ready").status_code == 503
        refused = client.post("/v1/audio/speech", json={"input": "Hi."})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_stopped")
        assert eventually(lambda: client.get("/health").json()["status"] == "degraded", 60)
        assert "could not be loaded" in client.get("/health").json()["reason"]
        assert client.get("/voices").status_code == 200
    server.signal(signal.SIGTERM)
    assert server.wait(10) == 0
    promise("Q06", "live at once, ready 503 while loading and when the model cannot be loaded, with the reason")


@pytest.mark.parametrize("after_s", [0.0, 1.0, 2.0])
def test_a_signal_while_the_model_loads_stops_in_order(make_child: Any, tmp_path: Path, after_s: float):
    """The process aborted with code 134: torch's code does not bear that Python ends a thread of it."""
    server = make_child(
        "--port", "0", "--data-dir", str(tmp_path), "--model", str(BUNDLED), command=("fastapi_server.py",),
        DIA_PAGE="false",
    ).await_start()  # fmt: skip
    time.sleep(after_s)
    server.signal(signal.SIGTERM)
    assert server.wait(20) == 0, "".join(server.lines)
    assert any("shutdown complete" in line for line in server.lines)


def test_development_mode_serves_what_a_file_says_after_it_was_changed(make_child: Any, bundle: Path, tmp_path: Path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "dia", source / "dia", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    (source / "dia" / "assets").symlink_to(ROOT / "dia" / "assets")
    shutil.copy(ROOT / "start_server.py", source)
    server = make_child(
        "--dev", "--port", "0", "--data-dir", str(tmp_path / "data"), "--model", str(bundle),
        command=("start_server.py",), root=source, DIA_PAGE="false",
    ).await_start(60)  # fmt: skip

    def said() -> str | None:
        try:
            return str(client.get("/").json()["message"])
        except httpx.TransportError:
            return None  # between two processes

    with server.client() as client:
        assert eventually(lambda: said() == "Dia TTS Server is running", 60)
        changed = source / "dia" / "server" / "routes" / "health.py"
        changed.write_text(
            changed.read_text("utf-8").replace("Dia TTS Server is running", "This was changed"), "utf-8"
        )
        assert eventually(lambda: said() == "This was changed", 60), "".join(server.lines)[-2000:]
    os.killpg(server.process.pid, signal.SIGINT)
    server.wait(20)
    assert not any("Traceback" in line for line in server.lines)


@pytest.mark.slow
def test_under_reload_every_flag_has_its_effect(make_child: Any, tmp_path: Path):
    """F5 of the first server: no flag had any effect, and --dev ended with code 3."""
    server = make_child(
        "--debug", "--save-outputs", "--show-prompts", "--retention-hours", "48", "--workers", "6", "--no-torch-compile",
        "--reload", "--port", "0", "--data-dir", str(tmp_path),
    )  # fmt: skip
    assert eventually(lambda: any("Uvicorn running on" in line for line in server.lines), 60)
    with server.client() as client:

        def answers() -> bool:
            try:
                return client.get("/health").status_code == 200
            except httpx.TransportError:
                return False

        assert eventually(answers, 60)
        config = client.get("/config").json()
    assert (config["debug_mode"], config["save_outputs"], config["show_prompts"]) == (True, True, True)
    assert (config["output_retention_hours"], config["effective"]["workers"]) == (48, 6)
    assert config["effective"]["torch_compile"] is False
    os.killpg(server.process.pid, signal.SIGINT)
    server.wait(20)
