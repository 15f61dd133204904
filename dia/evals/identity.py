"""The judge of identity: Resemblyzer's GE2E speaker encoder (Apache-2.0), its weights from the package of that name.

Only the weights are taken: the package's own front end needs librosa and a voice activity detector that is built from
C. Here the mel spectrogram is computed with numpy (equal to librosa's within rounding) and long pauses are cut by
level. Similarities come with baselines measured through this same front end.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dia.errors import CheckpointMismatch
from dia.evals.packages import PackageFile, verified

__all__ = ["MODULES", "SpeakerEncoder", "load_speaker_encoder", "mel_frames"]

MODULES = ("resemblyzer",)
SAMPLE_RATE_HZ = 16_000

_WEIGHTS = PackageFile(
    "resemblyzer", "pretrained.pt", "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
)
_WINDOW, _HOP, _MELS = 400, 160, 40
_PARTIAL_FRAMES = 160
_PARTIALS_PER_SECOND = 1.3
_LEAST_COVERAGE = 0.75
_TARGET_DBFS = -30.0
_PAUSE_FRAMES = 18
"""Pauses are shortened to this many 10 ms frames, about what the original's detector leaves."""
_PAUSE_BELOW_LOUD_DB = 35.0


class SpeakerEncoder(nn.Module):
    """Three LSTM layers over mel frames; the last state, projected, is the voice. Wan et al. 2018 (GE2E)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: Tensor) -> Tensor:
        """Embeddings [n, 256] of length one from mel frames [n, frames, 40]."""
        _, (hidden, _) = self.lstm(mels)
        raw = torch.relu(self.linear(hidden[-1]))
        return raw / raw.norm(dim=1, keepdim=True).clamp_min(1e-8)

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """The voice in float32 [samples] at 16 kHz: float32 [256] of length one (all zero for silence)."""
        mels = mel_frames(_prepared(waveform))
        step = round(100 / _PARTIALS_PER_SECOND)
        starts = list(range(0, max(1, len(mels) - _PARTIAL_FRAMES + step + 1), step))
        if len(starts) > 1 and (len(mels) - starts[-1]) / _PARTIAL_FRAMES < _LEAST_COVERAGE:
            starts.pop()
        padded = np.pad(mels, ((0, max(0, starts[-1] + _PARTIAL_FRAMES - len(mels))), (0, 0)))
        partials = np.stack([padded[start : start + _PARTIAL_FRAMES] for start in starts])
        with torch.inference_mode():
            mean = self(torch.from_numpy(partials)).mean(dim=0).numpy()
        length = float(np.linalg.norm(mean))
        return np.asarray(mean / length if length else mean, dtype=np.float32)


def load_speaker_encoder() -> SpeakerEncoder:
    """The encoder with its published weights.

    Raises:
        MissingExtra: the package is not installed. CheckpointMismatch: its weights are not the expected ones.
    """
    state: dict[str, Any] = torch.load(verified(_WEIGHTS), map_location="cpu", weights_only=True)["model_state"]
    encoder = SpeakerEncoder()
    missing, _ = encoder.load_state_dict(state, strict=False)
    if missing:
        raise CheckpointMismatch(
            f"the speaker encoder's weights lack {', '.join(missing)}; reinstall resemblyzer==0.1.4"
        )
    return encoder.eval().requires_grad_(False)


def mel_frames(waveform: np.ndarray) -> np.ndarray:
    """Mel power spectrogram float32 [frames, 40] of 16 kHz sound: 25 ms Hann windows every 10 ms, centred."""
    padded = np.pad(np.asarray(waveform, dtype=np.float32), _WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = np.abs(np.fft.rfft(windows * hann, axis=1)) ** 2
    return np.asarray(power @ _filters(), dtype=np.float32)


@cache
def _filters() -> np.ndarray:
    """Slaney's mel bands with equal areas, [201, 40]."""
    from transformers.audio_utils import mel_filter_bank

    bank: np.ndarray = mel_filter_bank(
        num_frequency_bins=_WINDOW // 2 + 1,
        num_mel_filters=_MELS,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE_HZ / 2,
        sampling_rate=SAMPLE_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    return bank


def _prepared(waveform: np.ndarray) -> np.ndarray:
    """Raised to -30 dBFS if it is below that, long pauses shortened."""
    sound = np.asarray(waveform, dtype=np.float64)
    level = float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0
    if not level:
        return sound
    sound = sound * max(1.0, 10 ** (_TARGET_DBFS / 20) / level)
    whole = sound[: len(sound) // _HOP * _HOP].reshape(-1, _HOP)
    if not len(whole):
        return sound
    levels = np.sqrt((whole**2).mean(axis=1))
    loud = levels > np.percentile(levels, 95) * 10 ** (-_PAUSE_BELOW_LOUD_DB / 20)
    reach = _PAUSE_FRAMES // 2
    kept = np.convolve(loud, np.ones(2 * reach + 1), mode="same")[: len(loud)] > 0
    return whole[kept].reshape(-1) if kept.any() else sound
