"""Promise R37: hours of mixed use leave no memory, no handle and no thread behind.

300 requests with the slow tests after those that warm it up; `make soak` sends 2,000. The server is a process of its own with the tiny real model.
It is looked at when it rests: while requests run, what they hold counts up to 50 MB more or less from look to look.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests.server.live import ChildServer, eventually
from tests.service.conftest import wav
from tests.tiny import tiny_config, write_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

REQUESTS = int(os.environ.get("DIA_SOAK_REQUESTS", "300"))
CLIENTS = 6
# Each thread keeps memory of its own for as long as it lives; threads are made when so many requests first come at once.
WARM_UP, WARM_UP_CLIENTS = 150, 24
LOOKS = 8
CLEANUP_S = 2
# A short run is still filling caches when it ends.
MOST_GROWTH_BYTES = 5_000 if REQUESTS >= 2_000 else 40_000
FORMATS = ("wav", "mp3", "opus", "aac", "flac", "pcm")
INVALID = (
    {"text": "Hi.", "temperature": 99},
    {"text": "Hi.", "voice": "nobody"},
    {"text": "", "voice": "alloy"},
    {"text": "Hi.", "response_format": "mid"},
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChildServer]:
    model = write_bundle(tmp_path / "model", config=tiny_config(audio_length=1024, text_length=512))
    # Takes at hand for freezing are memory given out on purpose: 520 of these lines by default.
    environ = {
        "DIA_MODEL": str(model),
        "DIA_DATA_DIR": str(tmp_path / "data"),
        "DIA_PAGE": "false",
        "DIA_MAX_TAKE_BYTES": "1000000",
        "DIA_CLEANUP_INTERVAL_S": str(CLEANUP_S),
    }
    child = ChildServer("start_server.py", "--port", "0", "--workers", "4", command=(), **environ)
    yield child.await_start()
    child.close()


class Caller:
    """Sends one request of a kind and says whether it went as it should."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def speak(self, number: int) -> bool:
        body = {
            "text": f"[S1] Line {number}.",
            "seed": number,
            "response_format": FORMATS[number % 6],
            "max_tokens": 120,
        }
        answer = await self._client.post("/generate", json={**body, "stream": number % 2 == 0})
        return answer.status_code == 200 and len(answer.content) > 100

    async def leave(self, number: int) -> bool:
        body = {"text": f"[S1] A line that nobody hears to its end, number {number}.", "stream": True}
        with suppress(httpx.ReadTimeout, httpx.ConnectTimeout, httpx.PoolTimeout):
            async with self._client.stream("POST", "/generate", json=body, timeout=0.3) as answer:
                async for _ in answer.aiter_bytes():
                    break
        return True

    async def refuse(self, number: int) -> bool:
        answer = await self._client.post("/generate", json=INVALID[number % len(INVALID)])
        return answer.status_code in (400, 404, 422)

    async def upload(self, number: int) -> bool:
        name = f"p{number}"
        files = {"audio_file": ("me.wav", wav(0.8))}
        sent = await self._client.post(
            "/audio_prompts/upload", data={"prompt_id": name, "transcript": "Yes."}, files=files
        )
        gone = await self._client.delete(f"/audio_prompts/{name}")
        return sent.status_code == gone.status_code == 200

    async def job(self, number: int) -> bool:
        body = {"text": f"[S1] Job {number}.", "max_tokens": 120}
        made = await self._client.post("/generate?async_mode=true", json=body)
        if made.status_code not in (200, 202):
            return False
        job = made.headers["location"]
        for _ in range(600):
            state = (await self._client.get(job)).json()
            if state["status"] == "completed":
                return (await self._client.get(f"{job}/result")).status_code == 200
            if state["status"] in ("failed", "cancelled"):
                return False
            await asyncio.sleep(0.1)
        return False

    async def look(self, number: int) -> bool:
        path = ("/health", "/voices", "/config", "/logs?limit=5", "/metrics")[number % 5]
        return (await self._client.get(path)).status_code == 200


def kinds(count: int) -> list[str]:
    """Half speech, and of the rest as much as the promise says; in an order that a seed draws."""
    shares = {"leave": 0.1, "refuse": 0.05, "upload": 0.05, "job": 0.1, "look": 0.2}
    found = [kind for kind, share in shares.items() for _ in range(round(count * share))]
    found += ["speak"] * (count - len(found))
    random.Random(37).shuffle(found)
    return found


async def use(url: str, requests: list[tuple[int, str]], clients: int = CLIENTS) -> list[tuple[int, str]]:
    """All requests by so many clients at once; which of them went wrong."""
    waiting = iter(requests)
    wrong: list[tuple[int, str]] = []
    async with httpx.AsyncClient(base_url=url, verify=False, timeout=120.0) as client:
        caller = Caller(client)

        async def work() -> None:
            for number, kind in waiting:
                if not await getattr(caller, kind)(number):
                    wrong.append((number, kind))

        await asyncio.gather(*(work() for _ in range(clients)))
    return wrong


def look(server: ChildServer) -> tuple[int, int, int]:
    """Resident bytes, handles and threads when nothing runs and a clean-up has given back what lay free."""
    with server.client() as client:
        idle = {"active_workers": 0, "pending_jobs": 0}
        assert eventually(lambda: idle.items() <= client.get("/queue/stats").json().items(), 60)
    time.sleep(3 * CLEANUP_S)
    process = psutil.Process(server.process.pid)
    return process.memory_info().rss, process.num_fds(), process.num_threads()


def test_r37_long_mixed_use_leaves_nothing_behind(server: ChildServer, promise: Any):
    with server.client() as client:
        assert eventually(lambda: client.get("/health/ready").status_code == 200, 60)
    requests = list(enumerate(kinds(WARM_UP + REQUESTS)))
    assert not asyncio.run(use(server.url, requests[REQUESTS:], WARM_UP_CLIENTS))
    looks = []
    for part in np.array_split(np.arange(REQUESTS), LOOKS):
        wrong = asyncio.run(use(server.url, [requests[number] for number in part]))
        assert not wrong, wrong[:10]
        looks.append((part[-1] + 1, *look(server)))
        print(looks[-1], flush=True)
    numbers, resident, handles, threads = np.array(looks[LOOKS // 4 - 1 :]).T
    assert handles[-1] <= handles[0] + 5, handles
    assert threads[-1] <= threads[0] + 5, threads
    slope = float(np.polyfit(numbers, resident, 1)[0])
    assert slope < MOST_GROWTH_BYTES, f"{slope:.0f} bytes a request: {resident}"
    promise(
        "R37",
        f"{REQUESTS} mixed requests: {slope / 1000:.1f} KB a request after the first quarter, at rest "
        f"{resident[0] / 1e6:.0f} MB then and {resident[-1] / 1e6:.0f} MB at the end, handles and threads flat",
    )
