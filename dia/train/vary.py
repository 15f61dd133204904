"""A set of codes at further speeds, from the codes alone: for sets whose recordings are not at hand."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from dia.codec import Codec
from dia.device import Placement
from dia.errors import CheckpointMismatch
from dia.train.encoding import codec_hash, counted
from dia.train.packing import CodePack, pack_clips
from dia.train.prepare import at_speed
from dia.train.sound import is_held_out

FEW_CLIPS = 50
"""Varied without further processes, which take seconds to start."""
CHUNK = 8
Progress = Callable[[int, int], None]


def vary(
    pack: CodePack, codec_dir: Path, speeds: Sequence[float], progress: Progress | None = None, *, workers: int = 0
) -> CodePack:
    """The pack, and behind it every clip that is not held out at each of `speeds` as another voice, `name@speed`.

    Pitch and formants move with the speed (Ko et al. 2015), as in `prepare_sound`; the sound is what the codec makes of
    the codes. Places move along.

    `workers`: processes; 0 is one per core.

    Raises:
        CheckpointMismatch: the codes are not this codec's.
    """
    if (held := codec_hash(codec_dir)) != pack.codec_hash:
        raise CheckpointMismatch(
            f"the codes were made with codebooks {pack.codec_hash}, {codec_dir.name} holds {held}"
        )
    chosen = [clip for clip in pack.clips if not is_held_out(clip.text)]
    varied = _varied([pack.clip_codes(clip) for clip in chosen], codec_dir, tuple(speeds), workers, progress)
    clips = [(clip.text, clip.voice, pack.clip_codes(clip)) for clip in pack.clips]
    places = [pack.clip_places(clip) for clip in pack.clips]
    for clip, found in zip(chosen, varied, strict=True):
        for speed, grid in zip(speeds, found, strict=True):
            clips.append((clip.text, f"{clip.voice}@{speed:g}", grid))
            places.append(places_at_speed(pack.clip_places(clip), speed, len(grid)))
    whole = pack_clips(
        clips,
        frame_rate_hz=pack.frame_rate_hz,
        silence=pack.silence,
        codebooks=pack.codebooks,
        codec_hash=pack.codec_hash,
    )
    return replace(whole, places=np.concatenate(places))


def places_at_speed(places: np.ndarray, speed: float, frames: int) -> np.ndarray:
    """Float32 [frames]: which byte each frame speaks once the clip of `places` is played `speed` times as fast."""
    at = (np.arange(frames) + 0.5) * speed - 0.5
    return np.interp(at, np.arange(len(places)), places).astype(np.float32)


def _varied(
    codes: Sequence[np.ndarray],
    codec_dir: Path,
    speeds: tuple[float, ...],
    workers: int,
    progress: Progress | None,
) -> list[list[np.ndarray]]:
    work = partial(_at_speeds, codec_dir=codec_dir, speeds=speeds)
    if len(codes) < FEW_CLIPS or workers == 1:
        return counted(map(work, codes), len(codes), progress)
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), spawned, torch.set_num_threads, (1,)) as pool:
        return counted(pool.map(work, codes, chunksize=CHUNK), len(codes), progress)


def _at_speeds(codes: np.ndarray, codec_dir: Path, speeds: tuple[float, ...]) -> list[np.ndarray]:
    codec = _codec(codec_dir)
    waveform = codec.decode(codes)
    return [codec.encode(at_speed(waveform, speed)) for speed in speeds]


@cache
def _codec(codec_dir: Path) -> Codec:
    return Codec.load(codec_dir, Placement(torch.device("cpu"), torch.float32))
