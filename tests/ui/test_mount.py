"""The page inside an application, and alone: origins, hosts, keys, uploads, files, ports."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.testclient import TestClient

from dia.errors import BadParameter, OperatorError
from dia.service.build import Service
from dia.service.speech import SpeechRequest
from dia.ui.archive import Archive
from dia.ui.desk import Access
from dia.ui.launch import _config, build_app, choose_address, page_settings
from dia.ui.shelf import Shelf, make_routes
from dia.ui.track import Track
from tests.service.conftest import speechlike

# Gradio's own use of other libraries is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
EVIL = {"origin": "http://evil.example"}


def key_holder(request: Request) -> str | None:
    return "anna" if request.headers.get("authorization") == "Bearer key" else None


@pytest.fixture
def mounted(make_service: Callable[..., Service]) -> Callable[..., TestClient]:
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    from dia.ui.app import mount

    def make(*, max_upload_bytes: int = 100_000, **options: Any) -> TestClient:
        service = make_service(max_upload_bytes=max_upload_bytes)
        app = FastAPI()
        app.add_middleware(CORSMiddleware, allow_origins=["http://friend.example"])
        mount(app, service, service.settings, **options)
        return TestClient(app, base_url="http://dia.example")

    return make


@pytest.fixture
def client(mounted: Callable[..., TestClient]) -> Iterator[TestClient]:
    with mounted() as client:
        yield client


def test_strange_origins_get_no_permission(client: TestClient):
    for path in ("/ui/", "/ui/config", "/ui/gradio_api/info"):
        answer = client.get(path, headers=EVIL)
        assert "access-control-allow-origin" not in answer.headers, path
    assert client.get("/ui/config", headers={"origin": "http://friend.example"}).headers[
        "access-control-allow-origin"
    ] == ("http://friend.example")


def test_large_uploads_and_foreign_files_are_refused(client: TestClient):
    def upload(size: int) -> int:
        return client.post("/ui/gradio_api/upload", files={"files": ("a.wav", b"x" * size)}).status_code

    assert upload(1000) == 200
    assert upload(200_000) == 413
    for path in ("/etc/passwd", "../../../../etc/passwd", "http://127.0.0.1:1/x"):
        assert client.get(f"/ui/gradio_api/file={path}", follow_redirects=False).status_code >= 400, path


def test_the_page_names_nobody_outside(client: TestClient):
    page = client.get("/ui/").text
    config = client.get("/ui/config").json()
    assert "fonts.googleapis.com" not in page + client.get("/ui/theme.css").text
    assert config["analytics_enabled"] is False
    assert all(
        not dependency["api_name"] or dependency["api_visibility"] == "private"
        for dependency in config["dependencies"]
    )


def test_no_event_waits_in_gradios_queue(client: TestClient):
    """It closes the stream of all answers whenever none is awaited. An event that came in that moment was told of a
    broken connection, whereupon Gradio loaded the page again: the tab, the takes and the script were gone."""
    dependencies = client.get("/ui/config").json()["dependencies"]
    assert len(dependencies) > 20
    assert [dependency["targets"] for dependency in dependencies if dependency["queue"]] == []


def test_an_open_tab_holds_no_connection(client: TestClient):
    """A browser has six to a host: with six tabs open, each with Gradio's heartbeat, no page answered any more."""
    assert client.get("/ui/config").json()["connect_heartbeat"] is False


def test_without_a_key_there_is_no_page_and_no_sound(mounted: Callable[..., TestClient]):
    with mounted(auth_dependency=key_holder) as client:
        for path in ("/ui/config", "/ui/dia/audio/guess", "/ui/dia/history/guess"):
            assert client.get(path).status_code == 401, path
        held = {"authorization": "Bearer key"}
        assert client.get("/ui/config", headers=held).status_code == 200
        assert client.get("/ui/dia/audio/guess", headers=held).status_code == 404


def test_the_page_alone_answers_to_its_own_name_only(service: Service):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    with TestClient(build_app(service, "127.0.0.1"), base_url="http://127.0.0.1") as client:
        assert client.get("/").status_code == 200
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421
        assert "access-control-allow-origin" not in client.get("/config", headers=EVIL).headers


def test_the_page_alone_is_guarded_as_the_server_is_on_every_network_too(make_service: Callable[..., Service]):
    """On 0.0.0.0 it answered to any host name, which somebody else's domain may have."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    from dia.server.app import create_app

    service = make_service(host="0.0.0.0", allowed_hosts="tts.lan,*.home.example")
    with (
        TestClient(build_app(service, "0.0.0.0"), base_url="http://127.0.0.1") as page,
        TestClient(create_app(service=service), base_url="http://127.0.0.1") as server,
    ):
        for host, status in (
            ("localhost:7860", 200), ("192.168.1.7:7860", 200), ("tts.lan", 200), ("a.home.example:1", 200),
            ("evil.example", 421), ("tts.lan.evil", 421), ("home.example", 421), ("", 421),
        ):  # fmt: skip
            answers = [client.get("/health/live", headers={"host": host}) for client in (page, server)]
            assert [answer.status_code for answer in answers] == [status, status], host
            if status == 421:
                assert len({answer.json()["detail"] for answer in answers}) == 1
        foreign = [client.post("/gradio_api/upload", json={}, headers=EVIL) for client in (page, server)]
        assert [answer.status_code for answer in foreign] == [403, 403]
        assert len({answer.json()["detail"] for answer in foreign}) == 1


def test_the_public_address_is_a_known_name_where_it_was_asked_for(service: Service):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    for share, status in ((True, 200), (False, 421)):
        with TestClient(build_app(service, "127.0.0.1", share=share), base_url="https://abc.gradio.live") as client:
            assert client.get("/").status_code == status


def test_sounds_are_served_raw_described_and_as_files(service: Service):
    shelf = Shelf()
    archive = Archive(service, shelf)
    with service.speech.open(SpeechRequest("Hello.", owner="anna")) as speech:
        spoken = speech.read_waveform()

    def history(log_id: str, request: Request) -> Track:
        return archive.track(log_id, Access(request.headers.get("x-owner"), sees_all=False))

    waveform = speechlike(1.0)
    done = shelf.add(Track.finished("hello", waveform, 44_100, {"marks": []}))
    made = Track("half", 44_100)
    half = shelf.add(made)
    app = FastAPI(routes=make_routes(shelf, history))
    with TestClient(app) as client:
        raw = client.get(f"/dia/audio/{done}")
        assert len(raw.content) == 2 * len(waveform)
        assert raw.headers["x-sample-rate"] == "44100"
        assert raw.headers["cache-control"] == "private, no-store"
        about = client.get(f"/dia/audio/{done}?about").json()
        assert about == {"is_done": True, "duration_s": 1.0, "marks": []}
        file = client.get(f"/dia/audio/{done}?format=mp3")
        assert file.headers["content-type"] == "audio/mpeg"
        assert 'filename="hello.mp3"' in file.headers["content-disposition"]
        assert client.get(f"/dia/audio/{done}?format=exe").status_code == 400
        assert client.get(f"/dia/audio/{half}?format=wav").status_code == 409
        assert client.get("/dia/audio/guess").status_code == 404
        old = client.get(f"/dia/history/{speech.id}?format=wav", headers={"x-owner": "anna"})
        assert old.headers["content-type"] == "audio/wav"
        assert f'filename="dia_alloy_{speech.id[:8]}.wav"' in old.headers["content-disposition"]
        assert abs(len(old.content) - 2 * len(spoken)) < 200
        for owner in ({}, {"x-owner": "ben"}):
            assert client.get(f"/dia/history/{speech.id}?format=wav", headers=owner).status_code == 404
        assert client.get("/dia/history/guess", headers={"x-owner": "anna"}).status_code == 404


def test_the_port_is_the_named_one_or_the_next_free(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("dia.ui.launch.DEFAULT_PORT", port)
        found = choose_address({})
        assert found.host == "127.0.0.1"
        assert found.port > port
        found.sock.close()
        with pytest.raises(OperatorError, match=f"port {port} is not free"):
            choose_address({"GRADIO_SERVER_PORT": str(port)})
    with pytest.raises(BadParameter, match="not a number"):
        choose_address({"GRADIO_SERVER_PORT": "many"})
    for wrong in ("-1", "65536"):
        with pytest.raises(BadParameter, match=f"port {wrong} is none; give one from 1 to 65535"):
            choose_address({"GRADIO_SERVER_PORT": wrong})
    # An address of nobody's; it was told that a hundred ports are taken there.
    with pytest.raises(OperatorError, match=r"cannot listen on 192\.0\.2\.1, port \d+: "):
        choose_address({"GRADIO_SERVER_NAME": "192.0.2.1"})
    named = choose_address({"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "0"})
    assert named.host == "0.0.0.0"
    named.sock.close()


def test_a_stop_neither_waits_for_open_tabs_nor_complains_of_them(service: Service, capfd: pytest.CaptureFixture[str]):
    """Ctrl-C with a tab open did not end the page: it waited for the tab's own connection."""
    import uvicorn

    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(_config(build_app(service, "127.0.0.1")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/gradio_api/heartbeat/tab"
    with (
        httpx.Client(verify=False, transport=httpx.HTTPTransport(retries=20)) as client,
        client.stream("GET", url) as tab,
    ):
        assert tab.status_code == 200
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()
    assert capfd.readouterr().err == ""


def test_the_page_alone_keeps_its_history_unless_told_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert page_settings(data_dir=tmp_path).save_outputs
    monkeypatch.setenv("DIA_SAVE_OUTPUTS", "false")
    settings = page_settings(data_dir=tmp_path)
    assert not settings.save_outputs
    assert settings.show_prompts


def test_wrong_arguments_and_a_missing_model_end_with_words(tmp_path: Path):
    """In a process of its own, which ends with the page."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")

    def page(port: str, *flags: str) -> tuple[int, str]:
        environment = {**os.environ, "DIA_DATA_DIR": str(tmp_path / "data"), "GRADIO_SERVER_PORT": port}
        command = [sys.executable, "-c", "import sys; from dia.ui.launch import main; sys.exit(main())", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
        return done.returncode, done.stderr

    code, said = page("none")
    assert code == 2 and "error: GRADIO_SERVER_PORT is not a number" in said
    code, said = page("0", "--model", str(tmp_path / "missing"))
    assert code == 1 and "error: " in said and "Traceback" not in said
