"""A decoded corpus becomes codes, once. Opens no audio file: this part also runs where only the sound was carried to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from dia.codec import Codec
from dia.device import Placement
from dia.errors import BadParameter
from dia.train.packing import CodePack, pack_clips
from dia.train.sound import SoundCorpus

SILENCE_S = 2.0
Progress = Callable[[int, int], None]


def codec_hash(codec_dir: Path) -> str:
    """Identifies what decides the codes: encoder and quantiser, not the decoder."""
    tensors = load_file(codec_dir / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if not name.startswith("decoder."):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()[:16]


def code_vectors(codec_dir: Path) -> np.ndarray:
    """The codec's code vectors, float32 [codebooks, codes, dim]."""
    tensors = load_file(codec_dir / "model.safetensors")
    books: list[np.ndarray] = []
    while f"quantizer.quantizers.{len(books)}.codebook.weight" in tensors:
        books.append(tensors[f"quantizer.quantizers.{len(books)}.codebook.weight"].astype(np.float32))
    return np.stack(books)


def prepare_codes(
    sound_dir: Path, codec_dir: Path, path: Path, progress: Progress | None = None, *, device: str = "cpu"
) -> CodePack:
    """Encode a decoded corpus once and write the compact set that model training reads."""
    codec = Codec.load(codec_dir, Placement(torch.device(device), torch.float32))
    corpus = SoundCorpus.open(sound_dir)
    if corpus.sample_rate_hz != codec.sample_rate_hz:
        raise BadParameter(
            f"the sound is at {corpus.sample_rate_hz} Hz, the codec at {codec.sample_rate_hz} Hz; prepare it again"
        )
    clips = []
    for number, clip in enumerate(corpus.clips, 1):
        clips.append((clip.text, clip.voice, codec.encode(corpus.waveform(clip))))
        if progress is not None:
            progress(number, len(corpus.clips))
    silence = codec.encode(np.zeros(round(SILENCE_S * codec.sample_rate_hz), np.float32))
    # The ends of a stretch of zeros see the padding of the convolutions; its middle is what a pause sounds like.
    edge = min(len(silence) // 4, codec.context_frames)
    pack = pack_clips(
        clips,
        frame_rate_hz=codec.frame_rate_hz,
        silence=silence[edge : len(silence) - edge],
        codebooks=code_vectors(codec_dir),
        codec_hash=codec_hash(codec_dir),
    )
    pack.save(path)
    return pack
