"""Train a small DacModel from decoded sound: encoder, codebooks and decoder together, spectral losses only.

The adversarial part is `dia.train.polish`: it needs the decoder alone, and the codes stay what they are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dia.train.codec_loss import MultiScaleMel
from dia.train.codec_net import CodecShape, build_dac, calibrate, export_codec, fuse_snakes, load_dac
from dia.train.quantise import CodebookTrainer
from dia.train.run import LATEST, AveragedWeights, learning_rate, load_state, run_training, set_rate
from dia.train.sound import CropSampler, SoundCorpus

MEL_WINDOWS = (2048, 1024, 512, 256, 128)
MEL_BANDS = (160, 120, 80, 40, 20)


@dataclass(frozen=True)
class CodecTrainConfig:
    """Everything a codec run depends on; `crop_frames` counts frames of the codec, `save_every_s` seconds.

    `waveform_weight` is 0 because a frame of 32 ms does not say in which phase a harmonic stands: the distance of
    waveforms then only rewards playing harmonics softly.
    """

    shape: CodecShape = field(default_factory=CodecShape)
    steps: int = 20_000
    batch_size: int = 6
    crop_frames: int = 20
    peak_rate: float = 4e-4
    warmup_steps: int = 100
    decay_steps: int = 4000
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    mel_weight: float = 15.0
    peak_weight: float = 8.0
    waveform_weight: float = 0.0
    commitment_weight: float = 0.5
    book_dropout: float = 0.25
    quantise_after: int = 200
    seed: int = 1
    log_every: int = 25
    validate_every: int = 500
    save_every_s: float = 240.0
    threads: int = 2
    device: str = "cpu"
    fuse: bool = True


class CodecTrainer:
    """Model, codebooks, optimiser and averages of one run."""

    def __init__(self, config: CodecTrainConfig, corpus: SoundCorpus, start: Path | None = None) -> None:
        """`start` is a codec folder of the same shape whose weights are taken instead of random ones."""
        self.config, self.corpus = config, corpus
        self.device = torch.device(config.device)
        self.hop = config.shape.hop_samples
        self.model = build_dac(config.shape, config.seed).to(self.device)
        self.books = CodebookTrainer(self.model.quantizer).to(self.device)
        training, self.held_out = corpus.split()
        self.sampler = CropSampler(corpus, training, config.crop_frames * self.hop, config.seed)
        self.started = start is not None
        if start is None:
            calibrate(self.model, torch.from_numpy(self.sampler.batch(0, 16)).to(self.device))
        else:
            self.model.load_state_dict(load_dac(start).state_dict())
            frames = config.batch_size * config.crop_frames
            self.books.adopt(self.model.quantizer, frames / config.shape.codebook_size)
        self.distance = MultiScaleMel(config.shape.sample_rate_hz, MEL_WINDOWS, MEL_BANDS).to(self.device)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.peak_rate, betas=(0.8, 0.99), weight_decay=1e-4)
        self.average = AveragedWeights(self.model, config.ema_decay)
        self.done = 0
        if config.fuse:
            fuse_snakes(self.model)

    def step(self) -> dict[str, Any]:
        """One optimiser step; returns its measurements."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        schedule = {"warmup": config.warmup_steps, "total": config.steps, "decay": config.decay_steps}
        rate = learning_rate(self.done, peak=config.peak_rate, **schedule)
        set_rate(self.optimizer, rate)
        sound = torch.from_numpy(self.sampler.batch(self.done, config.batch_size)).to(self.device)
        self.books.train()
        hidden = self.model.encoder(sound)
        through = self.done < config.quantise_after and not self.started
        kept = self._kept_books(len(sound)).to(self.device)
        quantised = self.books.quantise(self.model.quantizer, hidden, kept_books=kept, through=through)
        estimate = self.model.decoder(quantised.hidden)[:, 0]
        target = sound[:, 0, : estimate.shape[-1]]
        mel, peaks = self.distance(estimate, target)
        wave = (estimate - target).abs().mean()
        loss = config.mel_weight * mel + config.peak_weight * peaks + config.waveform_weight * wave
        if not through:
            loss = loss + config.commitment_weight * quantised.commitment
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        self.optimizer.step()
        self.average.update(self.model)
        self.done += 1
        measured = {
            "loss": loss,
            "mel": mel,
            "peaks": peaks,
            "wave": wave,
            "commit": quantised.commitment,
            "grad": norm,
        }
        return {name: float(value.detach()) for name, value in measured.items()} | {"rate": rate}

    def _kept_books(self, count: int) -> Tensor:
        """How many codebooks each item uses: mostly all, some fewer (quantiser dropout of SoundStream)."""
        books = self.config.shape.codebooks
        fewer = torch.rand(count) < self.config.book_dropout
        return torch.where(fewer, torch.randint(1, books + 1, (count,)), torch.full((count,), books))

    def extra_report(self) -> dict[str, Any]:
        """Effective number of codes in use, per codebook."""
        perplexity = self.books.perplexity()
        return {"perplexity": [round(value) for value in perplexity], "least_used": min(perplexity)}

    @torch.no_grad()
    def validate(self, clips: int = 12) -> dict[str, float]:
        """Distances of the averaged weights on held-out clips, with all codebooks."""
        self.books.eval()
        mel = peaks = 0.0
        chosen = self.held_out[:: max(1, len(self.held_out) // clips)][:clips]
        with self.average.applied(self.model):
            for clip in chosen:
                sound = torch.from_numpy(self.corpus.waveform(clip)).to(self.device)
                sound = sound[: len(sound) // self.hop * self.hop][None]
                hidden = self.books.quantise(self.model.quantizer, self.model.encoder(sound[:, None])).hidden
                estimate = self.model.decoder(hidden)[:, 0]
                measured = self.distance(estimate, sound)
                mel, peaks = mel + float(measured[0]), peaks + float(measured[1])
        return {"val_mel": mel / len(chosen), "val_peaks": peaks / len(chosen)} if chosen else {}

    @torch.no_grad()
    def settle(self, batches: int) -> None:
        """Put the averaged weights in and let the codebooks alone follow for some batches.

        Averages of codebooks whose unused codes jumped are no good codebooks for the averaged encoder.
        """
        self.model.load_state_dict(self.average.shadow)
        self.books.train()
        for number in range(batches):
            torch.manual_seed(number)
            sound = torch.from_numpy(self.sampler.batch(1_000_000_000 + number, 4 * self.config.batch_size))
            self.books.quantise(self.model.quantizer, self.model.encoder(sound.to(self.device)))

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on as if it had never stopped."""
        return {
            "config": asdict(self.config),
            "step": self.done,
            "model": self.model.state_dict(),
            "books": self.books.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.done = int(state["step"])
        self.model.load_state_dict(state["model"])
        self.books.load_state_dict(state["books"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])


def train_codec(
    config: CodecTrainConfig,
    sound_dir: Path,
    run_dir: Path,
    *,
    start: Path | None = None,
    resume: bool = True,
    max_minutes: float | None = None,
) -> None:
    """Train until `config.steps` or for `max_minutes`; goes on from the run's latest checkpoint.

    `start`: a codec folder to begin a new run from, where no checkpoint of the run is at hand any more.
    """
    torch.set_num_threads(config.threads)
    trainer = CodecTrainer(config, SoundCorpus.open(sound_dir), start)
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


def finish_codec(
    config: CodecTrainConfig, sound_dir: Path, run_dir: Path, folder: Path, *, settle_batches: int = 100
) -> None:
    """Export a run's averaged weights as a codec folder (float16), its codebooks settled on the averaged encoder."""
    torch.set_num_threads(config.threads)
    trainer = CodecTrainer(config, SoundCorpus.open(sound_dir))
    trainer.load_state_dict(load_state(run_dir / LATEST, trainer.device))
    trainer.settle(settle_batches)
    export_codec(trainer.model, trainer.model.state_dict(), folder)
