"""DiaModel: the encoder-decoder transformer from text bytes to logits over audio codes. No files, no sampling, no sound.

The arithmetic is the published one (nari-labs/dia): pre-norm blocks, attention scale 1.0, half-split rotary positions
in float32, gated SiLU MLP, one logit head for all channels. Query, key and value weights are stored side by side, so
that a projection is one matrix product.

Legend: `N` requests, `B` branches (conditional first), `R` = N*B rows of a batch, `T` decoder rows, `S` text bytes,
`H` heads, `D` head width, `W` decoder width, `E` encoder width, `C` channels, `V` vocabulary.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import nn

from dia.config import DecoderConfig, DiaConfig, EncoderConfig, PointerConfig
from dia.state import BRANCHES, COND, UNCOND, ChunkView, DecoderInferenceState, EncoderInferenceState, KVCache

LEAST_ATTENTION = 1e-3
"""Attention within the pointer's reach that is weighed against standing still."""

Rope = tuple[torch.Tensor, torch.Tensor]
CrossKV = list[tuple[torch.Tensor, torch.Tensor]]


class LayerKV(Protocol):
    """A place that keeps keys and values: takes the new ones, gives back all that may be attended to."""

    def update(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in float32 and cast back."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon
        self._gain = math.sqrt(width)
        # On the CPU even where the model is made without memory: this is no weight.
        self._floor = torch.tensor(math.sqrt(width * epsilon), device="cpu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.epsilon).to(x.dtype)
        # The CPU has no fused kernel. sqrt(sum of squares + W epsilon) in two operations, the rest in three: for two rows
        # a third of what the library's nine take.
        exact = x.float()
        length = torch.hypot(torch.linalg.vector_norm(exact, dim=-1, keepdim=True), self._floor)
        return (exact / length).mul_(self.weight * self._gain).to(x.dtype)


class RotaryTable(nn.Module):
    """Cosines and sines of all positions, float32 [positions, D]; angle = position / max_timescale**(2i/D).

    Both halves of D hold the same angles; the sines of the first half are negative, so that a rotation is
    `x * cos + x rolled by half * sin`.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, positions: int, width: int, min_timescale: float, max_timescale: float) -> None:
        super().__init__()
        self.positions, self.width = positions, width
        self.timescales = (min_timescale, max_timescale)
        cos, sin = self._table(torch.device("cpu"))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _table(self, device: torch.device) -> Rope:
        low, high = self.timescales
        fraction = torch.arange(0, self.width, 2, dtype=torch.float32, device=device) / self.width
        timescale = low * (high / low) ** fraction
        angle = torch.arange(self.positions, dtype=torch.float32, device=device)[:, None] / timescale
        cos, sin = angle.cos(), angle.sin()
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)

    def materialise(self, device: torch.device) -> None:
        """Compute the table on a device (a model built on `meta` has none)."""
        self.cos, self.sin = self._table(device)

    def between(self, start: int, end: int) -> Rope:
        """Tables [1, 1, T, D] of positions start … end-1, for every row of a batch."""
        return self.cos[None, None, start:end], self.sin[None, None, start:end]

    def at(self, positions: torch.Tensor) -> Rope:
        """Tables [R, 1, D] of one position per row."""
        return self.cos[positions][:, None], self.sin[positions][:, None]


def rotate(x: torch.Tensor, rope: Rope) -> torch.Tensor:
    """Rotate [..., D] by position, pairing dimension i with i + D/2."""
    cos, sin = rope
    exact = x.float()
    return (exact * cos + exact.roll(exact.shape[-1] // 2, -1) * sin).to(x.dtype)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """softmax(q k^T) v with scale 1.0. q [R, Hq, T, D]; k, v [R, H, S, D]; mask broadcasts to [R, 1, T, S], True = see.

    Query heads `g*j … g*j+g-1` share key head `j` (g = Hq/H): they are laid out as extra query rows of that head, so
    that keys and values are never repeated in memory.
    """
    rows, query_heads, length, width = q.shape
    heads = k.shape[1]
    if query_heads == heads:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    group = query_heads // heads
    if mask is not None and mask.shape[-2] > 1:
        mask = mask.repeat(1, 1, group, 1)
    out = F.scaled_dot_product_attention(
        q.reshape(rows, heads, group * length, width), k, v, attn_mask=mask, scale=1.0
    )
    return out.view(rows, query_heads, length, width)


def _merge_heads(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self, width: int, query_heads: int, kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.query_heads, self.kv_heads, self.head_dim = query_heads, kv_heads, head_dim
        self.qkv_proj = nn.Linear(width, (query_heads + 2 * kv_heads) * head_dim, bias=False)
        self.o_proj = nn.Linear(query_heads * head_dim, width, bias=False)

    def forward(
        self, x: torch.Tensor, rope: Rope, kv: LayerKV | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        rows, length, _ = x.shape
        heads = self.qkv_proj(x).view(rows, length, -1, self.head_dim).transpose(1, 2)
        q, k, v = heads.split([self.query_heads, self.kv_heads, self.kv_heads], dim=1)
        q, k = rotate(q, rope), rotate(k, rope)
        if kv is not None:
            k, v = kv.update(k, v)
        return self.o_proj(_merge_heads(attend(q, k, v, mask)))

    def step(self, x: torch.Tensor, places: "StepPlaces", cache: KVCache) -> torch.Tensor:
        """`forward` for one new row of each slot, x [R, W]."""
        heads = self.qkv_proj(x).view(len(x), -1, self.head_dim)
        turned = rotate(heads, places.rope)
        cache.write(places.writes, turned[:, self.query_heads :].reshape(-1, self.head_dim))
        k, v = cache.read(places.count, places.span, places.branches)
        q = turned[:, : self.query_heads].unflatten(1, (self.kv_heads, -1))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=places.self_mask, scale=1.0)
        return self.o_proj(out.reshape(len(x), -1))


class CrossAttention(nn.Module):
    """Looks at the text. In a model with a pointer the first `led_heads` of one layer look where it points, and the
    first `telling_heads` of the layers above say where it goes; everywhere else both are 0."""

    def __init__(self, width: int, memory_width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.led_heads = self.telling_heads = 0
        self.q_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.kv_proj = nn.Linear(memory_width, 2 * heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=False)

    def keys_values(self, memory: torch.Tensor, rope: Rope | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder output [R, S, E] to keys and values [R, H, S, D]; `rope` only in the family that rotates here."""
        rows, length, _ = memory.shape
        heads = self.kv_proj(memory).view(rows, length, 2 * self.heads, self.head_dim).transpose(1, 2)
        k, v = heads.chunk(2, dim=1)
        return (k if rope is None else rotate(k, rope)), v

    def forward(
        self,
        x: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        rope: Rope | None,
        mask: torch.Tensor | None,
        led: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x [R, T, W]; `led` [R, T, S] are the weights of the led heads (see `around`)."""
        rows, length, _ = x.shape
        q = self.q_proj(x).view(rows, length, self.heads, self.head_dim).transpose(1, 2)
        q = q if rope is None else rotate(q, rope)
        heard = attend(q, k, v, mask)
        if self.led_heads:
            assert led is not None
            shown = led[:, None].to(v.dtype) @ v[:, : self.led_heads]
            heard = torch.cat((shown, heard[:, self.led_heads :]), dim=1)
        return self.o_proj(_merge_heads(heard))

    def step(self, x: torch.Tensor, places: "StepPlaces", cache: KVCache) -> torch.Tensor:
        """`forward` for one new row of each slot's conditional branch, x [n, W]."""
        q = self.q_proj(x).view(len(x), self.heads, self.head_dim)
        q = q if places.cross_rope is None else rotate(q, places.cross_rope)
        k, v = cache.read(places.count, places.text_span)
        out = F.scaled_dot_product_attention(q[:, :, None], k, v, attn_mask=places.cross_mask, scale=1.0)
        if self.led_heads:
            assert places.led is not None
            out[:, : self.led_heads] = places.led[:, None].to(v.dtype) @ v[:, : self.led_heads]
        if self.telling_heads:
            scores = q[:, : self.telling_heads, None] @ k[:, : self.telling_heads].transpose(-1, -2)
            masked = scores if places.cross_mask is None else scores + places.cross_mask
            places.told.append(masked[:, :, 0].float().softmax(-1).mean(1))
        return self.o_proj(out.reshape(len(x), -1))


def around(places: torch.Tensor, span: int, width: float, text: torch.Tensor | None = None) -> torch.Tensor:
    """Attention around places [R, T] in text ids: weights [R, T, span], a Gaussian of `width` ids that sums to 1.

    `text` bool [R, span]: True on text; padding gets nothing.
    """
    distance = torch.arange(span, device=places.device, dtype=torch.float32) - places[..., None]
    scores = -0.5 * (distance / width).square()
    return (scores if text is None else scores.masked_fill(~text[:, None], -torch.inf)).softmax(-1)


def moved(place: torch.Tensor, told: torch.Tensor, pointer: PointerConfig, ends: torch.Tensor) -> torch.Tensor:
    """Where the pointer goes: to the middle of the attention `told` [n, S] within its reach.

    `place` float32 [n], where it stands; `ends` [n], the last id of each text. Without attention in reach it stays.
    """
    ids = torch.arange(told.shape[-1], device=told.device, dtype=torch.float32)
    distance = ids - place[:, None]
    reached = (distance >= -pointer.back) & (distance <= pointer.ahead) & (ids <= ends[:, None])
    weights = told * reached
    step = (weights * distance).sum(-1) / (weights.sum(-1) + LEAST_ATTENTION)
    return (place + step).clamp_min(0).minimum(ends.float())


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(width, 2 * hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class EncoderLayer(nn.Module):
    def __init__(self, config: EncoderConfig, epsilon: float) -> None:
        super().__init__()
        self.pre_sa_norm = RMSNorm(config.n_embd, epsilon)
        self.self_attention = SelfAttention(config.n_embd, config.n_head, config.n_head, config.head_dim)
        self.post_sa_norm = RMSNorm(config.n_embd, epsilon)
        self.mlp = Mlp(config.n_embd, config.n_hidden)

    def forward(self, x: torch.Tensor, rope: Rope, mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.self_attention(self.pre_sa_norm(x), rope, mask=mask)
        return x + self.mlp(self.post_sa_norm(x))


class Encoder(nn.Module):
    """Text ids [R, S] to memory [R, S, E]."""

    def __init__(self, config: DiaConfig) -> None:
        super().__init__()
        model = config.model
        width, epsilon = model.encoder.n_embd, model.normalization_layer_epsilon
        self.embedding = nn.Embedding(model.src_vocab_size, width)
        self.layers = nn.ModuleList(EncoderLayer(model.encoder, epsilon) for _ in range(model.encoder.n_layer))
        self.norm = RMSNorm(width, epsilon)
        self.rope = RotaryTable(
            config.data.text_length, model.encoder.head_dim, model.rope_min_timescale, model.rope_max_timescale
        )

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`mask` bool [R, 1, 1, S], True on text; None when nothing is padded."""
        x = self.embedding(ids)
        rope = self.rope.between(0, ids.shape[1])
        for layer in self.layers:
            x = layer(x, rope, mask)
        return self.norm(x)


class DecoderLayer(nn.Module):
    def __init__(self, config: DecoderConfig, memory_width: int, epsilon: float) -> None:
        super().__init__()
        width = config.n_embd
        self.pre_sa_norm = RMSNorm(width, epsilon)
        self.self_attention = SelfAttention(width, config.gqa_query_heads, config.kv_heads, config.gqa_head_dim)
        self.pre_ca_norm = RMSNorm(width, epsilon)
        self.cross_attention = CrossAttention(width, memory_width, config.cross_query_heads, config.cross_head_dim)
        self.pre_mlp_norm = RMSNorm(width, epsilon)
        self.mlp = Mlp(width, config.n_hidden)

    def forward(
        self,
        x: torch.Tensor,
        rope: Rope,
        cross: tuple[torch.Tensor, torch.Tensor],
        cross_rope: Rope | None,
        self_mask: torch.Tensor | None,
        cross_mask: torch.Tensor | None,
        kv: LayerKV | None = None,
        constant: torch.Tensor | None = None,
        led: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x [R, T, W]. With `constant` [W], rows alternate conditional, unconditional, and only the former attend.
        `led` [R, T, S]: see `CrossAttention.forward`."""
        x = x + self.self_attention(self.pre_sa_norm(x), rope, kv, self_mask)
        if constant is None:
            x = x + self.cross_attention(self.pre_ca_norm(x), *cross, cross_rope, cross_mask, led)
        else:
            pairs = x.unflatten(0, (-1, BRANCHES))
            heard = self.cross_attention(self.pre_ca_norm(pairs[:, COND]), *cross, cross_rope, cross_mask, led)
            x = (pairs + torch.stack((heard, constant.expand_as(heard)), dim=1)).flatten(0, 1)
        return x + self.mlp(self.pre_mlp_norm(x))

    def step(
        self, x: torch.Tensor, places: "StepPlaces", own: KVCache, cross: KVCache, constant: torch.Tensor
    ) -> torch.Tensor:
        """`forward` for one new row of each slot: x [n*B, W], branches alternating."""
        x = x + self.self_attention.step(self.pre_sa_norm(x), places, own)
        pairs = x.view(-1, places.branches, x.shape[-1])
        heard = self.cross_attention.step(self.pre_ca_norm(pairs[:, COND]), places, cross)
        pairs[:, COND].add_(heard)
        if places.branches > UNCOND:
            pairs[:, UNCOND].add_(constant)
        return x + self.mlp(self.pre_mlp_norm(x))


@dataclass(frozen=True, slots=True)
class StepPlaces:
    """What all layers of one decode step share.

    Attributes:
        branches: B, 1 where nobody is guided and the unconditional one is left out.
        rope: tables [n*B, Hq + 2 Hkv, D] that rotate queries and keys and leave values as they are.
        cross_rope: tables [n, 1, D] in the family that rotates there.
        writes: where the new keys and values go, see `DecoderInferenceState.places`.
        self_mask, cross_mask: added to scores, [n*B, 1, 1, span] and [n, 1, 1, text_span]; None where every slot's
            rows fill the span.
        led: weights [n, 1, text_span] around the pointer; None in a model without one.
        told: each layer above the pointer's adds where its heads look, [n, text_span].
    """

    count: int
    span: int
    text_span: int
    branches: int
    rope: Rope
    cross_rope: Rope | None
    writes: torch.Tensor
    self_mask: torch.Tensor | None
    cross_mask: torch.Tensor | None
    led: torch.Tensor | None
    told: list[torch.Tensor]


def beyond_mask(lengths: torch.Tensor, span: int, dtype: torch.dtype) -> torch.Tensor:
    """[R, 1, 1, span]: 0 at positions below a row's length, -inf from there on."""
    beyond = torch.arange(span, device=lengths.device) >= lengths[:, None]
    return torch.zeros(beyond.shape, dtype=dtype, device=lengths.device).masked_fill_(beyond, -torch.inf)[
        :, None, None
    ]


class Decoder(nn.Module):
    """Delayed token rows and text memory to logits of the next row."""

    channel_offsets: torch.Tensor

    def __init__(self, config: DiaConfig) -> None:
        super().__init__()
        model, data = config.model, config.data
        decoder, epsilon = model.decoder, model.normalization_layer_epsilon
        self.channels, self.vocabulary = data.channels, model.tgt_vocab_size
        # One table for all channels: row c * V + token.
        self.embedding = nn.Embedding(data.channels * model.tgt_vocab_size, decoder.n_embd)
        self.layers = nn.ModuleList(
            DecoderLayer(decoder, model.encoder.n_embd, epsilon) for _ in range(decoder.n_layer)
        )
        if model.pointer is not None:
            for index, layer in enumerate(self.blocks):
                layer.cross_attention.led_heads = model.pointer.heads if index == model.pointer.layer else 0
                layer.cross_attention.telling_heads = model.pointer.heads if index > model.pointer.layer else 0
        self.norm = RMSNorm(decoder.n_embd, epsilon)
        self.logits_dense = nn.Linear(decoder.n_embd, data.channels * model.tgt_vocab_size, bias=False)
        scales = (model.rope_min_timescale, model.rope_max_timescale)
        self.rope = RotaryTable(data.audio_length, decoder.gqa_head_dim, *scales)
        self.cross_rope: RotaryTable | None = None
        if config.rotates_cross_attention:
            positions = max(data.audio_length, data.text_length)
            self.cross_rope = RotaryTable(positions, decoder.cross_head_dim, *scales)
        self.register_buffer("channel_offsets", self._offsets(torch.device("cpu")), persistent=False)

    @property
    def blocks(self) -> "Iterable[DecoderLayer]":
        """The layers under their own type."""
        return cast("Iterable[DecoderLayer]", self.layers)

    def _offsets(self, device: torch.device) -> torch.Tensor:
        return torch.arange(self.channels, device=device) * self.vocabulary

    def materialise(self, device: torch.device) -> None:
        self.rope.materialise(device)
        if self.cross_rope is not None:
            self.cross_rope.materialise(device)
        self.channel_offsets = self._offsets(device)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [..., C] to the sum of their channels' embeddings [..., W]."""
        return self.embedding(tokens + self.channel_offsets).sum(-2)

    def cross_keys_values(self, memory: torch.Tensor) -> CrossKV:
        """Keys and values of every layer for encoder output [R, S, E]."""
        rope = None if self.cross_rope is None else self.cross_rope.between(0, memory.shape[1])
        return [layer.cross_attention.keys_values(memory, rope) for layer in self.blocks]

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden states [..., W] to float32 logits [..., C, V]."""
        return self.logits_dense(self.norm(x)).float().unflatten(-1, (self.channels, self.vocabulary))


class DiaModel(nn.Module):
    """The transformer. `forward` is teacher-forced (training, tests); `step` and `prefill` work on cached slots."""

    def __init__(self, config: DiaConfig) -> None:
        super().__init__()
        self.config = config
        # Spans rounded up (captured graphs) need masks even for one slot.
        self.pads_spans = False
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @property
    def device(self) -> torch.device:
        return self.decoder.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.norm.weight.dtype

    def materialise(self, device: torch.device) -> None:
        """Fill the tables that are computed and not loaded; call after assigning weights to a model made on `meta`."""
        self.encoder.rope.materialise(device)
        self.decoder.materialise(device)

    def encode(self, state: EncoderInferenceState) -> torch.Tensor:
        """Texts to memory [N, S, E]; padding never reaches real positions."""
        return self.encoder(state.ids, state.mask)

    def forward(
        self,
        text_ids: torch.Tensor,
        tokens: torch.Tensor,
        text_mask: torch.Tensor | None = None,
        spoken: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits of every next row, without caches.

        Args:
            text_ids: int64 [R, S]. All zeros is the unconditional branch.
            tokens: delayed rows from BOS on, int64 [R, T, C].
            text_mask: bool [R, S], True on text; None when nothing is padded.
            spoken: float [R, T], where in the text the frame stands that each row reads; a model with a pointer needs
                it, others do not look at it.

        Returns:
            float32 [R, T, C, V]; entry t predicts row t + 1.
        """
        mask = None if text_mask is None else text_mask[:, None, None, :]
        memory = self.encoder(text_ids, mask)
        decoder, length = self.decoder, tokens.shape[1]
        cross = decoder.cross_keys_values(memory)
        rope = decoder.rope.between(0, length)
        cross_rope = None if decoder.cross_rope is None else decoder.cross_rope.between(0, length)
        causal = causal_mask(0, length, tokens.device)
        led = self.led_weights(spoken, text_ids.shape[1], text_mask)
        x = decoder.embed(tokens)
        for layer, kv in zip(decoder.layers, cross, strict=True):
            x = layer(x, rope, kv, cross_rope, causal, mask, led=led)
        return decoder.head(x)

    def led_weights(
        self, spoken: torch.Tensor | None, span: int, text: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Weights [R, T, span] of the led heads for the places `spoken` [R, T] (see `around`); None without a pointer.

        Raises:
            ValueError: a model with a pointer, and no places.
        """
        pointer = self.config.model.pointer
        if pointer is None:
            return None
        if spoken is None:
            raise ValueError("a model with a pointer needs the places it points at")
        return around(spoken, span, pointer.width, text)

    def unconditional_constants(self) -> torch.Tensor:
        """What cross attention adds on the unconditional branch: one vector per layer, [L, W].

        There the text is all zeros, so every position holds the same value vector and any weighted mean of them is
        that vector, whatever the query, the text's length or the rotation. One zero token therefore stands for all.
        """
        memory = self.encoder(torch.zeros(1, 1, dtype=torch.int64, device=self.device))
        cross = self.decoder.cross_keys_values(memory)
        outputs = [
            layer.cross_attention.o_proj(_merge_heads(v))
            for layer, (_, v) in zip(self.decoder.blocks, cross, strict=True)
        ]
        return torch.cat(outputs)[:, 0]

    def step(
        self,
        state: DecoderInferenceState,
        tokens: torch.Tensor,
        rows: torch.Tensor,
        constants: torch.Tensor,
        span: int,
        text_span: int,
        branches: int = BRANCHES,
    ) -> torch.Tensor:
        """One row for each of slots 0 … n-1.

        Args:
            tokens: int64 [n, C], the row to read.
            rows: int64 [n], its position in each slot.
            constants: [L, W] from `unconditional_constants`.
            span: at least the largest `rows` + 1; caches are read up to there.
            text_span: at least the longest running text.
            branches: B, 1 leaves the unconditional branch out: nobody is guided.

        Returns:
            float32 logits [n, B, C, V] of the next row. In a model with a pointer `state.heading` says where that row's
            frame stands in the text.
        """
        decoder = self.decoder
        places = self._places(state, rows, span, text_span, branches)
        x = decoder.embed(tokens).repeat_interleave(branches, 0)
        for layer, own, cross, constant in zip(decoder.blocks, state.self_kv, state.cross_kv, constants, strict=True):
            x = layer.step(x, places, own, cross, constant)
        pointer = self.config.model.pointer
        if pointer is not None:
            count = len(rows)
            told = torch.stack(places.told).mean(0)
            state.heading[:count] = moved(state.pointer[:count], told, pointer, state.text_lengths[:count] - 1)
        return decoder.head(x).unflatten(0, (len(rows), branches))

    def _places(
        self, state: DecoderInferenceState, rows: torch.Tensor, span: int, text_span: int, branches: int
    ) -> StepPlaces:
        decoder, count = self.decoder, len(rows)
        both = rows.repeat_interleave(branches)
        self_mask = cross_mask = None
        if count > 1 or self.pads_spans:
            self_mask = beyond_mask(both + 1, span, self.dtype)
            cross_mask = beyond_mask(state.text_lengths[:count], text_span, self.dtype)
        cos, sin = decoder.rope.at(both)
        heads = self.config.model.decoder
        turned, plain = heads.gqa_query_heads + heads.kv_heads, heads.kv_heads
        rope = (
            torch.cat((cos.expand(-1, turned, -1), torch.ones_like(cos).expand(-1, plain, -1)), dim=1),
            torch.cat((sin.expand(-1, turned, -1), torch.zeros_like(sin).expand(-1, plain, -1)), dim=1),
        )
        return StepPlaces(
            count=count,
            span=span,
            text_span=text_span,
            branches=branches,
            rope=rope,
            cross_rope=None if decoder.cross_rope is None else decoder.cross_rope.at(rows),
            writes=state.places(rows, branches),
            self_mask=self_mask,
            cross_mask=cross_mask,
            led=self.led_weights(
                state.pointer[:count, None], text_span, None if cross_mask is None else cross_mask[:, 0, 0] == 0
            ),
            told=[],
        )

    def prefill(
        self,
        state: DecoderInferenceState,
        slot: int,
        tokens: torch.Tensor,
        start: int,
        constants: torch.Tensor,
        *,
        text_length: int | None = None,
        only_conditional: bool = False,
        spoken: torch.Tensor | None = None,
    ) -> None:
        """Read known rows [T, C] of one slot into its caches, from row `start` on.

        Args:
            text_length: of the slot's text; None reads it from the device.
            only_conditional: leave the unconditional branch alone (its rows are there already, or nobody needs them).
            spoken: float [T], as for `forward`.
        """
        decoder, end = self.decoder, start + tokens.shape[0]
        branches = 1 if only_conditional else BRANCHES
        x = decoder.embed(tokens)[None].expand(branches, -1, -1)
        rope = decoder.rope.between(start, end)
        cross_rope = None if decoder.cross_rope is None else decoder.cross_rope.between(start, end)
        mask = causal_mask(start, end, tokens.device)
        length = int(state.text_lengths[slot]) if text_length is None else text_length
        led = self.led_weights(None if spoken is None else spoken[None], length)
        for index, layer in enumerate(decoder.layers):
            cross = state.cross_kv[index]
            heard = cross.get((slice(None), slice(slot, slot + 1), slice(None), slice(length)))
            pair = heard[0], heard[1]
            view = ChunkView(state.self_kv[index], slot, start, branches)
            constant = None if only_conditional else constants[index]
            x = layer(x, rope, pair, cross_rope, mask, None, view, constant, led)


def causal_mask(start: int, end: int, device: torch.device) -> torch.Tensor:
    """bool [1, 1, end - start, end]: row `start + i` sees rows up to itself."""
    rows = torch.arange(start, end, device=device)[:, None]
    return (torch.arange(end, device=device)[None] <= rows)[None, None]


def count_parameters(modules: Sequence[nn.Module]) -> int:
    """Number of weights in all modules together."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
