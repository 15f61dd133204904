"""The page behind API keys, in the server and alone: first by requests, then by a person in a browser."""

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dia.service.build import Service
from dia.ui.launch import build_app
from tests.service.tone import ToneModel
from tests.ui.conftest import serve
from tests.ui.test_page import DIALOGUE, Driver

# Gradio's own use of other libraries is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KEY, OTHER_KEY = "a-key-that-is-long", "another-long-key"
INSIDE = (
    "config", "theme.css", "gradio_api/info", "gradio_api/startup-events", "gradio_api/queue/status",
    "gradio_api/queue/data?session_hash=x", "gradio_api/file=/etc/passwd", "assets/index.js", "dia/audio/guess", "dia/history/guess", "manifest.json",
)  # fmt: skip


@pytest.fixture
def server(make_service: Callable[..., Service]) -> Any:
    """The server's application with the page, behind keys."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    from dia.cli.serve import add_page
    from dia.server.app import create_app

    service = make_service(api_keys=f"{KEY},{OTHER_KEY}", admin_keys="admin-key", save_outputs=True, show_prompts=True)
    return create_app(service=service, extend=add_page)


@pytest.fixture
def alone(make_service: Callable[..., Service]) -> Any:
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    return build_app(make_service(api_keys=KEY, save_outputs=True, show_prompts=True), "127.0.0.1")


@pytest.mark.parametrize(("name", "root"), [("server", "/ui/"), ("alone", "/")])
def test_without_a_key_nothing_of_the_page_answers(name: str, root: str, request: pytest.FixtureRequest):
    with TestClient(request.getfixturevalue(name), base_url="http://localhost:7860") as client:
        assert "gradio" not in client.get(root).text
        for path in INSIDE:
            assert client.get(root + path).status_code == 401, path
        for path in ("gradio_api/queue/join", "gradio_api/run/predict", "gradio_api/upload"):
            assert client.post(root + path, json={}).status_code == 401, path
        assert client.post(root + "login", data={"key": "wrong"}).status_code == 401
        assert client.post(root + "login", data={"key": KEY}).status_code == 200
        assert "gradio" in client.get(root).text
        assert client.get(root + "config").status_code == 200
        assert client.get(root + "dia/audio/guess").status_code == 404


def test_the_pages_cookie_opens_the_page_alone(server: Any):
    with TestClient(server, base_url="http://localhost:7860") as client:
        assert 'action="ui/login"' in client.get("/ui").text
        client.post("/ui/login", data={"key": KEY}, headers={"origin": "http://localhost:7860"})
        assert client.get("/ui/config").status_code == 200
        for path in ("/voices", "/v1/models", "/logs", "/docs", "/uix"):
            assert client.get(path).status_code == 401, path
        assert client.post("/generate", json={"text": "Hi."}).status_code == 401
        foreign = {"origin": "http://evil.example"}
        assert client.post("/ui/login", data={"key": KEY}, headers=foreign).status_code == 403
        assert client.post("/ui/gradio_api/queue/join", json={}, headers=foreign).status_code == 403


def test_the_rate_limit_is_the_apis(make_service: Callable[..., Service]):
    """The page could not even be opened under one: its first forty requests are its own scripts."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    from dia.cli.serve import add_page
    from dia.server.app import create_app

    app = create_app(service=make_service(rate_limit_per_minute=1, rate_limit_burst=1), extend=add_page)
    with TestClient(app, base_url="http://localhost:7860") as client:
        assert [client.get("/ui/config").status_code for _ in range(5)] == [200] * 5
        assert [client.get("/voices").status_code for _ in range(2)] == [200, 429]


@pytest.fixture
def guarded(server: Any) -> Iterator[tuple[str, Service]]:
    """Address and service of a running server whose page is behind keys."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    stop = serve(server, sock)
    service: Service = server.state.service
    yield f"http://127.0.0.1:{sock.getsockname()[1]}/ui/", service
    service.speech.close()
    stop()


def test_a_person_signs_in_works_and_signs_out(
    browser: Any, guarded: tuple[str, Service], model: ToneModel, screenshots: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    url, service = guarded
    tab = browser.new_page(viewport={"width": 390, "height": 700})
    tab.goto(url)
    tab.get_by_label("API key").fill("a-key-that-is-wrong")
    tab.keyboard.press("Enter")
    assert "not known here" in tab.get_by_role("alert").inner_text()
    assert tab.get_by_label("API key").input_value() == ""
    tab.screenshot(path=screenshots / "login.png")
    tab.close()

    page = Driver(browser, url, service, model, key=KEY)
    assert page.tab.url == url
    page.write(DIALOGUE)
    page.press("Speak")
    page.tab.locator("#dia-player .box[data-state=playing]").wait_for()
    page.wait_done()
    assert page.received() > 44_100
    with page.tab.expect_download() as download:
        page.tab.locator(".dia-card").first.get_by_role("link", name="download mp3").click()
    assert Path(download.value.path()).stat().st_size > 1000
    page.open_tab("History")
    page.tab.locator("#dia-history li").get_by_role("button", name="Replay").click()
    page.tab.locator("#dia-history-player .box[data-done=true]").wait_for()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert page.tab.evaluate("document.cookie") == ""
    # Another key's people see nothing of it.
    other = Driver(browser, url, service, model, key=OTHER_KEY)
    other.open_tab("History")
    other.tab.locator("#dia-history", has_text="Nothing has been spoken yet").wait_for()
    other.context.close()

    # Signed out elsewhere, this tab keeps what was written and says what to do.
    page.open_tab("Speak")
    page.write("[S1] Not to be lost.")
    second = page.context.new_page()
    second.goto(url)
    second.get_by_role("button", name="Sign out").click()
    second.get_by_label("API key").wait_for()
    page.press("Speak")
    with page.context.expect_page() as opened:
        page.tab.get_by_role("link", name="Sign in").click()
    opened.value.get_by_label("API key").fill(KEY)
    opened.value.get_by_role("button", name="Sign in").click()
    opened.value.locator(".dia-facts").wait_for()
    assert page.script.input_value() == "[S1] Not to be lost."
    page.speak()
    page.wait_done()
    assert page.tab.locator(".dia-signed-out").count() == 0
    assert page.outside == []
    page.context.close()
    assert KEY not in caplog.text
    assert "key-that-is-wrong" not in caplog.text
