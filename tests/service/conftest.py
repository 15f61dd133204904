"""A whole service on a temporary folder, with the tone generator as its model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dia.media.encode import encode_audio
from dia.service.build import Service, build
from dia.service.settings import Settings, load_settings
from tests.service.tone import ToneModel

RATE_HZ = 44_100
# Tones run on without a pause, so nothing could be cut away from a short one.
QUIET: dict[str, Any] = {
    "auto_transcribe": False, "auto_discover_prompts": False, "offline": True, "short_text": "plain",
}  # fmt: skip


def make_settings(folder: Path, **changes: Any) -> Settings:
    return load_settings(**{"data_dir": folder, **QUIET, **changes})


def speechlike(duration_s: float, *, sample_rate_hz: int = RATE_HZ, pitch_hz: float = 150.0) -> np.ndarray:
    """Half a second of buzz, 0.1 s of pause, and so on, with a little noise: what the checks take for speech."""
    times = np.arange(round(0.6 * sample_rate_hz)) / sample_rate_hz
    buzz = sum(np.sin(2 * np.pi * pitch_hz * k * times) / k for k in range(1, 40)) * (times < 0.5)
    samples = round(duration_s * sample_rate_hz)
    noise = np.random.default_rng(0).normal(0, 1e-4, samples)
    return (0.15 * np.resize(buzz, samples) + noise).astype(np.float32)


def wav(duration_s: float = 3.0, **changes: Any) -> bytes:
    return encode_audio(speechlike(duration_s, **changes), changes.get("sample_rate_hz", RATE_HZ), "wav")


@pytest.fixture
def model() -> ToneModel:
    return ToneModel()


@pytest.fixture
def make_service(tmp_path: Path, model: ToneModel) -> Iterator[Callable[..., Service]]:
    """Builds and starts services; those still open at the end are closed."""
    made: list[Service] = []

    def make(**changes: Any) -> Service:
        service = build(make_settings(tmp_path / "data", **changes), model=model)
        made.append(service)
        service.start()
        return service

    yield make
    model.gate.open()
    for service in made:
        service.close(0)


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()
