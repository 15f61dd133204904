"""What a deployment sets once (`Settings`, read from flags, DIA_* and a file) and what a running server may change.

Order of precedence: flag, environment, file, default. The sole reader of the environment; `HF_TOKEN` is left to the
hub library. `RuntimeConfig` is the small part that `PUT /config` may change, merged field by field and persisted.
"""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dia.errors import BadParameter
from dia.service.db import Database
from dia.text.roles import read_roleplay

WhisperSize = Literal["tiny", "base", "small", "medium", "large"]
Names = Annotated[tuple[str, ...], NoDecode]
Keys = Annotated[tuple[SecretStr, ...], NoDecode]

# SillyTavern's own address; its browser-side voice providers call from there.
DEFAULT_ORIGINS = ("http://localhost:8000", "http://127.0.0.1:8000")
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Settings(BaseSettings):
    """A deployment. Lists are written with commas in the environment. Never changes after start."""

    model_config = SettingsConfigDict(
        env_prefix="DIA_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True,
        populate_by_name=True, validate_default=True,
    )  # fmt: skip

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 is every network of this machine.")
    port: int = Field(7860, ge=0, le=65535, description="TCP port; 0 lets the system choose.")
    data_dir: Path = Field(
        Path("~/.local/share/dia"), description="Folder for voices, prompts, jobs, logs and saved audio."
    )
    prompts_dir: Path | None = Field(
        None, description="Folder watched for audio prompts; audio_prompts inside data_dir if not given."
    )

    model: str = Field(
        "auto", description="Hub repository, checkpoint folder, nano, or auto for the best one at hand."
    )
    device: str = Field("auto", description="auto, cpu, mps, cuda or cuda:N.")
    dtype: str = Field("auto", description="auto, float32, float16 or bfloat16.")
    quantization: Literal["int8", "int8-weights", "none"] | None = Field(
        None, description="Weights in 8 bits, or none; what the checkpoint advises if not given."
    )
    kv_cache: Literal["full", "int8"] = Field(
        "full", description="int8 keeps keys and values in 8 bits: more requests at once in the same memory."
    )
    memory_limit_gb: float | None = Field(
        None, gt=0, description="Weights and requests together never take more, 10^9 bytes; none is no limit."
    )
    keep_alive_s: float | None = Field(
        None, ge=0, description="The model's memory is given back after so many idle seconds; none keeps it."
    )
    offline: bool = Field(False, description="Never ask the hub; use what is on this machine.")
    disable_torch_compile: bool = Field(
        False, description="Launch each decode step anew instead of replaying captured graphs (CUDA)."
    )
    dictionary: Path | None = Field(
        None, description="File of words to be said otherwise, `written -> spoken` on each line; none changes nothing."
    )
    page: bool = Field(True, description="Serve the page at /ui.")

    workers: int = Field(
        4, ge=1, le=64, validation_alias=AliasChoices("DIA_WORKERS", "DIA_MAX_WORKERS"),
        description="How many requests may be in the engine at once; one copy of the model serves them all.",
    )  # fmt: skip
    queue_capacity: int = Field(64, ge=0, le=100_000, description="How many requests may wait beside those.")
    queue_timeout_s: float = Field(300.0, gt=0, description="Longest wait in the queue of a direct request, seconds.")
    request_timeout_s: float = Field(900.0, gt=0, description="Longest life of a direct request, seconds.")
    job_timeout_s: float = Field(3600.0, gt=0, description="Longest time a job may run, seconds.")
    job_attempts: int = Field(3, ge=1, le=10, description="How often a job that takes the process down is tried.")
    result_ttl_s: float = Field(3600.0, gt=0, description="How long a finished job keeps its audio, seconds.")
    max_result_bytes: int = Field(5_000_000_000, ge=0, description="Total size of job results; the oldest go first.")
    max_take_bytes: int = Field(
        64_000_000, ge=0,
        description="Total size of the takes held in memory so that a liked one can become a voice; 0 holds none.",
    )  # fmt: skip
    idempotency_ttl_s: float = Field(86_400.0, gt=0, description="How long an idempotency key is remembered, seconds.")
    drain_s: float = Field(30.0, ge=0, description="How long running requests may finish at shutdown, seconds.")

    api_keys: Keys = Field(
        (), validation_alias=AliasChoices("DIA_API_KEYS", "DIA_API_KEY"),
        description="Keys that may speak and read; none means that no key is asked for.",
    )  # fmt: skip
    admin_keys: Keys = Field(
        (), validation_alias=AliasChoices("DIA_ADMIN_KEYS", "DIA_ADMIN_KEY"),
        description="Keys that may also change configuration and delete; without one, every API key may.",
    )  # fmt: skip
    cors_origins: Names = Field(DEFAULT_ORIGINS, description="Web origins that may call from a browser; * is any.")
    allowed_hosts: Names = Field((), description="Host names accepted beside loopback and the listening address.")
    trusted_proxies: Names = Field((), description="Proxy addresses whose X-Forwarded-For is believed.")

    max_body_bytes: int = Field(262_144, ge=1024, description="Largest JSON request body, bytes.")
    max_upload_bytes: int = Field(26_214_400, ge=1024, description="Largest audio upload, bytes.")
    max_text_chars: int = Field(4096, ge=1, description="Longest text of one request, characters.")
    receive_timeout_s: float = Field(10.0, gt=0, description="Deadline for a request's head and body, seconds.")
    write_timeout_s: float = Field(60.0, gt=0, description="A client that reads nothing for so long is dropped.")
    max_connections: int = Field(512, ge=1, description="Open connections above which new ones get 503.")
    rate_limit_per_minute: float = Field(
        0.0, ge=0, description="Requests a minute for each key or address, the page's not counted; 0: any."
    )
    rate_limit_burst: int = Field(10, ge=1, description="How many requests may come at once under the rate limit.")
    decode_timeout_s: float = Field(20.0, gt=0, description="Longest time to decode an upload, seconds.")
    max_prompt_s: float = Field(20.0, ge=1, le=30, description="Longest part of a prompt that the model hears, s.")
    short_text: Literal["carrier", "plain"] = Field(
        "carrier",
        description="carrier: a text of less than two seconds whose voice has no prompt is said with words behind it that "
        "are cut away again.",
    )
    unknown_voice: Literal["error", "fallback"] = Field("error", description="fallback speaks as alloy and warns.")

    temperature: float | None = Field(None, ge=0, le=5, description="Default temperature; none is the checkpoint's.")
    cfg_scale: float | None = Field(None, ge=0, le=10, description="Default guidance; none is the checkpoint's.")
    top_p: float | None = Field(None, ge=0, le=1, description="Default nucleus; none is the checkpoint's.")
    cfg_filter_top_k: int | None = Field(None, ge=1, le=1028, description="Default top-k; none: the checkpoint's.")

    debug_mode: bool = Field(
        False,
        validation_alias=AliasChoices("DIA_DEBUG_MODE", "DIA_DEBUG"),
        description="A log line for each speech, and its parameters in the header X-Dia-Parameters.",
    )
    save_outputs: bool = Field(False, description="Keep the audio of every request in the outputs folder.")
    show_prompts: bool = Field(False, description="Keep and show texts in logs; otherwise only their lengths.")
    output_retention_hours: int = Field(
        24, ge=1, le=8760, validation_alias=AliasChoices("DIA_OUTPUT_RETENTION_HOURS", "DIA_RETENTION_HOURS"),
        description="Hours after which logs and saved audio are deleted.",
    )  # fmt: skip
    max_output_bytes: int = Field(5_000_000_000, ge=0, description="Total size of saved audio; the oldest go first.")
    cleanup_interval_s: float = Field(60.0, gt=0, description="Pause between two clean-ups, seconds.")
    roleplay: str = Field(
        "off", description='Who says *actions* and "quotes": off, chat, novel, no-actions or quotes-only.'
    )
    narrator_voice: str = Field("fable", description="The voice of the narrator in roleplay.")
    auto_discover_prompts: bool = Field(True, description="Take in new files of the prompts folder at start.")
    auto_transcribe: bool = Field(True, description="Transcribe prompts without transcript, if the extra is there.")
    whisper_model_size: WhisperSize = Field(
        "base", validation_alias=AliasChoices("DIA_WHISPER_MODEL_SIZE", "WHISPER_MODEL_SIZE"),
        description="Which Whisper model transcribes prompts.",
    )  # fmt: skip
    whisper_folder: DirectoryPath | None = Field(
        None, description="Folder of a model converted for faster-whisper, taken instead; nothing is downloaded then."
    )

    @field_validator("cors_origins", "allowed_hosts", "trusted_proxies", "api_keys", "admin_keys", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def watched_prompts_dir(self) -> Path:
        """The folder whose audio files become prompts."""
        chosen = self.prompts_dir or self.data_dir / "audio_prompts"
        return chosen.expanduser()

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS

    def given(self) -> dict[str, Any]:
        """The fields that a flag, the environment or the file set, defaults left out."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def load_settings(**flags: Any) -> Settings:
    """Read settings; a flag that is None was not given.

    Raises:
        BadParameter: an unknown flag, or any value out of range; the message names each.
    """
    unknown = sorted(set(flags) - set(Settings.model_fields))
    if unknown:
        raise BadParameter(
            f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(Settings.model_fields))}"
        )
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise BadParameter(_explain(error)) from error


class RuntimeConfig(BaseModel):
    """What may change while the server runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    debug_mode: bool = False
    save_outputs: bool = False
    show_prompts: bool = False
    output_retention_hours: int = Field(24, ge=1, le=8760)
    roleplay: str = "off"
    narrator_voice: str = Field("fable", min_length=1, max_length=200)
    auto_discover_prompts: bool = True
    auto_transcribe: bool = True
    whisper_model_size: WhisperSize = "base"

    @field_validator("roleplay")
    @classmethod
    def _known_roleplay(cls, value: str) -> str:
        try:
            read_roleplay(value)
        except BadParameter as error:
            raise ValueError(str(error)) from None
        return value


class ConfigStore:
    """Holds the current `RuntimeConfig`, persisted field by field.

    At start a field given by flag, environment or file wins over the stored one, and that over the default.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._lock = threading.Lock()
        values = {row["name"]: json.loads(row["value"]) for row in database.rows("SELECT name, value FROM config")}
        known = {name: value for name, value in values.items() if name in RuntimeConfig.model_fields}
        given = {name: value for name, value in settings.given().items() if name in RuntimeConfig.model_fields}
        self._current = RuntimeConfig(**{**known, **given})

    @property
    def current(self) -> RuntimeConfig:
        """The configuration now; a value, so two reads of one object agree."""
        return self._current

    def update(self, changes: Mapping[str, object]) -> RuntimeConfig:
        """Merge the given fields, store them, and return the whole; refused wholly or applied wholly.

        Raises:
            BadParameter: an unknown field, a wrong type (null included) or a value out of range.
        """
        with self._lock:
            try:
                merged = RuntimeConfig.model_validate({**self._current.model_dump(), **changes})
            except ValidationError as error:
                raise BadParameter(_explain(error)) from error
            with self._database.write() as transaction:
                for name in changes:
                    value = json.dumps(getattr(merged, name))
                    transaction.execute("INSERT OR REPLACE INTO config (name, value) VALUES (?, ?)", (name, value))
            self._current = merged
            return merged


def _explain(error: ValidationError) -> str:
    complaints = []
    for item in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in item["loc"]) or "settings"
        complaints.append(f"{field}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(complaints)
