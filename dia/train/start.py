"""Where a new model starts: scaled random weights, and tables that already know the codec's code vectors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dia.layers import CrossAttention, DiaModel, SelfAttention


@torch.no_grad()
def start_model(model: DiaModel, seed: int, codebooks: np.ndarray | None = None) -> None:
    """Initialise every weight.

    Projections get variance 1/fan-in; those that write to the residual stream are divided by the square root of
    twice the depth (as in GPT-2). Attention has scale 1.0, so queries carry the usual 1/sqrt(width). With
    `codebooks` [C, codes, dim] the rows of audio codes in the embedding and in the head are random projections of
    the codec's code vectors plus noise: codes that sound alike then start alike, which random tables must first learn.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

    for stack in (model.encoder, model.decoder):
        depth = len(stack.layers)
        for name, parameter in stack.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0)
            elif "embedding" in name:
                draw(parameter, 1.0)
            else:
                std = parameter.shape[1] ** -0.5
                draw(
                    parameter,
                    std / math.sqrt(2 * depth) if name.endswith(("o_proj.weight", "down_proj.weight")) else std,
                )
    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.qkv_proj.weight[: module.query_heads * module.head_dim] *= module.head_dim**-0.5
        if isinstance(module, CrossAttention):
            module.q_proj.weight *= module.head_dim**-0.5
    decoder = model.decoder
    width = decoder.embedding.weight.shape[1]
    draw(decoder.embedding.weight, decoder.channels**-0.5)
    draw(decoder.logits_dense.weight, 0.3 * width**-0.5)
    if codebooks is not None:
        _know_codes(decoder.embedding.weight, decoder.logits_dense.weight, codebooks, decoder.vocabulary, generator)


def _know_codes(
    embedding: Tensor, head: Tensor, codebooks: np.ndarray, vocabulary: int, generator: torch.Generator
) -> None:
    channels, codes, dim = codebooks.shape
    width = embedding.shape[1]
    for channel in range(channels):
        vectors = torch.from_numpy(codebooks[channel]).float()
        # Centred first: a constant beside the vectors (see `dia.measured.books.code_tables`) is no part of their spread.
        vectors = vectors - vectors.mean(0)
        vectors = vectors / vectors.std().clamp_min(1e-6)
        # The first book says most of the sound and must be told from the others' sum.
        loudness = 1.0 / (1.0 + channel)
        base = channel * vocabulary
        into = torch.randn(dim, width, generator=generator) * dim**-0.5
        embedding[base : base + codes] *= 0.3
        embedding[base : base + codes] += loudness * (vectors @ into)
        out = torch.randn(dim, width, generator=generator) * (dim * width) ** -0.5
        head[base : base + codes] += 0.5 * vectors @ out
