"""Shared by all tests: one torch thread, offline hubs, no progress bars, the tiny model and its checkpoint folder."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dia.model import Dia

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_shipped_prompts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Built-in voices have seeds only, so that tests do not depend on what the shipped prompts are."""
    from dia.service import bundled

    bundled.FOLDER = tmp_path_factory.getbasetemp() / "no shipped prompts"


@pytest.fixture(scope="session")
def golden() -> Path:
    """What the published implementations compute; see README.md there."""
    return GOLDEN


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of the tiny model with its codec."""
    from tests.tiny import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def dia(bundle: Path) -> "Iterator[Dia]":
    """The tiny model, its engine driven inline."""
    from dia.model import Dia

    loaded = Dia.from_pretrained(bundle, slots=4)
    yield loaded
    loaded.close()
