"""A server to be killed: runs in a process of its own and dies by SIGKILL at a named step of the job queue."""

import os
import signal
from pathlib import Path

from dia.service import bundled
from dia.service.build import build
from dia.service.speech import SpeechRequest
from tests.service.conftest import make_settings
from tests.service.tone import ToneModel


def serve(folder: str, texts: list[str], step_to_die_at: str, step_s: float) -> None:
    """Submit all texts, note each accepted id in the file `accepted`, and work; die at the second visit of the step."""
    visits = 0

    def die(step: str) -> None:
        nonlocal visits
        visits += step == step_to_die_at
        if step == step_to_die_at and visits == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    bundled.FOLDER = Path("no shipped prompts")  # as in the tests that it is compared with
    service = build(make_settings(Path(folder) / "data", workers=2, job_attempts=10), model=ToneModel(step_s=step_s))
    service.jobs._at_step = die
    service.start()
    with open(Path(folder) / "accepted", "a") as accepted:
        for number, text in enumerate(texts):
            job = service.jobs.submit(SpeechRequest(text, seed=number)).job
            print(job.id, file=accepted, flush=True)
    for job in service.jobs.page().jobs:
        service.jobs.wait(job.id, 30)
    service.close(0)
