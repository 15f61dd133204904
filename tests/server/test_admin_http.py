"""Configuration, logs, clean-up and numbers (promises Q07, Q09, Q11, S17)."""

import json
import logging
import random
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from dia.server.logformat import JsonLines
from tests.service.tone import ToneModel

TEXT = "Some words that take a while to say."


def test_config_is_merged_and_refused_wholly_or_not_at_all(client: TestClient):
    """F26 of the first server: one field sent reset the others, and -5 hours deleted every file."""
    body = {"debug_mode": True, "save_outputs": True, "show_prompts": True, "output_retention_hours": 48}
    assert client.put("/config", json=body).json()["config"]["output_retention_hours"] == 48
    client.put("/config", json={"debug_mode": False})
    config = client.get("/config").json()
    assert (config["debug_mode"], config["save_outputs"], config["output_retention_hours"]) == (False, True, 48)
    assert client.put("/config", json=config).status_code == 200
    for wrong in (
        {"output_retention_hours": -5}, {"output_retention_hours": 0}, {"output_retention_hours": "x"}, {"nonsense": 1},
        {"debug_mode": None}, {"save_outputs": False, "api_keys": "x"}, {"data_dir": "/tmp"}, {"whisper_model_size": "../x"},
    ):  # fmt: skip
        assert client.put("/config", json=wrong).status_code == 422, wrong
    assert client.get("/config").json() == config


def test_messages_are_sentences_of_ours(client: TestClient):
    """They began with the library's "Value error, ", and one log was "1 logs"."""
    twice = client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "alloy", "voice_id": "echo"})
    assert twice.json()["error"]["message"].startswith("voice_id and voice mean the same and differ")
    roleplay = client.put("/config", json={"roleplay": "nonsense"})
    assert roleplay.json()["error"]["message"].startswith("roleplay: roleplay 'nonsense'")
    client.post("/generate", json={"text": "Hi."})
    assert client.delete("/logs").json()["message"] == "Cleared 1 log"
    assert client.delete("/jobs").json()["message"] == "Cleared 0 finished jobs"


def test_debugging_is_switched_while_the_server_runs(client: TestClient, caplog: Any):
    """`debug_mode` was kept and shown, and changed nothing: no line, no header."""

    def speak() -> tuple[Any, list[Any]]:
        caplog.clear()
        answer = client.post("/generate", json={"text": TEXT, "temperature": 0.7, "seed": 5})
        return answer, [record for record in caplog.records if record.name == "dia.service.speech"]

    caplog.set_level(logging.INFO)
    plain, lines = speak()
    assert "x-dia-parameters" not in plain.headers
    assert lines == []
    client.put("/config", json={"debug_mode": True})
    told, lines = speak()
    parameters = json.loads(told.headers["x-dia-parameters"])
    assert (parameters["temperature"], parameters["top_p"], told.content) == (0.7, 0.95, plain.content)
    line = json.loads(JsonLines().format(lines[0]))
    assert (line["seed"], line["temperature"], line["frames"] > 0) == (5, 0.7, True)
    assert line["request_id"] == told.headers["x-request-id"]
    assert TEXT not in str(line)


def test_q11_two_hundred_documents_never_leave_half_a_configuration(client: TestClient, promise: Any):
    draw = random.Random(11)
    values: dict[str, list[Any]] = {
        "debug_mode": [True, False, "yes", None, 1], "save_outputs": [True, False, []], "show_prompts": [True, False, {}],
        "output_retention_hours": [1, 24, 8760, 0, 8761, 1.5, "3"], "other": [1],
    }  # fmt: skip
    before = client.get("/config").json()
    applied = 0
    for _ in range(200):
        names = draw.sample(sorted(values), draw.randint(1, 3))
        document = {name: draw.choice(values[name]) for name in names}
        answer = client.put("/config", json=document)
        after = client.get("/config").json()
        if answer.status_code == 200:
            applied += 1
            assert {name: after[name] for name in document} == document
        else:
            assert (answer.status_code, after) == (422, before)
        before = after
    promise("Q11", f"200 random documents: {applied} applied wholly, {200 - applied} refused wholly")


def test_q09_the_log_is_a_ledger(client: TestClient, promise: Any, model: ToneModel):
    client.put("/config", json={"save_outputs": True})
    said = [
        client.post("/generate", json={"text": TEXT, "voice": voice, "seed": n})
        for n, voice in enumerate(["alloy", "nova"] * 10)
    ]
    ids = [answer.headers["x-generation-id"] for answer in said]
    model.fail_with = RuntimeError("boom")
    client.post("/generate", json={"text": TEXT})
    model.fail_with = None
    page = client.get("/logs").json()
    assert (page["total"], page["returned"]) == (21, 21)
    assert [log["id"] for log in page["logs"]][1:] == ids[::-1]
    assert [log["seed"] for log in client.get("/logs?voice=alloy&limit=5&status=completed").json()["logs"]] == [
        18,
        16,
        14,
        12,
        10,
    ]
    assert client.get("/logs?status=failed").json()["logs"][0]["error_code"] == "engine_error"
    older = client.get(f"/logs?before={ids[10]}&limit=3").json()["logs"]
    assert [log["id"] for log in older] == ids[9:6:-1]
    log = client.get(f"/logs/{ids[0]}").json()
    assert {"generation_time", "file_size", "audio_duration", "sha256", "voice", "audio_prompt_used"} <= set(log)
    file = client.get(f"/logs/{ids[0]}/download")
    assert (file.headers["content-type"], len(file.content)) == ("audio/wav", log["file_size"])
    assert log["file_path"].endswith("_alloy.wav")
    for query in ("limit=0", "limit=-1", "limit=501", "status=x", "since=x"):
        assert client.get(f"/logs?{query}").status_code == 422
    assert client.delete(f"/logs/{ids[0]}").status_code == 200
    assert client.get(f"/logs/{ids[0]}").status_code == client.get(f"/logs/{ids[0]}/download").status_code == 404
    assert client.delete("/logs").json()["logs_removed"] == 20
    assert list((client.app.state.service.folder.root / "outputs").iterdir()) == []
    promise("Q09", "21 requests: the log lists each once, in order, with filters and pages that agree")


def test_cleanup_tells_what_it_removed(client: TestClient):
    assert client.post("/cleanup").json() == {
        "message": "Cleanup completed", "files_removed": 0, "bytes_freed": 0, "logs_removed": 0, "jobs_removed": 0,
    }  # fmt: skip


def test_q07_metrics_agree_with_a_ledger_and_their_series_stay_few(client: TestClient, promise: Any):
    for _ in range(5):
        client.post("/generate", json={"text": TEXT})
    client.post("/v1/audio/speech", json={"input": TEXT, "voice": "nobody"})
    client.post("/generate", json={"text": ""})

    def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}

    found = samples()

    def requests(route: str, code: str) -> float:
        return found[("dia_http_requests_total", (("code", code), ("method", "POST"), ("route", route)))]

    assert (requests("/generate", "200"), requests("/generate", "400"), requests("/audio/speech", "404")) == (5, 1, 1)
    assert found[("dia_speeches_total", (("status", "completed"),))] == 5
    assert found[("dia_rejected_total", (("reason", "refused"),))] == 1
    assert found[("dia_queue_depth", ())] == found[("dia_running", ())] == 0
    assert found[("dia_model_ready", ())] == 1
    assert found[("dia_audio_seconds_total", ())] > 1
    before = len(samples())
    for number in range(60):
        client.get(f"/no/such/path/{number}")
        client.get(f"/jobs/{number}")
    assert len(samples()) <= before + 40  # two routes: one counter and one histogram each
    again = len(samples())
    for number in range(60):
        client.get(f"/another/path/{number}")
    assert len(samples()) == again
    promise(
        "Q07",
        f"metrics equal a ledger; 120 unknown paths and ids add no series beyond their two routes ({again} in all)",
    )


CANARY = "canary-7f3e9a51c2d84b06a1e5f9d3"


def test_s17_a_text_is_kept_nowhere_unless_texts_are_shown(
    make_client: Any, caplog: pytest.LogCaptureFixture, promise: Any
):
    caplog.set_level(logging.DEBUG)
    client = make_client(save_outputs=True)
    client.post("/generate", json={"text": f"Say {CANARY} now."})
    client.post("/generate", json={"text": f"Say {CANARY} now.", "voice": "nobody"})
    job = client.post("/generate?async_mode=true", json={"text": f"Say {CANARY} now."}).json()["job_id"]
    client.app.state.service.jobs.wait(job, 10)
    client.get(f"/tts_stream/?text={CANARY}")
    shown = "".join(client.get(path).text for path in ("/logs", "/jobs", "/metrics", "/config"))
    folder = client.app.state.service.folder.root
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    # The test's own HTTP client logs what it asks for.
    logged = [
        record.getMessage() + str(vars(record)) for record in caplog.records if not record.name.startswith("httpx")
    ]
    assert len(logged) > 5
    assert CANARY not in shown + "".join(logged)
    assert CANARY.encode() not in kept
    client.put("/config", json={"show_prompts": True})
    said = client.post("/generate", json={"text": f"Say {CANARY} now."}).headers["x-generation-id"]
    log = client.get(f"/logs/{said}").json()
    assert CANARY in log["text"]
    assert log["processed_text"].startswith("[S1]")
    promise("S17", "a text of a finished request is in no file, log line or list, unless show_prompts is on")


def test_s17_one_record_is_one_line_of_json():
    formatter = JsonLines()
    for nasty in ("a\nb", "a\r\nb", "\x1b[31mred", "\u2028", "x" * 10_000):
        record = logging.LogRecord("dia", logging.INFO, __file__, 1, "%s", (nasty,), None)
        record.path = nasty
        line = formatter.format(record)
        assert line.isprintable()
        assert "\n" not in line
        assert (json.loads(line)["message"], json.loads(line)["path"]) == (nasty, nasty)
