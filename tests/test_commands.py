"""Every command line of the guide, typed as it is printed there, in processes of their own, with the tiny model.

Three things differ from the print, and nothing else: `python` is this interpreter; the port is one the system chose
(DIA_PORT or GRADIO_SERVER_PORT; where the line itself says 7860, that number); the published model's name leads to the
tiny model in a hub cache of the test's own. `pip install -e .` and `ruff format` (which writes) are run by .ci/run;
the two docker builds by tests/test_docker.py as far as that goes without an engine.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dia.cli import root
from dia.media.read import probe
from tests.server.live import ChildServer

ROOT = Path(__file__).parent.parent
FOUR = ("debug_mode", "save_outputs", "show_prompts")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
again = pytest.mark.slow  # a line whose flags stand in another line too


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache in which nari-labs/Dia-1.6B is the tiny model."""
    from tests.tiny import tiny_config, write_bundle

    cache = tmp_path_factory.mktemp("hub")
    folder = cache / "models--nari-labs--Dia-1.6B"
    write_bundle(folder / "snapshots" / ("a" * 40), "nested", tiny_config("v0_1"))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    return cache


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with room for the prompts of the built-in voices."""
    from tests.tiny import tiny_config, write_bundle

    return write_bundle(tmp_path_factory.mktemp("roomy"), config=tiny_config(audio_length=1024, text_length=512))


@pytest.fixture(scope="module")
def start(roomy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ChildServer]]:
    """Types `python …` of the guide and gives the process; all are ended afterwards."""
    made: list[ChildServer] = []

    def start(line: str, **environ: str) -> ChildServer:
        folder = tmp_path_factory.mktemp("data")
        script, *flags = line.removeprefix("python ").replace("7860", "0").split()
        common = {"DIA_MODEL": str(roomy), "DIA_DATA_DIR": str(folder), "DIA_PORT": "0", "DIA_PAGE": "false"}
        server = ChildServer(script, *flags, command=(), **{**common, **environ})
        made.append(server)
        return server

    yield start
    for server in made:
        server.close()


def fetch(url: str, timeout_s: float = 60.0) -> Any:
    """JSON, or bytes, of the first answer that comes within that time."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                data = answer.read()
                return json.loads(data) if "json" in answer.headers["content-type"] else data
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        except OSError:
            pass
        assert time.monotonic() < until, f"no answer from {url}"
        time.sleep(0.1)


def flags_shown(config: dict[str, Any]) -> dict[str, Any]:
    effective = config["effective"]
    return {
        **{name: config[name] for name in FOUR},
        "hours": config["output_retention_hours"],
        "workers": effective["workers"],
        "compile": effective["torch_compile"],
    }


QUIET = {**dict.fromkeys(FOUR, False), "hours": 24, "workers": 4, "compile": torch.cuda.is_available()}
LOUD = {**QUIET, **dict.fromkeys(FOUR, True)}
SAVING = {**QUIET, "debug_mode": True, "save_outputs": True}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("python start_server.py", QUIET),
        ("python start_server.py --dev", LOUD),
        pytest.param("python start_server.py --production", QUIET, marks=again),
        ("python start_server.py --debug --save-outputs --workers 8 --retention-hours 48", {**SAVING, "workers": 8, "hours": 48}),
        pytest.param("python start_server.py --debug --save-outputs --workers 6", {**SAVING, "workers": 6}, marks=again),
        pytest.param("python start_server.py --debug --save-outputs --show-prompts --workers 8", {**LOUD, "workers": 8}, marks=again),
        ("python start_server.py --workers 6 --no-torch-compile --retention-hours 48", {**QUIET, "workers": 6, "compile": False, "hours": 48}),
        ("python fastapi_server.py --debug --save-outputs --port 7860", SAVING),
        pytest.param("python fastapi_server.py --debug --save-outputs --show-prompts", LOUD, marks=again),
        pytest.param("python fastapi_server.py --save-outputs --retention-hours 48", {**QUIET, "save_outputs": True, "hours": 48}, marks=again),
        pytest.param("python fastapi_server.py --debug --save-outputs --show-prompts --reload", LOUD, marks=again),
    ],
)  # fmt: skip
def test_a_started_server_shows_the_flags_it_was_given(start: Callable[..., ChildServer], line: str, shown: dict):
    server = start(line)
    server.await_start(120)
    assert flags_shown(fetch(f"{server.url}/config")) == shown
    if "start_server" in line:
        assert "SillyTavern" in "".join(server.output)
    server.close()


@again
def test_production_wins_over_the_environment(start: Callable[..., ChildServer]):
    server = start("python start_server.py --production", DIA_DEBUG="1", DIA_SAVE_OUTPUTS="true")
    server.await_start(120)
    assert flags_shown(fetch(f"{server.url}/config")) == QUIET
    server.close()


def test_the_check_ends_with_a_code_and_asks_nothing(start: Callable[..., ChildServer]):
    assert start("python start_server.py --check-only").wait(120) == 0
    broken = start("python start_server.py --check-only", DIA_MODEL="/no/such/folder")
    assert broken.wait(120) == 1
    assert "FAULT" in "".join(broken.output)


def page(start: Callable[..., ChildServer], line: str, **environ: str) -> tuple[ChildServer, str]:
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    server = start(line, **{"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": "0", **environ})
    until = time.monotonic() + 120
    while not any("Dia is at " in said for said in server.output):
        assert server.process.poll() is None and time.monotonic() < until, "".join(server.lines)[-2000:]
        time.sleep(0.1)
    return server, next(said for said in server.output if "Dia is at " in said).split()[3]


def test_app_py_shows_the_page(start: Callable[..., ChildServer]):
    server, address = page(start, "python app.py")
    assert b"Dia" in fetch(address)
    server.close()


@pytest.mark.parametrize("after_s", [0.0, 1.5])
def test_the_page_on_every_network_warns_and_stops_in_order_while_the_model_loads(
    start: Callable[..., ChildServer], after_s: float
):
    server, _ = page(start, "python app.py", GRADIO_SERVER_NAME="0.0.0.0")
    time.sleep(after_s)
    server.signal(signal.SIGTERM)
    assert server.wait(20) == 0, "".join(server.lines)
    warnings = [line for line in server.lines if "without an API key" in line]
    assert len(warnings) == 1 and "DIA_API_KEYS" in warnings[0]


@pytest.mark.slow
def test_app_py_share_goes_on_where_no_public_address_can_be_had(start: Callable[..., ChildServer]):
    dead = "http://127.0.0.1:9"  # nobody outside is asked by a test
    server, address = page(start, "python app.py --share", HTTPS_PROXY=dead, https_proxy=dead)
    assert b"Dia" in fetch(address)
    assert any("everybody who has the public address" in line for line in server.lines)
    until = time.monotonic() + 60
    while not any("no public address" in line for line in server.lines):
        assert time.monotonic() < until, "".join(server.lines)[-2000:]
        time.sleep(0.1)
    server.close()


@pytest.mark.slow
def test_app_py_names_the_device_that_is_not_there(start: Callable[..., ChildServer]):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    server = start("python app.py --device cuda", GRADIO_SERVER_PORT="0")
    assert server.wait(120) == 1
    assert "cuda" in server.lines[-1]


@pytest.mark.parametrize("line", ["app.py", "start_server.py", "fastapi_server.py", "cli.py hello"])
def test_a_python_without_packages_says_which_one_to_take(line: str):
    """`python cli.py` ended with a traceback; the others named one package after the other."""
    script, *words = line.split()
    bare = [sys.executable, "-S", "-E", ROOT / script, *words]  # -S: no site-packages
    done = subprocess.run(bare, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "source .venv/bin/activate, if Dia is installed there, or: pip install -e ." in said
    assert "Traceback" not in said


def test_cli_py_speaks_into_a_file(hub_cache: Path, tmp_path: Path):
    env = {**os.environ, "HF_HUB_CACHE": str(hub_cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "cli.py", "your text here", "--output", "output.wav"]
    # The bundled model, where there is one, would be taken before the published one on a CPU.
    chosen = ["--repo-id", "nari-labs/Dia-1.6B"]
    done = subprocess.run([*command, *chosen], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert probe(tmp_path / "output.wav").sample_rate_hz == 44_100


@pytest.mark.parametrize("line", ["ruff check", "ruff format --check"])
def test_the_code_is_as_ruff_wants_it(line: str):
    pytest.importorskip("ruff")
    done = subprocess.run(
        [sys.executable, "-m", *line.split(), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_command_reference_is_what_the_commands_say(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_cli_reference

    said = make_cli_reference.reference()
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == said, "run python scripts/make_cli_reference.py"


# One server with a model, for everything that is said to a running one.


@pytest.fixture(scope="module")
def server(start: Callable[..., ChildServer]) -> ChildServer:
    environ = {"DIA_PAGE": "true"} if shutil.which("curl") else {}
    server = start("python fastapi_server.py --debug --save-outputs --show-prompts", **environ)
    server.await_start(120)
    fetch(f"{server.url}/health/ready", 120)
    return server


@pytest.fixture
def curl(server: ChildServer, tmp_path: Path) -> Callable[..., Any]:
    """Types a line of the guide and gives what it printed."""

    def curl(line: str, **ids: str) -> Any:
        for name, value in ids.items():
            line = line.replace("{" + name + "}", value)
        line = line.replace("http://localhost:7860", server.url).replace("curl ", "curl -sS ", 1)
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    return curl


def short(voice: str = "alloy") -> str:
    """The guide's text; the tiny model never says that it has ended, so the voice limits the length."""
    return json.dumps({"text": "Hello!", "voice_id": voice})


@needs_curl
def test_voices_are_uploaded_and_mapped(curl: Callable[..., Any], tmp_path: Path):
    from tests.service.conftest import wav

    (tmp_path / "voice_sample.wav").write_bytes(wav(3.0))
    taken = curl("""curl -X POST "http://localhost:7860/audio_prompts/upload" \\
  -F "prompt_id=my_voice" \\
  -F "audio_file=@voice_sample.wav"
""")
    assert (taken["sample_rate"], round(taken["duration"])) == (44_100, 3)
    made = curl("""curl -X POST "http://localhost:7860/voice_mappings" \\
  -H "Content-Type: application/json" \\
  -d '{
    "voice_id": "custom_voice",
    "style": "friendly",
    "primary_speaker": "S1",
    "audio_prompt": "my_voice"
  }'
""")
    assert made["voice_config"]["audio_prompt"] == "my_voice"
    assert {"alloy", "echo", "fable", "nova", "onyx", "shimmer", "custom_voice"} <= set(
        curl("curl http://localhost:7860/voice_mappings")
    )
    assert "custom_voice" in curl("curl -X DELETE http://localhost:7860/voice_mappings/custom_voice")["message"]
    assert "my_voice" in curl("curl -X DELETE http://localhost:7860/audio_prompts/my_voice")["message"]


@needs_curl
def test_configuration_speech_jobs_and_logs_as_printed(curl: Callable[..., Any], tmp_path: Path):
    assert curl("curl http://localhost:7860/health")["status"] == "healthy"
    changed = curl("""curl -X PUT "http://localhost:7860/config" \\
  -H "Content-Type: application/json" \\
  -d '{
    "debug_mode": true,
    "save_outputs": true,
    "show_prompts": true,
    "output_retention_hours": 24
  }'
""")
    assert changed["config"] == curl("curl http://localhost:7860/config")
    curl("""curl -X POST "http://localhost:7860/generate" \\
  -d '{"text": "Hello!", "voice_id": "alloy"}' \\
  --output speech.wav
""")
    assert probe(tmp_path / "speech.wav").sample_rate_hz == 44_100
    queued = curl("""curl -X POST "http://localhost:7860/generate?async_mode=true" \\
  -d '{"text": "Hello!", "voice_id": "alloy"}'
""")
    job = queued["job_id"]
    assert curl('curl "http://localhost:7860/queue/stats"')["total_workers"] == 4
    assert curl('curl "http://localhost:7860/jobs"')["jobs"][0]["id"] == job
    until = time.monotonic() + 60
    while curl('curl "http://localhost:7860/jobs/{job_id}"', job_id=job)["status"] != "completed":
        assert time.monotonic() < until
        time.sleep(0.2)
    curl('curl "http://localhost:7860/jobs/{job_id}/result" -o result.wav', job_id=job)
    assert (tmp_path / "result.wav").read_bytes()[:4] == b"RIFF"
    assert "completed" in curl('curl -X DELETE "http://localhost:7860/jobs/{job_id}"', job_id=job)["detail"]
    logs = curl("curl http://localhost:7860/logs")["logs"]
    assert {log["text"] for log in logs} == {"Hello!"}
    assert all(re.fullmatch(r"\[S1\] .+\. Hello! \[S1\]", log["processed_text"]) for log in logs), "prompt, then text"
    assert curl('curl "http://localhost:7860/logs?voice=alloy&limit=10"')["filtered"] == len(logs)
    log = curl("curl http://localhost:7860/logs/{log_id}", log_id=logs[0]["id"])
    assert log["generation_time"] > 0 and log["file_size"] > 0 and log["voice"] == "alloy"
    curl("curl http://localhost:7860/logs/{log_id}/download -o output.wav", log_id=logs[0]["id"])
    assert (tmp_path / "output.wav").stat().st_size == log["file_size"]
    assert curl("curl -X POST http://localhost:7860/cleanup")["message"] == "Cleanup completed"
    assert curl("curl -X DELETE http://localhost:7860/logs")["logs_removed"] == len(logs)


@needs_curl
@pytest.mark.parametrize("path", ["/generate", "/v1/audio/speech"])
def test_the_request_format_is_taken_by_both_doors(curl: Callable[..., Any], tmp_path: Path, path: str):
    curl(f"""curl -X POST http://localhost:7860{path} -H "Content-Type: application/json" --output sound.wav -d '{{
  "model": "dia",
  "input": "[S1] Text to convert to speech",
  "voice": "alloy",
  "response_format": "wav",
  "speed": 1.0,
  "temperature": 1.2,
  "cfg_scale": 3.0,
  "top_p": 0.95
}}'""")
    assert probe(tmp_path / "sound.wav").sample_rate_hz == 44_100


def test_the_page_stands_beside_the_api(server: ChildServer):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    assert b"gradio" in fetch(f"{server.url}/ui").lower()


@pytest.fixture
def dia(server: ChildServer, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """`dia("voices", "list")` types it with the server's address; gives exit code, stdout and stderr."""

    def dia(*words: object, server_url: str = server.url) -> tuple[int, str, str]:
        capsysbinary.readouterr()
        code = root.main([*map(str, words), *(["--server", server_url] if server_url else [])])
        said = capsysbinary.readouterr()
        return code, said.out.decode(errors="replace"), said.err.decode()

    return dia


def test_voices_are_managed_from_the_command_line(dia: Callable[..., tuple[int, str, str]], tmp_path: Path):
    from tests.service.conftest import wav

    recording = tmp_path / "anna.wav"
    recording.write_bytes(wav(3.0))
    assert dia("voices", "add", "anna", recording, "--transcript", "Hello there, how are you?")[0] == 0
    code, _, err = dia("voices", "add", "anna", recording)
    assert code == 2 and "--overwrite" in err
    assert dia("voices", "export", tmp_path / "all.zip", "anna")[0] == 0
    code, _, err = dia("voices", "remove", "anna")
    assert code == 0 and "with its recording" in err
    assert dia("voices", "remove", "anna")[0] == 2
    assert "anna" in dia("voices", "import", tmp_path / "all.zip")[2]
    assert "anna" in dia("voices", "list")[1]
    assert json.loads(dia("voices", "list", "--json")[1])["anna"]["audio_prompt"] == "anna"
    # The same file into a folder that no server uses.
    folder = ("--data-dir", tmp_path / "data")
    assert dia("voices", "import", tmp_path / "all.zip", *folder, server_url="")[0] == 0
    assert "anna" in dia("voices", "list", *folder, server_url="")[1]
    assert dia("voices", "list", *folder)[0] == 2


def test_speech_and_jobs_from_the_command_line(
    server: ChildServer, dia: Callable[..., tuple[int, str, str]], tmp_path: Path
):
    out = tmp_path / "out.mp3"
    code, said, err = dia("say", "[S1] Hello.", "-o", out, "--voice", "nova", "--seed", 7, "--json")
    assert code == 0 and json.loads(said)["seed"] == 7 and "seed 7" in err
    assert probe(out).sample_rate_hz == 44_100
    code, _, err = dia("say", "Hello.", "-o", out, "--voice", "nobody")
    assert code == 2 and "alloy" in err
    code, _, err = dia("say", "Hello.", "-o", out, "--guidance", "filter")
    assert code == 2 and "--guidance" in err
    request = urllib.request.Request(f"{server.url}/generate?async_mode=true", data=short().encode(), method="POST")
    job = json.load(urllib.request.urlopen(request, timeout=30))["job_id"]
    assert dia("jobs", "result", job, "-o", tmp_path / "job.wav", "--wait")[0] == 0
    assert probe(tmp_path / "job.wav").sample_rate_hz == 44_100
    assert job in dia("jobs", "list", "--status", "completed")[1]
    assert "completed" in dia("jobs", "show", job)[1]
    assert json.loads(dia("jobs", "show", job, "--json")[1])["id"] == job
    code, _, err = dia("jobs", "cancel", job)
    assert code == 2 and "completed" in err
    code, _, err = dia("jobs", "list", server_url="http://127.0.0.1:9")
    assert code == 1 and "dia serve" in err


def test_a_server_ends_by_ctrl_c(server: ChildServer):
    """Last: it ends the server of this file."""
    server.signal(signal.SIGINT)
    assert server.wait(60) == 0
