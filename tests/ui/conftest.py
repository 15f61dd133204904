"""The page on a loopback port over the tone generator, and a headless browser; both skipped where they are not there."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dia.service.build import Service, build
from tests.service.conftest import make_service, make_settings, model, service
from tests.service.tone import ToneModel

__all__ = [
    "browser",
    "make_service",
    "model",
    "screenshots",
    "service",
    "tone_page",
]  # fixtures, some from next door

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]  # fmt: skip


def serve(app: Any, sock: socket.socket) -> Callable[[], None]:
    """Run an application in a thread; returns what ends it."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.02)

    def stop() -> None:
        server.should_exit = True
        thread.join(10)

    return stop


@contextmanager
def shown_page(folder: Path, model: ToneModel | None = None) -> "Iterator[tuple[str, Service]]":
    """Address of the page alone, and its service; without a model the one of the package is loaded."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    from dia.ui.launch import build_app

    service = build(make_settings(folder, save_outputs=True, show_prompts=True, device="cpu"), model=model)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    stop = serve(build_app(service, "127.0.0.1"), sock)
    if model is None:
        service.load_model()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}", service
    if model is not None:
        model.gate.open()
    service.speech.close()
    stop()
    service.close(0)


@pytest.fixture(scope="session")
def tone_page(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[tuple[str, Service, ToneModel]]":
    """Address of the page alone, its service, and the model that a test can hold."""
    model = ToneModel(step_s=0.001, frames_per_char=2.0)
    with shown_page(tmp_path_factory.mktemp("page"), model) as (url, service):
        yield url, service, model


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system."""
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures of the page go: DIA_SCREENSHOTS, or a folder of this run."""
    import os

    folder = Path(os.environ.get("DIA_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
