"""Random walks over recordings, voices, jobs, logs and configuration, beside a ledger of what should be (promise Q02)."""

import random
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.conftest import wav
from tests.service.tone import ToneModel

IDS = ("a", "b", "c")
BUILT_IN = {"alloy", "echo", "fable", "nova", "onyx", "shimmer"}
SOUND = wav(0.6)


class Walker:
    """Does one thing after the other and knows what each should answer."""

    def __init__(self, client: TestClient, draw: random.Random) -> None:
        self._client, self._draw = client, draw
        self.prompts: set[str] = set()
        self.voices: dict[str, str | None] = {}
        self.jobs: list[str] = []
        self.hours = 24

    def step(self) -> None:
        actions = (self.upload, self.drop_prompt, self.make, self.change, self.drop_voice, self.speak, self.job, self.cancel,
                   self.configure, self.clear_logs)  # fmt: skip
        self._draw.choice(actions)()

    def _expect(self, answer: Any, *statuses: int) -> None:
        assert answer.status_code in statuses, (
            answer.request.method,
            answer.request.url,
            answer.status_code,
            answer.text,
        )

    def upload(self) -> None:
        name, overwrite = self._draw.choice(IDS), self._draw.random() < 0.3
        answer = self._client.post(
            "/audio_prompts/upload", params={"overwrite": overwrite}, data={"prompt_id": name, "transcript": "Yes."},
            files={"audio_file": ("x.wav", SOUND)},
        )  # fmt: skip
        self._expect(answer, 409 if name in self.prompts and not overwrite else 200)
        self.prompts.add(name)

    def drop_prompt(self) -> None:
        name, force = self._draw.choice(IDS), self._draw.random() < 0.3
        users = {voice for voice, prompt in self.voices.items() if prompt == name}
        answer = self._client.delete(f"/audio_prompts/{name}", params={"force": force})
        if name not in self.prompts:
            self._expect(answer, 404)
        elif users and not force:
            self._expect(answer, 409)
        else:
            self._expect(answer, 200)
            assert set(answer.json()["detached_voices"]) == users
            self.prompts.remove(name)
            self.voices.update(dict.fromkeys(users))

    def make(self) -> None:
        name, prompt, overwrite = self._draw.choice(IDS), self._draw.choice((*IDS, None)), self._draw.random() < 0.3
        body = {"voice_id": f"v{name}"} | ({"audio_prompt": prompt} if prompt else {})
        answer = self._client.post("/voice_mappings", json=body, params={"overwrite": overwrite})
        if prompt is not None and prompt not in self.prompts:
            self._expect(answer, 404, 409, 422)
        elif f"v{name}" in self.voices and not overwrite:
            self._expect(answer, 409)
        else:
            self._expect(answer, 200)
            self.voices[f"v{name}"] = prompt

    def change(self) -> None:
        name, prompt = f"v{self._draw.choice(IDS)}", self._draw.choice((*IDS, None))
        answer = self._client.put(f"/voice_mappings/{name}", json={"audio_prompt": prompt})
        if name not in self.voices:
            self._expect(answer, 404)
        elif prompt is not None and prompt not in self.prompts:
            self._expect(answer, 404, 422)
        else:
            self._expect(answer, 200)
            self.voices[name] = prompt

    def drop_voice(self) -> None:
        name = self._draw.choice((*(f"v{name}" for name in IDS), "alloy"))
        answer = self._client.delete(f"/voice_mappings/{name}")
        self._expect(answer, 400 if name == "alloy" else 200 if name in self.voices else 404)
        self.voices.pop(name, None)

    def speak(self) -> None:
        name = self._draw.choice((*(f"v{name}" for name in IDS), "nova"))
        answer = self._client.post("/v1/audio/speech", json={"input": "Hi.", "voice": name, "response_format": "wav"})
        self._expect(answer, 200 if name in {*self.voices, *BUILT_IN} else 404)

    def job(self) -> None:
        answer = self._client.post("/generate?async_mode=true", json={"text": "Hi.", "seed": 3})
        self._expect(answer, 200)
        self.jobs.append(answer.json()["job_id"])

    def cancel(self) -> None:
        for job in self.jobs[-1:]:
            self._expect(self._client.delete(f"/jobs/{job}"), 200, 409)

    def configure(self) -> None:
        hours = self._draw.choice((0, 1, 48, 9000))
        self._expect(
            self._client.put("/config", json={"output_retention_hours": hours}), 200 if hours in (1, 48) else 422
        )
        self.hours = hours if hours in (1, 48) else self.hours

    def clear_logs(self) -> None:
        self._expect(self._client.delete("/logs"), 200)

    def check(self) -> None:
        """Everything is as the ledger says."""
        mappings = self._client.get("/voice_mappings").json()
        assert set(mappings) == {*BUILT_IN, *self.voices}
        assert {name: mappings[name]["audio_prompt"] for name in self.voices} == self.voices
        assert set(self._client.get("/audio_prompts").json()) == self.prompts
        assert self._client.get("/config").json()["output_retention_hours"] == self.hours
        jobs = {job["id"]: job["status"] for job in self._client.get("/jobs?limit=500").json()["jobs"]}
        assert set(self.jobs[-500:]) <= set(jobs)

    def start_over(self) -> None:
        for voice in list(self.voices):
            self._client.delete(f"/voice_mappings/{voice}")
        for prompt in list(self.prompts):
            self._client.delete(f"/audio_prompts/{prompt}")
        self.voices.clear()
        self.prompts.clear()


@pytest.mark.parametrize("walks", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_q02_random_walks_agree_with_a_ledger(client: TestClient, model: ToneModel, walks: int, promise: Any):
    model.frames_per_char = 1.0
    walker = Walker(client, random.Random(2))
    for _ in range(walks):
        for _ in range(20):
            walker.step()
        walker.check()
        walker.start_over()
    client.app.state.service.jobs.wait(walker.jobs[-1], 10)
    assert client.app.state.service.database.is_sound()
    promise(
        "Q02",
        f"{walks} walks of 20 steps over voices, recordings, jobs, logs and configuration: all as the ledger says",
    )
