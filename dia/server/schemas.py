"""Bodies that come in, in all their spellings. Data from outside only; answers are made in `views.py`.

Unknown fields are let pass, for clients send their own; known ones are checked.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from dia.narration.delivery import LEAST_SILENCE_S
from dia.service.request import MAX_SPEED, MIN_SPEED, SpeechRequest
from dia.service.voices import VoiceFields
from dia.text.wording import MAX_ENTRIES, Remarks

__all__ = [
    "ChatterboxBody",
    "ConfigChanges",
    "DiscoverBody",
    "FreezeBody",
    "SpeechBody",
    "TranscriptBody",
    "VoiceChanges",
    "VoiceCreation",
    "XttsBody",
]

MAX_SEED = 2**63 - 1
DEFAULT_VOICE = "alloy"
StreamFormat = Literal["audio", "sse"]


def _voice_name(value: Any) -> Any:
    """OpenAI's clients may send `{"id": "..."}` for a voice."""
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        return value["id"]
    return value


VoiceName = Annotated[str, Field(max_length=200), BeforeValidator(_voice_name)]


class Tolerant(BaseModel):
    """A body whose unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, protected_namespaces=())


class SpeechBody(Tolerant):
    """A text to be spoken. `input` and `text` mean the same, and so do `voice`, `voice_id` and `speaker`; each pair
    may be given twice if both agree."""

    text: str | None = Field(default=None, description="What to say: plain, or tagged with [S1] and [S2].")
    input: str | None = Field(default=None, description="Other spelling of `text`.")
    voice_id: VoiceName | None = Field(default=None, description="Which voice speaks; alloy if none is named.")
    voice: VoiceName | None = Field(default=None, description='Other spelling of `voice_id`; also `{"id": "..."}`.')
    speaker: VoiceName | None = Field(default=None, description="Other spelling of `voice_id`.")
    model: str | None = Field(
        default=None, max_length=200, description="Accepted and not looked at: there is one model."
    )
    response_format: str | None = Field(
        default=None, max_length=40, description="wav, mp3, opus, aac, flac, pcm, m4a or m4b."
    )
    speed: float | None = Field(default=None, ge=MIN_SPEED, le=MAX_SPEED, description="Tempo; the pitch stays.")
    speeds: dict[str, Annotated[float, Field(ge=MIN_SPEED, le=MAX_SPEED)]] = Field(
        default_factory=dict,
        max_length=100,
        description='Tempo of single speakers by name, {"S2": 0.9}, instead of `speed`.',
    )
    longest_silence: float | None = Field(
        default=None,
        ge=LEAST_SILENCE_S,
        le=60,
        description="Silences between words that are longer are cut to so many seconds; null leaves them.",
    )
    role: str | None = Field(
        default=None, max_length=40, description="user, assistant or system: who says untagged text."
    )
    temperature: float | None = Field(default=None, ge=0.1, le=2.0, description="Randomness.")
    cfg_scale: float | None = Field(default=None, ge=1.0, le=10.0, description="How closely the text is followed.")
    top_p: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of likely tokens drawn from; 0: the likeliest."
    )
    cfg_filter_top_k: int | None = Field(default=None, ge=1, le=1028, description="How many tokens guidance keeps.")
    max_tokens: int | None = Field(default=None, ge=100, le=10_000, description="Most decoder steps of one pass.")
    seed: int | None = Field(
        default=None, ge=-1, le=MAX_SEED, description="Same request, same seed, same sound; -1 draws one."
    )
    voice_seed: int | None = Field(
        default=None, ge=-1, le=MAX_SEED, description="Seed of the voice where it has no prompt."
    )
    adapter: str | None = Field(
        default=None,
        max_length=64,
        description="One of GET /adapters, by its id; the voice's own, or none, if not given.",
    )
    use_torch_compile: bool | None = Field(
        default=None, description="A hint only: whether steps are captured is decided at start."
    )
    sample_rate: int | None = Field(default=None, ge=8_000, le=192_000, description="Rate of the encoded sound, Hz.")
    instructions: str | None = Field(
        default=None, max_length=4096, description="Accepted with a warning: use (laughs) etc."
    )
    stream: bool | None = Field(default=None, description="Send sound while it is made.")
    stream_format: StreamFormat | None = Field(
        default=None, description="audio: bytes of the format; sse: OpenAI's events."
    )
    roleplay: str | None = Field(
        default=None,
        max_length=120,
        description='Who says *actions* and "quotes": off, chat, novel, no-actions, quotes-only, or roles spelled out as in '
        "asterisks=skip,outside=narrator; null is as configured.",
    )
    narrator_voice: VoiceName | None = Field(default=None, description="Who tells in roleplay; null is as configured.")
    script_format: str = Field(
        default="auto", max_length=40, description="auto, plain, tagged, play, json, markdown or srt."
    )
    normalize: bool = Field(default=True, description="Say numbers, money, dates and the like in words.")
    dictionary: dict[str, str] = Field(
        default_factory=dict,
        max_length=MAX_ENTRIES,
        description='What to say for what is written, {"SQL": "sequel"}; it wins over the server\'s own.',
    )
    remarks: Remarks = Field(
        default="keep", description="drop leaves out remarks in brackets that are no known sound, such as (nods)."
    )
    close_tag: bool = Field(
        default=True, description="End the text with a speaker tag, which keeps its last word whole."
    )
    timeout: float | None = Field(
        default=None, gt=0, le=86_400, description="Longest life of the request, seconds; of a job, from its start."
    )
    params: Any = Field(
        default=None, description="Sent by SillyTavern's TTS WebUI provider; its player wants a paced stream."
    )

    @model_validator(mode="after")
    def _spellings_agree(self) -> "SpeechBody":
        for names in (("text", "input"), ("voice_id", "voice", "speaker")):
            given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
            if len(set(given.values())) > 1:
                raise ValueError(f"{' and '.join(given)} mean the same and differ; give one of them")
        return self

    @property
    def words(self) -> str:
        """The text in either spelling.

        Raises:
            HTTPException: 400, there is none.
        """
        words = self.text if self.text is not None else self.input
        if words is None or not words.strip():
            raise HTTPException(400, "Text cannot be empty")
        return words

    @property
    def voice_name(self) -> str:
        named = next((name for name in (self.voice_id, self.voice, self.speaker) if name is not None), "")
        return named.strip() or DEFAULT_VOICE

    @property
    def warnings(self) -> list[str]:
        """What was asked for and is not done."""
        found = []
        if self.instructions and self.instructions.strip():
            found.append("instructions are not followed; write nonverbals such as (laughs) into the text instead")
        if self.use_torch_compile is not None:
            found.append("use_torch_compile is decided when the server starts and was ignored")
        return found

    def to_request(self, default_format: str, *, owner: str | None, request_id: str | None) -> SpeechRequest:
        """The request for the service.

        Raises:
            HTTPException: 400, the text is empty.
        """
        return SpeechRequest(
            text=self.words, voice=self.voice_name, role=self.role, format=self.response_format or default_format,
            speed=self.speed, temperature=self.temperature, cfg_scale=self.cfg_scale, top_p=self.top_p,
            cfg_filter_top_k=self.cfg_filter_top_k, max_tokens=self.max_tokens, seed=_seed(self.seed),
            voice_seed=_seed(self.voice_seed), sample_rate_hz=self.sample_rate, close_tag=self.close_tag,
            roleplay=self.roleplay, narrator_voice=self.narrator_voice, script_format=self.script_format,
            normalize=self.normalize, remarks=self.remarks, dictionary=self.dictionary, speeds=self.speeds,
            longest_silence_s=self.longest_silence, adapter=self.adapter,
            timeout_s=self.timeout, owner=owner, request_id=request_id,
        )  # fmt: skip


def _seed(value: int | None) -> int | None:
    return None if value == -1 else value


class VoiceChanges(VoiceFields):
    """Changes to a voice; a field left out stays, an explicit null clears it."""

    voice_id: str | None = Field(default=None, description="May repeat the id of the path.")


class VoiceCreation(VoiceFields):
    """A new voice."""

    voice_id: str = Field(validation_alias=AliasChoices("voice_id", "id"), description="1 to 64 of A-Z a-z 0-9 _ . -")


class FreezeBody(VoiceCreation):
    """The voice that a finished generation becomes."""


class TranscriptBody(Tolerant):
    """The words of an audio prompt; null takes them away."""

    transcript: str | None
    prompt_id: str | None = Field(default=None, description="May repeat the id of the path.")


class DiscoverBody(Tolerant):
    """How to look into the prompts folder."""

    force_retranscribe: bool = False


class ConfigChanges(BaseModel):
    """Fields of GET /config to change; those left out stay. Unknown fields are refused, and so is "yes" for true."""

    model_config = ConfigDict(extra="allow", strict=True)

    debug_mode: bool | None = None
    save_outputs: bool | None = None
    show_prompts: bool | None = None
    output_retention_hours: int | None = Field(default=None, ge=1, le=8760)
    roleplay: str | None = None
    narrator_voice: str | None = None
    auto_discover_prompts: bool | None = None
    auto_transcribe: bool | None = None
    whisper_model_size: str | None = None


class ChatterboxBody(Tolerant):
    """What SillyTavern's Chatterbox provider sends."""

    text: str
    voice_mode: str | None = None
    predefined_voice_id: VoiceName | None = None
    reference_audio_filename: VoiceName | None = None
    temperature: float | None = None
    seed: int | None = Field(default=None, le=MAX_SEED)
    speed_factor: float | None = None
    output_format: str | None = Field(default=None, max_length=40)
    stream: bool | None = None


class XttsBody(Tolerant):
    """What SillyTavern's XTTSv2 provider sends."""

    text: str
    speaker_wav: VoiceName | None = None
    language: str | None = None
