"""Transcripts of prompts by Whisper, through the optional package faster-whisper. Imports it only when used."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dia.errors import MissingExtra, OperatorError
from dia.packages import install_command, is_installed

SAMPLE_RATE_HZ = 16_000  # what Whisper hears


@dataclass(frozen=True, slots=True)
class Transcript:
    """Words heard and the language guessed, as an ISO 639-1 code."""

    text: str
    language: str


class Transcriber:
    """One Whisper model, loaded on first use. Any thread may call; one transcription runs at a time.

    Args:
        offline: never download a model.
        folder: of a model converted for faster-whisper, taken whatever size is asked for.
    """

    def __init__(self, *, offline: bool = False, folder: Path | None = None) -> None:
        self._offline = offline
        self._folder = folder
        self._lock = threading.Lock()
        self._model: Any = None
        self._size: str | None = None

    @property
    def is_available(self) -> bool:
        """Whether the package is installed; a model may still have to be downloaded."""
        return is_installed("faster_whisper")

    @property
    def loaded_size(self) -> str | None:
        """Name of the loaded model, of its folder if it has one; None before `load`."""
        return self._size

    def load(self, size: str, *, may_download: bool = True) -> None:
        """Load a model: tiny, base, small, medium, large, or a folder with one.

        Raises:
            MissingExtra: the package is not installed.
            OperatorError: the model is not on this machine and cannot be fetched.
        """
        if not self.is_available:
            raise MissingExtra(
                f"transcription needs faster-whisper; install it with: {install_command('faster_whisper')}"
            )
        with self._lock:
            name, source = (size, size) if self._folder is None else (self._folder.name, str(self._folder))
            if self._size == name:
                return
            self._model = _load(source, local_only=self._offline or not may_download)
            self._size = name

    def transcribe(self, waveform: np.ndarray, *, language: str | None = None) -> Transcript:
        """Words of a float32 waveform [samples] at 16 kHz; `language` as an ISO 639-1 code, None: whichever is heard.

        Raises:
            OperatorError: `load` was not called.
        """
        with self._lock:
            if self._model is None:
                raise OperatorError("no transcription model is loaded; call POST /whisper/load first")
            segments, info = self._model.transcribe(waveform, beam_size=5, language=language)
            text = " ".join(segment.text.strip() for segment in segments)
        return Transcript(text.strip(), str(info.language))


def _load(size: str, *, local_only: bool) -> Any:
    from faster_whisper import WhisperModel

    try:
        return WhisperModel(size, device="auto", compute_type="auto", local_files_only=local_only)
    except (OSError, RuntimeError, ValueError) as error:
        raise OperatorError(
            f"transcription model {size!r} cannot be loaded; connect to the hub once, or choose a size that is here"
        ) from error
