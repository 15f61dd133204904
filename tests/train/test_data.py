"""Preparing a corpus: manifests, checks, reports; and fine-tuning from a folder of clips."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dia.adapters import load_adapter
from dia.checkpoint import load_model, read_config, read_json, save_model
from dia.cli.root import main
from dia.device import Placement
from dia.errors import BadInput, BadParameter, CheckpointMismatch, CodecUnavailable
from dia.media.encode import write_audio
from dia.media.read import read_audio
from dia.train.encoding import prepare_codes
from dia.train.finetune import FinetuneConfig, finetune
from dia.train.lora import LoraConfig
from dia.train.manifest import ClipLimits, clip_problem, folder_manifest, read_manifest
from dia.train.packing import CodePack
from dia.train.prepare import prepare_sound
from dia.train.settings import override
from dia.train.sound import SoundCorpus, is_held_out
from tests.tiny import tiny_codec, tiny_config, tiny_model
from tests.train.small import small_config

RATE = 16_000


def tone(seconds: float, level: float = 0.2) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 200 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "waveform", "problem"),
    [
        ("A sentence of some words.", tone(2), None),
        ("  ", tone(2), "no text"),
        ("[S1] Tagged already.", tone(2), "speaker tags in a single sentence"),
        ("Hi.", tone(0.1), "shorter than 0.4 s"),
        ("A long one." * 20, tone(31), "longer than 30.0 s"),
        ("A quiet sentence.", tone(1, 0.001), "silent"),
        ("A loud sentence here.", np.clip(tone(1, 5.0), -1, 1), "clipped"),
        ("Hi.", tone(5), "pace outside 4 to 30 characters a second"),
        ("A sentence spoken much too fast for anyone.", tone(1), "pace outside 4 to 30 characters a second"),
        ("word " * 100, tone(20), "text longer than 400 bytes"),
    ],
)
def test_a_clip_is_checked(text, waveform, problem):
    assert clip_problem(text, waveform, RATE, ClipLimits()) == problem


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One long file with three utterances, one clip of its own, one that must be left out."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_audio(folder / "long.flac", np.concatenate([tone(1), tone(2, 0.4), tone(1.5)]), RATE)
    write_audio(folder / "own.wav", tone(1.2), RATE)
    rows = [
        {"file": "long.flac", "voice": "ann", "start": 0.0, "duration": 1.0, "text": "The first one."},
        {"file": "long.flac", "voice": "ann", "start": 1.0, "duration": 2.0, "text": "And here the second one."},
        {"file": "long.flac", "voice": "ann", "start": 3.0, "duration": 1.5, "text": "x"},
        {"audio": "own.wav", "speaker": "bob", "text": "A file of its own."},
    ]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return folder


def test_a_manifest_becomes_sound_and_a_report(corpus: Path, tmp_path: Path):
    report = prepare_sound(corpus / "manifest.jsonl", tmp_path / "sound", 8000, ClipLimits())
    assert (report.utterances, report.kept) == (4, 3)
    assert report.left_out == {"pace outside 4 to 30 characters a second": 1}
    assert report.minutes == pytest.approx(4.2 / 60, rel=0.01)
    assert json.loads((tmp_path / "sound" / "report.json").read_text())["kept"] == 3
    assert any("left out: 1 pace" in line for line in report.lines())
    opened = SoundCorpus.open(tmp_path / "sound")
    assert [clip.samples for clip in opened.clips] == [8000, 16000, 9600]
    assert opened.waveform(opened.clips[1]).max() == pytest.approx(0.4, abs=0.02)


def test_every_clip_that_is_learnt_is_there_at_other_speeds_too(corpus: Path, tmp_path: Path):
    report = prepare_sound(corpus, tmp_path / "sound", RATE, ClipLimits(), speeds=(0.8, 1.25))
    opened = SoundCorpus.open(tmp_path / "sound")
    assert (report.kept, round(report.minutes * 60, 1)) == (3, 4.2)
    assert report.held_out == 0
    assert [clip.voice for clip in opened.clips[:3]] == ["ann", "ann@0.8", "ann@1.25"]
    assert [clip.samples for clip in opened.clips[:3]] == [16_000, 20_000, 12_800]
    loudest = [np.abs(np.fft.rfft(opened.waveform(clip))).argmax() * RATE / clip.samples for clip in opened.clips[:3]]
    assert loudest == pytest.approx([200, 160, 250], abs=1)


def test_held_out_clips_have_no_other_speeds(corpus: Path, tmp_path: Path):
    kept_out = next(text for text in (f"Sentence number {number}." for number in range(999)) if is_held_out(text))
    row = {"file": "own.wav", "speaker": "bob", "text": kept_out}
    (corpus / "manifest.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert prepare_sound(corpus, tmp_path / "sound", RATE, ClipLimits(), speeds=(0.9,)).held_out == 1
    assert [clip.voice for clip in SoundCorpus.open(tmp_path / "sound").clips] == ["bob"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 1"),
        ('{"text": "no file"}', "line 1"),
        ('{"file": "a.wav", "text": "x", "start": -1}', "line 1"),
        ("", "no utterance"),
    ],
)
def test_a_broken_manifest_names_its_line(tmp_path: Path, line: str, message: str):
    path = tmp_path / "manifest.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        read_manifest(path)


def test_an_utterance_behind_the_end_of_its_file_is_an_error(corpus: Path, tmp_path: Path):
    row = {"file": "own.wav", "start": 1.0, "duration": 5.0, "text": "Behind the end."}
    (corpus / "manifest.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(BadInput, match="1.20 s long"):
        prepare_sound(corpus, tmp_path / "sound", RATE, ClipLimits())


def test_a_folder_of_clips_needs_a_transcript_for_each(tmp_path: Path):
    write_audio(tmp_path / "a.wav", tone(1), RATE)
    with pytest.raises(BadInput, match=r"a\.wav"):
        folder_manifest(tmp_path)
    (tmp_path / "a.txt").write_text("Now it has one.\n", encoding="utf-8")
    assert [row.text for row in folder_manifest(tmp_path)] == ["Now it has one."]


def test_sound_at_another_rate_than_the_codecs_is_refused(corpus: Path, tmp_path: Path):
    prepare_sound(corpus, tmp_path / "sound", 8000, ClipLimits())
    tiny_codec(sample_rate_hz=RATE).save(tmp_path / "codec")
    with pytest.raises(BadParameter, match="8000 Hz"):
        prepare_codes(tmp_path / "sound", tmp_path / "codec", tmp_path / "codes")


def test_the_command_prepares_a_folder_and_encodes_it(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    tiny_codec(sample_rate_hz=RATE).save(tmp_path / "codec")
    out = tmp_path / "out"
    assert main(["data", "prepare", str(corpus), "-o", str(out), "--codec", str(tmp_path / "codec")]) == 0
    assert "3 of 4 utterances kept" in capsys.readouterr().out
    assert len(CodePack.open(out / "codes.safetensors").clips) == 3


def checkpoint_in(folder: Path) -> Path:
    save_model(tiny_model(tiny_config()), folder, "flat")
    tiny_codec(sample_rate_hz=RATE).save(folder / "codec")
    return folder


@pytest.mark.parametrize("lora", [LoraConfig(rank=2), None])
def test_a_checkpoint_is_adapted_to_clips(corpus: Path, tmp_path: Path, lora: LoraConfig | None):
    folder = checkpoint_in(tmp_path / "base")
    training = small_config(steps=2, peak_rate=1e-2, guide_start=0.0, guide_end=0.0, single_passes=0)
    result = finetune(FinetuneConfig(training, lora), str(folder), corpus, tmp_path / "run")
    placement = Placement(torch.device("cpu"), torch.float32)
    config = read_config(read_json(folder / "config.json"))
    base = load_model(config, [folder / "model.safetensors"], placement)
    text, rows = torch.tensor([[1, 65, 66, 1]]), torch.full((1, 2, 9), 1026)
    before = base(text, rows)
    if lora is None:
        adapted = load_model(config, [result / "model.safetensors"], placement)
        assert (result / "codec" / "model.safetensors").is_file()
    else:
        adapted = load_model(config, [folder / "model.safetensors"], placement, load_adapter(result))
    assert not torch.allclose(adapted(text, rows), before, atol=1e-4)


def test_what_was_learnt_from_clips_is_spoken_with(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """As docs/training.md shows it: `dia finetune`, then `dia say --adapter`."""
    folder, run = checkpoint_in(tmp_path / "base"), tmp_path / "run"
    quick = ["train.steps=2", "train.peak_rate=0.01", "train.batch_rows=300", "train.warmup_steps=1", "lora.rank=2"]
    settings = [word for value in quick for word in ("--set", value)]
    assert main(["finetune", str(corpus), "--run", str(run), "--model", str(folder), *settings]) == 0
    adapter = capsys.readouterr().out.strip().splitlines()[-1]
    assert Path(adapter) == run / "adapter.safetensors"
    written = load_adapter(adapter)
    Path(adapter).unlink()
    assert main(["finetune", str(corpus), "--run", str(run), "--model", str(folder), *settings]) == 0
    assert load_adapter(adapter) == written, "a run that has ended writes its adapter anew without training"
    capsys.readouterr()
    say = ["say", "[S1] Hello.", "--model", str(folder), "--seed", "1", "--max-tokens", "40", "--one-pass", "-q"]
    assert main([*say, "-o", str(tmp_path / "base.wav")]) == 0
    assert main([*say, "-o", str(tmp_path / "mine.wav"), "--adapter", adapter]) == 0
    sounds = [read_audio(tmp_path / name, sample_rate_hz=RATE) for name in ("base.wav", "mine.wav")]
    assert all(len(sound) for sound in sounds) and not np.array_equal(*sounds)


def test_fine_tuning_refuses_codes_that_another_codec_left_in_its_run(corpus: Path, tmp_path: Path):
    folder = checkpoint_in(tmp_path / "base")
    tiny_codec(seed=9, sample_rate_hz=RATE).save(tmp_path / "other")
    assert main(["data", "prepare", str(corpus), "-o", str(tmp_path / "run"), "--codec", str(tmp_path / "other")]) == 0
    with pytest.raises(CheckpointMismatch, match="another codec"):
        finetune(FinetuneConfig(small_config()), str(folder), corpus, tmp_path / "run")


def test_fine_tuning_says_when_the_codec_is_missing(corpus: Path, tmp_path: Path):
    save_model(tiny_model(), tmp_path / "bare", "flat")
    with pytest.raises(CodecUnavailable):
        finetune(FinetuneConfig(), str(tmp_path / "bare"), corpus, tmp_path / "run")


def test_fine_tuning_learns_no_guidance_that_the_checkpoint_could_not_tell(bundle: Path, tmp_path: Path):
    with pytest.raises(BadParameter, match=r"learnt_guidance is 1\.2, the checkpoint's 0"):
        finetune(FinetuneConfig(small_config(learnt_guidance=1.2)), str(bundle), tmp_path, tmp_path / "run")


def test_settings_reach_every_field_and_refuse_what_is_wrong():
    config = FinetuneConfig(train=small_config())
    changed = override(config, ["train.steps=9", "train.peak_rate=1", 'lora.targets=["o_proj"]', "train.device=cuda"])
    assert changed.train == replace(config.train, steps=9, peak_rate=1.0, device="cuda")
    assert changed.lora == LoraConfig(targets=("o_proj",))
    for wrong in ("train.steps", "train.nothing=1", "train.steps=many", "train.steps.deeper=1"):
        with pytest.raises(BadParameter):
            override(config, [wrong])
