"""Mel filters."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mel_filters(sample_rate_hz: int, window: int, bands: int) -> Tensor:
    """Triangular mel filters [bands, window // 2 + 1], each normalised to unit sum (HTK mel scale)."""
    top = 2595.0 * math.log10(1.0 + sample_rate_hz / 2 / 700.0)
    points = 700.0 * (10.0 ** (torch.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    bins = torch.linspace(0.0, sample_rate_hz / 2, window // 2 + 1)
    # Narrow low bands of a short window would hold no bin at all: widen each to at least one bin spacing.
    spacing = sample_rate_hz / window
    low = torch.minimum(points[:-2], points[1:-1] - spacing)
    high = torch.maximum(points[2:], points[1:-1] + spacing)
    rising = (bins[None] - low[:, None]) / (points[1:-1] - low)[:, None]
    falling = (high[:, None] - bins[None]) / (high - points[1:-1])[:, None]
    filters = torch.minimum(rising, falling).clamp_min(0.0)
    return filters / filters.sum(1, keepdim=True)
