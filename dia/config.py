"""The architecture of one checkpoint, as frozen values: sizes, token ids, delays and the family of its forward pass.

Three dialects of `config.json` exist in the wild; `dia.checkpoint` translates each into this one vocabulary
(the nested one that `nari-labs/Dia-1.6B` shipped with). Nothing here touches files or tensors.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Family = Literal["v0_1", "0626"]
"""The two published families share tensors and differ in the forward pass and in the sampling rule.

`v0_1` (April 2025, Dia-1.6B) rotates queries and keys of cross attention by position; `0626` (June 2025,
Dia-1.6B-0626, and what transformers implements) does not. Tensors cannot tell them apart.
"""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Frozen):
    """Lengths and token ids.

    `text_length` is the most text bytes, `audio_length` the most decoder rows (BOS, prompt and delay tail
    included). Channel `c` of audio frame `f` stands in row `1 + f + delay_pattern[c]`.
    """

    text_length: int = Field(default=1024, gt=0)
    audio_length: int = Field(default=3072, gt=1)
    channels: int = Field(default=9, gt=0)
    text_pad_value: int = Field(default=0, ge=0)
    audio_eos_value: int = Field(default=1024, gt=0)
    audio_pad_value: int = Field(default=1025, gt=0)
    audio_bos_value: int = Field(default=1026, gt=0)
    delay_pattern: tuple[int, ...] = (0, 8, 9, 10, 11, 12, 13, 14, 15)

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if len(self.delay_pattern) != self.channels:
            raise ValueError(f"delay_pattern has {len(self.delay_pattern)} entries for {self.channels} channels")
        if min(self.delay_pattern) < 0 or self.delay_pattern[0] != 0:
            raise ValueError(f"delay_pattern must start with 0 and hold no negative entry, not {self.delay_pattern}")
        if self.audio_length < self.max_delay + 2:
            raise ValueError(f"audio_length {self.audio_length} leaves no room behind a delay of {self.max_delay}")
        return self

    @property
    def max_delay(self) -> int:
        """Rows from a frame's first code to its last."""
        return max(self.delay_pattern)


MAX_LAYERS = 1024
"""No model has so many; a damaged or hostile file that says more would be enumerated layer by layer."""


class EncoderConfig(_Frozen):
    """Text encoder: `n_layer` pre-norm blocks of width `n_embd`, bidirectional attention of `n_head` heads."""

    n_layer: int = Field(gt=0, le=MAX_LAYERS)
    n_embd: int = Field(gt=0)
    n_hidden: int = Field(gt=0)
    n_head: int = Field(gt=0)
    head_dim: int = Field(gt=0, multiple_of=2)


class DecoderConfig(_Frozen):
    """Audio decoder: grouped-query causal attention, cross attention to the encoder, gated MLP of width `n_hidden`."""

    n_layer: int = Field(gt=0, le=MAX_LAYERS)
    n_embd: int = Field(gt=0)
    n_hidden: int = Field(gt=0)
    gqa_query_heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    gqa_head_dim: int = Field(gt=0, multiple_of=2)
    cross_query_heads: int = Field(gt=0)
    cross_head_dim: int = Field(gt=0, multiple_of=2)

    @model_validator(mode="after")
    def _check(self) -> "DecoderConfig":
        if self.gqa_query_heads % self.kv_heads:
            raise ValueError(f"{self.gqa_query_heads} query heads cannot share {self.kv_heads} key heads evenly")
        return self


class PointerConfig(_Frozen):
    """A place in the text that is carried from row to row; the published models have none.

    The first `heads` heads of cross attention in decoder layer `layer` (from 0) look at the place just spoken, with
    weights that fall off as a Gaussian of `width` text ids. The same heads of the layers above say where the frame to come
    is; of that, what lies between `back` ids behind the place and `ahead` ids before it moves the place.
    """

    layer: int = Field(ge=0)
    heads: int = Field(gt=0)
    width: float = Field(default=0.6, gt=0)
    back: float = Field(default=1.0, ge=0)
    ahead: float = Field(default=4.0, gt=0)


class ModelConfig(_Frozen):
    """Both halves of the transformer and what they share."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    pointer: PointerConfig | None = None
    src_vocab_size: int = Field(default=256, gt=0)
    tgt_vocab_size: int = Field(default=1028, gt=0)
    normalization_layer_epsilon: float = Field(default=1e-5, gt=0)
    rope_min_timescale: float = Field(default=1.0, gt=0)
    rope_max_timescale: float = Field(default=10_000.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.pointer is not None and self.pointer.layer + 1 >= self.decoder.n_layer:
            raise ValueError(f"pointer.layer {self.pointer.layer} needs a layer above it, of {self.decoder.n_layer}")
        if self.pointer is not None and self.pointer.heads > self.decoder.cross_query_heads:
            raise ValueError(f"pointer.heads {self.pointer.heads} of {self.decoder.cross_query_heads} heads")
        return self


class GenerationDefaults(_Frozen):
    """What a checkpoint recommends for sampling; ranges are those of `dia.sampling.SamplingParams`."""

    temperature: float = 1.2
    cfg_scale: float = 3.0
    top_p: float = 0.95
    cfg_filter_top_k: int = 45
    guidance: Literal["filter", "combined"] = "filter"


# 0626's own examples use 1.8 / 0.90 / 50 (nari-labs/dia, example/); v0_1 used the library's defaults.
_FAMILY_DEFAULTS: dict[str, GenerationDefaults] = {
    "v0_1": GenerationDefaults(),
    "0626": GenerationDefaults(temperature=1.8, top_p=0.90, cfg_filter_top_k=50),
}


class DiaConfig(_Frozen):
    """Everything about a checkpoint that is not a tensor."""

    version: str = "1.0"
    model: ModelConfig
    data: DataConfig = DataConfig()
    family: Family = "0626"
    generation: GenerationDefaults | None = None
    quantization: Literal["int8", "int8-weights"] | None = None
    """What a processor shall hold the weights in where nobody asks for anything; the checkpoint's maker has listened."""
    learnt_guidance: float = Field(default=0.0, ge=0.0, le=10.0)
    """The `cfg_scale` whose result the model's own logits are already; a request that asks for it needs one branch."""

    sounds: bool | None = None
    """Whether the model has learnt sounds such as `(laughs)`. None: the published ones have, and a pointer is a mark of
    the small ones made here, whose recordings hold none."""

    @model_validator(mode="after")
    def _check(self) -> "DiaConfig":
        top = max(self.data.audio_eos_value, self.data.audio_pad_value, self.data.audio_bos_value)
        if top >= self.model.tgt_vocab_size:
            raise ValueError(f"token id {top} does not fit a vocabulary of {self.model.tgt_vocab_size}")
        return self

    @property
    def rotates_cross_attention(self) -> bool:
        """Whether queries and keys of cross attention are rotated by their positions."""
        return self.family == "v0_1"

    @property
    def defaults(self) -> GenerationDefaults:
        """The checkpoint's own recommendation, else its family's."""
        return self.generation or _FAMILY_DEFAULTS[self.family]

    @property
    def knows_sounds(self) -> bool:
        """Whether sounds such as `(laughs)` are performed; else they are at best read as words."""
        return self.model.pointer is None if self.sounds is None else self.sounds

    def needs_guidance(self, cfg_scale: float) -> bool:
        """Whether a request for guidance of this scale needs the unconditional branch."""
        return cfg_scale != self.learnt_guidance

    @property
    def max_frames(self) -> int:
        """Most new audio frames of one pass without a prompt: rows less BOS and the delay tail."""
        return self.data.audio_length - max(self.data.max_delay, 1) - 1
