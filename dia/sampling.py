"""From logits to tokens: guidance, the two published filter rules, top-k, top-p and a counter-based draw.

Pure tensor functions without host synchronisation. One seed draws the same numbers wherever a request stands in a
batch, because every number is a hash of (seed, row, channel, token) and not the next state of a shared generator.

Legend: `N` requests, `C` channels, `V` vocabulary, `K` candidates kept for sampling.
"""

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Literal

import torch

from dia.errors import BadParameter

Guidance = Literal["filter", "combined"]
MAX_TOP_K = 1028
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request is sampled. Everything is checked on construction.

    Attributes:
        temperature: 0 (greedy) to 5. Higher is livelier and less stable.
        cfg_scale: classifier-free guidance, 0 (none) to 10.
        top_p: nucleus, 0 to 1; 0 keeps the single likeliest token, 1 keeps all.
        cfg_filter_top_k: how many tokens per channel the guided logits let through, 1 to 1028.
        max_tokens: decoder rows of one pass, BOS, prompt and delay tail included; None is all the model has.
        seed: 0 to 2**63 - 1; None lets the engine draw one.
        guidance: "filter" ranks tokens by guided logits and samples from the conditional ones (the rule of the 0626
            release); "combined" samples from the guided logits, with the end token's logit scaled by 0.8 (May 2025).

    Raises:
        BadParameter: a value outside its range; the message has value, range and cure.
    """

    temperature: float = 1.2
    cfg_scale: float = 3.0
    top_p: float = 0.95
    cfg_filter_top_k: int = 45
    max_tokens: int | None = None
    seed: int | None = None
    guidance: Guidance = "filter"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if getattr(value, "ndim", None) == 0:  # a number of numpy's or torch's
                object.__setattr__(self, field.name, value.item())
        _check_number("temperature", self.temperature, 0.0, 5.0)
        _check_number("cfg_scale", self.cfg_scale, 0.0, 10.0)
        _check_number("top_p", self.top_p, 0.0, 1.0)
        _check_integer("cfg_filter_top_k", self.cfg_filter_top_k, 1, MAX_TOP_K)
        if self.max_tokens is not None:
            _check_integer("max_tokens", self.max_tokens, 1)
        if self.seed is not None:
            _check_integer("seed", self.seed, 0, MAX_SEED)
        if self.guidance not in ("filter", "combined"):
            raise BadParameter(f"guidance {self.guidance!r} is not known; use 'filter' or 'combined'")

    def updated(self, **changes: object) -> "SamplingParams":
        """A copy in which every change that is not None replaces the value here.

        Raises:
            BadParameter: a name that is no parameter, or a value outside its range.
        """
        known = {field.name for field in fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise BadParameter(f"unknown parameter {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return replace(self, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]  # checked by __post_init__


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadParameter(f"{name} is {value!r}; it must be a finite number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise BadParameter(f"{name} is {value:g}; it must lie between {low:g} and {high:g}")


def _check_integer(name: str, value: object, low: int, high: int | None = None) -> None:
    """`high` None: what bounds the value is not known here."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadParameter(
            f"{name} is {value!r}; it must be a whole number from {low}{f' to {high}' if high else ' up'}"
        )
    if high is None and value < low:
        raise BadParameter(f"{name} is {value}; it must be at least {low}; leave it out for all that the model has")
    if high is not None and not low <= value <= high:
        raise BadParameter(f"{name} is {value}; it must lie between {low} and {high}")


def remaining_guidance(cfg_scale: float, learnt: float) -> float:
    """The scale to apply to the logits of a model that has learnt guidance of `learnt`, to get guidance of `cfg_scale`.

    Guidance makes g = c + s (c - u) of conditional and unconditional logits. From a model whose own logits are g of
    s = `learnt`, c can be told, and any other g: the result is below 0 for less guidance than the model has learnt.
    """
    return (1.0 + cfg_scale) / (1.0 + learnt) - 1.0 if learnt else cfg_scale


@dataclass(slots=True)
class SamplingTensors:
    """`SamplingParams` of `N` requests side by side on the model's device, each tensor [N, 1, 1], ready to broadcast."""

    divisor: torch.Tensor  # float32: the temperature, 1 where it is 0
    liveliness: torch.Tensor  # float32: what the noise is multiplied with, 0 for greedy requests, else 1
    cfg_scale: torch.Tensor  # float32
    nucleus: torch.Tensor  # float32: top_p, infinite where it keeps all
    top_k: torch.Tensor  # int64
    seed: torch.Tensor  # int64
    combined: torch.Tensor  # bool

    @classmethod
    def empty(cls, size: int, device: torch.device) -> "SamplingTensors":
        def ones(dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.ones(size, 1, 1, dtype=dtype, device=device)

        return cls(ones(), ones(), ones(), ones(), ones(torch.int64), ones(torch.int64), ~ones(torch.bool))

    def put(self, index: int, params: SamplingParams, seed: int, learnt: float = 0.0) -> None:
        """Write one request's values into entry `index`; `learnt`: see `remaining_guidance`."""
        self.divisor[index] = params.temperature or 1.0
        self.liveliness[index] = float(params.temperature > 0)
        self.cfg_scale[index] = remaining_guidance(params.cfg_scale, learnt)
        self.nucleus[index] = params.top_p if params.top_p < 1 else math.inf
        self.top_k[index] = params.cfg_filter_top_k
        self.seed[index] = seed
        self.combined[index] = params.guidance == "combined"

    def move(self, source: int, target: int) -> None:
        for field in fields(self):
            tensor = getattr(self, field.name)
            tensor[target] = tensor[source]

    def first(self, count: int) -> "SamplingTensors":
        return SamplingTensors(**{field.name: getattr(self, field.name)[:count] for field in fields(self)})


def sample(
    cond: torch.Tensor,
    uncond: torch.Tensor,
    params: SamplingTensors,
    row: torch.Tensor,
    eos: int,
    candidates: int,
    *,
    any_combined: bool = True,
    streams: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw one token per request and channel.

    Args:
        cond: conditional logits, float32 [N, C, V].
        uncond: unconditional logits, float32 [N, C, V].
        row: the decoder row that the tokens will stand in, int64 [N]; the counter of the draw.
        eos: end-of-audio id. Ids above it never come out; it comes out of channel 0 only, and exactly when it is the
            likeliest token there.
        candidates: K, at least the largest `top_k` in `params`, at most V.
        any_combined: False promises that no request here uses the "combined" rule.
        streams: `draw_streams` of these rows where they are known already, int64 [N, C].

    Returns:
        int64 [N, C]. Greedy where temperature is 0 (the largest filtered logit).

    The order of steps is the published one: guide, choose candidates, mask ids, temperature, end rule, top-p, draw.
    """
    channels, vocabulary = cond.shape[1:]
    guided = cond + params.cfg_scale * (cond - uncond)
    forbidden = _forbidden_ids(channels, vocabulary, eos, cond.device)
    values = cond.masked_fill(forbidden, -torch.inf)
    ranking = guided
    if any_combined:
        softened = _softened(guided, forbidden, eos)
        ranking = torch.where(params.combined, softened, guided)
        values = torch.where(params.combined, softened, values)

    ids = ranking.topk(candidates, dim=-1).indices  # [N, C, K]
    place = _counting(candidates, cond.device)
    kept = values.gather(-1, ids).masked_fill_(place >= params.top_k, -torch.inf)

    # Where the guided ranking let no allowed id through, the likeliest allowed id stands in for it.
    best_value, best = values.max(-1, keepdim=True)
    stands_in = (kept.amax(-1, keepdim=True) == -torch.inf) & (place == 0)
    ids = torch.where(stands_in, best, ids)
    kept, order = torch.where(stands_in, best_value, kept).sort(dim=-1, descending=True, stable=True)
    ids = ids.gather(-1, order)

    # Filter rule: the end token alone if it leads, else never. (The combined rule removed it above already.)
    is_eos = ids == eos
    dropped = is_eos != is_eos[..., :1]
    kept = kept.masked_fill_(dropped & ~params.combined if any_combined else dropped, -torch.inf)

    scaled = kept / params.divisor
    probabilities = scaled.softmax(-1)
    outside = probabilities.cumsum(-1) - probabilities > params.nucleus
    scaled = scaled.masked_fill_(outside, -torch.inf)
    if streams is None:
        streams = draw_streams(params.seed.flatten(), row, channels)
    choice = torch.addcmul(scaled, gumbel(streams, ids, vocabulary), params.liveliness).argmax(-1, keepdim=True)
    return ids.gather(-1, choice).squeeze(-1)


def _softened(guided: torch.Tensor, forbidden: torch.Tensor, eos: int) -> torch.Tensor:
    """Guided logits by the combined rule: channel 0's end token scaled by 0.8, and out of the way unless it leads."""
    softened = guided.clone()
    softened[:, 0, eos] *= 0.8
    softened = softened.masked_fill_(forbidden, -torch.inf)
    eos_leads = softened.argmax(-1, keepdim=True) == eos
    softened[..., eos : eos + 1] = softened[..., eos : eos + 1].masked_fill(~eos_leads, -torch.inf)
    return softened


@lru_cache(maxsize=16)
def _forbidden_ids(channels: int, vocabulary: int, eos: int, device: torch.device) -> torch.Tensor:
    """bool [C, V]: all but the codes, and the end token in channel 0."""
    token = torch.arange(vocabulary, device=device)
    channel = torch.arange(channels, device=device)[:, None]
    return (token > eos) | ((token == eos) & (channel > 0))


@lru_cache(maxsize=16)
def _counting(size: int, device: torch.device) -> torch.Tensor:
    return torch.arange(size, device=device)


_MASK = 0xFFFFFFFF
BELOW_ONE = 1 - 2.0**-24
"""The largest float32 below 1."""


def _mix(x: torch.Tensor) -> torch.Tensor:
    """32-bit avalanche hash (Wellons' lowbias32, bias 0.17) of numbers below 2**32, on int64: every device has it."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


@lru_cache(maxsize=16)
def _hashed_ids(vocabulary: int, device: torch.device) -> torch.Tensor:
    return _mix((torch.arange(vocabulary, device=device) + 0xC2B2AE35) & _MASK)


def draw_streams(seed: torch.Tensor, row: torch.Tensor, channels: int) -> torch.Tensor:
    """What a draw depends on besides the token: a hash of seed [N], row [N] and channel, int64 [N, C] below 2**32."""
    state = _mix((_mix(seed & _MASK) + (seed >> 32)) & _MASK)
    state = _mix(state ^ _mix((row + 0x9E3779B9) & _MASK))
    channel = torch.arange(channels, device=row.device)
    return _mix(state[:, None] ^ _mix(channel + 0x85EBCA6B)[None, :])


def uniform(seed: torch.Tensor, row: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Numbers in (0, 1), float32 [N, C, K]: a hash of seed [N], row [N], the channel's index and token ids [N, C, K]."""
    return _uniform(draw_streams(seed, row, ids.shape[1]), _mix((ids + 0xC2B2AE35) & _MASK))


def _uniform(streams: torch.Tensor, hashed: torch.Tensor) -> torch.Tensor:
    bits = _mix(streams[:, :, None] ^ hashed)
    # The largest of 2**24 values would be rounded up to 1, whose noise is infinite: it won whatever the logits said.
    return (bits >> 8).to(torch.float32).add_(0.5).mul_(2.0**-24).clamp_max_(BELOW_ONE)


def gumbel(streams: torch.Tensor, ids: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Standard Gumbel noise [N, C, K] for token ids below `vocabulary`: adding it to logits and taking the argmax
    samples their softmax."""
    return _uniform(streams, _hashed_ids(vocabulary, ids.device)[ids]).log_().neg_().log_().neg_()
