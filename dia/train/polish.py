"""Train a finished codec's decoder further while its codes stay what they are: spectral and adversarial losses.

Codes do not change, so a model trained on them stays valid and both can be trained side by side; without the encoder a
step costs half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dia.errors import CheckpointMismatch
from dia.train.codec_loop import MEL_BANDS, MEL_WINDOWS
from dia.train.codec_loss import MultiScaleMel
from dia.train.codec_net import export_codec, fuse_snakes, load_dac
from dia.train.discriminator import Discriminator, Judgement, decoder_losses, judge_loss
from dia.train.encoding import codec_hash
from dia.train.packing import CodePack
from dia.train.run import LATEST, AveragedWeights, learning_rate, load_state, run_training, set_rate
from dia.train.sound import Clip, SoundCorpus


@dataclass(frozen=True)
class PolishConfig:
    """Everything that training the decoder alone depends on; crops in frames, of which `context` at each end are not judged.

    The discriminator comes in at step `judge_from`, and learns alone for `judge_alone_steps` before the decoder listens.
    """

    steps: int = 6000
    batch_size: int = 5
    crop_frames: int = 24
    context_frames: int = 4
    peak_rate: float = 5e-4
    warmup_steps: int = 50
    decay_steps: int = 1500
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    mel_weight: float = 15.0
    peak_weight: float = 8.0
    waveform_weight: float = 0.0
    adversarial_weight: float = 1.0
    matching_weight: float = 4.0
    judge_channels: int = 16
    judge_rate: float = 5e-4
    judge_from: int = 0
    judge_alone_steps: int = 50
    seed: int = 1
    log_every: int = 25
    validate_every: int = 500
    save_every_s: float = 240.0
    threads: int = 1
    device: str = "cpu"
    fuse: bool = True


class FrameSampler:
    """Random stretches of whole frames: codes and the sound they stand for; batch n is a pure function of (seed, n)."""

    def __init__(
        self, corpus: SoundCorpus, clips: Sequence[Clip], codes: Sequence[np.ndarray], hop: int, seed: int
    ) -> None:
        self._corpus, self._hop, self._seed = corpus, hop, seed
        self._clips, self._codes = clips, codes
        lengths = np.array([len(grid) for grid in codes], dtype=np.float64)
        totals: dict[str, float] = {}
        for clip, length in zip(clips, lengths, strict=True):
            totals[clip.voice] = totals.get(clip.voice, 0.0) + length
        # Voices by the square root of their sound, clips of a voice by length.
        odds = np.array([length / totals[clip.voice] ** 0.5 for clip, length in zip(clips, lengths, strict=True)])
        self._odds = odds / odds.sum()

    def batch(self, step: int, size: int, frames: int) -> tuple[Tensor, Tensor]:
        """Codes int64 [size, C, frames] and sound float32 [size, frames * hop]."""
        rng = np.random.default_rng((self._seed, step))
        grids, sounds = [], []
        for place in rng.choice(len(self._odds), size=size, p=self._odds):
            grid = self._codes[int(place)]
            start = int(rng.integers(0, max(1, len(grid) - frames + 1)))
            piece = grid[start : start + frames]
            waveform = self._corpus.waveform(self._clips[int(place)])[start * self._hop : (start + frames) * self._hop]
            short = frames - len(piece)
            if short > 0:
                # Short clips repeat their own first frames: there is no code for "nothing".
                piece = np.concatenate([piece, np.resize(piece, (short, piece.shape[1]))])
                waveform = np.pad(waveform, (0, max(0, (frames - short) * self._hop - len(waveform))))
                waveform = np.concatenate([waveform, np.resize(waveform, short * self._hop)])
            grids.append(piece.T)
            sounds.append(np.pad(waveform, (0, frames * self._hop - len(waveform))))
        return torch.from_numpy(np.stack(grids).astype(np.int64)), torch.from_numpy(
            np.stack(sounds).astype(np.float32)
        )


def matched_codes(corpus: SoundCorpus, pack: CodePack, codec_dir: Path) -> dict[Clip, np.ndarray]:
    """Codes int16 [frames, C] of every clip.

    Raises:
        CheckpointMismatch: the pack was made from other sound, or by another codec.
    """
    if pack.codec_hash != codec_hash(codec_dir):
        raise CheckpointMismatch(f"the codes were made by codec {pack.codec_hash}, not by the one in {codec_dir.name}")
    named = [(clip.text, clip.voice) for clip in corpus.clips]
    if named != [(clip.text, clip.voice) for clip in pack.clips]:
        raise CheckpointMismatch("codes and sound hold different clips; prepare both from one manifest")
    return {clip: pack.clip_codes(coded) for clip, coded in zip(corpus.clips, pack.clips, strict=True)}


class DecoderPolisher:
    """Decoder, discriminator, their optimisers and the decoder's average."""

    def __init__(self, config: PolishConfig, corpus: SoundCorpus, pack: CodePack, codec_dir: Path) -> None:
        self.config, self.corpus = config, corpus
        torch.manual_seed(config.seed)
        self.device = torch.device(config.device)
        self.model = load_dac(codec_dir).to(self.device)
        self.hop = int(np.prod(self.model.config.upsampling_ratios))
        self._codes = matched_codes(corpus, pack, codec_dir)
        training, self.held_out = corpus.split()
        codes = [self._codes[clip] for clip in training]
        self.sampler = FrameSampler(corpus, training, codes, self.hop, config.seed)
        self.decoder = self.model.decoder
        self.model.requires_grad_(False)
        self.decoder.requires_grad_(True)
        rate = self.model.config.sampling_rate
        self.distance = MultiScaleMel(rate, MEL_WINDOWS, MEL_BANDS).to(self.device)
        self.judge = Discriminator(channels=config.judge_channels).to(self.device)
        options: dict[str, Any] = {"betas": (0.8, 0.99), "weight_decay": 1e-4}
        self.optimizer = torch.optim.AdamW(self.decoder.parameters(), lr=config.peak_rate, **options)
        self.judge_optimizer = torch.optim.AdamW(self.judge.parameters(), lr=config.judge_rate, **options)
        self.average = AveragedWeights(self.decoder, config.ema_decay)
        self.done = 0
        if config.fuse:
            fuse_snakes(self.decoder)

    def step(self) -> dict[str, float]:
        """One step of the discriminator and one of the decoder."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        schedule = {"warmup": config.warmup_steps, "total": config.steps, "decay": config.decay_steps}
        rate = learning_rate(self.done, peak=config.peak_rate, **schedule)
        set_rate(self.optimizer, rate)
        codes, sound = self.sampler.batch(self.done, config.batch_size, config.crop_frames)
        codes, sound = codes.to(self.device), sound.to(self.device)
        with torch.no_grad():
            hidden = self.model.quantizer.from_codes(codes)[0]
        estimate = self.decoder(hidden)[:, 0]
        edge = config.context_frames * self.hop
        estimate, sound = estimate[:, edge:-edge], sound[:, edge:-edge]
        mel, peaks = self.distance(estimate, sound)
        wave = (estimate - sound).abs().mean()
        loss = config.mel_weight * mel + config.peak_weight * peaks + config.waveform_weight * wave
        result = {"mel": mel.item(), "peaks": peaks.item(), "wave": wave.item(), "rate": rate}
        if self.done >= config.judge_from:
            real, judged = self._train_judge(estimate.detach(), sound)
            result["judge"] = judged
            if self.done >= config.judge_from + config.judge_alone_steps:
                self.judge.requires_grad_(False)
                adversarial, matching = decoder_losses(real, self.judge(estimate))
                self.judge.requires_grad_(True)
                loss = loss + config.adversarial_weight * adversarial + config.matching_weight * matching
                result |= {"fooled": adversarial.item(), "matching": matching.item()}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), config.clip_norm)
        self.optimizer.step()
        self.average.update(self.decoder)
        self.done += 1
        return result | {"loss": loss.item()}

    def _train_judge(self, estimate: Tensor, sound: Tensor) -> tuple[list[Judgement], float]:
        """One step of the discriminator; returns what it made of the real sound, and its loss."""
        real = self.judge(sound)
        judged = judge_loss(real, self.judge(estimate))
        self.judge_optimizer.zero_grad(set_to_none=True)
        judged.backward()
        nn.utils.clip_grad_norm_(self.judge.parameters(), self.config.clip_norm)
        self.judge_optimizer.step()
        return [Judgement(one.scores, tuple(f.detach() for f in one.features)) for one in real], judged.item()

    def extra_report(self) -> dict[str, Any]:
        """Nothing beyond the measurements of the steps."""
        return {}

    @torch.no_grad()
    def validate(self, clips: int = 12) -> dict[str, float]:
        """Mel distance of the averaged decoder on held-out clips."""
        chosen = self.held_out[:: max(1, len(self.held_out) // clips)][:clips]
        mel = peaks = 0.0
        with self.average.applied(self.decoder):
            for clip in chosen:
                waveform = self.corpus.waveform(clip)
                codes = torch.from_numpy(self._codes[clip].T.astype(np.int64))[None]
                estimate = self.decoder(self.model.quantizer.from_codes(codes.to(self.device))[0])
                target = torch.from_numpy(waveform)[None].to(self.device)
                measured = self.distance(estimate[:, 0, : len(waveform)], target)
                mel, peaks = mel + float(measured[0]), peaks + float(measured[1])
        return {"val_mel": mel / len(chosen), "val_peaks": peaks / len(chosen)} if chosen else {}

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "config": asdict(self.config),
            "step": self.done,
            "decoder": self.decoder.state_dict(),
            "judge": self.judge.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge_optimizer": self.judge_optimizer.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.done = int(state["step"])
        self.decoder.load_state_dict(state["decoder"])
        self.judge.load_state_dict(state["judge"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.judge_optimizer.load_state_dict(state["judge_optimizer"])
        self.average.load_state_dict(state["average"])


def polish_decoder(
    config: PolishConfig,
    sound_dir: Path,
    pack_path: Path,
    codec_dir: Path,
    run_dir: Path,
    *,
    resume: bool = True,
    max_minutes: float | None = None,
) -> None:
    """Train the decoder of `codec_dir` further; goes on from the run's latest checkpoint."""
    torch.set_num_threads(config.threads)
    trainer = DecoderPolisher(config, SoundCorpus.open(sound_dir), CodePack.open(pack_path), codec_dir)
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


def finish_polish(codec_dir: Path, run_dir: Path, folder: Path) -> None:
    """Write the codec of `codec_dir` with the run's averaged decoder into `folder`."""
    model = load_dac(codec_dir)
    shadow = load_state(run_dir / LATEST)["average"]["shadow"]
    state = model.state_dict() | {f"decoder.{name}": tensor for name, tensor in shadow.items()}
    export_codec(model, state, folder)
