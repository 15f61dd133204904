"""The page in a real browser, over the tone generator: what people do with it, from writing to replaying."""

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from dia.errors import BadScript
from dia.hub import BUNDLED
from dia.media.read import read_audio
from dia.service import bundled
from dia.service.build import Service
from dia.service.logs import LogFilter
from dia.service.speech import SpeechRequest
from tests.service.conftest import wav
from tests.service.tone import ToneModel
from tests.ui.conftest import shown_page

# Gradio's own use of pandas and others is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
DIALOGUE = "[S1] Hello there, how are you? [S2] (laughs) Fine, thank you very much."
PICTURED = (
    "[S1] Did you lock the door? I thought I heard somebody on the stairs.\n"
    "[S2] I did. It is only the wind, and the old house.\n"
    "[S1] Then why is it knocking?"
)
LONG = "[S1] " + "Here is a sentence that takes a while. " * 12


PATIENCE_S = 60.0
"""For whatever is to come: a machine that others use too takes its time."""


def until(claim: Callable[[], Any]) -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


class Driver:
    """One tab with the page, as a person uses it. Remembers what the browser asked for and complained of."""

    def __init__(
        self, browser: Any, url: str, service: Service, model: ToneModel, width: int = 1280, key: str = "",
        context: Any = None,
    ) -> None:  # fmt: skip
        self.service, self.model, self.url = service, model, url
        viewport = {"width": width, "height": 900}
        self.context = context or browser.new_context(viewport=viewport, accept_downloads=True)
        self.tab = self.context.new_page()
        self.outside: list[str] = []
        self.complaints: list[str] = []
        self.tab.on("request", self._note_request)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.set_default_timeout(1000 * PATIENCE_S)
        self.tab.goto(url)
        if key:
            self.sign_in(key)
        self.tab.locator(".dia-facts").wait_for()
        self.tab.locator("#dia-voice-info .dia-voice").wait_for()

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.outside.append(request.url)

    def sign_in(self, key: str) -> None:
        self.tab.get_by_label("API key").fill(key)
        self.press("Sign in")

    @property
    def script(self) -> Any:
        return self.tab.locator("#dia-script textarea")

    @property
    def player(self) -> Any:
        return self.tab.locator("#dia-player .box")

    def write(self, text: str) -> None:
        self.script.fill(text)

    def press(self, name: str) -> None:
        self.tab.get_by_role("button", name=name, exact=True).click()

    def open_tab(self, name: str) -> None:
        self.tab.get_by_role("tab", name=name).click()
        self.tab.get_by_role("tab", name=name, selected=True).wait_for()

    def speak(self, button: str = "Speak") -> Any:
        """Press it and give the speech that begins."""
        before = len(self.model.streams)
        self.press(button)
        until(lambda: len(self.model.streams) > before)
        return self.model.streams[-1]

    def wait_done(self) -> None:
        """The speech has ended, here and there."""
        until(lambda: not self.service.speech.speeches())
        (newest,) = self.service.logs.page(LogFilter(limit=1)).entries
        self.tab.locator(f'#dia-progress [data-log="{newest.id}"]').wait_for()
        if newest.status == "completed":
            self.tab.locator(f'.dia-card [data-log="{newest.id}"]').first.wait_for()
        self.tab.locator("#dia-player .box[data-done=true]").wait_for()

    def chosen(self, voice: str) -> None:
        """Wait until that voice is the chosen one."""
        until(lambda: self.tab.locator("#dia-voice").get_by_label(voice).is_checked())

    def received(self) -> int:
        return int(self.player.get_attribute("data-received") or 0)

    def heard_s(self) -> float:
        """Where the large player stands, seconds."""
        return float(self.tab.locator("#dia-player canvas").get_attribute("aria-valuenow"))

    def alert(self, words: str, where: str = "#dia-message") -> str:
        """Wait for a message with these words, whatever stood there before; gives all of it."""
        found = self.tab.locator(f"{where} .dia-alert", has_text=words).first
        found.wait_for()
        return str(found.inner_text())


class Window:
    """The browser's window: one tab stays open for all tests, for loading the page is most of what they cost."""

    def __init__(self, browser: Any, url: str, service: Service, model: ToneModel) -> None:
        self._parts = (browser, url, service, model)
        self._made: list[Driver] = []
        self._shared: Driver | None = None

    def open(self, **options: Any) -> Driver:
        """A tab of one's own."""
        self._made.append(Driver(*self._parts, **options))
        return self._made[-1]

    def shared(self) -> Driver:
        """The tab that stays, on its first page with the first voice and a script."""
        if self._shared is None:
            self._shared = Driver(*self._parts)
        self._shared.open_tab("Speak")
        self._shared.tab.locator("#dia-voice input").first.check()
        self._shared.write(DIALOGUE)
        return self._shared

    def settle(self) -> None:
        """After a test: nothing may have been asked from elsewhere, no script and no callback may have failed."""
        _, _, service, model = self._parts
        model.gate.open()
        model.fail_with = None
        until(lambda: not service.speech.speeches())
        for driver in [*self._made, *([self._shared] if self._shared else [])]:
            assert driver.outside == []
            assert driver.complaints == []
            if not driver.tab.is_closed():
                assert driver.tab.locator(".toast-body").all_inner_texts() == []
        for context in {driver.context for driver in self._made}:
            context.close()
        self._made.clear()


@pytest.fixture(scope="session")
def _window(browser: Any, tone_page: tuple[str, Service, ToneModel]) -> Window:
    return Window(browser, *tone_page)


@pytest.fixture
def window(_window: Window) -> Iterator[Window]:
    yield _window
    _window.settle()


@pytest.fixture
def page(window: Window) -> Driver:
    return window.shared()


def test_sound_arrives_and_plays_before_the_speech_is_made(page: Driver, screenshots: Path):
    page.model.gate.close()
    page.model.gate.allow(60)
    page.write(DIALOGUE)
    page.speak()
    page.tab.locator("#dia-player .box[data-state=playing]").wait_for()
    until(lambda: page.received() > 0)
    (speech,) = page.service.speech.speeches()
    assert speech.status == "processing"
    assert page.player.get_attribute("data-done") == "false"
    page.tab.locator("#dia-progress", has_text=re.compile(r"\d+ % .* of about")).wait_for()
    page.tab.screenshot(path=screenshots / "speaking.png")
    page.model.gate.open()
    page.wait_done()
    take = page.tab.locator(".dia-card").first
    with page.tab.expect_download() as download:
        take.get_by_role("link", name="download wav").click()
    samples = len(read_audio(Path(download.value.path()), sample_rate_hz=44_100))
    assert samples == page.received() == round(speech.audio_duration_s * 44_100)


def test_stop_stops_the_model_and_keeps_what_was_made(page: Driver):
    page.model.gate.close()
    page.model.gate.allow(50)
    page.speak()
    stream = page.model.streams[-1]
    until(lambda: page.received() > 0 and stream.frames_done == 50)
    page.press("Stop")
    page.wait_done()
    assert stream.is_stopped
    assert not page.service.speech.speeches()
    assert stream.frames_done * 512 == page.received()
    assert "stopped after" in page.tab.locator("#dia-progress").inner_text()


def test_stop_ends_the_sound_too_and_so_does_escape_when_all_is_made(page: Driver, monkeypatch: pytest.MonkeyPatch):
    """Stop ended the model alone: what had arrived, seconds of it, was still played. Escape did nothing by then."""
    # As long as speech would be, so that much more has arrived than was heard whenever the button comes to be pressed.
    monkeypatch.setattr(page.model, "frames_per_char", 6.0)
    page.write(LONG)
    page.model.gate.close()
    page.model.gate.allow(1300)
    page.speak()
    page.tab.locator("#dia-player .box[data-state=playing]").wait_for()
    until(lambda: page.received() > 10 * 44_100)
    page.press("Stop")
    page.wait_done()
    assert page.player.get_attribute("data-state") == "ready"
    assert 0 <= page.heard_s() < page.received() / 44_100 - 1
    page.model.gate.open()
    page.speak()
    page.tab.locator("#dia-player .box[data-state=playing]").wait_for()
    page.wait_done()
    assert page.player.get_attribute("data-state") == "playing"
    page.tab.keyboard.press("Escape")
    page.tab.locator("#dia-player .box[data-state=ready]").wait_for()
    assert page.heard_s() < page.received() / 44_100 - 1


def test_a_new_speech_shows_its_own_marks_and_words_while_it_is_made(page: Driver):
    """From the second speech on those of the speech before stood there until it was made."""
    page.write("[S1] Apples and pears. [S2] Cherries. [S1] Plums. [S2] Grapes.")
    page.speak()
    page.wait_done()
    page.model.gate.close()
    page.model.gate.allow(40)
    page.write("[S1] Words of another speech. [S2] And its answer, which is longer.")
    page.speak()
    page.tab.locator("#dia-player .turn", has_text="Words of another speech.").wait_for()
    turns = page.tab.evaluate("document.querySelector('#dia-player dia-player').turns")
    assert [turn["text"] for turn in turns] == ["Words of another speech.", "And its answer, which is longer."]
    page.model.gate.open()
    page.wait_done()


def test_closing_the_tab_stops_the_model(window: Window, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dia.ui.desk.UNHEARD_S", 0.5)
    page = window.open()
    page.model.gate.close()
    page.write(LONG)
    page.speak()
    page.tab.close()
    time.sleep(1.0)
    page.model.gate.allow(200)
    until(lambda: not page.service.speech.speeches())
    assert page.model.streams[-1].is_stopped


def test_six_tabs_of_one_browser_do_not_block_each_other(window: Window):
    """A browser has six connections to a host; each open tab held one of them for good, and a speaking one more."""
    first = window.open()
    tabs = [first, *(window.open(context=first.context) for _ in range(5))]
    first.model.gate.close()
    spoken = [tab.speak() for tab in tabs[:3]]
    for tab in tabs[:3]:
        tab.tab.locator("#dia-progress progress").wait_for()
    tabs[5].write("[S1] Are you still there?")
    tabs[5].tab.locator("#dia-estimate", has_text="1 turn").wait_for()
    for tab in tabs[:3]:
        tab.press("Stop")
    until(lambda: all(stream.is_stopped for stream in spoken))


def test_keys_alone_are_enough(page: Driver):
    page.script.focus()
    page.tab.keyboard.press("Control+A")
    page.tab.keyboard.type("[S1] Typed by hand.")
    page.tab.keyboard.press("Alt+Enter")
    page.tab.keyboard.type("So it is.")
    assert page.script.input_value() == "[S1] Typed by hand.\n[S2] So it is."
    menu = page.tab.locator(".dia-toolbar details[open]")
    page.tab.locator(".dia-toolbar summary", has_text="all sounds").press("Enter")
    menu.wait_for()
    page.tab.keyboard.press("Escape")
    menu.wait_for(state="detached")
    page.script.focus()
    page.model.gate.close()
    page.tab.keyboard.press("Control+Enter")
    until(lambda: page.service.speech.speeches())
    page.tab.locator("#dia-stop:not([disabled])").wait_for()
    page.tab.keyboard.press("Escape")
    page.wait_done()


def test_typing_shows_seconds_warnings_and_both_colours(page: Driver):
    page.write("[S1] One. [S2] Two (sneezed) and (frobnicates) three.")
    page.tab.locator(".dia-warnings", has_text="frobnicates").wait_for()
    assert "about" in page.tab.locator("#dia-estimate").inner_text()
    under = page.tab.locator(".dia-under")
    assert under.locator(".dia-t1").inner_text().strip() == "[S1] One."
    assert under.locator(".dia-t2").inner_text().startswith("[S2] Two")
    page.tab.get_by_role("button", name="laughs", exact=True).click()
    assert page.script.input_value().endswith("three.(laughs) ")


def test_typing_a_sound_that_the_model_has_not_learnt_warns(page: Driver):
    """The small model reads (laughs) as a word at best; nothing said so before it was heard."""
    limits = page.service.speech.limits
    page.service.speech.attach(page.model, replace(limits, knows_sounds=False))
    try:
        page.write("[S1] One. (laughs) Two. [S2] Three. (sighs) (sighs)")
        said = "sounds that this model has not learnt, left out (Dia-1.6B performs them): 3"
        page.tab.locator("#dia-estimate .dia-warnings", has_text=said).wait_for()
    finally:
        page.service.speech.attach(page.model, limits)


def test_a_cloned_voice_is_checked_saved_and_spoken_with(page: Driver, tmp_path: Path, screenshots: Path):
    recording = tmp_path / "anna.wav"
    recording.write_bytes(wav(6.0))
    page.open_tab("Voices")
    page.tab.locator("#dia-recording input[type=file]").set_input_files(recording)
    page.tab.locator("#dia-report", has_text="Loudness").wait_for()
    page.tab.get_by_label("What is said in it").fill("A few words that were said in the recording, all of them.")
    page.tab.get_by_label("Name of the voice").fill("Anna")
    page.tab.screenshot(path=screenshots / "cloning.png", full_page=True)
    page.press("Save this voice")
    page.alert("Anna is saved", "#dia-clone-message")
    page.open_tab("Speak")
    page.chosen("Anna · cloned")
    page.press("Listen to this voice")
    page.tab.locator("#dia-voice-player .box[data-done=true]").wait_for()
    page.write("[S1] And now I say this.")
    page.speak()
    page.wait_done()
    stream = page.model.streams[-1]
    assert stream.prompt is not None
    assert stream.prompt.transcript.startswith("[S1] A few words")
    page.open_tab("Voices")
    yours = page.tab.locator("#dia-yours")
    yours.get_by_label("Anna").check()
    page.press("Delete the chosen voice")
    yours.get_by_text("Delete the voice Anna and its recording?").wait_for()
    page.press("Keep it")
    yours.get_by_text("Delete the voice Anna").wait_for(state="hidden")
    assert page.service.voices.get("anna").name == "Anna"
    page.press("Delete the chosen voice")
    page.press("Delete it")
    page.alert("Voice Anna is deleted.", "#dia-clone-message")
    assert "anna" not in {voice.id for voice in page.service.voices.all()}


def test_the_microphone_records_a_voice(window: Window):
    """The browser's own false device beeps; its sound comes to the check like any other recording."""
    page = window.open()
    page.context.grant_permissions(["microphone"])
    page.open_tab("Voices")
    page.tab.locator("#dia-recording").get_by_label("Record audio").click()
    page.tab.locator("#dia-recording .record-button").click()
    page.tab.locator("#dia-recording .stop-button").wait_for()
    page.tab.wait_for_timeout(2500)
    page.tab.locator("#dia-recording .stop-button").click()
    page.tab.locator("#dia-report", has_text="Loudness").wait_for()
    shown = page.tab.locator("#dia-report").inner_text()
    assert 1.0 < float(re.search(r"Length\s+([\d.]+) s", shown).group(1)) < 60.0


def test_a_file_that_is_no_sound_is_refused_in_words(page: Driver, tmp_path: Path):
    lie = tmp_path / "list.wav"
    lie.write_text("ffconcat version 1.0\nfile '/etc/passwd'\n")
    page.open_tab("Voices")
    page.tab.locator("#dia-recording input[type=file]").set_input_files(lie)
    assert "Traceback" not in page.alert("audio", "#dia-report")


def test_an_engine_failure_is_a_message_and_the_page_goes_on(page: Driver):
    page.model.fail_with = RuntimeError("device-side assert at /secret/path")
    page.model.fail_at_step = 10
    page.press("Speak")
    assert "secret" not in page.alert("engine failed")
    page.model.fail_with = None
    page.speak()
    page.wait_done()
    assert page.tab.locator("#dia-message .dia-alert").count() == 0


def test_a_refusal_is_shown_word_for_word(page: Driver):
    text = "[S1] Hello. [pause:90s] There."
    with pytest.raises(BadScript) as refusal:
        page.service.speech.plan(SpeechRequest(text))
    page.write(text)
    page.press("Speak")
    assert page.alert(str(refusal.value)) == str(refusal.value)


def test_a_take_becomes_a_voice_and_its_seed_can_be_locked(page: Driver):
    page.speak("Another take")
    page.wait_done()
    page.speak("Another take")
    page.wait_done()
    newest = page.tab.locator(".dia-card").first
    seeds = [
        card.locator("header span").inner_text().split("seed ")[1] for card in page.tab.locator(".dia-card").all()
    ]
    first = seeds[0]
    assert first != seeds[1]
    page.tab.locator("#dia-seed-mode").get_by_label("the voice's own").check()
    newest.get_by_role("button", name="Lock seed").click()
    page.tab.locator("#dia-seed input").wait_for()
    until(lambda: page.tab.locator("#dia-seed input").input_value() == first)
    newest.get_by_label("name of the new voice").fill("My narrator")
    newest.get_by_role("button", name="Keep as voice").click()
    page.alert("is now the voice My narrator")
    page.chosen("My narrator · cloned")
    assert page.service.voices.get("my_narrator").audio_prompt == "my_narrator"


def test_a_locked_seed_is_taken_digit_for_digit_and_an_empty_one_is_told(page: Driver):
    """Above 2**53 a seed came out rounded; an empty field spoke with seed 0."""
    page.tab.locator("#dia-seed-mode").get_by_label("locked").check()
    field = page.tab.locator("#dia-seed input")
    field.fill("9007199254740993")
    page.speak()
    page.wait_done()
    assert page.model.streams[-1].seed == 9_007_199_254_740_993
    assert "seed 9007199254740993" in page.tab.locator("#dia-progress").inner_text()
    for typed, complaint in (("", "locked but empty"), ("12a", "'12a'")):
        field.fill(typed)
        page.press("Speak")
        page.alert(complaint)
    page.tab.locator("#dia-seed-mode").get_by_label("the voice's own").check()


def test_an_emptied_limit_is_no_limit_and_frames_are_the_models_own(page: Driver):
    page.tab.get_by_role("button", name="Sampling").click()
    field = page.tab.locator("#dia-max-tokens input")
    page.tab.locator("#dia-max-tokens", has_text="86 frames a second").wait_for()
    for typed, limit in (("200", 200), ("", None)):
        field.fill(typed)
        page.speak()
        page.wait_done()
        (entry,) = page.service.logs.page(LogFilter(limit=1)).entries
        assert entry.parameters["max_tokens"] == limit
    page.tab.get_by_role("button", name="Sampling").click()


def test_history_replays_and_brings_the_script_back(page: Driver, screenshots: Path):
    page.tab.locator("#dia-voice").get_by_label("Nova").check()
    page.write("[S1] Remember these words. <img src=x onerror='document.title=1'> ${1+1} {{value}}")
    page.speak()
    page.wait_done()
    page.write("[S1] Something else.")
    page.tab.locator("#dia-voice").get_by_label("Alloy").check()
    page.open_tab("History")
    words = "Remember these words. <img src=x onerror='document.title=1'> ${1+1} {{value}}"
    entry = page.tab.locator("#dia-history li", has_text=words).first
    entry.wait_for()
    assert page.tab.title() == "Dia"
    with page.tab.expect_download() as download:
        entry.get_by_role("link", name="download wav").click()
    samples = len(read_audio(Path(download.value.path()), sample_rate_hz=44_100))
    entry.get_by_role("button", name="Replay").click()
    player = page.tab.locator("#dia-history-player .box[data-done=true]")
    player.wait_for()
    assert int(player.get_attribute("data-received")) == samples > 44_100 / 2
    page.tab.screenshot(path=screenshots / "history.png")
    entry.get_by_role("button", name="Use again").click()
    page.open_tab("Speak")
    until(lambda: page.script.input_value().startswith("[S1] Remember these words."))
    page.chosen("Nova")
    page.tab.locator("#dia-seed-mode").get_by_label("the voice's own").check()


def test_a_voice_that_is_gone_is_said_and_the_rest_comes_back(page: Driver):
    page.service.voices.create("passing", {"name": "Passing", "defaults": {"speed": 1.5}})
    speech = page.service.speech.open(SpeechRequest("[S1] Said by somebody else.", "passing", speed=2.0))
    speech.read()
    page.open_tab("History")
    entry = page.tab.locator("#dia-history li", has_text="Said by somebody else.").first
    entry.get_by_role("button", name="Use again").click()
    page.alert("voice and its settings are back", "#dia-history-message")
    page.open_tab("Speak")
    page.chosen("Passing")
    time.sleep(0.5)  # what the choice of the voice brings about, the voice's own speed among it, has come by then
    assert page.tab.locator("#dia-speed input[type=number]").input_value() == "2"
    page.service.voices.delete("passing")
    page.open_tab("History")
    entry.get_by_role("button", name="Use again").click()
    page.alert("the voice passing is no longer here", "#dia-history-message")
    page.open_tab("Speak")
    page.tab.locator("#dia-seed-mode").get_by_label("the voice's own").check()


def test_stop_in_the_same_moment_as_speak_stops_it(page: Driver):
    page.model.gate.close()
    before = len(page.service.logs.page(LogFilter(limit=500)).entries)
    page.tab.evaluate("document.getElementById('dia-speak').click(); document.getElementById('dia-stop').click()")
    until(lambda: len(page.service.logs.page(LogFilter(limit=500)).entries) > before)
    page.wait_done()
    assert "stopped after" in page.tab.locator("#dia-progress").inner_text()


def test_the_script_outlives_a_page_that_is_loaded_again(window: Window):
    """Gradio loads the page again by itself when a server is back; what somebody had written was gone."""
    page = window.open()
    page.write("[S1] Not to be lost. [S2] Never.")
    page.tab.reload()
    until(lambda: page.script.input_value() == "[S1] Not to be lost. [S2] Never.")
    page.speak()
    page.wait_done()
    page.tab.locator(".dia-card", has_text="Not to be lost.").wait_for()


def test_the_queue_shows_what_runs_and_cancels_it(page: Driver):
    page.model.gate.close()
    page.speak()
    until(lambda: page.service.speech.speeches())
    page.open_tab("Queue")
    page.tab.locator("#dia-queue li").get_by_role("button", name="cancel").click()
    until(lambda: not page.service.speech.speeches())
    page.tab.locator("#dia-queue", has_text="Nothing runs or waits").wait_for()


def test_a_recording_is_transcribed_where_whisper_is_installed(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The package itself is not at hand here: a module of its name hears three words in whatever it is given."""

    class WhisperModel:
        def __init__(self, size: str, **options: Any) -> None:
            self.size = size

        def transcribe(self, waveform: Any, **options: Any) -> Any:
            words = [SimpleNamespace(text=f" {len(waveform) / 16_000:.1f} seconds"), SimpleNamespace(text=" heard. ")]
            return words, SimpleNamespace(language="en")

    module = ModuleType("faster_whisper")
    module.__spec__ = ModuleSpec("faster_whisper", None)
    module.WhisperModel = WhisperModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    (tmp_path / "anna.wav").write_bytes(wav(4.0))
    model = ToneModel()
    with shown_page(tmp_path / "data", model) as (url, service):
        page = Driver(browser, url, service, model)
        page.open_tab("Voices")
        page.press("Transcribe it")
        page.alert("there is no recording yet", "#dia-clone-message")
        page.tab.locator("#dia-recording input[type=file]").set_input_files(tmp_path / "anna.wav")
        page.tab.locator("#dia-report", has_text="Loudness").wait_for()
        page.press("Transcribe it")
        until(lambda: page.tab.get_by_label("What is said in it").input_value() == "4.0 seconds heard.")
        page.context.close()


def test_without_whisper_there_is_no_button_for_it(page: Driver):
    if page.service.prompts.transcriber.is_available:
        pytest.skip("faster-whisper is installed")
    page.open_tab("Voices")
    assert page.tab.locator("#dia-transcribe").count() == 0 or not page.tab.locator("#dia-transcribe").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height", "scale", "name"), [(1280, 880, 1, "page"), (390, 1240, 2, "page-phone")])
def test_the_pictures_of_the_documents(
    browser: Any, tmp_path: Path, screenshots: Path, monkeypatch: pytest.MonkeyPatch,
    width: int, height: int, scale: int, name: str,
):  # fmt: skip
    """With DIA_SCREENSHOTS=docs/images they are made again: two takes of the package's own model, heard to the last turn."""
    monkeypatch.setattr(bundled, "FOLDER", BUNDLED.parent / "voices")
    with shown_page(tmp_path) as (url, _):
        tab = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
        tab.goto(url)
        tab.locator(".dia-ready").wait_for(timeout=120_000)
        tab.locator("#dia-script textarea").fill(PICTURED)
        for number, button in ((1, "Speak"), (2, "Another take")):
            tab.get_by_role("button", name=button, exact=True).click()
            tab.locator(".dia-card").nth(number - 1).wait_for(timeout=300_000)
        tab.locator("#dia-player").get_by_text("knocking").wait_for(timeout=60_000)
        tab.locator("#dia-player").get_by_role("button", name=re.compile("^Pause")).click()
        tab.mouse.move(0, 0)
        picture = few_colours(tab.screenshot())
        tab.close()
    (screenshots / f"{name}.png").write_bytes(picture)
    assert len(picture) < 250_000


def few_colours(picture: bytes) -> bytes:
    """A picture with as many colours as fit into a small file."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    file = io.BytesIO()
    for colours in (256, 128, 64, 32):
        file = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() < 250_000:
            break
    return file.getvalue()


@pytest.mark.parametrize(("width", "name"), [(1280, "desktop"), (390, "phone")])
def test_the_page_fits_its_screen(window: Window, screenshots: Path, width: int, name: str):
    page = window.open(width=width)
    page.speak()
    page.wait_done()
    page.speak("Another take")
    page.wait_done()
    page.tab.screenshot(path=screenshots / f"{name}.png", full_page=True)
    for tab in ("Voices", "History", "Queue", "Speak"):
        page.open_tab(tab)
        assert page.tab.evaluate("document.scrollingElement.scrollWidth") <= width, tab
