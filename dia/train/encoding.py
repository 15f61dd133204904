"""A decoded corpus becomes codes, once. Opens no audio file: this part also runs where only the sound was carried to."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.numpy import load_file

from dia.codec import Codec
from dia.device import Placement
from dia.errors import BadParameter
from dia.measured.analysis import Analysis, AnalysisShape, analyse
from dia.measured.books import Books, code_tables
from dia.train.packing import CodePack, pack_clips
from dia.train.sound import SoundCorpus

SILENCE_S = 2.0
FEW_CLIPS = 200
"""Measured without further processes, which take seconds to start."""
Progress = Callable[[int, int], None]
Result = TypeVar("Result")


def tables_hash(tables: np.ndarray) -> str:
    """Identifies what codes mean: the code vectors [codebooks, codes, dim], in float16."""
    return hashlib.sha256(np.ascontiguousarray(tables.astype(np.float16)).tobytes()).hexdigest()[:16]


def codec_hash(codec_dir: Path) -> str:
    """`tables_hash` of a codec folder; the decoder may improve while codes keep their meaning."""
    return tables_hash(code_vectors(codec_dir))


def code_vectors(codec_dir: Path) -> np.ndarray:
    """The codec's code vectors, float32 [codebooks, codes, dim]."""
    tensors = load_file(codec_dir / "model.safetensors")
    books: list[np.ndarray] = []
    while f"quantizer.quantizers.{len(books)}.codebook.weight" in tensors:
        books.append(tensors[f"quantizer.quantizers.{len(books)}.codebook.weight"].astype(np.float32))
    return np.stack(books)


def measure(corpus: SoundCorpus, shape: AnalysisShape, progress: Progress | None = None) -> list[Analysis]:
    """`analyse` every clip, on all cores.

    Raises:
        BadParameter: the sound has another sample rate.
    """
    if corpus.sample_rate_hz != shape.sample_rate_hz:
        raise BadParameter(
            f"the sound is at {corpus.sample_rate_hz} Hz, the codebooks at {shape.sample_rate_hz} Hz; prepare it again"
        )
    waveforms = (corpus.waveform(clip) for clip in corpus.clips)
    work = partial(analyse, shape=shape)
    if len(corpus.clips) < FEW_CLIPS:
        return counted(map(work, waveforms), len(corpus.clips), progress)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return counted(pool.map(work, waveforms, chunksize=16), len(corpus.clips), progress)


def counted(results: Iterable[Result], total: int, progress: Progress | None) -> list[Result]:
    """All results, `progress` told after each."""
    found: list[Result] = []
    for one in results:
        found.append(one)
        if progress is not None:
            progress(len(found), total)
    return found


def measure_codes(sound_dir: Path, books_path: Path, path: Path, progress: Progress | None = None) -> CodePack:
    """Measure a decoded corpus and write it as codes of these books."""
    books, corpus = Books.open(books_path), SoundCorpus.open(sound_dir)
    measured = measure(corpus, books.shape, progress)
    silence = books.encode_waveform(np.zeros(round(SILENCE_S * corpus.sample_rate_hz), np.float32))
    tables = code_tables(books)
    pack = pack_clips(
        [(clip.text, clip.voice, books.encode(one)) for clip, one in zip(corpus.clips, measured, strict=True)],
        frame_rate_hz=books.shape.sample_rate_hz / books.shape.hop_samples,
        silence=silence,
        codebooks=tables,
        codec_hash=tables_hash(tables),
    )
    pack.save(path)
    return pack


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
