"""Which letter every frame of a training set speaks: a small recogniser is fitted to the set and read backwards.

Guided attention needs to know where in its text a frame is. A straight line from the first letter to the last is off by
several letters in the middle of a sentence. Here a convolutional network learns to name the letters from the codes
(connectionist temporal classification, Graves et al. 2006), then the best path through each clip's own letters says
when each of them is spoken. The network is thrown away; what is kept is one place per frame.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dia.errors import BadInput
from dia.train.packing import CodeClip, CodePack
from dia.train.targets import group_by_length

LETTERS = "abcdefghijklmnopqrstuvwxyz' "
BLANK = 0
SPACE = 1 + LETTERS.index(" ")
NEVER = -1e30


@dataclass(frozen=True)
class AlignConfig:
    """The recogniser and its training; `batch_frames` is padded frames per step, `code_dropout` hides single codes."""

    width: int = 192
    layers: int = 5
    kernel: int = 5
    dropout: float = 0.1
    code_dropout: float = 0.1
    passes: int = 5
    batch_frames: int = 3200
    peak_rate: float = 2e-3
    seed: int = 0
    threads: int = 2


def spelled(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The symbols of a text (int64, 1 … len(LETTERS)) and the byte where each stands.

    Letters without their case; whatever is no letter is a space, and spaces in a row are one.
    """
    symbols: list[int] = []
    places: list[int] = []
    byte = 0
    for character in text:
        symbol = 1 + LETTERS.find("'" if character == "’" else character.lower())
        symbol = symbol or SPACE
        if symbol != SPACE or (symbols and symbols[-1] != SPACE):
            symbols.append(symbol)
            places.append(byte)
        byte += len(character.encode("utf-8"))
    if not symbols:
        return np.array([SPACE]), np.array([0])
    return np.array(symbols), np.array(places)


def best_path(scores: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """The middle of each symbol's stretch, float64 [symbols] in frames, along the best path.

    Args:
        scores: log probabilities [frames, 1 + len(LETTERS)], blank first.
        symbols: as from `spelled`; at most as many as there are frames, repeats counted twice.

    Returns NaN for all where no path fits.
    """
    labels = np.full(2 * len(symbols) + 1, BLANK)
    labels[1::2] = symbols
    emitted = scores[:, labels]
    skips = np.zeros(len(labels), bool)
    skips[3::2] = symbols[1:] != symbols[:-1]
    reached = np.full(len(labels), NEVER)
    reached[:2] = emitted[0, :2]
    steps = np.zeros(emitted.shape, np.int8)
    for frame in range(1, len(emitted)):
        by_one = np.concatenate([[NEVER], reached[:-1]])
        by_two = np.where(skips, np.concatenate([[NEVER, NEVER], reached[:-2]]), NEVER)
        ways = np.stack([reached, by_one, by_two])
        steps[frame] = ways.argmax(0)
        reached = ways.max(0) + emitted[frame]
    state = len(labels) - (1 if reached[-1] > reached[-2] else 2)
    if reached[state] < NEVER / 2:
        return np.full(len(symbols), np.nan)
    first = np.full(len(symbols), np.nan)
    last = np.full(len(symbols), np.nan)
    for frame in range(len(emitted) - 1, -1, -1):
        if labels[state] != BLANK:
            place = state // 2
            first[place] = frame
            last[place] = frame if np.isnan(last[place]) else last[place]
        state -= int(steps[frame, state])
    return (first + last) / 2 + 0.5


class Recogniser(nn.Module):
    """Codes [B, F, C] (the codebook's size = hidden) to log probabilities [B, F, 1 + len(LETTERS)].

    It reads the codec's code vectors, in which codes that sound alike are near each other.
    """

    def __init__(self, config: AlignConfig, codebooks: np.ndarray) -> None:
        super().__init__()
        width = config.width
        vectors = torch.from_numpy(codebooks).float()
        centred = vectors - vectors.mean(1, keepdim=True)
        spread = centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)
        self.register_buffer("tables", functional.pad(centred / spread, (0, 0, 0, 1)))
        self.tables: Tensor
        self.entry = nn.Linear(vectors.shape[0] * vectors.shape[2], width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.layers))
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2) for _ in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, 1 + len(LETTERS))

    def forward(self, codes: Tensor) -> Tensor:
        vectors = [table[codes[..., channel]] for channel, table in enumerate(self.tables)]
        x = self.dropout(self.entry(torch.cat(vectors, -1)))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + self.dropout(functional.gelu(layer(norm(x).transpose(1, 2)).transpose(1, 2)))
        logits: Tensor = self.head(x)
        return logits.log_softmax(-1)


def align(pack: CodePack, config: AlignConfig) -> CodePack:
    """The pack with `places`; progress goes to stderr.

    Raises:
        BadInput: no clip has as many frames as letters.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    codebook_size = pack.codebooks.shape[1]
    clips = [clip for clip in pack.clips if clip.frames >= len(spelled(clip.text)[0])]
    if not clips:
        raise BadInput("every clip has more letters than frames; texts and recordings do not belong together")
    recogniser = Recogniser(config, pack.codebooks)
    _fit(recogniser, pack, clips, config)
    places = np.concatenate([pack.clip_places(clip) for clip in pack.clips])
    lost = 0
    for batch in group_by_length(pack.clips, 2 * config.batch_frames, np.random.default_rng(0)):
        with torch.inference_mode():
            scores = recogniser(_padded(pack, batch, codebook_size)).numpy()
        for row, clip in enumerate(batch):
            symbols, bytes_ = spelled(clip.text)
            middles = best_path(scores[row, : clip.frames], symbols)
            if np.isnan(middles).any():
                lost += 1
                continue
            frames = np.concatenate([[0.0], middles, [clip.frames]])
            where = np.concatenate([[0.0], bytes_ + 0.5, [len(clip.text.encode("utf-8"))]])
            places[clip.offset : clip.offset + clip.frames] = np.interp(np.arange(clip.frames) + 0.5, frames, where)
    if lost:
        sys.stderr.write(f"{lost} of {len(pack.clips)} clips have more letters than frames and are spread evenly\n")
    return replace(pack, places=places)


def align_file(path: Path, config: AlignConfig) -> CodePack:
    """`align` the pack of this file and write it back."""
    pack = align(CodePack.open(path), config)
    pack.save(path)
    return pack


def _fit(recogniser: Recogniser, pack: CodePack, clips: Sequence[CodeClip], config: AlignConfig) -> None:
    codebook_size = pack.codebooks.shape[1]
    optimizer = torch.optim.AdamW(recogniser.parameters(), config.peak_rate, weight_decay=0.01)
    plan = [
        batch
        for number in range(config.passes)
        for batch in group_by_length(clips, config.batch_frames, np.random.default_rng((config.seed, number)))
    ]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.peak_rate, total_steps=max(2, len(plan)), pct_start=0.1
    )
    per_pass = max(1, len(plan) // config.passes)
    recogniser.train()
    total = 0.0
    for number, batch in enumerate(plan, 1):
        codes = _padded(pack, batch, codebook_size)
        codes = codes.masked_fill(torch.rand(codes.shape) < config.code_dropout, codebook_size)
        targets = [spelled(clip.text)[0] for clip in batch]
        sizes = torch.tensor([len(target) for target in targets])
        loss = functional.ctc_loss(
            recogniser(codes).transpose(0, 1),
            torch.from_numpy(np.concatenate(targets)),
            torch.tensor([clip.frames for clip in batch]),
            sizes,
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
        mean = (loss / sizes).mean()
        optimizer.zero_grad()
        mean.backward()
        nn.utils.clip_grad_norm_(recogniser.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += mean.item()
        if number % per_pass == 0:
            sys.stderr.write(f"step {number}/{len(plan)}  {total / per_pass:.3f} nats a letter\n")
            total = 0.0
    recogniser.eval()


def _padded(pack: CodePack, batch: Sequence[CodeClip], hidden: int) -> Tensor:
    codes = np.full((len(batch), max(clip.frames for clip in batch), pack.channels), hidden, np.int64)
    for row, clip in enumerate(batch):
        codes[row, : clip.frames] = pack.clip_codes(clip)
    return torch.from_numpy(codes)
