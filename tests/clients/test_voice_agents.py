"""LiveKit's and Pipecat's own classes, in an environment of theirs, against our server with the tiny real model."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.live import LiveServer, served
from tests.service.conftest import make_settings

PYTHON = os.environ.get("DIA_CLIENTS_PYTHON")
HERE = Path(__file__).parent
TEXT = "Plain words, as an agent says them."

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(
        not PYTHON, reason="DIA_CLIENTS_PYTHON names no interpreter with the clients (CONTRIBUTING.md)"
    ),
]


@pytest.fixture(scope="module")
def live(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    settings = make_settings(tmp_path_factory.mktemp("clients"), model=str(bundle), device="cpu", port=0, workers=2)
    with served(settings) as server:
        yield server


def heard(live: LiveServer, script: str, voice: str, *options: str) -> dict[str, Any]:
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, str(HERE / script), f"{live.url}/v1", voice, TEXT, *options],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("agent_livekit.py", ()),  # events with pieces of mp3
        ("agent_livekit.py", ("", "tts-1")),  # bytes of mp3
        ("agent_livekit.py", ("pcm",)),
        ("agent_livekit.py", ("wav",)),
        ("agent_livekit.py", ("", "", "by words")),
        ("agent_pipecat.py", ()),  # pcm
    ],
    ids=str,
)
def test_an_agent_hears_sound_at_24_khz(live: LiveServer, script: str, options: tuple[str, ...]):
    answer = heard(live, script, "alloy", *options)
    assert answer["rates"] == [24_000], answer
    assert answer["samples"] > 24_000 * 0.3
    assert answer["loudest"] > 300


@pytest.mark.parametrize("script", ["agent_livekit.py", "agent_pipecat.py"])
def test_an_error_of_ours_reaches_an_agent_as_its_own(live: LiveServer, script: str):
    answer = heard(live, script, "nobody")
    assert "error" in answer, answer
    assert "nobody" in answer["message"]
    assert answer.get("status", 404) == 404
