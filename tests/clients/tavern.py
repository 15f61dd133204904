"""SillyTavern as people run it: its own server on a free port over an empty data folder, and its page in a browser.
Knows where its buttons are; nothing of ours."""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

# Keeps what the page plays: its <audio> elements, and the loudest sample that an AudioWorklet sends to the speaker.
LISTEN = """
window.heard = { players: new Set(), loudest: 0 };
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { heard.players.add(this); return play.call(this); };
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
    if (this instanceof AudioWorkletNode) {
        const ear = new AnalyserNode(this.context, { fftSize: 32768 }), seen = new Float32Array(ear.fftSize);
        connect.call(this, ear);
        setInterval(() => {
            ear.getFloatTimeDomainData(seen);
            heard.loudest = seen.reduce((most, value) => Math.max(most, Math.abs(value)), heard.loudest);
        }, 100);
    }
    return connect.call(this, to, ...rest);
};
"""
PLAYER = "[...heard.players].find(player => player.src.startsWith(start) && player.currentTime > 0.1)"
DECODE = """async start => {
    const data = await (await fetch(%s.src)).arrayBuffer();
    const sound = await new AudioContext().decodeAudioData(data);
    const loudest = sound.getChannelData(0).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return { seconds: sound.duration, loudest };
}"""


class Tavern:
    """The server process."""

    def __init__(self, program: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        shutil.copy(program / "default" / "config.yaml", folder)
        self._log = folder / "log.txt"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["node", "server.js", "--configPath", folder / "config.yaml", "--dataRoot", folder / "data",
                 "--port", str(self.port), "--browserLaunchEnabled", "false"],
                cwd=program, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def await_start(self, timeout_s: float = 240.0) -> None:
        """The first start compiles the page's libraries, which takes most of a minute."""
        until = time.monotonic() + timeout_s
        while True:
            assert self._process.poll() is None, self.log[-2000:]
            assert time.monotonic() < until, self.log[-2000:]
            try:
                httpx.get(self.url, timeout=5)
                return
            except httpx.TransportError:
                time.sleep(0.5)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Chat:
    """One tab: the sample character's chat, with the TTS settings open and TTS off."""

    def __init__(self, browser: Any, url: str) -> None:
        self.tab = browser.new_page(viewport={"width": 1000, "height": 1200})
        self.tab.set_default_timeout(30_000)
        self.answers: list[tuple[str, str, int]] = []
        self.tab.on("response", lambda got: self.answers.append((got.request.method, got.url, got.status)))
        self.tab.add_init_script(LISTEN)
        self.tab.goto(url)
        self.tab.locator("#preloader").wait_for(state="detached", timeout=60_000)
        name = self.tab.locator("dialog[open] .popup-input")
        if name.count():  # only the first time
            name.fill("Ada")
            self.tab.locator("dialog[open] .popup-button-ok").click()
            name.wait_for(state="detached")
        self.tab.locator("#rightNavDrawerIcon").click()
        self.tab.locator(".character_select", has_text="Seraphina").click()
        self.tab.locator('.mes[mesid="0"]', has_text="guardian of this forest").wait_for(state="attached")
        self.tab.locator("#extensions-settings-button .drawer-toggle").click()
        self.tab.locator("#tts_settings .inline-drawer-toggle").click()
        self.tab.locator("#tts_enabled").uncheck()  # on if an earlier tab lived long enough to save its settings

    def choose(self, provider: str, voice: str, fields: dict[str, str | bool]) -> None:
        """Enable TTS with a provider, fill its fields, reload its voices and give one to the default voice."""
        self.tab.locator("#tts_enabled").check()
        self.tab.select_option("#tts_provider", provider)
        for field, value in fields.items():
            if isinstance(value, bool):
                self.tab.locator(field).set_checked(value)
            else:
                self.tab.locator(field).fill(value)
        self.tab.locator("#tts_refresh").click()
        default = self.tab.locator(".tts_voicemap_block_char select").first  # [Default Voice]
        default.locator("option", has_text=re.compile(f"^{voice}$")).wait_for(state="attached")
        default.select_option(voice)

    def give_key(self, key: str) -> None:
        """An API key for OpenAI Compatible, by its button."""
        self.tab.locator("#openai_compatible_tts_key").click()
        self.tab.locator("dialog[open] button[data-action=add-secret]").click()
        asked = self.tab.locator("dialog[open]", has_text="Secret value")
        asked.locator(".popup-input").fill(key)
        asked.locator(".popup-button-ok").click()
        asked.wait_for(state="detached")
        self.tab.locator("dialog[open] .popup-button-ok").click()
        self.tab.locator("dialog[open]").wait_for(state="detached")

    def say(self, text: str) -> None:
        """A new message from the character, as if a language model had written it."""
        before = self.tab.locator("#chat .mes").count()
        command = f"/sendas name=Seraphina {text}"
        self.tab.locator("#send_textarea").evaluate("(box, text) => { box.value = text; }", command)
        self.tab.locator("#send_but").dispatch_event("click")
        self.tab.wait_for_function("count => document.querySelectorAll('#chat .mes').length > count", arg=before)

    def narrate(self) -> None:
        """As the button beside the last message does; the open drawer lies over it."""
        self.tab.locator("#chat .last_mes .mes_narrate").dispatch_event("click")

    def await_player(self, start: str, timeout_s: float = 60.0) -> None:
        """Until an <audio> element plays an address that begins so."""
        self.tab.wait_for_function(f"start => {PLAYER}", arg=start, timeout=timeout_s * 1000)

    def await_end(self, start: str, timeout_s: float = 60.0) -> None:
        """Until it has played to its end, which is when the page goes on to the next text."""
        self.tab.wait_for_function(f"start => {PLAYER}.ended", arg=start, timeout=timeout_s * 1000)

    def decoded(self, start: str) -> dict[str, float]:
        """Seconds and loudest sample of what that element plays."""
        answer: dict[str, float] = self.tab.evaluate(DECODE % PLAYER, start)
        return answer

    def await_stream(self, timeout_s: float = 60.0) -> None:
        """Until something is loud that comes through an AudioWorklet."""
        self.tab.wait_for_function("heard.loudest > 0.01", timeout=timeout_s * 1000)

    def await_status(self, text: str) -> None:
        """Until the line above the provider says so."""
        self.tab.locator("#tts_status", has_text=text).wait_for()

    def complaint(self) -> str:
        """What the page says of a failure."""
        toast = self.tab.locator(".toast-error", has_text="Error: ").first
        toast.wait_for()
        return str(toast.inner_text())

    def close(self) -> None:
        self.tab.close()
