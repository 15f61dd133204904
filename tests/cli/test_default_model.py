"""What `auto` stands for, on machines of several kinds. The hub is never asked here: its cache is a folder made by hand."""

import shutil
from pathlib import Path

import pytest
import torch

from dia import hub
from dia.device import Placement
from dia.errors import CheckpointNotFound

CPU = Placement(torch.device("cpu"), torch.float32)
GPU = Placement(torch.device("cuda", 0), torch.bfloat16)


@pytest.fixture
def cached(monkeypatch, tmp_path, bundle):
    """Puts a checkpoint under the published name into an empty hub cache; the bundle stands in for its files."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def fill() -> None:
        folder = cache / "models--nari-labs--Dia-1.6B"
        shutil.copytree(bundle, folder / "snapshots" / "abc")
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")

    return fill


@pytest.fixture
def gpu_memory(monkeypatch):
    """Lets a CUDA device have so many free bytes."""
    return lambda size: monkeypatch.setattr(hub, "free_memory_bytes", lambda device: size)


def test_an_accelerator_gets_the_published_model(cached, gpu_memory, bundle):
    cached()
    gpu_memory(24_000_000_000)
    chosen = hub.choose_default(GPU, bundled=bundle)
    assert chosen.model == hub.DEFAULT_MODEL and chosen.reason == "cuda is here"


def test_a_small_accelerator_gets_the_bundled_model(cached, gpu_memory, bundle):
    cached()
    gpu_memory(4_000_000_000)
    chosen = hub.choose_default(GPU, bundled=bundle)
    assert Path(chosen.model) == bundle and "too little free memory" in chosen.reason


def test_an_accelerator_without_a_network_gets_the_bundled_model(cached, gpu_memory, bundle):
    gpu_memory(24_000_000_000)
    chosen = hub.choose_default(GPU, offline=True, bundled=bundle)
    assert Path(chosen.model) == bundle and "not in the local cache" in chosen.reason


def test_a_cpu_gets_the_bundled_model_even_if_the_big_one_is_here(cached, bundle):
    cached()
    assert Path(hub.choose_default(CPU, bundled=bundle).model) == bundle


def test_a_cpu_without_a_bundled_model_takes_what_is_here_and_says_it_is_slow(cached, tmp_path):
    cached()
    chosen = hub.choose_default(CPU, bundled=tmp_path / "none")
    assert chosen.model == hub.DEFAULT_MODEL and "slow" in chosen.reason


def test_nothing_at_all_is_an_error_that_names_what_to_fetch(cached, tmp_path):
    with pytest.raises(CheckpointNotFound, match="dia download"):
        hub.choose_default(CPU, bundled=tmp_path / "none")


def test_say_tells_which_model_it_chose_and_how_to_change_it(type_in, bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(hub.choose_default, "__kwdefaults__", {"offline": False, "bundled": bundle})
    answer = type_in("say", "Hello.", "-o", tmp_path / "a.wav", "--max-tokens", 30, "--device", "cpu")
    assert answer.code == 0, answer.err
    line = answer.err.splitlines()[0]
    assert line.startswith("model: tiny (the bundled small model, for this machine has no accelerator)")
    assert "--model NAME takes another" in line


def test_the_python_api_takes_auto_too(bundle, monkeypatch):
    from dia.model import Dia

    monkeypatch.setattr(hub.choose_default, "__kwdefaults__", {"offline": False, "bundled": bundle})
    dia = Dia.from_pretrained("auto", device="cpu", slots=1)
    assert dia.name == bundle.name
    dia.close()
