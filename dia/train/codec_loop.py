"""Train a DacModel whose codes are measured: its decoder learns the way back to sound.

Codes never change while this runs, so a model that writes them can be trained beside it. There is no encoder to train:
sound becomes codes by measurement, and the codec's folder holds the codebooks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dia.errors import BadParameter
from dia.measured.books import BOOKS_FILE, Books
from dia.train.books import code_dim, hidden_dim, install
from dia.train.codec_loss import LowBandPhase, MultiScaleMel
from dia.train.codec_net import CodecShape, build_dac, calibrate, export_codec, load_dac, start_weights
from dia.train.discriminator import Discriminator, Judgement, decoder_losses, judge_loss
from dia.train.encoding import tables_hash
from dia.train.frames import FrameSampler, matched_codes
from dia.train.packing import CodePack
from dia.train.run import LATEST, AveragedWeights, learning_rate, load_state, run_training, set_rate
from dia.train.sound import Clip, SoundCorpus

MEL_WINDOWS = (2048, 1024, 512, 256, 128)
MEL_BANDS = (160, 120, 80, 40, 20)


@dataclass(frozen=True)
class CodecTrainConfig:
    """Everything a codec run depends on; crops in frames, of which `edge_frames` at each end are not judged.

    The discriminator comes in at step `judge_from`, and learns alone for `judge_alone_steps` before the decoder listens.
    """

    shape: CodecShape = field(default_factory=CodecShape)
    steps: int = 40_000
    batch_size: int = 6
    crop_frames: int = 44
    edge_frames: int = 4
    peak_rate: float = 6e-4
    warmup_steps: int = 200
    decay_steps: int = 4000
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    mel_weight: float = 15.0
    peak_weight: float = 8.0
    phase_weight: float = 12.0
    adversarial_weight: float = 1.0
    matching_weight: float = 4.0
    judge_channels: int = 16
    judge_rate: float = 5e-4
    judge_from: int = 6000
    judge_alone_steps: int = 50
    seed: int = 1
    log_every: int = 100
    validate_every: int = 1000
    save_every_s: float = 240.0
    threads: int = 2
    device: str = "cpu"
    bfloat16: bool = False
    compiled: bool = False


class CodecTrainer:
    """Decoder, discriminator, their optimisers and the decoder's average."""

    def __init__(self, config: CodecTrainConfig, corpus: SoundCorpus, pack: CodePack, source: Books | Path) -> None:
        """`source`: codebooks of a new codec, or the folder of a finished one.

        Raises:
            CheckpointMismatch: codes of other codebooks or other sound. BadParameter: sample rates or sizes that do
                not fit each other.
        """
        self.config, self.corpus = config, corpus
        self.device = torch.device(config.device)
        self.model = _start(config, source).to(self.device)
        self.hop = math.prod(self.model.config.upsampling_ratios)
        if corpus.sample_rate_hz != self.model.config.sampling_rate:
            raise BadParameter(
                f"the sound is at {corpus.sample_rate_hz} Hz, the codec at {self.model.config.sampling_rate} Hz; "
                "prepare it again"
            )
        tables = torch.stack([book.codebook.weight for book in self.model.quantizer.quantizers])
        self._codes = matched_codes(corpus, pack, tables_hash(tables.detach().cpu().numpy()))
        training, self.held_out = corpus.split()
        self.sampler = FrameSampler(corpus, training, [self._codes[clip] for clip in training], self.hop, config.seed)
        self.model.requires_grad_(False)
        self.decoder = self.model.decoder.requires_grad_(True)
        rate = self.model.config.sampling_rate
        self.distance = MultiScaleMel(rate, MEL_WINDOWS, MEL_BANDS).to(self.device)
        self.low_band = LowBandPhase(rate).to(self.device)
        torch.manual_seed(config.seed)
        self.judge = Discriminator(channels=config.judge_channels).to(self.device)
        self.optimizer = _adam(self.decoder, config.peak_rate)
        self.judge_optimizer = _adam(self.judge, config.judge_rate)
        if isinstance(source, Books):
            self._calibrate()
        self.average = AveragedWeights(self.decoder, config.ema_decay)
        self.done = 0
        self._decode = torch.compile(self.decoder) if config.compiled else self.decoder

    @torch.no_grad()
    def _calibrate(self) -> None:
        codes, _ = self.sampler.batch(1_000_000_000, 8, self.config.crop_frames)
        calibrate(self.decoder, self._hidden(codes.to(self.device)), last_spread=0.05)

    def _hidden(self, codes: Tensor) -> Tensor:
        """What the decoder hears for codes [batch, C, frames]: [batch, width, frames]."""
        hidden: Tensor = self.model.quantizer.from_codes(codes)[0]
        return hidden

    def step(self) -> dict[str, float]:
        """One step of the decoder, and of the discriminator once it is there."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        schedule = {"warmup": config.warmup_steps, "total": config.steps, "decay": config.decay_steps}
        rate = learning_rate(self.done, peak=config.peak_rate, **schedule)
        set_rate(self.optimizer, rate)
        codes, sound = self.sampler.batch(self.done, config.batch_size, config.crop_frames)
        codes, sound = codes.to(self.device), sound.to(self.device)
        with torch.no_grad():
            hidden = self._hidden(codes)
        result = self._decoder_step(hidden, sound)
        self.done += 1
        return result | {"rate": rate}

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16)

    def _decoder_step(self, hidden: Tensor, sound: Tensor) -> dict[str, float]:
        config = self.config
        with self._half():
            estimate = self._decode(hidden)
        edge = config.edge_frames * self.hop
        last = estimate.shape[-1] - edge
        estimate, sound = estimate[:, 0, edge:last].float(), sound[:, edge:last]
        mel, peaks = self.distance(estimate, sound)
        phase = self.low_band(estimate, sound)
        loss = config.mel_weight * mel + config.peak_weight * peaks + config.phase_weight * phase
        parts = {"mel": mel, "peaks": peaks, "phase": phase}
        if self.done >= config.judge_from:
            real, parts["judge"] = self._judge_step(estimate.detach(), sound)
            if self.done >= config.judge_from + config.judge_alone_steps:
                self.judge.requires_grad_(False)
                with self._half():
                    heard = self.judge(estimate)
                adversarial, matching = decoder_losses(real, [one.float() for one in heard])
                self.judge.requires_grad_(True)
                loss = loss + config.adversarial_weight * adversarial + config.matching_weight * matching
                parts |= {"fooled": adversarial, "matching": matching}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), config.clip_norm)
        self.optimizer.step()
        self.average.update(self.decoder)
        return {name: float(value.detach()) for name, value in (parts | {"loss": loss}).items()}

    def _judge_step(self, estimate: Tensor, sound: Tensor) -> tuple[list[Judgement], Tensor]:
        """One step of the discriminator; returns what it made of the real sound, and its loss."""
        with self._half():
            real, fake = self.judge(sound), self.judge(estimate)
        real = [one.float() for one in real]
        judged = judge_loss(real, [one.float() for one in fake])
        self.judge_optimizer.zero_grad(set_to_none=True)
        judged.backward()
        nn.utils.clip_grad_norm_(self.judge.parameters(), self.config.clip_norm)
        self.judge_optimizer.step()
        return [Judgement(one.scores.detach(), tuple(f.detach() for f in one.features)) for one in real], judged

    def extra_report(self) -> dict[str, Any]:
        """Nothing beyond the measurements of the steps."""
        return {}

    @torch.no_grad()
    def validate(self, clips: int = 12) -> dict[str, Any]:
        """Distances of the averaged decoder on held-out clips."""
        chosen = self.held_out[:: max(1, len(self.held_out) // clips)][:clips]
        if not chosen:
            return {}
        sums = torch.zeros(3)
        with self.average.applied(self.decoder):
            for codes, sound in self._whole(chosen):
                estimate = self.decoder(self._hidden(codes))[:, 0]
                wanted = sound[:, : estimate.shape[-1]]
                sums += torch.stack([*self.distance(estimate, wanted), self.low_band(estimate, wanted)]).cpu()
        names = ("val_mel", "val_peaks", "val_phase")
        return {name: float(value) / len(chosen) for name, value in zip(names, sums, strict=True)}

    def _whole(self, clips: tuple[Clip, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        for clip in clips:
            codes = torch.from_numpy(self._codes[clip].T.astype("int64"))[None]
            sound = torch.from_numpy(self.corpus.waveform(clip))[None]
            sound = nn.functional.pad(sound, (0, codes.shape[-1] * self.hop - sound.shape[-1]))
            yield codes.to(self.device), sound.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on as if it had never stopped."""
        return {"config": asdict(self.config), "step": self.done} | {
            name: part.state_dict() for name, part in self._parts().items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.done = int(state["step"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        names = ("model", "judge", "optimizer", "judge_optimizer", "average")
        return {name: getattr(self, name) for name in names}


def _start(config: CodecTrainConfig, source: Books | Path) -> Any:
    if isinstance(source, Path):
        return load_dac(source)
    shape = config.shape
    if (shape.sample_rate_hz, shape.hop_samples) != (source.shape.sample_rate_hz, source.shape.hop_samples):
        raise BadParameter(
            f"the codebooks are of {source.shape.hop_samples} samples a frame at {source.shape.sample_rate_hz} Hz, the "
            f"codec would be of {shape.hop_samples} at {shape.sample_rate_hz} Hz"
        )
    model = build_dac(shape, source.channels, source.shape.codebook_size, code_dim(source), config.seed)
    if model.config.hidden_size < hidden_dim(source):
        raise BadParameter(
            f"a codec of {model.config.hidden_size} hidden channels cannot hold {hidden_dim(source)} values a frame; "
            "raise shape.encoder_hidden"
        )
    start_weights(model)
    install(source, model.quantizer)
    return model


def _adam(module: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.8, 0.99), weight_decay=1e-4)


def train_codec(
    config: CodecTrainConfig,
    sound_dir: Path,
    pack_path: Path,
    source: Path,
    run_dir: Path,
    *,
    resume: bool = True,
    max_minutes: float | None = None,
) -> None:
    """Train until `config.steps` or for `max_minutes`; goes on from the run's latest checkpoint.

    `source` is a file of codebooks (a new codec) or a codec folder (that codec, its codes unchanged).
    """
    torch.set_num_threads(config.threads)
    trainer = CodecTrainer(config, SoundCorpus.open(sound_dir), CodePack.open(pack_path), open_source(source))
    run_training(
        trainer,
        run_dir,
        steps=config.steps,
        log_every=config.log_every,
        validate_every=config.validate_every,
        save_every_s=config.save_every_s,
        device=trainer.device,
        resume=resume,
        max_minutes=max_minutes,
    )


def open_source(source: Path) -> Books | Path:
    """Codebooks of a file, or the folder itself."""
    return source if source.is_dir() else Books.open(source)


def finish_codec(config: CodecTrainConfig, source: Path, run_dir: Path, folder: Path) -> None:
    """Write the codec of a run, with averaged weights, into `folder` (float16), and its codebooks beside it."""
    opened = open_source(source)
    model = _start(config, opened)
    state = load_state(run_dir / LATEST)
    averaged = {f"decoder.{name}": tensor for name, tensor in state["average"]["shadow"].items()}
    books = opened if isinstance(opened, Books) else Books.open(source / BOOKS_FILE)
    export_codec(model, state["model"] | averaged, books, folder)
