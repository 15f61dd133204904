"""What is asked of the service and of the model: requests, plans, progress, and the protocol a model fulfils.

Data and types only; the work is in `speech.py`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dia.narration.casting import Sound
from dia.narration.delivery import Delivery
from dia.service.admission import Priority
from dia.service.voices import Voice
from dia.text.plan import Piece, Plan
from dia.text.wording import Remarks

if TYPE_CHECKING:
    from dia.sampling import SamplingParams

MIN_SPEED, MAX_SPEED = 0.25, 4.0


class Prompt(Protocol):
    """A voice as the model takes it: codes int16 [frames, channels] and what is said in them."""

    @property
    def codes(self) -> np.ndarray: ...
    @property
    def transcript(self) -> str: ...


class ModelStream(Protocol):
    """Sound as it is made: float32 waveform chunks [samples]. `cancel` may come from any thread."""

    @property
    def sample_rate_hz(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def codes(self) -> np.ndarray: ...
    @property
    def frames_done(self) -> int: ...
    @property
    def frames_estimate(self) -> int: ...
    def __iter__(self) -> Iterator[np.ndarray]: ...
    def __next__(self) -> np.ndarray: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


class SpeechModel(Protocol):
    """What the service asks of a model. `dia.model.Dia` is one, the tone generator of the tests another."""

    @property
    def name(self) -> str: ...
    @property
    def model_hash(self) -> str: ...
    @property
    def sample_rate_hz(self) -> int: ...
    @property
    def defaults(self) -> "SamplingParams": ...
    @property
    def hangs_s(self) -> float:
        """How long a step of the engine is overdue and has not come back, seconds; 0 while it is well."""
        ...

    def encode_prompt(self, audio: Any, transcript: str) -> Any:
        """A `Prompt` from a float32 waveform [samples] at `sample_rate_hz`, or from codes int16 [frames, channels]."""
        ...

    def load_adapter(self, adapter: Any) -> Any:
        """An adapter from its file, found to fit, for `stream`; its `id` says what it does to the model."""
        ...

    def stream(
        self, text: str, *, prompt: Any = None, params: Any = None, exact_text: bool = False, close_tag: bool = True,
        holds_prompt: bool = True, priority: Priority = "interactive", deadline_s: float | None = None,
        adapter: Any = None,
    ) -> Any:  # fmt: skip
        """A `ModelStream`; checks everything before it returns."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What one pass of a model takes: `text_bytes` with transcript and tags, `context_rows` of the decoder, prompt
    included, `tail_rows` of which are start and delay tail, `frame_rate_hz` of them a second; whether it has learnt
    sounds such as `(laughs)`; on which device and in which number type, for the log, and whether its steps are captured
    graphs."""

    text_bytes: int = 1024
    context_rows: int = 3072
    tail_rows: int = 16
    frame_rate_hz: float = 44_100 / 512
    knows_sounds: bool = True
    device: str | None = None
    dtype: str | None = None
    captures_steps: bool = False


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What is asked for; None is "not asked", and then voice, server or checkpoint decide.

    Attributes:
        text: plain or tagged with [S1] and [S2].
        voice: id or alias of a voice.
        role: who speaks untagged text where the voice leaves it open: user is S1, assistant and system S2.
        format: a name of `dia.media.encode.FORMATS`.
        speed: tempo, 0.25 to 4, pitch kept.
        sample_rate_hz: rate of the encoded sound, if not the format's usual one.
        max_tokens: most decoder rows of one piece, the voice's prompt not counted.
        adapter: id of one of the server's; the voice's own if not given.
        adapter_hash: what that adapter does, once it was decided: with another file of the same name it is refused.
        voice_seed: seed of the voice where it has no prompt; `seed` wins over it.
        roleplay, narrator_voice: as in `dia.text.roles.read_roleplay`, and who tells; None is as configured.
        script_format: what the text is; see `dia.text.formats.FORMATS`.
        normalize, remarks: as in `dia.text.wording.Wording`.
        dictionary: what to say for what is written; it wins over the server's own.
        speeds: tempo of single speakers by name, instead of `speed`.
        longest_silence_s: silences inside a piece are cut to that length; None leaves them.
        timeout_s: total life, queue included; None is the server's limit.
        owner, request_id, job_id: for the log; `owner` names the API key, never the key itself.
    """

    text: str
    voice: str = "alloy"
    role: str | None = None
    format: str = "wav"
    speed: float | None = None
    temperature: float | None = None
    cfg_scale: float | None = None
    top_p: float | None = None
    cfg_filter_top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    voice_seed: int | None = None
    adapter: str | None = None
    adapter_hash: str | None = None
    sample_rate_hz: int | None = None
    roleplay: str | None = None
    narrator_voice: str | None = None
    script_format: str = "auto"
    normalize: bool = True
    remarks: Remarks = "keep"
    dictionary: Mapping[str, str] = field(default_factory=dict)
    speeds: Mapping[str, float] = field(default_factory=dict)
    longest_silence_s: float | None = None
    close_tag: bool = True
    priority: Priority = "interactive"
    timeout_s: float | None = None
    owner: str | None = None
    request_id: str | None = None
    job_id: str | None = None

    def to_json(self) -> str:
        """A stable spelling: equal requests give equal strings."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, data: str) -> "SpeechRequest":
        """The request of a stored string; fields of another version are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(data).items() if name in known})


@dataclass(frozen=True, slots=True)
class SpeechPlan:
    """A checked request with everything decided.

    Attributes:
        script: the pieces, each said in one pass, and the pauses between them.
        sounds: the prompts of the voice as they are used.
        adapter: what the model is given of the adapter; None is its own weights.
        casting: which slot of the voice each speaker of the script has.
        params: with the seed of the first piece and without the prompt in `max_tokens`.
        delivery: tempo and silences.
        prompt_id: the prompts used, joined by commas, for the log.
    """

    request: SpeechRequest
    voice: Voice
    script: Plan
    sounds: tuple[Sound, ...]
    casting: Mapping[str, str]
    params: "SamplingParams"
    delivery: Delivery
    seed: int
    prompt_id: str | None
    warnings: tuple[str, ...]
    adapter: Any = None

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return self.script.pieces

    @property
    def speed(self) -> float:
        """Tempo of everybody who has none of his own."""
        return self.delivery.speed

    @property
    def parameters(self) -> dict[str, Any]:
        """How it is sampled, for the log and for debugging."""
        names = ("temperature", "cfg_scale", "top_p", "cfg_filter_top_k", "max_tokens")
        used = {name: getattr(self.params, name) for name in names}
        if self.adapter is not None:
            used |= {"adapter": self.request.adapter, "adapter_hash": self.request.adapter_hash}
        return used

    @property
    def estimated_s(self) -> float:
        """How long the sound should get, seconds."""
        pauses_s = sum(piece.pause_before_s for piece in self.pieces) + self.script.pause_after_s
        return pauses_s + sum(piece.estimated_s / self._speed_of(piece) for piece in self.pieces)

    def _speed_of(self, piece: Piece) -> float:
        """Of all its speakers together; who says how much of it is not known."""
        speeds = self.delivery.speeds_of(piece.speakers).values()
        return sum(speeds) / len(speeds)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a request is. `percent` is 0 to 100; `eta_s` None until something can be said."""

    percent: float
    audio_duration_s: float
    eta_s: float | None
    position: int
