"""Voices: six built-in ones and custom ones, as name to speakers, style, seed and defaults.

A voice has a prompt for one speaker or for both; without any it is anchored by its seed. Stored in the database,
changed whole or not at all. Knows no model and no HTTP.
"""

import difflib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dia.errors import BadParameter, Conflict, Protected, UnknownVoice
from dia.service.adapters import AdapterStore
from dia.service.clock import Clock, wall_clock
from dia.service.db import Database
from dia.service.prompts import PromptStore, clean_transcript
from dia.service.storage import check_id
from dia.service.takes import Take, TakePiece

Speaker = Literal["S1", "S2"]
SPEAKERS: tuple[Speaker, ...] = ("S1", "S2")


@dataclass(frozen=True, slots=True)
class SpeakerPrompt:
    """Who speaks under one tag: a prompt id, and words that replace the prompt's own transcript if given."""

    prompt: str
    transcript: str | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice.

    `primary_speaker` speaks untagged text. `seed` anchors the voice where there is no prompt. `defaults` holds what a
    request that does not say otherwise gets: temperature, cfg_scale, top_p, cfg_filter_top_k, max_tokens, speed.
    `adapter` is the id of the adapter that it is spoken with.
    """

    id: str
    name: str
    description: str = ""
    style: str = "neutral"
    language: str = "en-US"
    primary_speaker: Speaker = "S1"
    speakers: Mapping[str, SpeakerPrompt] = field(default_factory=dict)
    seed: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    builtin: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def audio_prompt(self) -> str | None:
        """The primary speaker's prompt id, or the only one there is."""
        speaker = self._main_speaker()
        return speaker.prompt if speaker else None

    @property
    def audio_prompt_transcript(self) -> str | None:
        """Words given for that prompt with the voice; the prompt may have its own."""
        speaker = self._main_speaker()
        return speaker.transcript if speaker else None

    @property
    def speaker_count(self) -> int:
        return max(len(self.speakers), 1)

    def uses(self, prompt_id: str) -> bool:
        return any(speaker.prompt == prompt_id for speaker in self.speakers.values())

    def _main_speaker(self) -> SpeakerPrompt | None:
        return self.speakers.get(self.primary_speaker) or next(iter(self.speakers.values()), None)


# Name, style, speaker of untagged text, anchor. The seeds are arbitrary and fixed: the same for everybody.
BUILTINS: tuple[Voice, ...] = (
    Voice("alloy", "Alloy", "Neutral and even.", "neutral", primary_speaker="S1", seed=1_101, builtin=True),
    Voice("echo", "Echo", "Calm and unhurried.", "calm", primary_speaker="S1", seed=1_102, builtin=True),
    Voice("fable", "Fable", "Expressive, for stories.", "expressive", primary_speaker="S2", seed=1_103, builtin=True),
    Voice("nova", "Nova", "Friendly and bright.", "friendly", primary_speaker="S1", seed=1_104, builtin=True),
    Voice("onyx", "Onyx", "Deep and steady.", "deep", primary_speaker="S2", seed=1_105, builtin=True),
    Voice("shimmer", "Shimmer", "Bright and clear.", "bright", primary_speaker="S1", seed=1_106, builtin=True),
)  # fmt: skip
BUILTIN_IDS = tuple(voice.id for voice in BUILTINS)
# OpenAI's other voice names; clients have them built in.
ALIASES: Mapping[str, str] = {
    "ash": "echo", "ballad": "fable", "cedar": "onyx", "coral": "nova", "marin": "nova", "sage": "shimmer",
    "verse": "alloy",
}  # fmt: skip


class _SpeakerFields(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: str
    transcript: str | None = None


class VoiceDefaults(BaseModel):
    """What a voice asks for where a request does not; None is nothing."""

    model_config = ConfigDict(extra="forbid")

    temperature: float | None = Field(None, ge=0, le=5)
    cfg_scale: float | None = Field(None, ge=0, le=10)
    top_p: float | None = Field(None, ge=0, le=1)
    cfg_filter_top_k: int | None = Field(None, ge=1, le=1028)
    max_tokens: int | None = Field(None, ge=1, le=10_000)
    speed: float | None = Field(None, ge=0.25, le=4)


class VoiceFields(BaseModel):
    """What a caller may say of a voice. A field left out stays as it is, an explicit null clears it; unknown fields
    are let pass, for clients send their own.

    `adapter` is the id of one in the server's folder, as GET /adapters lists them.
    `audio_prompt` and `audio_prompt_transcript` speak of the primary speaker, `speakers` of both; `voice_seed` is
    another spelling of `seed`.
    """

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(max_length=120)] | None = None
    description: Annotated[str, Field(max_length=1000)] | None = None
    style: Annotated[str, Field(max_length=120)] | None = None
    language: Annotated[str, Field(max_length=35)] | None = None
    primary_speaker: Speaker | None = None
    audio_prompt: str | None = None
    audio_prompt_transcript: str | None = None
    speakers: dict[Speaker, _SpeakerFields | None] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    voice_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    defaults: VoiceDefaults | None = None
    adapter: Annotated[str, Field(max_length=64)] | None = None


class VoiceStore:
    """All voices of a server. Any thread may call."""

    def __init__(
        self, database: Database, prompts: PromptStore, adapters: AdapterStore, clock: Clock = wall_clock
    ) -> None:
        self._database = database
        self._prompts = prompts
        self._adapters = adapters
        self._clock = clock
        self._lock = threading.RLock()
        self._bundled: dict[str, Voice] = {voice.id: voice for voice in BUILTINS}
        rows = database.rows("SELECT record FROM voices ORDER BY created_at")
        self._stored = {voice.id: voice for voice in (voice_from_json(row["record"]) for row in rows)}

    def bundle(self, voice: Voice) -> None:
        """Give a built-in voice the prompt that comes with the package; an edited one keeps its edits."""
        with self._lock:
            self._bundled[voice.id] = voice

    def all(self) -> tuple[Voice, ...]:
        """Built-in voices in their order, then custom ones, oldest first."""
        with self._lock:
            builtin = [self._stored.get(voice_id, voice) for voice_id, voice in self._bundled.items()]
            custom = [voice for voice in self._stored.values() if voice.id not in self._bundled]
        return (*builtin, *sorted(custom, key=lambda voice: voice.created_at))

    def get(self, voice_id: str) -> Voice:
        """The voice of exactly that id.

        Raises:
            UnknownVoice: the message lists the known ones.
        """
        with self._lock:
            voice = self._stored.get(voice_id) or self._bundled.get(voice_id)
        if voice is None:
            raise UnknownVoice(self._unknown(voice_id))
        return voice

    def find(self, name: str) -> Voice:
        """The voice meant by a request: blanks around the name do not count, OpenAI's names are aliases, and case
        only counts between two custom voices.

        Raises:
            UnknownVoice: the message lists the known ones.
        """
        wanted = name.strip()
        with self._lock:
            for voice_id in (wanted, wanted.lower(), ALIASES.get(wanted.lower(), "")):
                if voice_id in self._stored or voice_id in self._bundled:
                    return self.get(voice_id)
            alike = [voice for voice in self._stored.values() if voice.id.lower() == wanted.lower()]
        if len(alike) == 1:
            return alike[0]
        raise UnknownVoice(self._unknown(wanted))

    def create(self, voice_id: str, changes: Mapping[str, Any], *, overwrite: bool = False) -> Voice:
        """Make a voice from fields as in `VoiceFields`.

        Raises:
            BadParameter: an id or field that may not be; Conflict: it exists and `overwrite` is not set; NotFound: no
            adapter of that name.
        """
        check_id("voice", voice_id)
        now = self._clock()
        with self._lock:
            exists = voice_id in self._stored or voice_id in self._bundled
            if exists and not overwrite:
                raise Conflict(f"voice {voice_id!r} exists; change it with PUT or set overwrite")
            blank = Voice(voice_id, voice_id, builtin=voice_id in self._bundled, created_at=now)
            return self._save(self._merged(blank, changes))

    def update(self, voice_id: str, changes: Mapping[str, Any]) -> Voice:
        """Change the given fields; null clears. Built-in voices too.

        Raises:
            UnknownVoice, BadParameter, NotFound: nothing was changed.
        """
        with self._lock:
            return self._save(self._merged(self.get(voice_id), changes))

    def delete(self, voice_id: str) -> None:
        """Delete a custom voice; its prompts stay.

        Raises:
            UnknownVoice; Protected: built in (`restore` undoes changes to those).
        """
        with self._lock:
            self.get(voice_id)
            if voice_id in self._bundled:
                raise Protected(f"voice {voice_id!r} is built in and cannot be deleted; change or restore it instead")
            self._forget(voice_id)

    def restore(self, voice_id: str) -> Voice:
        """Undo all changes to a built-in voice.

        Raises:
            UnknownVoice; Conflict: a custom voice has nothing to go back to.
        """
        with self._lock:
            self.get(voice_id)
            if voice_id not in self._bundled:
                raise Conflict(f"voice {voice_id!r} is not built in; there is nothing to restore")
            self._forget(voice_id)
            return self.get(voice_id)

    def using_prompt(self, prompt_id: str) -> tuple[str, ...]:
        """Ids of the voices that speak with that prompt."""
        return tuple(voice.id for voice in self.all() if voice.uses(prompt_id))

    def delete_prompt(self, prompt_id: str, *, force: bool = False) -> tuple[str, ...]:
        """Delete an audio prompt; with `force` also where voices use it, which then lose it. Returns those voices.

        Raises:
            NotFound; Conflict: in use and not forced.
        """
        with self._lock:
            if self._prompts.get(prompt_id).source == "bundled":
                raise Protected(f"audio prompt {prompt_id!r} comes with the package and cannot be deleted")
            users = self.using_prompt(prompt_id)
            if users and not force:
                raise Conflict(
                    f"audio prompt {prompt_id!r} is used by {', '.join(users)}; delete or change those voices first, "
                    f"or force it"
                )
            for voice_id in users:
                voice = self.get(voice_id)
                left = {tag: speaker for tag, speaker in voice.speakers.items() if speaker.prompt != prompt_id}
                self._save(replace(voice, speakers=left))
            self._prompts.delete(prompt_id)
        return users

    def freeze(self, voice_id: str, take: Take, changes: Mapping[str, Any], max_prompt_s: float) -> Voice:
        """Make a finished generation a voice: its codes become the prompt of a new voice of that id.

        The longest piece that the model may hear whole is taken.

        Raises:
            BadParameter, Conflict: see `create`.
        """
        check_id("voice", voice_id)
        with self._lock:
            if voice_id in self._stored or voice_id in self._bundled:
                raise Conflict(f"voice {voice_id!r} exists; choose another id")
            self._merged(Voice(voice_id, voice_id), changes)  # refuse before anything is written
            piece = _best_piece(take, max_prompt_s)
            self._prompts.add_take(voice_id, piece, take.sample_rate_hz, take.model_hash)
            try:
                fields = {"description": f"Frozen from a generation of voice {take.voice}.", **changes}
                return self.create(voice_id, {**fields, "speakers": {"S1": {"prompt": voice_id}}})
            except BaseException:
                self._prompts.delete(voice_id)
                raise

    def _merged(self, voice: Voice, changes: Mapping[str, Any]) -> Voice:
        try:
            given = VoiceFields.model_validate(dict(changes))
        except ValidationError as error:
            raise BadParameter(_explain(error)) from error
        fields = given.model_fields_set
        if given.adapter is not None:
            self._adapters.find(given.adapter)
        changed = replace(voice, **_plain_changes(given, fields, voice))
        changed = replace(
            changed,
            speakers=self._merged_speakers(voice, changed.primary_speaker, given, fields),
            defaults=_merged_defaults(voice, given, fields),
        )
        return replace(changed, updated_at=self._clock())

    def _merged_speakers(
        self, voice: Voice, primary: Speaker, given: VoiceFields, fields: set[str]
    ) -> dict[str, SpeakerPrompt]:
        speakers = dict(voice.speakers)
        if len(speakers) == 1 and primary not in speakers and "primary_speaker" in fields:
            speakers = {primary: next(iter(speakers.values()))}
        if "speakers" in fields:
            if given.speakers is None:
                speakers = {}
            for tag, item in (given.speakers or {}).items():
                if item is None:
                    speakers.pop(tag, None)
                else:
                    speakers[tag] = SpeakerPrompt(item.prompt, clean_transcript(item.transcript))
        if "audio_prompt" in fields:
            if given.audio_prompt is None or not given.audio_prompt.strip():
                speakers.pop(primary, None)
            else:
                old = speakers.get(primary)
                same = old is not None and old.prompt == given.audio_prompt
                speakers[primary] = SpeakerPrompt(given.audio_prompt, old.transcript if old and same else None)
        if "audio_prompt_transcript" in fields:
            words = clean_transcript(given.audio_prompt_transcript)
            if primary in speakers:
                speakers[primary] = replace(speakers[primary], transcript=words)
            elif words is not None:
                raise BadParameter(
                    "audio_prompt_transcript is given without audio_prompt; upload a prompt and name it"
                )
        for speaker in speakers.values():
            if not self._prompts.exists(speaker.prompt):
                raise BadParameter(f"audio prompt {speaker.prompt[:64]!r} is not known; upload it first")
        return {tag: speakers[tag] for tag in SPEAKERS if tag in speakers}

    def _save(self, voice: Voice) -> Voice:
        voice = replace(voice, updated_at=self._clock())
        with self._database.write() as transaction:
            transaction.execute(
                "INSERT OR REPLACE INTO voices (id, record, created_at, updated_at) VALUES (?, ?, ?, ?)",
                (voice.id, voice_to_json(voice), voice.created_at, voice.updated_at),
            )
        self._stored[voice.id] = voice
        return voice

    def _forget(self, voice_id: str) -> None:
        with self._database.write() as transaction:
            transaction.execute("DELETE FROM voices WHERE id = ?", (voice_id,))
        self._stored.pop(voice_id, None)

    def _unknown(self, name: str) -> str:
        known = [voice.id for voice in self.all()]
        shown = name if len(name) <= 64 else name[:64] + "…"
        near = difflib.get_close_matches(name[:64], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        return f"voice {shown!r} is not known; known are {listed}{hint}"


def voice_to_json(voice: Voice) -> str:
    """One voice as it is stored and exported."""
    return json.dumps(asdict(voice), ensure_ascii=False, sort_keys=True)


def voice_from_json(data: str) -> Voice:
    """The voice of such a string."""
    values = json.loads(data)
    values["speakers"] = {tag: SpeakerPrompt(**speaker) for tag, speaker in values.get("speakers", {}).items()}
    known = Voice.__dataclass_fields__
    return Voice(**{name: value for name, value in values.items() if name in known})


def _plain_changes(given: VoiceFields, fields: set[str], voice: Voice) -> dict[str, Any]:
    blank = Voice(voice.id, voice.id)
    changes: dict[str, Any] = {}
    for name in ("name", "description", "style", "language", "primary_speaker", "adapter"):
        if name in fields:
            value = getattr(given, name)
            changes[name] = getattr(blank, name) if value is None else value
    for name in ("voice_seed", "seed"):
        if name in fields:
            changes["seed"] = getattr(given, name)
    if {"seed", "voice_seed"} <= fields and given.seed != given.voice_seed:
        raise BadParameter(f"seed {given.seed} and voice_seed {given.voice_seed} differ; give one of them")
    return changes


def _merged_defaults(voice: Voice, given: VoiceFields, fields: set[str]) -> dict[str, Any]:
    if "defaults" not in fields:
        return dict(voice.defaults)
    if given.defaults is None:
        return {}
    merged = {**voice.defaults, **given.defaults.model_dump(exclude_unset=True)}
    return {name: value for name, value in merged.items() if value is not None}


def _best_piece(take: Take, max_s: float) -> TakePiece:
    def seconds(piece: TakePiece) -> float:
        return len(piece.waveform) / take.sample_rate_hz

    fitting = [piece for piece in take.pieces if seconds(piece) <= max_s]
    return max(fitting, key=seconds) if fitting else min(take.pieces, key=seconds)


def _explain(error: ValidationError) -> str:
    items = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in items)
