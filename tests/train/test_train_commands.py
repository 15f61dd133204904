"""The recipe of docs/training.md, command by command, on a corpus of tones: from sound to a checkpoint that speaks."""

import ctypes
import os
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from dia.cli.root import main
from dia.model import Dia
from dia.train.commands import _settings
from tests.train.small import SHAPE, small_books, small_config, small_corpus

QUICK = ["steps=2", "warmup_steps=1", "decay_steps=1"]


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def test_every_command_of_the_recipe_leads_to_the_next(tmp_path: Path, capsys: pytest.CaptureFixture):
    small_books(small_corpus(tmp_path / "sound", clips=12)).save(tmp_path / "books")
    at = {name: str(tmp_path / name) for name in ("sound", "books", "codec", "codes", "nano", "r1", "r2")}
    shape = [f"shape.{name}={list(v) if isinstance(v, tuple) else v}" for name, v in asdict(SHAPE).items()]
    sound, codes = ["--sound", at["sound"]], ["--codes", at["codes"]]
    assert main(["data", "encode", *sound, "--books", at["books"], "-o", at["codes"]]) == 0
    codec = settings(*QUICK, *shape, "batch_size=2", "crop_frames=90", "judge_channels=2", "judge_from=0")
    parts = [*sound, *codes, "--books", at["books"], "--run", at["r1"], "-o", at["codec"]]
    assert main(["train", "codec", *parts, *codec]) == 0
    small = small_config(steps=2)
    sizes = [f"{f.name}={getattr(small, f.name)}" for f in fields(small) if isinstance(getattr(small, f.name), int)]
    quick = settings(*[size.replace("=False", "=false").replace("=True", "=true") for size in sizes])
    assert main(["train", "model", *codes, "--run", at["r2"], *quick]) == 0
    assert main(["train", "export", "--run", at["r2"], "--codec", at["codec"], "-o", at["nano"]]) == 0
    assert "12 clips" in capsys.readouterr().out
    sound_made = Dia.from_pretrained(at["nano"], device="cpu").generate("[S1] Seven and eight.", max_tokens=30)
    assert len(sound_made) % SHAPE.hop_samples == 0


def test_cuda_means_bfloat16_for_a_model_unless_told_otherwise():
    assert _settings(None, "cuda:1", half=True) == ["device=cuda:1", "bfloat16=true"]
    assert _settings(["bfloat16=false"], "cuda", half=True)[-1] == "bfloat16=false"
    assert _settings(["steps=1"], "cpu", prefix="train.", half=True) == ["train.device=cpu", "steps=1"]
    assert _settings(None, None) == []


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's allocator")
def test_training_keeps_the_memory_of_a_step_for_the_next():
    program = (
        "import resource, torch; from dia.memory import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(10): torch.ones(5_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "keep_freed_memory(); faults(); print(faults())"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert int(done.stdout) < 1000  # one tensor is 4,883 pages
