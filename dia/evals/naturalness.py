"""The judge of naturalness: DistillMOS (MIT), a mean opinion score from 1 to 5 predicted from the sound alone."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

from dia.evals.packages import PackageFile, check_installed, verified

__all__ = ["MODULES", "Naturalness", "load_naturalness"]

MODULES = ("distillmos", "xls_r_sqa")
SAMPLE_RATE_HZ = 16_000

_WEIGHTS = PackageFile(
    "distillmos",
    "weights/distill_mos_v7.pt",
    "b18b3ac60227267cfb91e5d00ce22cc7b73716fd92f269484da1446e27031a40",
)


class Naturalness:
    """A loaded predictor."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def score(self, waveform: np.ndarray) -> float:
        """1 (bad) to 5 (excellent) for float32 [samples] at 16 kHz. Silence gets about 1.4, a fluent mumble up to 3."""
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))[None]
            return float(self._model(batch).reshape(-1)[0])


def load_naturalness() -> Naturalness:
    """The predictor with its published weights.

    Raises:
        MissingExtra: a package is not installed. CheckpointMismatch: its weights are not the expected ones.
    """
    check_installed(MODULES)
    verified(_WEIGHTS)
    # The package prints where its weights lie.
    with _torchaudio_stand_in(), contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module("distillmos")
        model = module.ConvTransformerSQAModel()
    return Naturalness(model.eval().requires_grad_(False))


@contextlib.contextmanager
def _torchaudio_stand_in() -> Iterator[None]:
    """An empty torchaudio where none is installed: the package imports it only for its command line.

    It is taken away again, so that nobody else believes torchaudio to be here.
    """
    if importlib.util.find_spec("torchaudio") is not None:
        yield
        return
    sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        yield
    finally:
        del sys.modules["torchaudio"]
