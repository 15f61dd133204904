"""Which letter every frame of a set speaks, as a model's own pointer follows it: for sets too small for `dia.train.align`.

The model reads each clip as if it had written it, frame by frame, and its pointer is written down on the way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from dia.layers import DiaModel
from dia.state import DecoderInferenceState, EncoderInferenceState
from dia.text.tokens import SPEAKER_TAGS, encode_text
from dia.train.packing import CodeClip, CodePack
from dia.train.targets import delayed_grid, group_by_length

BATCH_FRAMES = 4000
LOST_IDS = 8
"""A clip whose pointer ends further than this before the end of its text was lost on the way."""


def follow(model: DiaModel, pack: CodePack) -> CodePack:
    """The pack with `places`; clips that the model loses stay spread evenly, and are counted on stderr.

    Raises:
        ValueError: a model without a pointer.
    """
    if model.config.model.pointer is None:
        raise ValueError("only a model with a pointer can follow a clip")
    places = np.concatenate([pack.clip_places(clip) for clip in pack.clips])
    lost = 0
    for batch in group_by_length(pack.clips, BATCH_FRAMES, np.random.default_rng(0)):
        for clip, way in zip(batch, _ways(model, pack, batch), strict=True):
            if way[-1] < len(clip.text.encode("utf-8")) - LOST_IDS:
                lost += 1
                continue
            places[clip.offset : clip.offset + clip.frames] = way
    if lost:
        sys.stderr.write(f"{lost} of {len(pack.clips)} clips could not be followed and are spread evenly\n")
    return replace(pack, places=places)


@torch.inference_mode()
def _ways(model: DiaModel, pack: CodePack, clips: Sequence[CodeClip]) -> list[np.ndarray]:
    """Of each clip float32 [frames]: the byte of its text where the pointer stands."""
    data, device = model.config.data, model.device
    tag = encode_text(f"{SPEAKER_TAGS[1]} ")
    texts = [[*tag, *encode_text(clip.text), *encode_text(f" {SPEAKER_TAGS[1]}")] for clip in clips]
    grids = [delayed_grid(pack.clip_codes(clip), data) for clip in clips]
    longest, span = max(clip.frames for clip in clips), max(len(text) for text in texts)
    rows = torch.full((len(clips), longest + 1, data.channels), data.audio_pad_value, device=device)
    for number, grid in enumerate(grids):
        count = min(len(grid), longest + 1)
        rows[number, :count] = torch.from_numpy(grid[:count])
    state = DecoderInferenceState.new(model.config, len(clips), longest + 1, span, device, model.dtype)
    for number, text in enumerate(texts):
        memory = model.encode(EncoderInferenceState.new([text], device))
        state.put_text(number, model.decoder.cross_keys_values(memory), len(text), len(tag))
    constants = model.unconditional_constants()
    ways = np.zeros((len(clips), longest), np.float32)
    for frame in range(longest):
        model.step(state, rows[:, frame], torch.full((len(clips),), frame, device=device), constants, frame + 1, span)
        state.follow(len(clips), torch.zeros(len(clips), dtype=torch.bool, device=device))
        ways[:, frame] = state.pointer.cpu().numpy() - len(tag)
    return [ways[number, : clip.frames].clip(0) for number, clip in enumerate(clips)]
