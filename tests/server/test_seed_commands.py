"""The guide's command lines, typed as printed with a real curl against a real server; only the port is another."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server.live import LiveServer, eventually
from tests.service.conftest import wav

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

MAPPING = '{\n    "voice_id": "custom_voice",\n    "style": "friendly",\n    "primary_speaker": "S1",\n    "audio_prompt": "my_voice"\n  }'
CONFIG = '{\n    "debug_mode": true,\n    "save_outputs": true,\n    "show_prompts": true,\n    "output_retention_hours": 24\n  }'


def test_every_curl_line_of_the_guide_does_what_it_says(live: LiveServer, tmp_path: Path):
    (tmp_path / "voice_sample.wav").write_bytes(wav(3.0))

    def sh(command: str) -> str:
        line = command.replace("http://localhost:7860", live.url).replace("curl ", "curl -sS ", 1)
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout

    assert json.loads(sh("curl http://localhost:7860/health"))["status"] == "healthy"
    uploaded = sh('curl -X POST "http://localhost:7860/audio_prompts/upload" \\\n  -F "prompt_id=my_voice" \\\n'
                  '  -F "audio_file=@voice_sample.wav"')  # fmt: skip
    assert json.loads(uploaded)["sample_rate"] == 44_100
    created = sh('curl -X POST "http://localhost:7860/voice_mappings" \\\n  -H "Content-Type: application/json" \\\n'
                 f"  -d '{MAPPING}'")  # fmt: skip
    assert json.loads(created)["voice_config"]["audio_prompt"] == "my_voice"
    assert json.loads(sh("curl http://localhost:7860/config"))["output_retention_hours"] == 24
    changed = sh('curl -X PUT "http://localhost:7860/config" \\\n  -H "Content-Type: application/json" \\\n'
                 f"  -d '{CONFIG}'")  # fmt: skip
    assert json.loads(changed)["config"]["show_prompts"] is True
    sh('curl -X POST "http://localhost:7860/generate" \\\n  -d \'{"text": "Hello!", "voice_id": "alloy"}\' \\\n'
       "  --output speech.wav")  # fmt: skip
    assert (tmp_path / "speech.wav").read_bytes()[:4] == b"RIFF"
    queued = json.loads(sh('curl -X POST "http://localhost:7860/generate?async_mode=true" \\\n'
                           '  -d \'{"text": "Hello!", "voice_id": "alloy"}\''))  # fmt: skip
    job_id = queued["job_id"]
    assert json.loads(sh('curl "http://localhost:7860/queue/stats"'))["total_workers"] == 4
    assert json.loads(sh('curl "http://localhost:7860/jobs"'))["jobs"][0]["id"] == job_id
    assert eventually(lambda: json.loads(sh(f'curl "http://localhost:7860/jobs/{job_id}"'))["status"] == "completed")
    sh(f'curl "http://localhost:7860/jobs/{job_id}/result" -o result.wav')
    assert (tmp_path / "result.wav").read_bytes() == (tmp_path / "speech.wav").read_bytes()
    assert "completed" in sh(f'curl -X DELETE "http://localhost:7860/jobs/{job_id}"')
    logs = json.loads(sh("curl http://localhost:7860/logs"))["logs"]
    assert [log["text"] for log in logs] == ["Hello!", "Hello!"]
    assert json.loads(sh('curl "http://localhost:7860/logs?voice=alloy&limit=10"'))["filtered"] == 2
    log_id = logs[-1]["id"]
    assert json.loads(sh(f"curl http://localhost:7860/logs/{log_id}"))["processed_text"] == "[S1] Hello! [S1]"
    sh(f"curl http://localhost:7860/logs/{log_id}/download -o output.wav")
    assert (tmp_path / "output.wav").stat().st_size == (tmp_path / "speech.wav").stat().st_size
    assert json.loads(sh("curl -X POST http://localhost:7860/cleanup"))["message"] == "Cleanup completed"
    assert json.loads(sh("curl -X DELETE http://localhost:7860/logs"))["logs_removed"] == 2
