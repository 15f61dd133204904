"""docs/http-api.md is what the server says of itself, docs/reliability.md names tests that exist, and what the documents
show of other programs works against a real server."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dia.media.read import read_audio
from dia.service.build import Service
from tests.server.live import LiveServer
from tests.service.conftest import wav
from tests.test_docs import SERVER, blocks

ROOT = Path(__file__).parent.parent.parent


def script(name: str) -> Any:
    """A developers' tool as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_reference_is_the_servers_own():
    module = script("make_http_api")
    wanted = module.render(module.document())
    assert module.PAGE.read_text(encoding="utf-8") == wanted, "run python scripts/make_http_api.py"


def test_every_setting_has_its_row():
    module = script("make_settings")
    assert module.PAGE.read_text(encoding="utf-8") == module.render(), "run python scripts/make_settings.py"


def test_every_test_that_the_promises_name_is_there():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    known = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert len(named) > 30
    assert named <= known, sorted(named - known)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the recording that the examples name."""
    (tmp_path / "speaker.wav").write_bytes(wav(6.0))
    adapter = tmp_path / "data" / "adapters" / "anna.safetensors"
    adapter.parent.mkdir(parents=True, exist_ok=True)
    adapter.write_bytes(b"the tones are the same with any")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sounds(folder: Path) -> dict[str, float]:
    """Seconds of every file that was written."""
    found = [path for path in folder.iterdir() if path.suffix in (".mp3", ".wav") and path.name != "speaker.wav"]
    return {path.name: len(read_audio(path, sample_rate_hz=24_000)) / 24_000 for path in found}


def test_python_examples_of_other_programs_run(live: LiveServer, desk: Path):
    for text in blocks(ROOT / "docs" / "clients.md", "python"):
        exec(compile(text.replace(SERVER, live.url), "docs/clients.md", "exec"), {})
    assert sounds(desk)["far.mp3"] > 0.1


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", ["docs/clients.md", "docs/voices.md", "README.md"])
def test_curl_examples_run(page: str, live: LiveServer, desk: Path):
    shown = [text for text in blocks(ROOT / page, "bash") if "curl" in text and SERVER in text]
    for text in shown:
        lines = [line for line in text.replace(SERVER, live.url).splitlines() if not re.match("python |dia ", line)]
        script = 'set -eu\ncurl() { command curl --fail-with-body -sS "$@"; }\n' + "\n".join(lines)
        ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, f"{text}\n{ran.stdout[-500:]}{ran.stderr[-500:]}"
    written = sounds(desk)
    wanted = set(re.findall(r"-o (\S+)", "".join(shown)))
    assert wanted
    assert set(written) >= wanted
    assert min(written.values()) > 0.1  # the tones' model is brief


def test_open_webui_in_a_container_is_let_in_as_the_guide_says(make_client, model):
    """Its name for this machine is no address, so listening on every network is not enough."""
    asked = {"Host": "host.docker.internal:7860", "Authorization": "Bearer KEY"}
    body = {"model": "dia", "voice": "alloy", "input": "Hello."}
    guide = make_client(host="0.0.0.0", allowed_hosts="host.docker.internal", api_keys="KEY")
    assert guide.post("/v1/audio/speech", json=body, headers=asked).status_code == 200
    for path in ("/v1/audio/voices", "/v1/audio/models"):
        assert guide.get(path, headers={"Host": asked["Host"]}).status_code == 200
    service: Service = guide.app.state.service
    service.close(0)
    without = make_client(host="0.0.0.0", api_keys="KEY")
    assert without.post("/v1/audio/speech", json=body, headers=asked).status_code == 421
