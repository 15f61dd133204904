"""SillyTavern itself, in a browser, narrates through our server with the tiny real model, by every provider that
docs/sillytavern.md promises."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dia.service.build import build
from tests.clients.tavern import Chat, Tavern
from tests.server.live import LiveServer, eventually
from tests.service.conftest import make_settings
from tests.ui.conftest import browser, screenshots

__all__ = ["browser", "screenshots"]  # fixtures from next door

MESSAGE = "*waves* “Hello!”"
PROGRAM = os.environ.get("DIA_SILLYTAVERN")

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not PROGRAM, reason="DIA_SILLYTAVERN names no folder with SillyTavern (CONTRIBUTING.md)"),
]

VOICES = "alloy,echo,fable,nova,onyx,shimmer"
SPEECH = "/v1/audio/speech"
# Provider; its fields, an address of ours where a value begins with a slash; the request that makes the sound; whether the
# page plays the whole, an address, or pieces as they come.
PROVIDERS: list[tuple[str, dict[str, str | bool], tuple[str, str], str]] = [
    ("OpenAI Compatible", {"#openai_compatible_tts_endpoint": SPEECH, "#openai_compatible_model": "dia",
                           "#openai_compatible_tts_voices": VOICES},
     ("POST", "/api/openai/custom/generate-voice"), "data:audio/mpeg"),
    ("OpenAI Compatible", {"#openai_compatible_tts_endpoint": "/generate", "#openai_compatible_model": "tts-1",
                           "#openai_compatible_tts_voices": VOICES},
     ("POST", "/api/openai/custom/generate-voice"), "data:audio/mpeg"),
    ("Silero", {"#silero_tts_endpoint": "/"}, ("POST", "/generate"), "data:audio/wav"),
    ("TTS WebUI", {"#tts_webui_endpoint": SPEECH, "#tts_webui_streaming": True}, ("POST", SPEECH), "pieces"),
    ("TTS WebUI", {"#tts_webui_endpoint": SPEECH, "#tts_webui_streaming": False}, ("POST", SPEECH), "data:audio/wav"),
    ("XTTSv2", {"#xtts_tts_endpoint": "/", "#xtts_tts_streaming": True}, ("GET", "/tts_stream/"), "http"),
    ("XTTSv2", {"#xtts_tts_endpoint": "/", "#xtts_tts_streaming": False}, ("POST", "/tts_to_audio/"), "data:audio/wav"),
    ("Chatterbox", {"#chatterbox-endpoint": "/"}, ("POST", "/tts"), "data:audio/wav"),
]  # fmt: skip


@pytest.fixture(scope="module")
def tavern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tavern]:
    assert PROGRAM is not None
    tavern = Tavern(Path(PROGRAM), tmp_path_factory.mktemp("tavern") / "st")
    try:
        tavern.await_start()
        yield tavern
    finally:
        tavern.close()


@contextmanager
def serving(bundle: Path, folder: Path, *, is_loaded: bool = True, **changes: Any) -> Iterator[LiveServer]:
    """Our server with the tiny real model on a free port."""
    service = build(make_settings(folder, model=str(bundle), device="cpu", port=0, workers=2, **changes))
    service.start()
    if is_loaded:
        service.load_model()
    server = LiveServer(service)
    yield server
    server.close()
    service.close(0)


@pytest.fixture(scope="module")
def live(tavern: Tavern, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(bundle, tmp_path_factory.mktemp("dia"), cors_origins=tavern.url) as server:
        yield server


@pytest.fixture
def chat(tavern: Tavern, browser: Any) -> Iterator[Chat]:
    chat = Chat(browser, tavern.url)
    chat.say(MESSAGE)
    yield chat
    chat.close()


def fields_for(live: LiveServer, fields: dict[str, str | bool]) -> dict[str, str | bool]:
    """With our address in place of the leading slash; a bare slash is the address alone."""
    return {
        field: live.url + value.removesuffix("/") if isinstance(value, str) and value.startswith("/") else value
        for field, value in fields.items()
    }


def newest(live: LiveServer) -> dict[str, Any]:
    """What our server remembers of the last text it spoke."""
    with live.client() as client:
        row: dict[str, Any] = client.get("/logs", params={"limit": 1}).json()["logs"][0]
    return row


@pytest.mark.parametrize(("provider", "fields", "request_", "start"), PROVIDERS)
def test_a_message_is_narrated(
    chat: Chat, live: LiveServer, provider: str, fields: dict[str, str | bool], request_: tuple[str, str], start: str
):
    chat.choose(provider, "nova" if provider == "OpenAI Compatible" else "Nova", fields_for(live, fields))
    chat.narrate()
    if start == "pieces":
        chat.await_stream()
    else:
        chat.await_player(start)
        chat.await_end(start)
    method, path = request_
    answers = [(kind, status) for kind, url, status in chat.answers if urlsplit(url).path == path]
    assert (method, 200) in answers, chat.answers
    if start.startswith("data:"):
        sound = chat.decoded(start)
        assert sound["seconds"] > 0.3
        assert sound["loudest"] > 0.01
    assert eventually(lambda: newest(live)["status"] == "completed", 30)
    assert newest(live)["voice"] == "nova"


def test_new_messages_are_narrated_by_themselves_but_the_first_stays_silent(chat: Chat, live: LiveServer):
    chat.choose("OpenAI Compatible", "nova", fields_for(live, PROVIDERS[0][1]))
    chat.say("Silent.")
    chat.tab.wait_for_timeout(2000)
    assert not spoken(chat)
    chat.say("Heard.")
    chat.await_player("data:audio/mpeg")
    assert spoken(chat) == [200]


def test_an_unknown_voice_is_named_on_the_page(chat: Chat, live: LiveServer):
    _, fields, _, _ = PROVIDERS[0]
    chat.choose("OpenAI Compatible", "nobody", {**fields_for(live, fields), "#openai_compatible_tts_voices": "nobody"})
    chat.narrate()
    assert "voice 'nobody' is not known; known are alloy, echo" in chat.complaint()


def test_without_a_voice_nothing_is_spoken_and_the_page_says_so(chat: Chat, live: LiveServer):
    chat.choose("OpenAI Compatible", "disabled", fields_for(live, PROVIDERS[0][1]))
    chat.narrate()
    chat.tab.locator(".toast-info", has_text="TTS voice for Seraphina is disabled").wait_for()
    assert not spoken(chat)


def test_a_model_that_loads_is_told_on_the_page(chat: Chat, bundle: Path, tmp_path: Path):
    with serving(bundle, tmp_path, is_loaded=False) as live:
        chat.choose("OpenAI Compatible", "nova", fields_for(live, PROVIDERS[0][1]))
        chat.narrate()
        assert "the model is loading; try again later" in chat.complaint()


def test_a_key_is_asked_for_and_sent(chat: Chat, bundle: Path, tmp_path: Path):
    with serving(bundle, tmp_path, api_keys="KEY") as live:
        chat.choose("OpenAI Compatible", "nova", fields_for(live, PROVIDERS[0][1]))
        chat.narrate()
        assert "key" in chat.complaint()
        chat.give_key("KEY")
        chat.narrate()
        chat.await_player("data:audio/mpeg")


def test_a_page_at_an_address_that_is_not_named_cannot_reach_the_server(
    tavern: Tavern, browser: Any, live: LiveServer
):
    chat = Chat(browser, tavern.url.replace("127.0.0.1", "localhost"))
    chat.tab.locator("#tts_enabled").check()
    chat.tab.select_option("#tts_provider", "Silero")
    chat.tab.locator("#silero_tts_endpoint").fill(live.url)
    chat.tab.locator("#tts_refresh").click()
    chat.await_status("TTS Provider not ready. TypeError: Failed to fetch")
    chat.close()


@pytest.mark.parametrize(("number", "name"), [(0, "sillytavern.png"), (2, "sillytavern-silero.png")])
def test_pictures_of_the_settings(chat: Chat, live: LiveServer, screenshots: Path, number: int, name: str):
    """The guide's pictures, with the address that it names; DIA_SCREENSHOTS=docs/images makes them again."""
    provider, fields, _, _ = PROVIDERS[number]
    chat.choose(provider, "nova" if provider == "OpenAI Compatible" else "Nova", fields_for(live, fields))
    rename = """url => document.querySelectorAll("#tts_provider_settings input").forEach(
        field => { field.value = field.value.replace(url, "http://localhost:7860"); })"""
    chat.tab.evaluate(rename, live.url)
    chat.tab.mouse.move(0, 0)
    picture = screenshots / name
    chat.tab.locator("#tts_settings").screenshot(path=picture)
    assert 20_000 < picture.stat().st_size < 150_000


def spoken(chat: Chat) -> list[int]:
    """Statuses of the page's requests for sound."""
    return [status for _, url, status in chat.answers if url.endswith("/generate-voice")]
