"""Small packs, corpora and settings for the training tests."""

from pathlib import Path

import numpy as np

from dia.measured.analysis import AnalysisShape, analyse
from dia.measured.books import Books
from dia.train.books import fit_books
from dia.train.codec_loop import CodecTrainConfig
from dia.train.codec_net import CodecShape
from dia.train.model_loop import ModelTrainConfig
from dia.train.packing import CodePack, pack_clips
from dia.train.sound import SoundCorpus, write_corpus

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
RATE_HZ = 8000
SHAPE = CodecShape(
    sample_rate_hz=RATE_HZ,
    encoder_hidden=4,
    decoder_hidden=32,
    downsampling=(4, 4, 2),
    upsampling=(2, 4, 4),
)
ANALYSIS = AnalysisShape(
    sample_rate_hz=RATE_HZ,
    hop_samples=32,
    codebook_size=32,
    phases=4,
    least_advance=1,
    most_advance=7,
    slices=2,
    bands=8,
    window_samples=64,
    transform_samples=64,
    voice_values=16,
)


def small_pack(clips: int = 40, channels: int = 3, codec_hash: str = "abc") -> CodePack:
    """Clips of two voices, 6 to 12 frames each, codes below 1000."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(clips):
        text = f"{WORDS[number % 10].capitalize()} and {WORDS[number // 10 % 10]} number {number}."
        rows.append((text, f"voice{number % 2}", rng.integers(0, 1000, (int(rng.integers(6, 13)), channels))))
    return pack_clips(
        rows,
        frame_rate_hz=31.25,
        silence=rng.integers(0, 1000, (40, channels)),
        codebooks=rng.normal(size=(channels, 1024, 4)).astype(np.float32),
        codec_hash=codec_hash,
    )


def small_config(**changes: object) -> ModelTrainConfig:
    """A model of some ten thousand weights beside its tables."""
    values: dict[str, object] = {
        "encoder_layers": 1,
        "encoder_width": 16,
        "encoder_hidden": 24,
        "encoder_heads": 2,
        "decoder_layers": 2,
        "decoder_width": 24,
        "decoder_hidden": 32,
        "query_heads": 2,
        "kv_heads": 1,
        "cross_heads": 2,
        "head_dim": 8,
        "steps": 6,
        "batch_rows": 120,
        "warmup_steps": 2,
        "decay_steps": 2,
        "guide_steps": 4,
        "single_passes": 1,
        "log_every": 100,
        "validate_every": 4,
        "threads": 1,
    }
    return ModelTrainConfig(**(values | changes))  # type: ignore[arg-type]


def small_corpus(folder: Path, clips: int = 12) -> SoundCorpus:
    """Tones that glide, half a second each, by two voices."""
    rng = np.random.default_rng(3)
    time_s = np.arange(RATE_HZ // 2) / RATE_HZ
    rows = []
    for number in range(clips):
        low = float(rng.uniform(100, 300))
        rows.append(
            (f"sentence {number}", f"voice{number % 2}", 0.3 * np.sin(2 * np.pi * low * time_s * (1 + time_s)))
        )
    return write_corpus(folder, RATE_HZ, iter(rows))


def small_books(corpus: SoundCorpus) -> Books:
    """Three books for the corpus of tones."""
    measured = [analyse(corpus.waveform(clip), ANALYSIS) for clip in corpus.clips]
    return fit_books(measured, ANALYSIS, channels=3, directions=6)


def codec_config(**changes: object) -> CodecTrainConfig:
    values: dict[str, object] = {
        "shape": SHAPE,
        "steps": 6,
        "batch_size": 2,
        "crop_frames": 90,
        "warmup_steps": 2,
        "decay_steps": 2,
        "judge_from": 1,
        "judge_alone_steps": 1,
        "judge_channels": 2,
        "log_every": 100,
        "validate_every": 4,
        "threads": 1,
    }
    return CodecTrainConfig(**(values | changes))  # type: ignore[arg-type]
