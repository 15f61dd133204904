"""Recordings become voice prompts: what may be one, and its codes, which are remembered."""

import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dia.codec import Codec
from dia.config import DataConfig
from dia.errors import BadCodes, BadPrompt, CheckpointMismatch, CodecUnavailable
from dia.media.read import read_audio

__all__ = ["AudioPrompt", "PromptEncoder", "VoicePrompt", "read_voice", "require_codec", "write_voice"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class VoicePrompt:
    """A voice to speak with: what was recorded and what is said in it.

    Attributes:
        codes: int16 [frames, channels].
        transcript: the words of the recording, tagged or not; "" only where the caller puts them into the text himself.
    """

    codes: Array
    transcript: str


def read_voice(path: Path) -> VoicePrompt:
    """The voice in a file that `write_voice` wrote.

    Raises:
        CheckpointMismatch: another kind of file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return VoicePrompt(file.get_tensor("codes"), (file.metadata() or {})["transcript"])
    except (SafetensorError, KeyError) as error:
        raise CheckpointMismatch(f"{path.name} holds no voice (codes and transcript): {error}") from error


def write_voice(path: Path, voice: VoicePrompt) -> None:
    """Write codes and transcript as one safetensors file."""
    from safetensors.numpy import save_file

    codes = np.ascontiguousarray(voice.codes, dtype=np.int16)
    save_file({"codes": codes}, path, metadata={"transcript": voice.transcript})


AudioPrompt = str | os.PathLike[str] | Array | torch.Tensor | VoicePrompt
"""A voice: a file, a waveform [samples] at the codec's rate, codes [frames, channels], or an encoded prompt."""

MIN_PROMPT_S, MAX_PROMPT_S = 0.5, 60.0
SILENCE_PEAK = 1e-4
"""A recording whose loudest sample is below this (-80 dBFS) holds nothing to imitate."""
PROMPTS_KEPT = 32
"""Recordings whose codes are remembered, so that a voice is encoded once."""


class PromptEncoder:
    """Makes prompts for a model of these codes, with its codec; without one only of codes."""

    def __init__(self, codec: Codec | None, data: DataConfig) -> None:
        self._codec, self._data = codec, data
        self._kept: OrderedDict[bytes, Array] = OrderedDict()

    def encode(self, audio: AudioPrompt, transcript: str = "") -> VoicePrompt:
        """See `Dia.encode_prompt`."""
        if isinstance(audio, VoicePrompt):
            return VoicePrompt(self.check(audio.codes), transcript or audio.transcript)
        if isinstance(audio, torch.Tensor):
            audio = audio.detach().cpu().numpy()
        if isinstance(audio, np.ndarray) and np.issubdtype(audio.dtype, np.integer):
            return VoicePrompt(self.check(audio), transcript)
        codec = require_codec(self._codec)
        if isinstance(audio, np.ndarray):
            waveform = audio.astype(np.float32)
            _check_sound(waveform, codec.sample_rate_hz)
        else:
            waveform = _read_recording(Path(audio), codec.sample_rate_hz)
        return VoicePrompt(self._codes_of(waveform, codec), transcript)

    def check(self, codes: Array) -> Array:
        """The codes as int16 [frames, channels].

        Raises:
            BadCodes: of a wrong shape, kind or range. BadPrompt: none.
        """
        data = self._data
        grid = np.asarray(codes)
        if grid.ndim != 2 or grid.shape[1] != data.channels or not np.issubdtype(grid.dtype, np.integer):
            raise BadCodes(
                f"codes are {grid.dtype} {list(grid.shape)}; expected whole numbers [frames, {data.channels}]; a waveform "
                "is given as float32 [samples] in ±1"
            )
        if not len(grid):
            raise BadPrompt("the voice prompt is 0 s long; give at least half a second of speech")
        if grid.min() < 0 or grid.max() >= data.audio_eos_value:
            raise BadCodes(
                f"codes run from {grid.min()} to {grid.max()}; they must lie in 0 … {data.audio_eos_value - 1}"
            )
        return grid.astype(np.int16)

    def _codes_of(self, waveform: Array, codec: Codec) -> Array:
        """Codes of a recording, remembered: encoding ten seconds takes seconds on a CPU."""
        key = hashlib.sha256(np.ascontiguousarray(waveform).tobytes()).digest()
        codes = self._kept.get(key)
        if codes is None:
            codes = codec.encode(waveform)
        self._kept[key] = codes
        while len(self._kept) > PROMPTS_KEPT:
            self._kept.popitem(last=False)
        return codes.copy()


def require_codec(codec: Codec | None) -> Codec:
    """The codec, or CodecUnavailable if there is none."""
    if codec is None:
        raise CodecUnavailable("the model was loaded with load_dac=False; load it with its codec for sound")
    return codec


def _read_recording(path: Path, sample_rate_hz: int) -> Array:
    """The sound of a file; what is wrong with it is said with its name, for there may be several voices."""
    try:
        waveform = read_audio(path, sample_rate_hz=sample_rate_hz, max_duration_s=MAX_PROMPT_S)
        _check_sound(waveform, sample_rate_hz)
    except BadPrompt as error:
        if path.name in str(error):
            raise
        raise type(error)(f"{path.name}: {error}") from error
    return waveform


def _check_sound(waveform: Array, sample_rate_hz: int) -> None:
    if waveform.ndim != 1:
        raise BadPrompt(
            f"the voice prompt has shape {list(waveform.shape)}; give one row of samples (mono), or codes as whole numbers"
        )
    duration_s = len(waveform) / sample_rate_hz
    if not MIN_PROMPT_S <= duration_s <= MAX_PROMPT_S:
        raise BadPrompt(
            f"the voice prompt is {duration_s:.2f} s long; it must be {MIN_PROMPT_S:g} to {MAX_PROMPT_S:g} s (best 5 to 10 s)"
        )
    if not np.isfinite(waveform).all():
        raise BadPrompt("the voice prompt holds values that are not finite numbers")
    peak = float(np.abs(waveform).max())
    if peak < SILENCE_PEAK:
        raise BadPrompt(f"the voice prompt is silent (peak {peak:.1e} of full scale); record it again, louder")
