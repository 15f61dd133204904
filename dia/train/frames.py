"""Stretches of whole frames, codes and the sound they stand for, drawn for codec training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dia.errors import CheckpointMismatch
from dia.train.packing import CodePack
from dia.train.sound import Clip, SoundCorpus


class FrameSampler:
    """Random stretches of whole frames: codes and the sound they stand for; batch n is a pure function of (seed, n)."""

    def __init__(
        self, corpus: SoundCorpus, clips: Sequence[Clip], codes: Sequence[np.ndarray], hop: int, seed: int
    ) -> None:
        self._corpus, self._hop, self._seed = corpus, hop, seed
        self._clips, self._codes = clips, codes
        lengths = np.array([len(grid) for grid in codes], dtype=np.float64)
        totals: dict[str, float] = {}
        for clip, length in zip(clips, lengths, strict=True):
            totals[clip.voice] = totals.get(clip.voice, 0.0) + length
        # Voices by the square root of their sound, clips of a voice by length.
        odds = np.array([length / totals[clip.voice] ** 0.5 for clip, length in zip(clips, lengths, strict=True)])
        self._odds = odds / odds.sum()

    def batch(self, step: int, size: int, frames: int) -> tuple[Tensor, Tensor]:
        """Codes int64 [size, C, frames] and sound float32 [size, frames * hop]."""
        rng = np.random.default_rng((self._seed, step))
        grids, sounds = [], []
        for place in rng.choice(len(self._odds), size=size, p=self._odds):
            grid = self._codes[int(place)]
            start = int(rng.integers(0, max(1, len(grid) - frames + 1)))
            piece = grid[start : start + frames]
            waveform = self._corpus.waveform(self._clips[int(place)])[start * self._hop : (start + frames) * self._hop]
            short = frames - len(piece)
            if short > 0:
                # Short clips repeat their own first frames: there is no code for "nothing".
                piece = np.concatenate([piece, np.resize(piece, (short, piece.shape[1]))])
                waveform = np.pad(waveform, (0, max(0, (frames - short) * self._hop - len(waveform))))
                waveform = np.concatenate([waveform, np.resize(waveform, short * self._hop)])
            grids.append(piece.T)
            sounds.append(np.pad(waveform, (0, frames * self._hop - len(waveform))))
        return torch.from_numpy(np.stack(grids).astype(np.int64)), torch.from_numpy(
            np.stack(sounds).astype(np.float32)
        )


def matched_codes(corpus: SoundCorpus, pack: CodePack, expected_hash: str) -> dict[Clip, np.ndarray]:
    """Codes int16 [frames, C] of every clip.

    Raises:
        CheckpointMismatch: the pack was made from other sound, or with other codebooks.
    """
    if pack.codec_hash != expected_hash:
        raise CheckpointMismatch(f"the codes were made with codebooks {pack.codec_hash}, not with {expected_hash}")
    named = [(clip.text, clip.voice) for clip in corpus.clips]
    if named != [(clip.text, clip.voice) for clip in pack.clips]:
        raise CheckpointMismatch("codes and sound hold different clips; make both from one manifest")
    return {clip: pack.clip_codes(coded) for clip, coded in zip(corpus.clips, pack.clips, strict=True)}
