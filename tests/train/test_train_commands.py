"""The recipe of docs/training.md, command by command, on a corpus of tones: from sound to a checkpoint that speaks."""

from dataclasses import asdict, fields
from pathlib import Path

import pytest

from dia.cli.root import main
from dia.model import Dia
from dia.train.commands import _settings
from tests.train.small import SHAPE, small_config, small_corpus

QUICK = ["steps=2", "warmup_steps=1", "decay_steps=1"]


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def test_every_command_of_the_recipe_leads_to_the_next(tmp_path: Path, capsys: pytest.CaptureFixture):
    small_corpus(tmp_path / "sound", clips=12)
    at = {name: str(tmp_path / name) for name in ("sound", "codec", "better", "codes", "nano", "r1", "r2", "r3")}
    shape = [f"shape.{name}={list(v) if isinstance(v, tuple) else v}" for name, v in asdict(SHAPE).items()]
    sound, codes = ["--sound", at["sound"]], ["--codes", at["codes"]]
    codec = [*settings(*QUICK, *shape, "fuse=false", "batch_size=2", "crop_frames=80"), "-o", at["codec"]]
    assert main(["train", "codec", *sound, "--run", at["r1"], *codec]) == 0
    assert main(["data", "encode", *sound, "--codec", at["codec"], "-o", at["codes"]]) == 0
    polish = settings(*QUICK, "fuse=false", "crop_frames=90", "judge_channels=2", "judge_alone_steps=1")
    parts = [*sound, *codes, "--codec", at["codec"], "--run", at["r2"], "-o", at["better"]]
    assert main(["train", "decoder", *parts, *polish]) == 0
    small = small_config(steps=2)
    sizes = [f"{f.name}={getattr(small, f.name)}" for f in fields(small) if isinstance(getattr(small, f.name), int)]
    quick = settings(*[size.replace("=False", "=false").replace("=True", "=true") for size in sizes])
    assert main(["train", "model", *codes, "--run", at["r3"], *quick]) == 0
    assert main(["train", "export", "--run", at["r3"], "--codec", at["better"], "-o", at["nano"]]) == 0
    assert "12 clips" in capsys.readouterr().out
    sound_made = Dia.from_pretrained(at["nano"], device="cpu").generate("[S1] Seven and eight.", max_tokens=30)
    assert len(sound_made) % SHAPE.hop_samples == 0


def test_cuda_means_bfloat16_for_a_model_unless_told_otherwise():
    assert _settings(None, "cuda:1", half=True) == ["device=cuda:1", "bfloat16=true"]
    assert _settings(["bfloat16=false"], "cuda", half=True)[-1] == "bfloat16=false"
    assert _settings(["steps=1"], "cpu", prefix="train.", half=True) == ["train.device=cpu", "steps=1"]
    assert _settings(None, None) == []
