"""A stand-in for the model: tones whose steps a test can hold and release. Deterministic by seed and text.

Fulfils `dia.service.request.SpeechModel`. One step makes one frame of sound; the number of frames follows from the
text, the pitch from seed and text, so equal requests give equal samples and others do not.
"""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dia.errors import Cancelled, DeadlineExceeded, EngineStopped
from dia.sampling import SamplingParams
from dia.text.script import prepare

SAMPLE_RATE_HZ = 44_100
HOP_SAMPLES = 512
CHANNELS = 9


@dataclass(frozen=True)
class TonePrompt:
    """Codes int16 [frames, channels] and what is said in them."""

    codes: np.ndarray
    transcript: str


class Gate:
    """Steps stop here while it is closed. Open at first; `steps` counts all steps of all streams."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._is_open = True
        self._permits = 0
        self.steps = 0

    def close(self) -> None:
        """From now on no step is made but those allowed from now on."""
        with self._condition:
            self._is_open = False
            self._permits = 0

    def open(self) -> None:
        with self._condition:
            self._is_open = True
            self._condition.notify_all()

    def allow(self, steps: int) -> None:
        """Let that many steps through a closed gate."""
        with self._condition:
            self._permits += steps
            self._condition.notify_all()

    def pass_one(self, stream: "ToneStream") -> None:
        with self._condition:
            while not (self._is_open or self._permits > 0 or stream.is_stopped):
                self._condition.wait(stream.remaining_s())
                if stream.remaining_s() == 0:
                    return
            if not self._is_open and self._permits > 0:
                self._permits -= 1
            self.steps += 1

    def wake(self) -> None:
        with self._condition:
            self._condition.notify_all()


class ToneModel:
    """Makes `frames_per_char` frames for each character. `fail_with` is raised at step `fail_at_step` of any stream.

    Args:
        step_s: time that each step takes; 0 is as fast as it goes.

    Attributes:
        pauses_at_tags: whether the characters of a speaker's tag are silence, but for those at the ends.
    """

    def __init__(self, *, frames_per_char: float = 6.0, step_s: float = 0.0, name: str = "tone") -> None:
        self.name = name
        self.model_hash = "70ne" + name
        self.sample_rate_hz = SAMPLE_RATE_HZ
        self.defaults = SamplingParams()
        self.gate = Gate()
        self.step_s = step_s
        self.frames_per_char = frames_per_char
        self.pauses_at_tags = False
        self.fail_with: BaseException | None = None
        self.fail_at_step = 0
        self.streams: list[ToneStream] = []
        self.prompts_encoded = 0
        self.is_closed = False
        self.hangs_s = 0.0

    def encode_prompt(self, audio: Any, transcript: str = "") -> TonePrompt:
        array = np.asarray(audio)
        if array.ndim == 2:
            return TonePrompt(array.astype(np.int16), transcript)
        self.prompts_encoded += 1
        frames = max(len(array) // HOP_SAMPLES, 1)
        level = np.abs(array[: frames * HOP_SAMPLES]).reshape(frames, -1).mean(axis=1)
        codes = np.repeat((level * 1000).astype(np.int16)[:, None], CHANNELS, axis=1)
        return TonePrompt(codes, transcript)

    def stream(
        self,
        text: str,
        *,
        prompt: TonePrompt | None = None,
        params: SamplingParams | None = None,
        exact_text: bool = False,
        close_tag: bool = True,
        holds_prompt: bool = True,
        priority: str = "interactive",
        deadline_s: float | None = None,
        adapter: "ToneAdapter | None" = None,
    ) -> "ToneStream":
        if self.is_closed:
            raise EngineStopped("the tone generator is closed")
        transcript = prompt.transcript if prompt and prompt.transcript.strip() else None
        prepared = prepare(text, transcript=transcript, max_bytes=1024, close_tag=close_tag)
        stream = ToneStream(self, prepared.text, prepared.warnings, prompt, params or self.defaults, text, deadline_s)
        stream.adapter = adapter
        self.streams.append(stream)
        return stream

    def load_adapter(self, adapter: Path) -> "ToneAdapter":
        return ToneAdapter(hashlib.sha256(adapter.read_bytes()).hexdigest()[:12])

    def close(self) -> None:
        self.is_closed = True
        self.gate.wake()


@dataclass(frozen=True)
class ToneAdapter:
    """Any file; the tones are the same with it."""

    id: str


class ToneStream:
    """One text as tones. Raises `Cancelled` from the step after `cancel`."""

    def __init__(
        self,
        model: ToneModel,
        text: str,
        warnings: tuple[str, ...],
        prompt: TonePrompt | None,
        params: SamplingParams,
        new_text: str,
        deadline_s: float | None,
    ) -> None:
        self._model = model
        self._deadline = None if deadline_s is None else time.monotonic() + deadline_s
        self.sample_rate_hz = SAMPLE_RATE_HZ
        self.text = text
        self.warnings = warnings
        self.prompt = prompt
        self.params = params
        self.seed = 0 if params.seed is None else params.seed
        self.frames_wanted = int(len(new_text) * model.frames_per_char)
        self.frames_estimate = max(self.frames_wanted, 1)
        self.frames_done = 0
        self.is_stopped = False
        self.adapter: ToneAdapter | None = None
        digest = hashlib.sha256(f"{self.seed} {text} {params}".encode()).digest()
        tags = list(re.finditer(r" \[S[12]\] ", new_text)) if model.pauses_at_tags else []
        self._silence = [tuple(round(edge * model.frames_per_char) for edge in tag.span()) for tag in tags]
        self._pitch_hz = 200 + int.from_bytes(digest[:2], "big") % 400
        self._digest = digest

    @property
    def codes(self) -> np.ndarray:
        rows = np.arange(self.frames_done)[:, None] + np.frombuffer(self._digest, np.uint8)[:CHANNELS].astype(int)
        return (rows % 1024).astype(np.int16)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        if self.frames_done >= self.frames_wanted and not self.is_stopped:
            raise StopIteration
        self._model.gate.pass_one(self)
        if self.is_stopped:
            raise Cancelled("the tone was stopped")
        if self.remaining_s() == 0:
            raise DeadlineExceeded("the tone took too long")
        if self._model.step_s:
            time.sleep(self._model.step_s)
        if self._model.fail_with is not None and self.frames_done >= self._model.fail_at_step:
            raise self._model.fail_with
        times = (np.arange(HOP_SAMPLES) + self.frames_done * HOP_SAMPLES) / SAMPLE_RATE_HZ
        frame = self.frames_done
        self.frames_done += 1
        if any(low <= frame < high for low, high in self._silence):
            return np.full(HOP_SAMPLES, 1e-5, np.float32)
        return (0.3 * np.sin(2 * np.pi * self._pitch_hz * times)).astype(np.float32)

    def remaining_s(self) -> float | None:
        """Until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def cancel(self) -> None:
        self.is_stopped = True
        self._model.gate.wake()

    def close(self) -> None:
        self.cancel()
