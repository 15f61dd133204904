"""SpeechService: a request with a voice name becomes sound, admitted, logged, cancellable. The only way to the model.

Talks to the model through the protocol `SpeechModel`; knows no HTTP and no job. `plan` and `open` are plain functions:
what can be refused is refused there, before the first byte.
"""

import logging
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from dia.errors import (
    BadParameter,
    BadScript,
    Conflict,
    DiaError,
    EngineStopped,
    QueueFull,
    UnknownVoice,
)
from dia.media.encode import find_format, output_rate
from dia.narration.casting import Sound, cast
from dia.narration.delivery import Delivery
from dia.narration.passes import Passes
from dia.narration.script import ReadScript, read_text
from dia.service.adapters import AdapterStore
from dia.service.admission import Admission, Place
from dia.service.casting import (
    as_narrator,
    choose_speaker,
    make_sounds,
    other_speaker,
    plan_pieces,
    prompt_share_s,
)
from dia.service.counters import Counters
from dia.service.logs import LogStatus, LogStore, NewLog, error_code, error_message
from dia.service.prompts import PromptStore
from dia.service.request import (
    MAX_SPEED,
    MIN_SPEED,
    ModelLimits,
    Progress,
    SpeechModel,
    SpeechPlan,
    SpeechRequest,
)
from dia.service.settings import ConfigStore, Settings
from dia.service.takes import TakeStore
from dia.service.utterance import Speech, Tools
from dia.service.voices import Voice, VoiceStore
from dia.text.roles import read_roleplay
from dia.text.wording import Wording

__all__ = ["ModelLimits", "Progress", "Speech", "SpeechModel", "SpeechPlan", "SpeechRequest", "SpeechService"]

FALLBACK_VOICE = "alloy"
CLOSING_S = 5.0  # how long cancelled requests may take to notice
ModelState = Literal["loading", "ready", "hangs", "failed", "stopped"]

_logger = logging.getLogger(__name__)


class SpeechService:
    """Turns requests into `Speech`. Any thread may call.

    `dictionary` is the server's own. The model arrives by `attach`, perhaps minutes after the start; until then `plan` and `open` raise `EngineStopped`.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        config: ConfigStore,
        admission: Admission,
        voices: VoiceStore,
        prompts: PromptStore,
        adapters: AdapterStore,
        logs: LogStore,
        counters: Counters,
        takes: TakeStore,
        dictionary: Mapping[str, str],
    ) -> None:
        self.settings = settings
        self._dictionary = dictionary
        self.config = config
        self.admission = admission
        self.voices = voices
        self.prompts = prompts
        self.adapters = adapters
        self.logs = logs
        self.counters = counters
        self.takes = takes
        self._model: SpeechModel | None = None
        self._limits = ModelLimits()
        self._state: ModelState = "loading"
        self._reason = "the model is loading"
        self._lock = threading.Lock()
        self._none_open = threading.Condition(self._lock)
        self._open: dict[str, Speech] = {}
        admission.pause()

    @property
    def model(self) -> SpeechModel:
        """The model.

        Raises:
            EngineStopped: it is loading, failed to load, or is stopped.
        """
        if self._model is None:
            raise EngineStopped(f"{self._reason}; try again later", retry_after_s=10.0)
        return self._model

    @property
    def limits(self) -> ModelLimits:
        """What the model can do, those of the published one before it is there."""
        return self._limits

    @property
    def passes(self) -> Passes:
        """What one pass of the model takes."""
        limits = self._limits
        frames = limits.context_rows - limits.tail_rows
        return Passes(limits.text_bytes, frames, limits.tail_rows, limits.frame_rate_hz, limits.knows_sounds)

    @property
    def model_state(self) -> ModelState:
        """`hangs` while a step of the engine is overdue; it may still come back."""
        return "hangs" if self.hangs_s else self._state

    @property
    def hangs_s(self) -> float:
        """How long a step of the engine is overdue, seconds; 0 while it is well or not there."""
        model = self._model
        return 0.0 if model is None else model.hangs_s

    @property
    def model_state_reason(self) -> str:
        """One sentence for health reports; empty when ready."""
        if hangs_s := self.hangs_s:
            return f"the engine hangs in a step for {hangs_s:.0f} s; restart the server if it does not come back"
        return "" if self._state == "ready" else self._reason

    def attach(self, model: SpeechModel, limits: ModelLimits | None = None) -> None:
        """The model is there: begin with whatever waits."""
        with self._lock:
            self._model = model
            self._limits = limits or ModelLimits()
            self._state, self._reason = "ready", ""
        self.admission.resume()

    def model_failed(self, error: BaseException) -> None:
        """The model cannot be loaded; requests are told why."""
        with self._lock:
            self._state, self._reason = "failed", f"the model could not be loaded: {error_message(error)}"

    def plan(self, request: SpeechRequest) -> SpeechPlan:
        """Decide everything about a request and check it; changes nothing.

        Order of defaults: checkpoint, server, voice, request.

        Raises:
            BadScript, BadParameter, BadPrompt, UnknownVoice, UnknownFormat, NotFound: the caller must change something.
            Conflict: the request's adapter is another one by now. CheckpointMismatch: it does not fit the model.
            EngineStopped: no model yet.
        """
        model = self.model
        if not request.text.strip():
            raise BadScript("text is empty; there is nothing to say; give at least one word")
        if len(request.text) > self.settings.max_text_chars:
            raise BadScript(
                f"text is {len(request.text)} characters; at most {self.settings.max_text_chars}; send it in parts"
            )
        warnings: list[str] = []
        voice = self._find_voice(request.voice, warnings)
        output_rate(find_format(request.format), model.sample_rate_hz, request.sample_rate_hz)
        speed = request.speed if request.speed is not None else voice.defaults.get("speed", 1.0)
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise BadParameter(f"speed is {speed:g}; it must lie between {MIN_SPEED:g} and {MAX_SPEED:g}")
        seed = self._choose_seed(request, voice)
        params = self._choose_params(model, request, voice, seed)
        config = self.config.current
        name, adapter = self._find_adapter(model, request, voice)
        request = replace(
            request,
            adapter=name,
            adapter_hash=None if adapter is None else adapter.id,
            roleplay=config.roleplay if request.roleplay is None else request.roleplay,
            narrator_voice=request.narrator_voice or config.narrator_voice,
        )
        wording = Wording(request.normalize, request.remarks, {**self._dictionary, **request.dictionary})
        delivery = Delivery(speed, request.speeds, loudness_lufs=None, longest_silence_s=request.longest_silence_s)
        script, sounds = self._read(request, voice, warnings)
        delivery.check_names(script.speakers)
        warnings.extend(_wordless(sounds))
        planned = plan_pieces(
            script,
            sounds,
            self.passes,
            request.max_tokens,
            short_text=self.settings.short_text,
            wording=wording,
        )
        return SpeechPlan(
            request=request, voice=voice, script=planned, sounds=sounds, casting=cast(script.speakers, sounds),
            params=params, delivery=delivery, seed=seed, prompt_id=",".join(sound.prompt_id for sound in sounds) or None,
            warnings=(*warnings, *planned.warnings), adapter=adapter,
        )  # fmt: skip

    def _read(self, request: SpeechRequest, voice: Voice, warnings: list[str]) -> tuple[ReadScript, tuple[Sound, ...]]:
        """The turns of the text and the prompts of who speaks them."""
        roles = read_roleplay(request.roleplay or "off")
        own = sounds = self._sounds(voice, len(voice.speakers))
        if roles is not None and (other := other_speaker(voice, own)) is not None:
            roles = replace(roles, narrator=other)
        elif roles is not None:
            narrator = self._find_voice(request.narrator_voice or voice.id, warnings)
            prompts = len(voice.speakers) + len(narrator.speakers)
            told = as_narrator(self._sounds(narrator, prompts), narrator, roles.narrator)
            sounds = (*self._sounds(voice, prompts), *told)
        script = read_text(
            request.text,
            format=request.script_format,
            default_speaker=choose_speaker(request.role, voice),
            roleplay=roles,
        )
        if roles is not None and roles.narrator not in script.speakers:
            return script, own
        return script, sounds

    def _sounds(self, voice: Voice, num_prompts: int) -> tuple[Sound, ...]:
        share_s = prompt_share_s(self.settings.max_prompt_s, num_prompts)
        return make_sounds(voice, share_s, self.prompts.used_duration_s, self.prompts.transcript_for_use)

    def open(self, request: SpeechRequest, *, place: Place | None = None) -> Speech:
        """Check a request, take its place in the queue, open its log row. Does not wait.

        Args:
            place: one that was reserved before and has its turn (jobs).

        Raises:
            What `plan` raises; QueueFull; DiskFull and StoreUnavailable if the row cannot be written.
        """
        held = place
        try:
            plan = self.plan(request)
            held = place or self.admission.reserve(request.priority)
            log_id = self.logs.open(self._new_log(plan), keep_text=self.config.current.show_prompts)
            tools = Tools(self.model, self.settings, self.config, self.passes, self.prompt_codes, self._ended)
            speech = Speech(tools, plan, held, log_id)
        except BaseException as error:
            if isinstance(error, DiaError):
                reason = "queue_full" if isinstance(error, QueueFull) else "refused"
                self.counters.add("rejected_total", label_value=reason)
            if held is not None:
                held.leave()
            raise
        with self._lock:
            self._open[log_id] = speech
        return speech

    def speeches(self) -> tuple[Speech, ...]:
        """All that are open: waiting or running."""
        with self._lock:
            return tuple(self._open.values())

    def close(self, drain_s: float = 0.0) -> None:
        """Refuse new requests, wait that long for running ones, cancel the rest, close the model."""
        self.admission.close(drain_s)
        for speech in self.speeches():
            speech.cancel()
        with self._lock:
            # Whoever iterates closes the row; a speech that nobody iterates any more is not waited for.
            self._none_open.wait_for(lambda: not self._open, timeout=CLOSING_S)
            model, self._model = self._model, None
            self._state, self._reason = "stopped", "the server is shutting down"
        if model is not None:
            model.close()

    def prompt_codes(self, model: SpeechModel, sounds: Sequence[Sound], num_sounds: int) -> np.ndarray:
        """Codes int16 [frames, channels] of some of the `num_sounds` prompts of a voice, one after the other."""
        share_s = prompt_share_s(self.settings.max_prompt_s, num_sounds)
        return np.concatenate([self.prompts.codes(sound.prompt_id, model, share_s) for sound in sounds])

    def _find_voice(self, name: str, warnings: list[str]) -> Voice:
        try:
            return self.voices.find(name)
        except UnknownVoice:
            if self.settings.unknown_voice != "fallback":
                raise
            warnings.append(f"voice {name[:64]!r} is not known; spoken by {FALLBACK_VOICE}")
            return self.voices.find(FALLBACK_VOICE)

    def _find_adapter(self, model: SpeechModel, request: SpeechRequest, voice: Voice) -> tuple[str | None, Any]:
        """The id of the adapter that was asked for, and what the model has read of it."""
        name = voice.adapter if request.adapter is None else request.adapter
        if name is None:
            return None, None
        adapter = model.load_adapter(self.adapters.find(name))
        if request.adapter_hash not in (None, adapter.id):
            raise Conflict(
                f"adapter {name!r} is another one ({adapter.id}) than when this was accepted ({request.adapter_hash}); send "
                "the request again"
            )
        return name, adapter

    def _choose_seed(self, request: SpeechRequest, voice: Voice) -> int:
        for seed in (request.seed, request.voice_seed, voice.seed):
            if seed is not None:
                return seed
        return secrets.randbelow(2**31)

    def _choose_params(self, model: SpeechModel, request: SpeechRequest, voice: Voice, seed: int) -> Any:
        names = ("temperature", "cfg_scale", "top_p", "cfg_filter_top_k")
        server = {name: getattr(self.settings, name) for name in names}
        own = {name: value for name, value in voice.defaults.items() if name != "speed"}
        asked = {name: getattr(request, name) for name in (*names, "max_tokens")}
        return model.defaults.updated(**server).updated(**own).updated(**asked, seed=seed)

    def _new_log(self, plan: SpeechPlan) -> NewLog:
        request = plan.request
        return NewLog(
            voice=plan.voice.id, format=request.format, text=request.text, speed=plan.speed, seed=plan.seed,
            parameters=plan.parameters, owner=request.owner, prompt_id=plan.prompt_id, warnings=plan.warnings,
            device=self._limits.device, job_id=request.job_id, request_id=request.request_id,
        )  # fmt: skip

    def _ended(self, speech: Speech, status: LogStatus, error: BaseException | None) -> None:
        """Called once by each `Speech` at its end."""
        try:
            self._note(speech, status, error)
        finally:
            with self._lock:
                self._open.pop(speech.id, None)
                self._none_open.notify_all()

    def _note(self, speech: Speech, status: LogStatus, error: BaseException | None) -> None:
        self._count(speech, status, error)
        if self.config.current.debug_mode:
            _tell(speech, status)
        if status == "completed":
            self.takes.add(speech.take())
        try:
            self.logs.close(speech.id, speech.outcome(status, error))
        except DiaError as problem:
            # The sound is out; a log that cannot be written must not undo it.
            speech.warn(f"not kept in the log: {problem}")
            self.counters.add("log_failures_total", label_value=error_code(problem))

    def _count(self, speech: Speech, status: LogStatus, error: BaseException | None) -> None:
        add = self.counters.add
        add("speeches_total", label_value=status)
        add("queue_seconds_total", speech.queue_s)
        add("generate_seconds_total", speech.generation_s)
        add("audio_seconds_total", speech.audio_duration_s)
        if speech.first_byte_s is not None:
            add("first_byte_seconds_total", speech.first_byte_s)
        if status == "failed" and error is not None:
            add("engine_failures_total", label_value=error_code(error))


def _tell(speech: Speech, status: LogStatus) -> None:
    """A line for whoever debugs, without the text."""
    plan = speech.plan
    _logger.info(
        "speech %s %s", speech.id, status,
        extra={
            "request_id": plan.request.request_id, "voice": plan.voice.id, "seed": plan.seed, **plan.parameters,
            "pieces": len(plan.pieces), "frames": speech.frames_done, "audio_s": round(speech.audio_duration_s, 3),
            "queue_s": round(speech.queue_s, 3), "generation_s": round(speech.generation_s, 3),
            "warnings": list(speech.warnings),
        },
    )  # fmt: skip


def _wordless(sounds: Sequence[Sound]) -> list[str]:
    return [
        f"prompt {sound.prompt_id!r} has no transcript, so the first words may be garbled; "
        f"set it with PUT /audio_prompts/{sound.prompt_id}/transcript"
        for sound in sounds
        if sound.words is None
    ]
