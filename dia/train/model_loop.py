"""Train a Dia model on packed codes: passes over joined dialogues, averaged weights, validation, exact resume."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dia import hub
from dia.checkpoint import load_model, save_model
from dia.config import (
    DataConfig,
    DecoderConfig,
    DiaConfig,
    EncoderConfig,
    GenerationDefaults,
    ModelConfig,
    PointerConfig,
)
from dia.device import Placement
from dia.errors import BadInput, CheckpointMismatch
from dia.layers import DiaModel
from dia.train.dialogues import Dialogue, DialogueConfig, DialogueSampler
from dia.train.encoding import codec_hash
from dia.train.forward import (
    Drill,
    Tutors,
    batch_losses,
    channel_losses,
    end_accuracy,
    forward_open,
    guide_penalty,
    unguide,
    unguided_states,
)
from dia.train.muon import Muon
from dia.train.packing import CodeClip, CodePack
from dia.train.pronounce import Pronunciations
from dia.train.run import LATEST, AveragedWeights, learning_rate, load_state, run_training, set_rate
from dia.train.sound import is_held_out
from dia.train.start import start_model
from dia.train.targets import Batch, group_by_length, make_batch, spoken_places


@dataclass(frozen=True)
class ModelTrainConfig:
    """Everything a model run depends on; `batch_rows` is padded decoder rows per optimiser step's micro-batch.

    In the first `tutor_steps` steps the tutors alone learn: they are new in every run, and what random tutors ask for
    undoes some of what a trained model knows.
    """

    encoder_layers: int = 4
    encoder_width: int = 192
    encoder_hidden: int = 512
    encoder_heads: int = 4
    decoder_layers: int = 6
    decoder_width: int = 256
    decoder_hidden: int = 640
    query_heads: int = 4
    kv_heads: int = 1
    cross_heads: int = 4
    head_dim: int = 64
    text_length: int = 512
    audio_length: int = 1024
    steps: int = 20_000
    batch_rows: int = 1600
    accumulate: int = 1
    peak_rate: float = 1e-3
    tutor_steps: int = 0
    warmup_steps: int = 150
    decay_steps: int = 2000
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    channel_weights: tuple[float, ...] = (8.0, 2.0, 3.0, 1.5, 1.0, 0.6, 0.5, 0.4, 0.4)
    text_dropout: float = 0.12
    code_noise: float = 0.5
    passage_noise: float = 0.2
    row_share: float = 0.2
    guide_start: float = 2.0
    guide_end: float = 0.5
    guide_steps: int = 8000
    guide_width: float = 1.5
    guided_heads: int = 2
    pointer: bool = True
    pointer_noise: float = 1.5
    straight_share: float = 0.3
    splice_share: float = 0.0
    learnt_guidance: float = 0.0
    muon: bool = False
    single_passes: int = 1
    drill_rows: int = 16
    drill_bytes: int = 110
    seed: int = 1
    device: str = "cpu"
    bfloat16: bool = False
    log_every: int = 20
    validate_every: int = 200
    save_every_s: float = 240.0
    threads: int = 2


def model_config(config: ModelTrainConfig, channels: int, codebook_size: int) -> DiaConfig:
    """The architecture of a run: delays of one frame per channel; EOS, PAD and BOS follow the codes."""
    pointer = PointerConfig(layer=config.decoder_layers // 3, heads=config.guided_heads) if config.pointer else None
    return DiaConfig(
        model=ModelConfig(
            encoder=EncoderConfig(
                n_layer=config.encoder_layers,
                n_embd=config.encoder_width,
                n_hidden=config.encoder_hidden,
                n_head=config.encoder_heads,
                head_dim=config.encoder_width // config.encoder_heads,
            ),
            decoder=DecoderConfig(
                n_layer=config.decoder_layers,
                n_embd=config.decoder_width,
                n_hidden=config.decoder_hidden,
                gqa_query_heads=config.query_heads,
                kv_heads=config.kv_heads,
                gqa_head_dim=config.head_dim,
                cross_query_heads=config.cross_heads,
                cross_head_dim=config.head_dim,
            ),
            pointer=pointer,
            tgt_vocab_size=codebook_size + 4,
        ),
        data=DataConfig(
            text_length=config.text_length,
            audio_length=config.audio_length,
            channels=channels,
            delay_pattern=tuple(range(channels)),
            audio_eos_value=codebook_size,
            audio_pad_value=codebook_size + 1,
            audio_bos_value=codebook_size + 2,
        ),
        family="0626",
        generation=GenerationDefaults(temperature=0.3, cfg_scale=1.2, guidance="combined"),
        quantization="int8-weights",
    )


PASSAGE_ROWS = 12
"""How long a passage of another time is: about two sounds of speech."""
KNOT_ROWS = 16
"""How many rows apart the pointer's error is drawn anew; it goes straight from one to the next."""
TAG_BYTES = 16
"""What tags and the spaces around them may add to a text."""


def most_frames(data: DataConfig) -> int:
    """Frames of the longest example: all rows less BOS, EOS and the delay tail."""
    return data.audio_length - data.max_delay - 2


def fitting_clips(pack: CodePack, data: DataConfig) -> list[CodeClip]:
    """The clips that one pass of the model can hold; how many cannot is said on stderr.

    Raises:
        BadInput: none fits.
    """
    longest = data.text_length - TAG_BYTES
    fitting = [
        clip for clip in pack.clips if clip.frames <= most_frames(data) and len(clip.text.encode("utf-8")) <= longest
    ]
    if not fitting:
        raise BadInput(
            f"no clip fits the model: each has more than {most_frames(data)} frames or {longest} bytes of text; "
            "cut the recordings into sentences or raise audio_length"
        )
    if len(fitting) < len(pack.clips):
        sys.stderr.write(f"{len(pack.clips) - len(fitting)} of {len(pack.clips)} clips are too long and left out\n")
    return fitting


class ModelTrainer:
    """Model, optimiser, averages and the stream of batches of one run."""

    def __init__(
        self,
        config: ModelTrainConfig,
        pack: CodePack,
        model: DiaModel,
        trained: nn.Module | None = None,
        pronunciations: Pronunciations | None = None,
    ) -> None:
        """`trained` is the part of `model` that learns, is averaged and is saved (an adapter's pairs); None = all."""
        self.config, self.pack, self.pronunciations = config, pack, pronunciations
        self.learnt_guidance = config.learnt_guidance or model.config.learnt_guidance
        self.device = torch.device(config.device)
        self.model = model.to(self.device)
        self.trained = self.model if trained is None else trained.to(self.device)
        torch.manual_seed(config.seed)
        sizes = self.model.config.model
        phonemes = 0 if pronunciations is None else len(pronunciations.labels)
        tutors = Tutors(sizes.decoder.n_embd, sizes.encoder.n_embd, sizes.tgt_vocab_size, phonemes)
        self.tutors = tutors.to(self.device)
        self.optimizers = self._optimizers()
        self.average = AveragedWeights(self.trained, config.ema_decay)
        fitting = fitting_clips(pack, self.model.config.data)
        data = self.model.config.data
        most_bytes = min(DialogueConfig.max_bytes, data.text_length - TAG_BYTES)
        self.joining = DialogueConfig(max_bytes=most_bytes, max_frames=most_frames(data))
        training = [clip for clip in fitting if not is_held_out(clip.text)]
        learnt = replace(self.joining, splice_share=config.splice_share)
        singles = replace(learnt, turn_odds=(1.0,), sentence_odds=(1.0,))
        self.singles = DialogueSampler(pack, training, singles, config.seed)
        self.dialogues = DialogueSampler(pack, training, learnt, config.seed)
        held_out = [clip for clip in fitting if is_held_out(clip.text)]
        self.validation = self._validation_batches(held_out)
        self.done = 0
        self.passes, self.place = 0, 0
        self._batches: list[list[Dialogue]] = []
        self._drawer = ThreadPoolExecutor(1, thread_name_prefix="dialogues")
        self._ahead: tuple[int, Future[list[list[Dialogue]]]] | None = None

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW for all, or with `muon` for all but the matrices inside the layers."""
        config = self.config
        matrices: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in self.trained.named_parameters():
            if parameter.ndim < 2 or "embedding" in name:
                free.append(parameter)
            elif config.muon and ".layers." in name:
                matrices.append(parameter)
            else:
                decayed.append(parameter)
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": free, "weight_decay": 0.0},
            {"params": list(self.tutors.parameters()), "weight_decay": 0.0},
        ]
        found: dict[str, torch.optim.Optimizer] = {
            "optimizer": torch.optim.AdamW(groups, lr=config.peak_rate, betas=(0.9, 0.95), fused=True)
        }
        if matrices:
            dtype = torch.bfloat16 if config.bfloat16 else torch.float32
            found["muon"] = Muon(matrices, config.peak_rate, weight_decay=config.weight_decay, dtype=dtype)
        return found

    def _validation_batches(self, held_out: list[Any]) -> list[Batch]:
        if not held_out:
            return []
        sampler = DialogueSampler(self.pack, held_out, self.joining, seed=0)
        groups = group_by_length(sampler.one_pass(0), 2400, np.random.default_rng(0))
        return [make_batch(group, self.model.config.data).to(self.device) for group in groups]

    def _next(self) -> Batch:
        if self.place >= len(self._batches):
            if self._batches:
                self.passes, self.place = self.passes + 1, 0
            self._fill()
        group = self._batches[self.place]
        self.place += 1
        return make_batch(group, self.model.config.data).to(self.device)

    def _fill(self) -> None:
        """Take this pass's batches, and have the next pass's drawn while this one is learnt from."""
        number, drawn = self._ahead or (-1, None)
        self._batches = drawn.result() if drawn is not None and number == self.passes else self._draw(self.passes)
        self._ahead = (self.passes + 1, self._drawer.submit(self._draw, self.passes + 1))

    def _draw(self, number: int) -> list[list[Dialogue]]:
        sampler = self.singles if number < self.config.single_passes else self.dialogues
        order = np.random.default_rng((self.config.seed, 77, number))
        return group_by_length(sampler.one_pass(number), self.config.batch_rows, order)

    def guide_weight(self) -> float:
        """Falls on a straight line from `guide_start` to `guide_end`."""
        config = self.config
        gone = min(1.0, self.done / max(1, config.guide_steps))
        return config.guide_start + (config.guide_end - config.guide_start) * gone

    def step(self) -> dict[str, Any]:
        """One optimiser step; returns its measurements."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.done)
        schedule = {"warmup": config.warmup_steps, "total": config.steps, "decay": config.decay_steps}
        rate = learning_rate(self.done, peak=config.peak_rate, **schedule)
        for optimizer in self.optimizers.values():
            set_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)
        guide_weight = self.guide_weight()
        total, guide, spelling, reading, pronouncing = 0.0, 0.0, 0.0, 0.0, 0.0
        channels = torch.zeros(self.pack.channels)
        for _ in range(config.accumulate):
            batch = self._next()
            blanked = (torch.rand(len(batch.ids)) < config.text_dropout).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
                losses = batch_losses(
                    self.model,
                    batch,
                    config.channel_weights[: self.pack.channels],
                    guide_weight=guide_weight,
                    guide_width=config.guide_width,
                    guided_heads=config.guided_heads,
                    tutors=self.tutors,
                    drill=self._drill(batch),
                    row_share=config.row_share,
                    spoken=self._pointed(batch),
                    blanked=blanked,
                    heard_rows=self._noisy(batch.rows),
                    learnt_guidance=self.learnt_guidance,
                )
            (losses.total / config.accumulate).backward()
            total += losses.total.item() / config.accumulate
            guide += losses.guide.item() / config.accumulate
            spelling += losses.spelling.item() / config.accumulate
            reading += losses.reading.item() / config.accumulate
            pronouncing += losses.pronouncing.item() / config.accumulate
            channels += losses.per_channel.float().cpu() / config.accumulate
        if self.done < config.tutor_steps:
            self.trained.zero_grad(set_to_none=True)
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), config.clip_norm)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.average.update(self.trained)
        self.done += 1
        measured = {
            "loss": total,
            "guide": guide,
            "spelling": spelling,
            "reading": reading,
            **({} if self.pronunciations is None else {"pronouncing": pronouncing}),
            "grad": float(norm),
            "rate": rate,
            "first": float(channels[0]),
        }
        return measured | {"channels": channels.tolist()}

    def extra_report(self) -> dict[str, Any]:
        """Where the run is in its data."""
        return {"pass": self.passes}

    def _drill(self, batch: Batch) -> Drill | None:
        known = self.pronunciations
        if known is None:
            return None
        words = known.drill(
            self.config.drill_rows, self.config.drill_bytes, np.random.default_rng((self.config.seed, 78, self.done))
        )
        arrays = (known.of_text(batch.ids.cpu().numpy()), words, known.of_text(words))
        return Drill(*(torch.from_numpy(array).to(self.device) for array in arrays))

    def _pointed(self, batch: Batch) -> Tensor | None:
        """Where a model's pointer stands, float32 [R, T]: somewhat off the places spoken, as it will be in use.

        By up to `pointer_noise` text ids (one standard deviation, of each example another share), so that the layers
        above learn to put it right. In a `straight_share` of the examples a first part is led along a straight
        line, as a voice prompt is, whose letters nobody has aligned.
        """
        pointer, config = self.model.config.model.pointer, self.config
        if pointer is None:
            return None
        spoken = spoken_places(batch)
        rows, length = spoken.shape
        knots = torch.randn(rows, 1, max(2, length // KNOT_ROWS))
        error = functional.interpolate(knots, size=length, mode="linear", align_corners=True)[:, 0]
        noisy = spoken + (error * torch.rand(rows, 1) * config.pointer_noise).to(spoken.device)
        cut = (torch.rand(rows, 1) * batch.real.sum(1, keepdim=True).cpu()).long().clamp_min(1).to(spoken.device)
        start, end = spoken[:, :1], spoken.gather(1, cut.clamp_max(length - 1))
        steps = torch.arange(length, device=spoken.device)
        straight = (torch.rand(rows, 1) < config.straight_share).to(spoken.device) & (steps < cut)
        noisy = torch.where(straight, start + (end - start) * steps / cut, noisy)
        return noisy.clamp_min(0).minimum(batch.text_mask.sum(1, keepdim=True) - 1.0)

    def _noisy(self, rows: Tensor) -> Tensor:
        """Rows int64 [R, T, C] as the decoder reads them: some codes random, some passages of another time.

        Of each example another share, up to `code_noise` and `passage_noise`. A model forgives its own slips so, and
        goes back to the text when it has said something else; and it does not know the place in a small set by the
        codes before it, so that it has to read.
        """
        config, end = self.config, self.model.config.data.audio_eos_value
        if config.passage_noise:
            odds = torch.rand(len(rows), 1) * config.passage_noise / PASSAGE_ROWS
            begun = (torch.rand(rows.shape[:2]) < odds).float()
            within = functional.max_pool1d(functional.pad(begun, (PASSAGE_ROWS - 1, 0)), PASSAGE_ROWS, 1)
            other = rows.roll(int(torch.randint(1, max(2, rows.shape[1]), ())), 1)
            hit = (within > 0).to(self.device)[..., None] & (rows < end) & (other < end)
            rows = torch.where(hit, other, rows)
        if config.code_noise:
            odds = torch.rand(len(rows), 1, 1) * config.code_noise
            hit = (torch.rand(rows.shape) < odds).to(self.device) & (rows < end)
            rows = torch.where(hit, torch.randint(end, rows.shape).to(self.device), rows)
        return rows

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Loss per channel of the averaged weights on held-out sentences, and how well ends are found."""
        if not self.validation:
            return {}
        channels = torch.zeros(self.pack.channels, device=self.device)
        counts, strayed_total, rows_total = [0, 0, 0, 0], 0.0, 0
        gains: list[float] = []
        with self.average.applied(self.trained):
            for batch in self.validation:
                penalty = guide_penalty(batch.places, batch.ids.shape[1], self.config.guide_width)
                spoken = spoken_places(batch)
                opened = forward_open(
                    self.model, batch.ids, batch.rows, batch.text_mask, penalty, self.config.guided_heads, spoken
                )
                logits = self.model.decoder.head(opened.hidden)
                without = self._unguided_logits(batch)
                losses = channel_losses(self._unguide(logits, without), batch.targets)
                channels += losses
                if len(batch.ids) > 1:
                    gains.append(self._first_with_other_texts(batch, without) - float(losses[0]))
                found = end_accuracy(logits, batch.targets, self.model.config.data.audio_eos_value)
                counts = [a + b for a, b in zip(counts, found, strict=True)]
                strayed_total += float((opened.strayed * batch.real).sum())
                rows_total += int(batch.real.sum())
        per_channel = (channels / len(self.validation)).tolist()
        return {
            "val_loss": sum(per_channel) / len(per_channel),
            "val_first": per_channel[0],
            "val_channels": [round(value, 3) for value in per_channel],
            "val_heard": sum(gains) / max(1, len(gains)),
            "val_guide": strayed_total / rows_total,
            "ends_found": counts[0] / max(1, counts[1]),
            "false_ends": counts[2] / max(1, counts[3]),
        }

    def _unguided_logits(self, batch: Batch) -> Tensor | None:
        """Of the unconditional branch, [R, T, C, V], if the model learns to guide itself."""
        if not self.learnt_guidance:
            return None
        return self.model.decoder.head(unguided_states(self.model, batch.rows))

    def _unguide(self, logits: Tensor, without: Tensor | None) -> Tensor:
        if without is None:
            return logits
        return unguide(logits, without, logits.new_full((len(logits),), self.learnt_guidance))

    def _first_with_other_texts(self, batch: Batch, without: Tensor | None) -> float:
        """Loss of the first channel where every example gets its neighbour's text: no higher if texts are not heard."""
        ids, mask = batch.ids.roll(1, 0), batch.text_mask.roll(1, 0)
        within = (mask.sum(1, keepdim=True) - 1.0) / (batch.text_mask.sum(1, keepdim=True) - 1.0)
        spoken = spoken_places(batch) * within
        hidden = forward_open(self.model, ids, batch.rows, mask, None, self.config.guided_heads, spoken).hidden
        logits = self._unguide(self.model.decoder.head(hidden), without)
        return float(channel_losses(logits[..., :1, :], batch.targets[..., :1])[0])

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on as if it had never stopped."""
        return {
            "config": asdict(self.config),
            "step": self.done,
            "passes": self.passes,
            "place": self.place,
            "codec_hash": self.pack.codec_hash,
            "architecture": self._architecture().model_dump_json(),
            "model": self.trained.state_dict(),
            "tutors": self.tutors.state_dict(),
            **{name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "average": self.average.state_dict(),
        }

    def _architecture(self) -> DiaConfig:
        """With the guidance that has been learnt as what the model recommends."""
        known, learnt = self.model.config, self.learnt_guidance
        if not learnt:
            return known
        defaults = known.defaults.model_copy(update={"cfg_scale": learnt})
        return known.model_copy(update={"learnt_guidance": learnt, "generation": defaults})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        if state["codec_hash"] != self.pack.codec_hash:
            raise CheckpointMismatch(
                f"the run was trained on codes of codec {state['codec_hash']}, this set holds codes of "
                f"{self.pack.codec_hash}; prepare the set with the run's codec or start a new run"
            )
        asked = None if self.pronunciations is None else len(self.pronunciations.labels)
        learnt = state["tutors"].get("pronouncer.bias")
        if asked != (None if learnt is None else len(learnt)):
            raise CheckpointMismatch(
                "the run was begun with another --pronunciations, or without; resume it as it was begun"
            )
        self.done, self.passes, self.place = int(state["step"]), int(state["passes"]), int(state["place"])
        self.trained.load_state_dict(state["model"])
        self.tutors.load_state_dict(state["tutors"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])
        self.average.load_state_dict(state["average"])
        if self.place:
            self._fill()


def new_model(config: ModelTrainConfig, pack: CodePack) -> DiaModel:
    """A model of this architecture at its start."""
    model = DiaModel(model_config(config, pack.channels, pack.codebooks.shape[1]))
    start_model(model, config.seed, pack.codebooks)
    return model


def trainable_model(source: hub.Source, device: str) -> DiaModel:
    """The model of a checkpoint in float32, ready to learn."""
    model = load_model(DiaConfig.load(source.config), source.weights, Placement(torch.device(device), torch.float32))
    # Loaded weights may be views of the file, and training writes to them.
    model.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)
    return model.requires_grad_(True)


def drive(trainer: ModelTrainer, run_dir: Path, *, resume: bool, max_minutes: float | None) -> None:
    """Run a trainer with its own configuration."""
    config = trainer.config
    torch.set_num_threads(config.threads)
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


def train_model(
    config: ModelTrainConfig,
    pack_path: Path,
    run_dir: Path,
    *,
    start: Path | None = None,
    pronunciations: Path | None = None,
    resume: bool = True,
    max_minutes: float | None = None,
) -> None:
    """Train a new model until `config.steps` or for `max_minutes`; goes on from the run's latest checkpoint.

    `start`: a checkpoint folder whose weights begin a new run (its architecture counts, not the configuration's).
    `pronunciations`: a dictionary that the encoder learns beside the sentences (see `Pronunciations.open`).
    """
    pack = CodePack.open(pack_path)
    known = None if pronunciations is None else Pronunciations.open(pronunciations)
    model = new_model(config, pack) if start is None else trainable_model(hub.from_folder(start), config.device)
    trainer = ModelTrainer(config, pack, model, pronunciations=known)
    drive(trainer, run_dir, resume=resume, max_minutes=max_minutes)


def export_model(run_dir: Path, codec_dir: Path, folder: Path) -> None:
    """Write a run's averaged weights and the codec as one checkpoint folder (float16).

    Raises:
        CheckpointMismatch: the codec is not the one whose codes the run learnt.
    """
    state = load_state(run_dir / LATEST)
    if codec_hash(codec_dir) != state["codec_hash"]:
        raise CheckpointMismatch(f"{codec_dir.name} is not the codec whose codes the run learnt")
    model = DiaModel(DiaConfig.model_validate_json(state["architecture"]))
    model.load_state_dict(state["average"]["shadow"])
    save_model(model, folder, "flat", torch.float16)
    shutil.copytree(codec_dir, folder / "codec", dirs_exist_ok=True)
