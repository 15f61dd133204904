"""Adapt an existing checkpoint to recordings: all its weights, or a small adapter beside them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from dia import hub
from dia.adapters import save_adapter
from dia.checkpoint import read_json, save_model
from dia.config import DiaConfig
from dia.errors import BadParameter, CheckpointMismatch, CodecUnavailable
from dia.layers import DiaModel
from dia.train.encoding import codec_hash, prepare_codes
from dia.train.follow import follow
from dia.train.lora import LoraConfig, attach, finished
from dia.train.manifest import ClipLimits
from dia.train.model_loop import ModelTrainConfig, ModelTrainer, drive, trainable_model
from dia.train.packing import CodePack
from dia.train.prepare import Report, prepare_sound
from dia.train.run import LATEST, load_state

ADAPTER = "adapter.safetensors"


def _gentle() -> ModelTrainConfig:
    return ModelTrainConfig(
        steps=1000,
        batch_rows=1600,
        peak_rate=1e-4,
        warmup_steps=50,
        decay_steps=500,
        guide_start=0.0,
        guide_end=0.0,
        code_noise=0.0,
        passage_noise=0.0,
        channel_weights=(4.0, 2.0, 1.5, 1.25, 1.0, 1.0, 1.0, 1.0, 1.0),
        single_passes=0,
        ema_decay=0.99,
    )


@dataclass(frozen=True)
class FinetuneConfig:
    """`lora` None trains all weights. Sizes of the architecture in `train` are ignored: the checkpoint has its own."""

    train: ModelTrainConfig = field(default_factory=_gentle)
    lora: LoraConfig | None = field(default_factory=LoraConfig)
    limits: ClipLimits = field(default_factory=ClipLimits)


def prepare_clips(clips: Path, codec_dir: Path, run_dir: Path, limits: ClipLimits) -> Report:
    """Decode and encode a folder of clips with transcripts (or a manifest) into `run_dir`."""
    rate = int(read_json(codec_dir / "config.json")["sampling_rate"])
    report = prepare_sound(clips, run_dir / "sound", rate, limits)
    prepare_codes(run_dir / "sound", codec_dir, run_dir / "codes.safetensors")
    return report


def find_checkpoint(checkpoint: str) -> tuple[DiaConfig, hub.Source, Path]:
    """Configuration, files and codec folder of a checkpoint on this machine.

    Raises:
        CheckpointNotFound: no such checkpoint. CodecUnavailable: it brings no codec folder.
    """
    source = hub.find(checkpoint, offline=True)
    if source.codec is None:
        raise CodecUnavailable(f"{source.name} has no codec folder; put the codec into {source.name}/codec")
    return DiaConfig.load(source.config), source, source.codec


def finetune(
    config: FinetuneConfig,
    checkpoint: str,
    clips: Path,
    run_dir: Path,
    *,
    resume: bool = True,
    max_minutes: float | None = None,
) -> Path:
    """Adapt `checkpoint` to `clips`; returns the adapter's file, or the folder of the new checkpoint.

    Raises:
        BadInput: unreadable clips or manifest. CheckpointNotFound, CodecUnavailable: see `find_checkpoint`.
        BadParameter: other guidance is to be learnt than the checkpoint has.
    """
    architecture, source, codec_dir = find_checkpoint(checkpoint)
    if config.train.learnt_guidance not in (0.0, architecture.learnt_guidance):
        raise BadParameter(
            f"learnt_guidance is {config.train.learnt_guidance:g}, the checkpoint's {architecture.learnt_guidance:g}; it "
            "stays in fine-tuning: leave it out, or use dia train model --start"
        )
    if not (run_dir / "codes.safetensors").is_file():
        prepare_clips(clips, codec_dir, run_dir, config.limits)
    pack = CodePack.open(run_dir / "codes.safetensors")
    if pack.codec_hash != codec_hash(codec_dir):
        raise CheckpointMismatch(
            f"{run_dir.name} holds codes of another codec than {checkpoint} uses; choose another run folder"
        )
    if pack.channels != architecture.data.channels:
        raise CheckpointMismatch(f"the codec has {pack.channels} codebooks, the model {architecture.data.channels}")
    model = trainable_model(source, config.train.device)
    if architecture.model.pointer is not None and pack.places is None:
        pack = follow(model, pack)
    pairs = None if config.lora is None else attach(model, config.lora, config.train.seed)
    trainer = ModelTrainer(_fitted(config.train, architecture), pack, model, pairs)
    drive(trainer, run_dir, resume=resume, max_minutes=max_minutes)
    return _finish(config, model, codec_dir, run_dir)


def _fitted(config: ModelTrainConfig, architecture: DiaConfig) -> ModelTrainConfig:
    heads = architecture.model.decoder.cross_query_heads
    return replace(config, guided_heads=min(config.guided_heads, heads))


def _finish(config: FinetuneConfig, model: DiaModel, codec_dir: Path, run_dir: Path) -> Path:
    shadow = load_state(run_dir / LATEST)["average"]["shadow"]
    if config.lora is not None:
        save_adapter(finished(config.lora, model, shadow, ADAPTER), run_dir / ADAPTER)
        return run_dir / ADAPTER
    whole = DiaModel(model.config)
    whole.load_state_dict(shadow)
    folder = run_dir / "checkpoint"
    save_model(whole, folder, "flat", torch.float16)
    shutil.copytree(codec_dir, folder / "codec", dirs_exist_ok=True)
    return folder
