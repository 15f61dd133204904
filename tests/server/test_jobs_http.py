"""Jobs over HTTP: states, results, cancelling, following, idempotency (promises R03, R13, Q05)."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from dia.errors import OutOfMemory
from dia.service.build import Service
from tests.server.live import LiveServer, eventually
from tests.service.conftest import wav
from tests.service.tone import ToneModel

TEXT = "Some words that take a while to say."


def submit(client: Any, **body: Any) -> str:
    answer = client.post("/generate?async_mode=true", json={"text": TEXT, **body})
    assert answer.status_code == 200, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    assert answer.json()["status"] in ("pending", "processing")
    job_id: str = answer.json()["job_id"]
    return job_id


def finish(client: Any, job_id: str) -> dict:
    assert eventually(lambda: client.get(f"/jobs/{job_id}").json()["status"] in ("completed", "failed", "cancelled"))
    view: dict = client.get(f"/jobs/{job_id}").json()
    return view


def test_a_job_goes_from_pending_to_its_result(client: TestClient, model: ToneModel):
    model.gate.close()
    jobs = [submit(client, seed=5) for _ in range(5)]
    assert eventually(lambda: client.get("/queue/stats").json()["processing_jobs"] == 4)
    stats = client.get("/queue/stats").json()
    assert (stats["pending_jobs"], stats["total_workers"], stats["active_workers"]) == (1, 4, 4)
    waiting = client.get(f"/jobs/{jobs[-1]}").json()
    assert (waiting["status"], waiting["position"], waiting["progress"]["percent"]) == ("pending", 0, 0)
    early = client.get(f"/jobs/{jobs[-1]}/result")
    assert (early.status_code, early.headers["x-should-retry"]) == (425, "false")
    model.gate.open()
    done = finish(client, jobs[0])
    assert (done["status"], done["seed"], done["progress"]["percent"], done["text"]) == ("completed", 5, 100.0, "")
    result = client.get(done["result_url"])
    direct = client.post("/generate", json={"text": TEXT, "seed": 5})
    assert (result.headers["content-type"], result.content) == ("audio/wav", direct.content)
    assert f"speech_{jobs[0][:8]}.wav" in result.headers["content-disposition"]
    assert client.get(f"/logs/{done['log_id']}").json()["job_id"] == jobs[0]


def test_a_job_tells_what_its_log_knows(client: TestClient):
    client.put("/config", json={"show_prompts": True, "save_outputs": True})
    client.post(
        "/audio_prompts/upload",
        data={"prompt_id": "me", "transcript": "Yes."},
        files={"audio_file": ("a.wav", wav(1.0))},
    )
    client.post("/voice_mappings", json={"voice_id": "me", "audio_prompt": "me"})
    done = finish(client, submit(client, voice="me"))
    log = client.get(f"/logs/{done['log_id']}").json()
    assert done["processed_text"] == log["processed_text"] == client.get("/jobs").json()["jobs"][0]["processed_text"]
    assert TEXT in done["processed_text"]
    assert (done["audio_prompt_used"], done["file_path"]) == (True, log["file_path"])
    kept = client.get(f"/logs/{done['log_id']}/download").content
    assert kept == client.get(f"/jobs/{done['id']}/result").content  # it was a last bit off
    client.put("/config", json={"show_prompts": False, "save_outputs": False})
    plain = finish(client, submit(client))
    assert (plain["processed_text"], plain["audio_prompt_used"], plain["file_path"]) == (None, False, None)


@pytest.mark.parametrize("path", ["/generate", "/v1/audio/speech"])
def test_an_idempotent_request_is_warned_and_refused_as_any_other(client: TestClient, model: ToneModel, path: str):
    """Warnings and the time limit were dropped on the way through the job, and every failure came back as 500."""
    body = {"text": "A *bold* word.", "instructions": "Whisper.", "response_format": "wav"}
    plain = client.post(path, json=body).headers["x-dia-warnings"]
    assert "instructions are not followed" in plain
    kept = client.post(path, json=body, headers={"Idempotency-Key": "a"})
    assert set(kept.headers["x-dia-warnings"].split("; ")) == set(plain.split("; "))
    later = client.get(f"/jobs/{kept.headers['x-job-id']}").json()["warnings"]
    assert later
    assert set(later) < set(plain.split("; "))
    model.gate.close()
    late = client.post(path, json={**body, "timeout": 0.3}, headers={"Idempotency-Key": "b"})
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    model.gate.open()
    model.fail_with = OutOfMemory("no memory left; ask for less")
    full = client.post(path, json=body, headers={"Idempotency-Key": "c"})
    assert (full.status_code, full.json()["error"]["code"], "retry-after" in full.headers) == (
        503,
        "out_of_memory",
        True,
    )


def test_lists_are_filtered_paged_and_bounded(client: TestClient):
    jobs = [submit(client) for _ in range(3)]
    for job in jobs:
        finish(client, job)
    page = client.get("/jobs?status=completed&limit=2").json()
    assert [job["id"] for job in page["jobs"]] == jobs[:0:-1]
    assert (page["total"], page["filtered"], page["returned"]) == (3, 3, 2)
    assert client.get("/jobs?limit=2&offset=2").json()["jobs"][0]["id"] == jobs[0]
    for query in ("limit=-1", "limit=0", "limit=501", "offset=-1", "status=nonsense"):
        assert client.get(f"/jobs?{query}").status_code == 422
    assert client.delete("/jobs").json()["jobs_removed"] == 3
    assert client.get(f"/jobs/{jobs[0]}").status_code == 410
    assert client.get("/jobs/00000000-0000-0000-0000-000000000000").status_code == 404


def test_r13_pending_and_running_jobs_are_cancelled_and_ended_ones_are_not(
    client: TestClient, model: ToneModel, promise: Any
):
    """F4 of the first server: a cancelled job was spoken anyway and became completed."""
    model.gate.close()
    jobs = [submit(client) for _ in range(5)]
    assert eventually(lambda: len(model.streams) == 4)
    for job in (jobs[4], jobs[0], jobs[0]):
        assert client.delete(f"/jobs/{job}").json()["status"] == "cancelled"
    assert client.get(f"/jobs/{jobs[0]}/result").status_code == 410
    model.gate.open()
    assert finish(client, jobs[1])["status"] == "completed"
    assert client.delete(f"/jobs/{jobs[1]}").status_code == 409
    assert eventually(lambda: client.get("/queue/stats").json()["active_workers"] == 0)
    assert len(model.streams) == 4, "the waiting one was never started"
    assert client.get(f"/jobs/{jobs[4]}").json()["status"] == "cancelled"
    promise("R13", "a waiting and a running job cancelled over HTTP, twice the same answer, an ended one 409")


def test_a_failed_job_tells_why_without_inner_details(client: TestClient, model: ToneModel):
    model.fail_with = RuntimeError("boom at /secret/path")
    job = finish(client, submit(client))
    assert (job["status"], job["error_code"]) == ("failed", "engine_error")
    answer = client.get(f"/jobs/{job['id']}/result")
    assert answer.status_code == 500
    assert "secret" not in answer.text + json.dumps(job)


def test_a_job_can_be_followed(client: TestClient):
    job = submit(client)
    events = [line for line in client.get(f"/jobs/{job}/events").text.split("\n") if line.startswith("data: ")]
    assert json.loads(events[-1][6:])["status"] == "completed"
    assert client.get("/jobs/none/events").status_code == 404


def test_r03_jobs_of_one_priority_end_in_their_order(make_service: Any, model: ToneModel, promise: Any):
    service: Service = make_service(workers=1)
    from dia.server.app import create_app

    client = TestClient(create_app(service=service), base_url="http://localhost")
    model.gate.close()
    jobs = [submit(client) for _ in range(20)]
    model.gate.open()
    finish(client, jobs[-1])
    ended = sorted((client.get(f"/jobs/{job}").json()["completed_at"], number) for number, job in enumerate(jobs))
    assert [number for _, number in ended] == list(range(20))
    promise("R03", "20 jobs on one place ended in the order they came")


@pytest.mark.parametrize("path", ["/generate?async_mode=true", "/generate", "/v1/audio/speech"])
def test_q05_one_key_and_one_request_are_spoken_once(make_live: Any, model: ToneModel, promise: Any, path: str):
    live: LiveServer = make_live(workers=2)
    headers = {"Idempotency-Key": "order-66"}

    async def everybody() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=live.url, timeout=30, verify=False) as client:
            return await asyncio.gather(*(client.post(path, json={"text": TEXT}, headers=headers) for _ in range(25)))

    answers = asyncio.run(everybody())
    assert {answer.status_code for answer in answers} == {200}
    assert len(model.streams) <= 1 or eventually(lambda: len(model.streams) == 1)
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 24
    with live.client() as client:
        other = client.post(path, json={"text": "Something else."}, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "key_reused")
        assert client.post(path, json={"text": TEXT}, headers={"Idempotency-Key": "x" * 256}).status_code == 422
        assert client.get("/jobs").json()["total"] == 1
    promise("Q05", f"25 x {path} with one key: one job, 24 replays; another text with it is 422")
