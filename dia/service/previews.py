"""A short sample of each voice, made on first demand and kept until the voice changes."""

import hashlib
import threading
from pathlib import Path

from dia.service.request import SpeechRequest
from dia.service.speech import SpeechService
from dia.service.storage import DataFolder, write_file
from dia.service.voices import Voice, voice_to_json

ONE_SPEAKER = "Hello, this is {name}. I would be glad to read something to you. How do I sound?"
TWO_SPEAKERS = (
    "[S1] Hello, here we are, {name}. [S2] And we would be glad to read something to you. [S1] How do we sound?"
)


class PreviewStore:
    """Samples as WAV files. Any thread may call; each sample is made by one of them."""

    def __init__(self, folder: DataFolder, speech: SpeechService) -> None:
        self._folder = folder
        self._speech = speech
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def path(self, voice_name: str, *, owner: str | None = None) -> Path:
        """The WAV file with the sample of a voice; made first if need be, through the queue as any request.

        Raises:
            UnknownVoice, and what `SpeechService.open` and speaking raise.
        """
        voice = self._speech.voices.find(voice_name)
        with self._lock:
            lock = self._locks.setdefault(voice.id, threading.Lock())
        with lock:
            folder = self._folder.place("previews", voice.id)
            path = folder / f"{self._key(voice)}.wav"
            if not path.is_file():
                request = SpeechRequest(_text(voice), voice=voice.id, format="wav", seed=voice.seed or 1, owner=owner)
                with self._speech.open(request) as speech:
                    data = speech.read()
                folder.mkdir(exist_ok=True)
                write_file(path, data)
                for old in folder.glob("*.wav"):
                    if old != path:
                        old.unlink(missing_ok=True)
        return path

    def _key(self, voice: Voice) -> str:
        prompts = [self._speech.prompts.get(speaker.prompt).sha256 for speaker in voice.speakers.values()]
        facts = " ".join([self._speech.model.model_hash, voice_to_json(voice), *prompts])
        return hashlib.sha256(facts.encode()).hexdigest()[:24]


def _text(voice: Voice) -> str:
    return (TWO_SPEAKERS if len(voice.speakers) == 2 else ONE_SPEAKER).format(name=voice.name)
