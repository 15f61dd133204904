"""Whisper as a proofreader of what `dia say` makes: it hears each take, and one with other words is made again."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from dia.errors import MissingExtra
from dia.packages import install_command, is_installed

if TYPE_CHECKING:
    import numpy as np

__all__ = ["check_proofreader", "load_proofreader"]


def check_proofreader(size: str | None) -> None:
    """Raises MissingExtra where a proofreader is wanted and cannot be."""
    if size is not None and not is_installed("faster_whisper"):
        raise MissingExtra(f"--proofread needs faster-whisper; install it with: {install_command('faster_whisper')}")


@lru_cache(maxsize=1)
def load_proofreader(size: str | None, *, offline: bool) -> "Callable[[np.ndarray, int], str] | None":
    """What hears float32 samples [samples] of a rate in Hz and gives back the English words; None where none is wanted.

    Args:
        size: tiny, base, small, medium or large of Whisper, or the folder of one converted for faster-whisper.

    Raises:
        MissingExtra: faster-whisper is not installed. OperatorError: the model is not here and cannot be fetched.
    """
    check_proofreader(size)
    if size is None:
        return None
    from dia.media.read import resample
    from dia.service.asr import SAMPLE_RATE_HZ, Transcriber

    transcriber = Transcriber(offline=offline)
    transcriber.load(size)

    def hear(waveform: "np.ndarray", rate_hz: int) -> str:
        sound = waveform if rate_hz == SAMPLE_RATE_HZ else resample(waveform, rate_hz, SAMPLE_RATE_HZ)
        return transcriber.transcribe(sound, language="en").text

    return hear
