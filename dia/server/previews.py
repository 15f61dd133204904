"""Previews of voices: the same two sentences, spoken once and kept until the voice or the model changes."""

import hashlib
from pathlib import Path

from dia.service.build import Service
from dia.service.request import SpeechRequest
from dia.service.storage import write_file
from dia.service.voices import Voice, voice_to_json

__all__ = ["cached_preview", "keep_preview", "preview_request"]

_MAX_KEPT = 100


def preview_request(voice: Voice, *, owner: str | None, request_id: str | None) -> SpeechRequest:
    """What a preview says; the seed is fixed, so that a voice sounds the same each time."""
    text = f"[S1] Hello, I am {voice.name}. [S2] Nice to hear you. Is this how I sound?"
    return SpeechRequest(text=text, voice=voice.id, seed=voice.seed or 0, owner=owner, request_id=request_id)


def cached_preview(service: Service, voice: Voice) -> bytes | None:
    """The kept WAV file, if there is one."""
    path = _path(service, voice)
    return path.read_bytes() if path.is_file() else None


def keep_preview(service: Service, voice: Voice, data: bytes) -> None:
    """Keep a WAV file; the oldest give way."""
    path = _path(service, voice)
    write_file(path, data)
    kept = sorted(path.parent.glob("preview-*"), key=lambda other: other.stat().st_mtime)
    for old in kept[:-_MAX_KEPT]:
        old.unlink(missing_ok=True)


def _path(service: Service, voice: Voice) -> Path:
    marks = [voice_to_json(voice), service.speech.model.model_hash]
    if voice.adapter is not None:
        marks.append(str(service.adapters.find(voice.adapter).stat().st_mtime_ns))
    for speaker in voice.speakers.values():
        marks.append(service.prompts.get(speaker.prompt).sha256)
    digest = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:32]
    return service.folder.place("previews", f"preview-{digest}")
