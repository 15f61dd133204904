"""Sounds that the media tests share: tones, a voice-like glide, and how far two waveforms are apart."""

import struct

import numpy as np

RATE = 44_100


def tone(duration_s: float = 1.0, frequency_hz: float = 440.0, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    t = np.arange(round(rate * duration_s)) / rate
    return (level * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


def voice(duration_s: float = 2.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A gliding pulse train with a syllable rhythm and pauses: 90 to 150 Hz, harmonics to about 10 kHz."""
    t = np.arange(round(rate * duration_s)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 1.3 * t)) / rate
    harmonics = sum(np.sin(k * phase) / k**0.7 for k in range(1, 64))
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * t) + 0.4, 0.0, 1.0)
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.06 * harmonics * syllables + 1e-4 * noise).astype(np.float32)


def snr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    """Signal to error in dB over the shorter length."""
    n = min(len(wanted), len(got))
    error = np.sum((got[:n].astype(np.float64) - wanted[:n]) ** 2)
    return float(10 * np.log10(np.sum(wanted[:n].astype(np.float64) ** 2) / max(error, 1e-30)))


def riff(
    data: bytes,
    *,
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    claimed_bytes: int | None = None,
) -> bytes:
    """A WAV with whatever head a test wants to claim."""
    align = max(1, channels * bits // 8) & 0xFFFF
    size = len(data) if claimed_bytes is None else claimed_bytes
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    head = b"RIFF" + struct.pack("<I", 36 + size & 0xFFFFFFFF) + b"WAVE"
    return head + b"fmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size) + data
