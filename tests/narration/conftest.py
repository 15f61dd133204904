"""The tiny real model at 8 kHz, where a second is sixteen frames, and recordings made of tones, noise and silence."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dia.narration.passes import Making

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.sampling import SamplingParams

RATE_HZ = 8_000
SMALL = Making(context_s=1.0, context_bytes=60, retakes=0, target_s=2.0, floor_s=1.0, ceiling_s=3.0)
"""Pieces of about two seconds; the tiny model never ends by itself, so another take would be no better."""

PLAY = """Alice: Good morning, how are you today?
Bob: Very well, thank you for asking. I slept like a stone.
Carl: Me too. [pause:0.5s] Shall we go?
Alice: Yes, let us go now."""


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder whose codec has 15.6 frames a second."""
    from dia.checkpoint import save_model
    from tests.tiny import tiny_codec, tiny_config, tiny_model

    folder = tmp_path_factory.mktemp("narration") / "small"
    save_model(tiny_model(tiny_config(text_length=400, audio_length=256)), folder, "flat")
    tiny_codec(sample_rate_hz=RATE_HZ).save(folder / "codec")
    return folder


@pytest.fixture
def small(small_bundle: Path) -> "Iterator[Dia]":
    """That model, its engine driven inline."""
    from dia.model import Dia

    loaded = Dia.from_pretrained(small_bundle, slots=2)
    yield loaded
    loaded.close()


@pytest.fixture
def params(small: "Dia") -> "SamplingParams":
    """A seed, and passes of 20 frames, which are 1.3 seconds."""
    return small.defaults.updated(seed=5, max_tokens=36)


@pytest.fixture
def speech() -> Callable[..., np.ndarray]:
    """`speech(("say", 1.0), ("silence", 0.3), ("burst", 0.1))`: stretches one after another, float32 [samples]."""

    def speech(*parts: tuple[str, float], rate_hz: int = RATE_HZ) -> np.ndarray:
        levels = {"say": 0.2, "silence": 1e-4, "burst": 0.2, "breath": 0.02, "click": 0.5, "faint": 0.008}
        generator = np.random.default_rng(7)
        made = []
        for kind, seconds in parts:
            times = np.arange(round(seconds * rate_hz)) / rate_hz
            if kind == "say":
                sound = np.sin(2 * np.pi * 180 * times) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * times))
            else:
                sound = generator.standard_normal(len(times)) * 0.5
            made.append(levels[kind] * sound + 1e-4 * generator.standard_normal(len(times)))
        return np.concatenate(made).astype(np.float32)

    return speech
