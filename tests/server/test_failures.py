"""What the engine, the disk and the sound may do to a request (trap 9; promises R30, R33, R34, R35)."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from dia.errors import EngineWedged, NonFiniteLogits, OutOfMemory
from tests.server.live import eventually
from tests.service.conftest import wav
from tests.service.tone import ToneModel

TEXT = "Some words that take a while to say."


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OutOfMemory("no memory left on the device; ask for less"), 503, "out_of_memory"),
        (MemoryError(), 503, "out_of_memory"),
        (RuntimeError("CUDA error at /home/somebody/engine.cu"), 500, "engine_error"),
        (NonFiniteLogits("logits of request 7 are not finite at step 3"), 500, "non_finite_logits"),
        (EngineWedged("no step within 60 s"), 503, "engine_wedged"),
    ],
    ids=["ours", "python's", "any other", "NaN", "wedged"],
)
def test_r33_r34_what_the_engine_raises_ends_one_request_only(
    client: TestClient, model: ToneModel, promise: Any, error: Exception, status: int, code: str, caplog: Any
):
    """Trap 9: out of memory has several classes; the engine's tests show that each becomes ours."""
    model.fail_with, model.fail_at_step = error, 2
    for path in ("/generate", "/v1/audio/speech"):
        answer = client.post(path, json={"text": TEXT, "response_format": "wav"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        assert (status != 503) or int(answer.headers["retry-after"]) >= 1
        for secret in ("Traceback", "somebody", "alloc_cpu", ".py"):
            assert secret not in answer.text
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == (2 if code == "engine_error" else 0)
    model.fail_with = None
    assert client.post("/generate", json={"text": TEXT}).status_code == 200
    promise("R33", f"{code}: {status} on both routes, no inner detail, the next request is spoken")


def test_q06_an_engine_that_hangs_is_neither_ready_nor_in_the_end_alive(
    client: TestClient, model: ToneModel, promise: Any
):
    """Health said "healthy" of an engine whose step did not come back, while every request got 503."""
    for hangs_s, status, live in ((70.0, "degraded", 200), (181.0, "degraded", 503), (0.0, "healthy", 200)):
        model.hangs_s = hangs_s
        health = client.get("/health").json()
        assert (health["status"], health["model_loaded"]) == (status, True)
        assert bool(health["reason"]) is bool(hangs_s)
        ready = client.get("/health/ready")
        assert ready.status_code == (503 if hangs_s else 200)
        assert not hangs_s or (int(ready.headers["retry-after"]), "hangs" in ready.text) == (30, True)
        answer = client.get("/v1/health/live")
        assert answer.status_code == live
        assert live == 200 or answer.json()["error"]["code"] == "engine_wedged"
        assert f"dia_model_ready {float(not hangs_s)}" in client.get("/metrics").text
    promise("Q06b", "an engine that hangs is not ready at once, and not alive after three minutes")


class Nothing(ToneModel):
    """Makes chunks of a chosen kind."""

    chunk: Any = None

    def stream(self, *args: Any, **options: Any) -> Any:
        stream = super().stream(*args, **options)
        chunk = self.chunk
        if chunk is not None:

            class Odd(type(stream)):  # type: ignore[misc]
                def __next__(self) -> np.ndarray:
                    super().__next__()
                    return np.asarray(chunk)

            stream.__class__ = Odd
        return stream


@pytest.mark.parametrize(
    "chunk", [np.full(512, np.nan, np.float32), np.full(512, np.inf, np.float32), np.zeros(0, np.float32)],
    ids=["NaN", "infinite", "empty"],
)  # fmt: skip
def test_r35_noise_and_nothing_are_failures_and_not_files(
    make_client: Any, model: ToneModel, promise: Any, chunk: np.ndarray
):
    model.__class__, model.chunk = Nothing, chunk
    client = make_client()
    for body in ({"text": TEXT}, {"text": TEXT, "stream": True, "response_format": "pcm"}):
        answer = client.post("/generate", json=body)
        assert answer.status_code == 500, answer.content[:100]
        assert answer.headers["x-should-retry"] == "false"
    model.chunk = None
    assert client.post("/generate", json={"text": TEXT}).status_code == 200
    promise("R35", "NaN, infinite and empty sound: 500 and no file, whole and streamed")


def test_r30_a_full_disk_is_507_and_passes(client: TestClient, promise: Any, monkeypatch: pytest.MonkeyPatch):
    """Everything that writes meets a full disk; everything that reads goes on; nothing half written is seen."""
    client.put("/config", json={"save_outputs": True})
    is_full = False
    real_fsync = os.fsync

    def fsync(handle: int) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    is_full = True
    files = {"audio_file": ("me.wav", wav(2.0))}
    answer = client.post("/audio_prompts/upload", data={"prompt_id": "me"}, files=files)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
    assert "retry-after" in answer.headers
    spoken = client.post("/generate", json={"text": TEXT})
    assert spoken.status_code == 200, "the sound is made, only its copy is not kept"
    job = client.post("/generate?async_mode=true", json={"text": TEXT}).json()["job_id"]
    assert eventually(lambda: client.get(f"/jobs/{job}").json()["status"] == "failed")
    assert client.get(f"/jobs/{job}").json()["error_code"] == "disk_full"
    assert client.get("/health").status_code == client.get("/logs").status_code == 200
    is_full = False
    folder: Path = client.app.state.service.folder.root
    assert list(folder.rglob(".unfinished-*")) == []
    assert client.get("/audio_prompts").json() == {}
    assert client.post("/audio_prompts/upload", data={"prompt_id": "me"}, files=files).status_code == 200
    assert client.post("/generate", json={"text": TEXT}).status_code == 200
    promise("R30", "disk full: uploads 507, jobs failed with disk_full, speech and reading go on, no restart needed")
