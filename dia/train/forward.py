"""The model's teacher-forced pass with its cross attention laid open, and the losses read from it.

Same arithmetic as `DiaModel.forward` (a test holds them together); here the attention weights are computed
explicitly, because a prior on them shortens training: in a model of this size alignment of text and sound is what
is learnt last, and sentences are read from left to right at a nearly constant pace (guided attention, Tachibana et
al. 2017, here with the known place of every sentence in a joined dialogue).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dia.layers import CrossAttention, DecoderLayer, DiaModel, around, causal_mask, rotate
from dia.train.targets import IGNORED, Batch

TEXT_IDS = 256
"""A text is bytes."""
SPELLING = 0.75
"""How much more a letter that was not understood counts than attention off its place, which it is there to help."""
READING_WIDTH = 0.6
"""How far around its place a frame is read, in text ids: a letter and half of its neighbours."""
LEAST_SHARE = 1e-4
"""Attention to the expected place is counted as at least this much, so that its logarithm stays finite."""


@dataclass(frozen=True)
class Losses:
    """`total` is what is minimised; `per_channel` [C] cross entropy in nats; `guide` the straying attention, 0 to 1;
    `spelling` the cross entropy of the letter that was just spoken, `reading` that of the first channel's code from
    the text alone, `pronouncing` that of the phonemes of each letter, in nats."""

    total: Tensor
    per_channel: Tensor
    guide: Tensor
    spelling: Tensor
    reading: Tensor
    pronouncing: Tensor


@dataclass(frozen=True)
class Drill:
    """What the pronouncer is asked: `labels` int64 [R, S] of the batch's own text, `IGNORED` where no word is known, and
    words from a dictionary beside it, `ids` int64 [D, W] with their `ids_labels` [D, W]."""

    labels: Tensor
    ids: Tensor
    ids_labels: Tensor


class Tutors(nn.Module):
    """Small heads that are used while training only, because the loss of codes alone teaches too late what they do.

    `speller` names the text id that the last frame spoke from what the listening layers make of the sound: attention
    finds its place by what was said. `reader` names the next code of the first channel from the encoder's output at its
    place, without anything that was heard: codes are predicted so well from codes that a text is long found useless.
    `pronouncer`, there if a dictionary is, names the phonemes that a letter stands for from the encoder's output at it:
    few hours of speech hold few words, and English letters do not say how the others sound.
    """

    def __init__(self, width: int, memory_width: int, vocabulary: int, phonemes: int = 0) -> None:
        super().__init__()
        self.speller = nn.Linear(width, TEXT_IDS)
        self.reader = nn.Linear(memory_width, vocabulary)
        self.pronouncer = nn.Linear(memory_width, phonemes) if phonemes else None


def guide_penalty(places: Tensor, span: int, width: float) -> Tensor:
    """How wrong it is to look at each text id: [R, T, S], 0 at the expected place, 1 far from it."""
    distance = torch.arange(span, device=places.device, dtype=torch.float32) - places[..., None]
    return 1.0 - torch.exp(-0.5 * (distance / width).square())


def open_cross_attention(
    attention: CrossAttention,
    x: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    rope: tuple[Tensor, Tensor] | None,
    led: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What `CrossAttention.forward` gives, and its weights [R, H, T, S]; `led` [R, T, S] are those of its led heads."""
    rows, length, _ = x.shape
    q = attention.q_proj(x).view(rows, length, attention.heads, attention.head_dim).transpose(1, 2)
    q = q if rope is None else rotate(q, rope)
    scores = (q @ k.transpose(-1, -2)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    if led is not None:
        shown = led[:, None].expand(-1, attention.led_heads, -1, -1)
        weights = torch.cat([shown.to(weights.dtype), weights[:, attention.led_heads :]], 1)
    heard = weights.to(v.dtype) @ v
    return attention.o_proj(heard.transpose(1, 2).flatten(2)), weights


@dataclass(frozen=True)
class Opened:
    """What a pass with open attention shows.

    `memory` [R, S, E], the encoder's output; `hidden` [R, T, W], the last states; `heard` [R, T, W], those behind the
    layers that only listen. Of the guided
    heads, per row [R, T]: `strayed`, the share of attention off the expected place (0 to 1), and `missed`, the negative
    logarithm of the share that is there, which pulls hard on attention that is still spread over the whole text. Both
    are means over layers, and 0 if no place was expected.
    """

    memory: Tensor
    hidden: Tensor
    heard: Tensor
    strayed: Tensor
    missed: Tensor


def forward_open(
    model: DiaModel,
    text_ids: Tensor,
    rows: Tensor,
    text_mask: Tensor | None,
    penalty: Tensor | None,
    guided: int,
    spoken: Tensor | None = None,
) -> Opened:
    """One pass; the first `guided` heads of the upper two thirds of the layers are held against `penalty`.

    The lower third is left alone: whoever has not yet understood what was said cannot know where in the text it is. In
    a model with a pointer its layer is shown the place just spoken (`spoken` [R, T], the place of the frame that each
    row reads), and those above it learn the step to the next; in one without, `spoken` is not used.
    """
    mask = None if text_mask is None else text_mask[:, None, None, :]
    pointer = model.config.model.pointer
    memory = model.encoder(text_ids, mask)
    decoder, length = model.decoder, rows.shape[1]
    rope = decoder.rope.between(0, length)
    cross_rope = None if decoder.cross_rope is None else decoder.cross_rope.between(0, length)
    causal = causal_mask(0, length, rows.device)
    x = decoder.embed(rows)
    heard = x
    strayed = x.new_zeros(rows.shape[:2], dtype=torch.float32)
    missed = torch.zeros_like(strayed)
    layers = cast("list[DecoderLayer]", list(decoder.layers))
    listening = len(layers) // 3
    led = model.led_weights(spoken, text_ids.shape[1], text_mask)
    first_held = listening if pointer is None else pointer.layer + 1
    for number, (layer, (k, v)) in enumerate(zip(layers, decoder.cross_keys_values(memory), strict=True)):
        x = x + layer.self_attention(layer.pre_sa_norm(x), rope, None, causal)
        leads = pointer is not None and number == pointer.layer
        said, weights = open_cross_attention(
            layer.cross_attention, layer.pre_ca_norm(x), k, v, mask, cross_rope, led if leads else None
        )
        x = x + said
        x = x + layer.mlp(layer.pre_mlp_norm(x))
        if number < max(1, listening):
            heard = x
        if penalty is not None and number >= first_held:
            off = (weights[:, :guided] * penalty[:, None]).sum(-1)
            strayed = strayed + off.detach().mean(1)
            missed = missed - (1.0 - off).clamp_min(LEAST_SHARE).log().mean(1)
    count = len(layers) - first_held
    return Opened(memory, x, heard, strayed / count, missed / count)


def channel_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy per channel, [C]; 0 for a channel without targets. Logits [..., C, V], targets [..., C]."""
    channels = targets.shape[-1]
    lost = functional.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(-1, channels)
    known = (targets != IGNORED).view(-1, channels).sum(0).clamp_min(1)
    return lost.sum(0) / known


@dataclass(frozen=True)
class Unguided:
    """What the unconditional branch makes of the same rows: `hidden` [R, T, W], its last states, without gradient, and
    how strongly each example is to be guided away from it, `strength` [R]."""

    hidden: Tensor
    strength: Tensor

    def rows(self) -> Unguided:
        """The same with examples and rows in one axis."""
        return Unguided(self.hidden.flatten(0, 1), self.strength.repeat_interleave(self.hidden.shape[1]))


@torch.no_grad()
def unguided_states(model: DiaModel, rows: Tensor) -> Tensor:
    """Last states [R, T, W] of the unconditional branch, whose cross attention is one constant per layer."""
    decoder, length = model.decoder, rows.shape[1]
    rope, causal = decoder.rope.between(0, length), causal_mask(0, length, rows.device)
    x = decoder.embed(rows)
    for layer, constant in zip(decoder.blocks, model.unconditional_constants(), strict=True):
        x = x + layer.self_attention(layer.pre_sa_norm(x), rope, None, causal) + constant
        x = x + layer.mlp(layer.pre_mlp_norm(x))
    return x


def unguide(guided: Tensor, unguided: Tensor, strength: Tensor) -> Tensor:
    """The logits [N, ...] that guidance of `strength` [N] makes the guided ones from.

    Guidance makes c + s (c - u) of the conditional logits c and the unconditional ones u. A model whose own output is
    held against the data only after this has been undone learns to give guided logits at once, and needs one branch
    where it needed two (guidance-free training, Chen et al. 2025).
    """
    share = strength.view(-1, *[1] * (guided.ndim - 1))
    return (guided + share * unguided) / (1.0 + share)


def sampled_losses(
    model: DiaModel, hidden: Tensor, batch: Batch, row_share: float, unguided: Unguided | None = None
) -> Tensor:
    """Losses [C] with the first channel on every real row and the others on a random `row_share` of them.

    The head and its softmax over nine channels cost as much as half the decoder; neighbouring rows teach the upper
    channels nearly the same. With `unguided` the model's logits count as guided ones (see `unguide`).
    """
    decoder = model.decoder
    vocabulary = decoder.vocabulary
    real = batch.real.flatten().nonzero()[:, 0]
    states, targets = hidden.flatten(0, 1), batch.targets.flatten(0, 1)
    head = decoder.logits_dense.weight
    other = None if unguided is None else unguided.rows()

    def logits(places: Tensor, weight: Tensor) -> Tensor:
        said = functional.linear(decoder.norm(states[places]), weight).float()
        if other is None:
            return said
        with torch.no_grad():
            without = functional.linear(decoder.norm(other.hidden[places]), weight).float()
        return unguide(said, without, other.strength[places])

    losses = [channel_losses(logits(real, head[:vocabulary])[:, None], targets[real, :1])]
    if decoder.channels > 1:
        some = real[torch.randperm(len(real))[: max(1, round(row_share * len(real)))].to(real.device)]
        rest = logits(some, head[vocabulary:]).unflatten(-1, (-1, vocabulary))
        losses.append(channel_losses(rest, targets[some, 1:]))
    return torch.cat(losses)


def batch_losses(
    model: DiaModel,
    batch: Batch,
    channel_weights: Sequence[float],
    *,
    guide_weight: float,
    guide_width: float,
    guided_heads: int,
    tutors: Tutors | None = None,
    drill: Drill | None = None,
    row_share: float = 1.0,
    spoken: Tensor | None = None,
    blanked: Tensor | None = None,
    heard_rows: Tensor | None = None,
    learnt_guidance: float = 0.0,
) -> Losses:
    """Losses of one batch.

    Args:
        guide_weight: how much attention off its place counts, and what the `tutors` do not get.
        drill: what the pronouncer among the `tutors` is asked, if there is one.
        spoken: float [R, T]: the places that a model with a pointer is shown (see `forward_open`).
        blanked: bool [R]: examples whose text is replaced by zeros of the same length, the unconditional branch.
        heard_rows: rows to feed in place of `batch.rows` (with noise), targets unchanged.
        learnt_guidance: the strength of guidance that the model's own logits are to have (see `unguide`).
    """
    ids = batch.ids
    mask = batch.text_mask
    if blanked is not None:
        ids = ids.masked_fill(blanked[:, None], 0)
    penalty = guide_penalty(batch.places, ids.shape[1], guide_width) if guide_weight else None
    rows = batch.rows if heard_rows is None else heard_rows
    opened = forward_open(model, ids, rows, mask, penalty, guided_heads, spoken)
    unguided = None
    if learnt_guidance:
        read = torch.ones(len(ids), device=ids.device) if blanked is None else (~blanked).float()
        unguided = Unguided(unguided_states(model, rows), learnt_guidance * read)
    per_channel = sampled_losses(model, opened.hidden, batch, row_share, unguided)
    weights = torch.tensor(channel_weights, device=per_channel.device)
    total = (per_channel * weights).sum() / weights.sum()
    counted = batch.real if blanked is None else batch.real & ~blanked[:, None]
    share = counted / counted.sum().clamp_min(1)
    guide = (opened.strayed * share).sum()
    spelling, reading, pronouncing = total.new_zeros(()), total.new_zeros(()), total.new_zeros(())
    if penalty is not None:
        total = total + guide_weight * (opened.missed * share).sum()
        if tutors is not None:
            spelling = _spelling_loss(tutors.speller(opened.heard), batch)
            reading = _reading_loss(tutors.reader, opened.memory, counted, batch)
            total = total + guide_weight * (SPELLING * spelling + reading)
            if drill is not None and tutors.pronouncer is not None:
                pronouncing = _pronouncing_loss(tutors.pronouncer, model, opened.memory, counted.any(1), drill)
                total = total + guide_weight * pronouncing
    parts = (per_channel, guide, spelling, reading, pronouncing)
    return Losses(total, *(part.detach() for part in parts))


def _spelling_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross entropy of the id at the place of the frame that each row reads (row t reads frame t - 1)."""
    spoken = batch.ids.gather(1, batch.places.long().clamp(0, batch.ids.shape[1] - 1))
    reads = batch.real.clone()
    reads[:, 0] = False
    return functional.cross_entropy(logits[reads].float(), spoken.roll(1, 1)[reads])


def _reading_loss(reader: nn.Linear, memory: Tensor, counted: Tensor, batch: Batch) -> Tensor:
    """Cross entropy of the first channel's next code from the memory around its place."""
    known = counted & (batch.targets[..., 0] != IGNORED)
    seen = around(batch.places, memory.shape[1], READING_WIDTH, batch.text_mask) @ memory.float()
    lost = functional.cross_entropy(reader(seen[known]).float(), batch.targets[..., 0][known], reduction="sum")
    # All texts of a batch may be blanked.
    return lost / known.sum().clamp_min(1)


def _pronouncing_loss(pronouncer: nn.Linear, model: DiaModel, memory: Tensor, read: Tensor, drill: Drill) -> Tensor:
    """Cross entropy of each letter's phonemes, in the texts of the batch that were `read` (bool [R]) and in the drill."""
    in_batch, in_drill = (drill.labels != IGNORED) & read[:, None], drill.ids_labels != IGNORED
    states, labels = [memory[in_batch]], [drill.labels[in_batch]]
    if len(drill.ids):
        states.append(model.encoder(drill.ids, (drill.ids != 0)[:, None, None, :])[in_drill])
        labels.append(drill.ids_labels[in_drill])
    asked = torch.cat(labels)
    lost = functional.cross_entropy(pronouncer(torch.cat(states)).float(), asked, reduction="sum")
    # A batch may hold no known word, and the drill may be off.
    return lost / max(1, len(asked))


@torch.no_grad()
def end_accuracy(logits: Tensor, targets: Tensor, end_value: int) -> tuple[int, int, int, int]:
    """First channel's ends: (ends found, ends there, false alarms, rows that are no end)."""
    first = targets[..., 0]
    said = logits[..., 0, : end_value + 1].argmax(-1) == end_value
    end = first == end_value
    other = (first != IGNORED) & ~end
    return int((said & end).sum()), int(end.sum()), int((said & other).sum()), int(other.sum())
