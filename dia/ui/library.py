"""Voices at the page: the picker's list, previews, checking a recording, cloning from it. Without Gradio."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dia.errors import BadParameter, Conflict, Protected
from dia.media.prompt_check import PromptReport, check_prompt
from dia.media.read import read_audio
from dia.service.asr import SAMPLE_RATE_HZ as ASR_RATE_HZ
from dia.service.build import Service
from dia.service.prompts import MAX_PROMPT_S, SAMPLE_RATE_HZ, PromptInfo
from dia.service.request import SpeechRequest
from dia.service.voices import Voice
from dia.ui.desk import Access, voice_id
from dia.ui.live import LiveSpeech
from dia.ui.shelf import Shelf
from dia.ui.track import Track

__all__ = ["PREVIEW_ID", "PREVIEW_TEXT", "Library", "Preview"]

PREVIEW_TEXT = "[S1] Hello, this is the voice that you have chosen. It can tell your story."
PREVIEW_ID = "page-preview"
MAX_PREVIEWS = 64


@dataclass(frozen=True, slots=True)
class Preview:
    """A sound to try a voice: its recording, or a sentence that is being spoken."""

    token: str
    is_recording: bool


class Library:
    """The voices of the service as the page needs them. Any thread may call."""

    def __init__(self, service: Service, shelf: Shelf) -> None:
        self.service = service
        self.shelf = shelf
        self._lock = threading.Lock()
        self._previews: dict[tuple[str, float, str], str] = {}

    def all(self) -> tuple[Voice, ...]:
        return self.service.voices.all()

    def prompts_of(self, voice: Voice) -> dict[str, PromptInfo]:
        """What is known of a voice's recordings, by slot."""
        found = {slot: speaker.prompt for slot, speaker in voice.speakers.items()}
        prompts = self.service.prompts
        return {slot: prompts.get(prompt) for slot, prompt in found.items() if prompts.exists(prompt)}

    def preview(self, name: str, access: Access) -> Preview:
        """The recording of a voice; one without speaks a sentence, once for each state of the voice.

        Raises:
            UnknownVoice, and what `SpeechService.open` raises.
        """
        voice = self.service.voices.find(name)
        recordings = list(self.prompts_of(voice).values())
        model_hash = "" if recordings else self.service.speech.model.model_hash
        key = (voice.id, voice.updated_at, model_hash)
        with self._lock:
            token = self._previews.get(key)
        known = self.shelf.find(token) if token else None
        if token is None or known is None or (known.is_done and not known.size_bytes):
            token = self._recorded(voice, recordings) if recordings else self._spoken(voice, access)
            with self._lock:
                self._previews[key] = token
                while len(self._previews) > MAX_PREVIEWS:
                    del self._previews[next(iter(self._previews))]
        return Preview(token, bool(recordings))

    def check(self, path: str) -> PromptReport:
        """What a recording is worth.

        Raises:
            BadPrompt, NotAudio: it cannot be used.
        """
        return check_prompt(self._decode(path, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)

    @property
    def can_transcribe(self) -> bool:
        return self.service.prompts.transcriber.is_available

    def transcribe(self, path: str) -> str:
        """The words in a recording.

        Raises:
            BadPrompt; MissingExtra, OperatorError: no transcription here.
        """
        transcriber = self.service.prompts.transcriber
        transcriber.load(self.service.config.current.whisper_model_size)
        return transcriber.transcribe(self._decode(path, ASR_RATE_HZ)).text

    def clone(self, name: str, path: str | None, transcript: str) -> tuple[Voice, PromptInfo]:
        """A new voice from a recording and the words in it.

        Raises:
            BadInput: no name, no recording, or one that cannot be used; the name is taken.
        """
        chosen = voice_id(name)
        if path is None:
            raise BadParameter("there is no recording; choose a file or record 5 to 10 s of clean speech")
        if any(voice.id == chosen for voice in self.all()):
            raise Conflict(f"voice {chosen!r} exists; choose another name")
        prompts = self.service.prompts
        info = prompts.upload(chosen, Path(path), transcript=transcript, name=name.strip())
        try:
            voice = self.service.voices.create(chosen, {"name": name.strip()[:120], "audio_prompt": chosen})
        except BaseException:
            prompts.delete(chosen)
            raise
        return voice, info

    def delete(self, name: str, access: Access) -> Voice:
        """Delete a custom voice, and its recording if no other voice speaks from it; gives what it was.

        Raises:
            UnknownVoice; Protected: built in, or not for this caller.
        """
        if not access.manages:
            raise Protected("deleting voices needs an admin key; ask whoever runs this server")
        voice = self.service.voices.get(name)
        self.service.voices.delete(name)
        for speaker in voice.speakers.values():
            exists = self.service.prompts.exists(speaker.prompt)
            if exists and not self.service.voices.using_prompt(speaker.prompt):
                self.service.voices.delete_prompt(speaker.prompt)
        return voice

    def _decode(self, path: str, sample_rate_hz: int) -> np.ndarray:
        limit_s = self.service.settings.decode_timeout_s
        return read_audio(Path(path), sample_rate_hz=sample_rate_hz, max_duration_s=MAX_PROMPT_S, time_limit_s=limit_s)

    def _recorded(self, voice: Voice, recordings: list[PromptInfo]) -> str:
        waves = [
            read_audio(self.service.prompts.audio_path(info.id), sample_rate_hz=SAMPLE_RATE_HZ) for info in recordings
        ]
        return self.shelf.add(Track.finished(f"voice_{voice.id}", np.concatenate(waves), SAMPLE_RATE_HZ, {}))

    def _spoken(self, voice: Voice, access: Access) -> str:
        request = SpeechRequest(PREVIEW_TEXT, voice.id, owner=access.owner, request_id=PREVIEW_ID)
        live = LiveSpeech(self.service.speech.open(request), self.service.takes, f"voice_{voice.id}")
        token = self.shelf.add(live.track)
        live.start()
        return token
