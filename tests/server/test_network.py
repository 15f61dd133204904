"""Through a network that misbehaves each request ends well or with the client's own error (promise N01)."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.server.live import LiveServer, eventually
from tests.server.toxic import TOXICS, ToxicProxy
from tests.service.tone import ToneModel

TEXT = "Words over a bad line."


@pytest.mark.parametrize("requests", [6, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("toxic", sorted(TOXICS))
def test_n01_a_bad_network_costs_its_own_requests_only(
    make_live: Any, model: ToneModel, toxic: str, requests: int, promise: Any
):
    live: LiveServer = make_live(receive_timeout_s=3, write_timeout_s=3, workers=8)
    model.frames_per_char = 0.4
    with live.client() as client:
        whole = client.post("/generate", json={"text": TEXT, "seed": 1}).content
    proxy = ToxicProxy(live.port, toxic)
    timeout_s = 4 if toxic == "black hole" else 60

    def ask(number: int) -> str:
        body = {"text": TEXT, "seed": 1, "stream": number % 2 == 0, "response_format": "wav" if number % 3 else "mp3"}
        try:
            answer = httpx.post(f"http://127.0.0.1:{proxy.port}/generate", json=body, timeout=timeout_s, verify=False)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code == 200 and number % 2 and number % 3:
            assert answer.content == whole
        assert answer.status_code < 500, answer.text
        return str(answer.status_code)

    try:
        with ThreadPoolExecutor(8) as pool:
            ends = list(pool.map(ask, range(requests)))
    finally:
        proxy.close()
    assert eventually(lambda: live.open_connections == 0, 20)
    assert eventually(lambda: live.service.admission.numbers().running == 0)
    assert live.service.admission.numbers().waiting == 0
    assert eventually(lambda: live.service.speech.speeches() == (), 20)  # their rows are closed last
    if toxic in ("latency", "one byte at a time"):
        assert set(ends) == {"200"}
    with live.client() as client:
        assert client.post("/generate", json={"text": TEXT, "seed": 1}).content == whole
    counts = {end: ends.count(end) for end in sorted(set(ends))}
    promise("N01", f"{toxic}: {requests} requests, {counts}; nothing left in the server")
