"""The architecture of one checkpoint, as frozen values: sizes, token ids, delays and the family of its forward pass.

Three dialects of `config.json` exist in the wild; `DiaConfig.load` and `save` translate each into this one vocabulary (the
nested one that `nari-labs/Dia-1.6B` shipped with) and back. Nothing here touches tensors.

| dialect        | shipped as                         | config.json                        |
|----------------|------------------------------------|------------------------------------|
| `nested`       | nari-labs/Dia-1.6B                 | model / data / training            |
| `flat`         | nari-labs/Dia-1.6B-0626, original  | encoder_config / decoder_config    |
| `transformers` | DiaForConditionalGeneration        | the same with rope_parameters      |
"""

import json
import os
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dia.errors import BadParameter, CheckpointMismatch, CheckpointNotFound

Dialect = Literal["nested", "flat", "transformers"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
Json = dict[str, Any]

_GENERATION_FILE = "generation_config.json"
"""Beside config.json: the sampling that a checkpoint recommends, under transformers' names."""

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

    @classmethod
    def load(cls, path: str | os.PathLike[str], family: Family | None = None) -> "DiaConfig":
        """The configuration in a `config.json` of any dialect, and what a `generation_config.json` beside it recommends.

        Args:
            family: overrides what the file says or its dialect implies.

        Raises:
            CheckpointNotFound: no such file. CheckpointMismatch, BadParameter: as `read_config`.
        """
        beside = Path(path).with_name(_GENERATION_FILE)
        return read_config(read_json(Path(path)), family, read_json(beside) if beside.is_file() else None)

    def save(self, path: str | os.PathLike[str], dialect: Dialect | None = None) -> None:
        """Write `config.json`, and beside it `generation_config.json`.

        The latter only where the checkpoint has defaults of its own, or for transformers, which cannot do without.

        Args:
            dialect: None is the one whose own programs compute this family: nested for v0_1, flat for 0626.

        Raises:
            CheckpointMismatch: the dialect cannot hold these values.
        """
        dialect = dialect or ("nested" if self.family == "v0_1" else "flat")
        raw = write_config(self, dialect)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(path), raw)
        if self.generation is not None or dialect == "transformers":
            write_json(Path(path).with_name(_GENERATION_FILE), _write_generation(self, dialect))


# ---- config.json in three dialects ---------------------------------------------------------------------------------


def config_dialect(raw: Json) -> Dialect:
    """Which dialect a parsed config.json is written in.

    Raises:
        CheckpointMismatch: none of the three.
    """
    if "model" in raw and "data" in raw:
        return "nested"
    if "encoder_config" in raw and "decoder_config" in raw:
        in_decoder = "rope_parameters" in raw["decoder_config"] or "eos_token_id" in raw["decoder_config"]
        return "transformers" if in_decoder else "flat"
    keys = ", ".join(sorted(raw)[:8]) or "none"
    raise CheckpointMismatch(
        f"config.json is of no known dialect (keys: {keys}); expected model/data (Dia-1.6B) or "
        "encoder_config/decoder_config (Dia-1.6B-0626, transformers)"
    )


def implied_family(dialect: Dialect) -> Family:
    """The family whose forward pass a dialect's own programs compute."""
    return "v0_1" if dialect == "nested" else "0626"


def read_config(raw: Json, family: Family | None = None, generation: Json | None = None) -> DiaConfig:
    """Translate a parsed config.json of any dialect.

    Args:
        family: overrides what the dialect implies (nested: v0_1; the others: 0626).
        generation: a parsed generation_config.json, whose sampling values become the checkpoint's defaults.

    Raises:
        BadParameter: an unknown family.
        CheckpointMismatch: unknown dialect, or fields missing or contradictory; the message lists them.
    """
    if family not in (None, *get_args(Family)):
        raise BadParameter(f"family {family!r} is not known; use one of {', '.join(get_args(Family))}")
    dialect = config_dialect(raw)
    try:
        fields = _from_nested(raw) if dialect == "nested" else _from_flat(raw)
        fields["family"] = family or raw.get("dia_family") or implied_family(dialect)
        if (pointer := raw.get("dia_pointer")) is not None:
            fields["model"]["pointer"] = pointer
        fields["quantization"] = raw.get("dia_quantization")
        fields["learnt_guidance"] = raw.get("dia_learnt_guidance", 0.0)
        fields["sounds"] = raw.get("dia_sounds")
        if generation is not None:
            fields["generation"] = _generation(generation)
        return DiaConfig.model_validate(fields)
    except KeyError as error:
        raise CheckpointMismatch(f"config.json ({dialect} dialect) lacks the field {error.args[0]!r}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise CheckpointMismatch(f"config.json ({dialect} dialect) is not a Dia model: {problems}") from error


def _generation(raw: Json) -> Json | None:
    names = {
        "temperature": "temperature",
        "top_p": "top_p",
        "guidance_scale": "cfg_scale",
        "top_k": "cfg_filter_top_k",
        "dia_guidance": "guidance",
    }
    found = {ours: raw[theirs] for theirs, ours in names.items() if raw.get(theirs) is not None}
    return found or None


def _round_up(length: int) -> int:
    """The nested dialect's lengths are multiples of 128 (nari-labs/dia, config.py)."""
    return (length + 127) // 128 * 128


def _from_nested(raw: Json) -> Json:
    model, data = raw["model"], raw["data"]
    shared = ["src_vocab_size", "tgt_vocab_size", "normalization_layer_epsilon", "rope_min_timescale"]
    names = ["encoder", "decoder", *shared, "rope_max_timescale"]
    kept = {name: model[name] for name in names if name in model}
    # Early files leave it out; the published weights have 256 rows although the original's default was 128.
    kept.setdefault("src_vocab_size", 256)
    lengths = {name: _round_up(data[name]) for name in ("text_length", "audio_length")}
    return {"version": str(raw.get("version", "1.0")), "model": kept, "data": {**data, **lengths}}


def _from_flat(raw: Json) -> Json:
    encoder, decoder = raw["encoder_config"], raw["decoder_config"]
    _require_supported(encoder, decoder)

    def token(name: str) -> int:
        value = raw.get(name)
        return int(decoder[name] if value is None else value)

    return {
        "version": "1.0",
        "model": {
            "encoder": {
                "n_layer": encoder["num_hidden_layers"],
                "n_embd": encoder["hidden_size"],
                "n_hidden": encoder["intermediate_size"],
                "n_head": encoder["num_attention_heads"],
                "head_dim": encoder["head_dim"],
            },
            "decoder": {
                "n_layer": decoder["num_hidden_layers"],
                "n_embd": decoder["hidden_size"],
                "n_hidden": decoder["intermediate_size"],
                "gqa_query_heads": decoder["num_attention_heads"],
                "kv_heads": decoder["num_key_value_heads"],
                "gqa_head_dim": decoder["head_dim"],
                "cross_query_heads": decoder["cross_num_attention_heads"],
                "cross_head_dim": decoder["cross_head_dim"],
            },
            "src_vocab_size": encoder["vocab_size"],
            "tgt_vocab_size": decoder["vocab_size"],
            "normalization_layer_epsilon": decoder.get("norm_eps", 1e-5),
            "rope_max_timescale": _rope_theta(decoder),
        },
        "data": {
            "text_length": encoder["max_position_embeddings"],
            "audio_length": decoder["max_position_embeddings"],
            "channels": decoder["num_channels"],
            "audio_eos_value": token("eos_token_id"),
            "audio_pad_value": token("pad_token_id"),
            "audio_bos_value": token("bos_token_id"),
            "delay_pattern": raw["delay_pattern"],
        },
    }


def _rope_theta(half: Json) -> float:
    return float((half.get("rope_parameters") or half).get("rope_theta", 10_000.0))


def _require_supported(encoder: Json, decoder: Json) -> None:
    """Refuse what the flat dialect can say and this architecture cannot do."""
    problems = []
    for name, half in (("encoder_config", encoder), ("decoder_config", decoder)):
        rope_type = (half.get("rope_parameters") or {}).get("rope_type", "default")
        if half.get("rope_scaling") is not None or rope_type != "default":
            problems.append(f"{name}: scaled rope is not supported")
        if half.get("hidden_act", "silu") != "silu":
            problems.append(f"{name}: hidden_act {half['hidden_act']!r}, only silu is supported")
    if encoder.get("num_key_value_heads", encoder["num_attention_heads"]) != encoder["num_attention_heads"]:
        problems.append("encoder_config: grouped keys are not supported")
    if (
        decoder.get("cross_num_key_value_heads", decoder["cross_num_attention_heads"])
        != decoder["cross_num_attention_heads"]
    ):
        problems.append("decoder_config: grouped cross keys are not supported")
    if decoder.get("cross_hidden_size", encoder["hidden_size"]) != encoder["hidden_size"]:
        problems.append("decoder_config: cross_hidden_size differs from the encoder's hidden_size")
    if _rope_theta(encoder) != _rope_theta(decoder):
        problems.append("encoder and decoder have different rope_theta")
    if problems:
        raise CheckpointMismatch("config.json: " + "; ".join(problems))


def write_config(config: DiaConfig, dialect: Dialect) -> Json:
    """The config.json of a dialect. A family other than the dialect's own is kept under `dia_family`."""
    raw = _to_nested(config) if dialect == "nested" else _to_flat(config, dialect)
    if config.family != implied_family(dialect):
        raw["dia_family"] = config.family
    if config.model.pointer is not None:
        raw["dia_pointer"] = config.model.pointer.model_dump(mode="json")
    if config.quantization is not None:
        raw["dia_quantization"] = config.quantization
    if config.learnt_guidance:
        raw["dia_learnt_guidance"] = config.learnt_guidance
    if config.sounds is not None:
        raw["dia_sounds"] = config.sounds
    return raw


def known_to_dia_alone(config: DiaConfig, dialect: Dialect) -> list[str]:
    """What the dialect's own programs (the original, transformers) do not read of a config.json and compute without."""
    own = {
        f"the forward pass of family {config.family}": config.family != implied_family(dialect),
        "the pointer into the text": config.model.pointer is not None,
        "the guidance that the model has learnt": config.learnt_guidance != 0,
    }
    return [what for what, is_there in own.items() if is_there]


def _to_nested(config: DiaConfig) -> Json:
    data = config.data.model_dump(mode="json")
    for name in ("text_length", "audio_length"):
        if data[name] % 128:
            raise CheckpointMismatch(f"the nested dialect holds multiples of 128 only; {name} is {data[name]}")
    model = config.model.model_dump(mode="json", exclude={"pointer"})
    return {"version": config.version, "model": model, "training": {}, "data": data}


def _to_flat(config: DiaConfig, dialect: Dialect) -> Json:
    model, data = config.model, config.data
    if model.rope_min_timescale != 1.0 or data.text_pad_value != 0:
        raise CheckpointMismatch("only the nested dialect can hold this rope_min_timescale or text_pad_value")
    theta = model.rope_max_timescale
    newer = dialect == "transformers"
    rope: Json = (
        {"rope_parameters": {"rope_theta": theta, "rope_type": "default"}}
        if newer
        else {"rope_theta": theta, "rope_scaling": None}
    )
    shared: Json = {
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "norm_eps": model.normalization_layer_epsilon,
        **rope,
    }
    ids: Json = {
        "bos_token_id": data.audio_bos_value,
        "eos_token_id": data.audio_eos_value,
        "pad_token_id": data.audio_pad_value,
    }
    encoder, decoder = model.encoder, model.decoder
    return {
        "architectures": ["DiaForConditionalGeneration"],
        "model_type": "dia",
        "is_encoder_decoder": True,
        "delay_pattern": list(data.delay_pattern),
        "initializer_range": 0.02,
        "norm_eps": model.normalization_layer_epsilon,
        **({} if newer else {**ids, "torch_dtype": "float32"}),
        "encoder_config": {
            "model_type": "dia_encoder",
            "hidden_size": encoder.n_embd,
            "intermediate_size": encoder.n_hidden,
            "num_hidden_layers": encoder.n_layer,
            "num_attention_heads": encoder.n_head,
            "num_key_value_heads": encoder.n_head,
            "head_dim": encoder.head_dim,
            "max_position_embeddings": data.text_length,
            "vocab_size": model.src_vocab_size,
            **shared,
        },
        "decoder_config": {
            "model_type": "dia_decoder",
            "hidden_size": decoder.n_embd,
            "intermediate_size": decoder.n_hidden,
            "num_hidden_layers": decoder.n_layer,
            "num_attention_heads": decoder.gqa_query_heads,
            "num_key_value_heads": decoder.kv_heads,
            "head_dim": decoder.gqa_head_dim,
            "cross_num_attention_heads": decoder.cross_query_heads,
            "cross_num_key_value_heads": decoder.cross_query_heads,
            "cross_head_dim": decoder.cross_head_dim,
            "cross_hidden_size": encoder.n_embd,
            "max_position_embeddings": data.audio_length,
            "vocab_size": model.tgt_vocab_size,
            "num_channels": data.channels,
            **shared,
            **(ids if newer else {}),
        },
    }


def _write_generation(config: DiaConfig, dialect: Dialect) -> Json:
    """Sampling defaults; for transformers also what it cannot generate without, and asks no other file for."""
    values, data = config.defaults, config.data
    raw: Json = {"do_sample": True, "temperature": values.temperature, "top_p": values.top_p}
    raw |= {"top_k": values.cfg_filter_top_k, "guidance_scale": values.cfg_scale}
    if values.guidance != "filter":
        raw["dia_guidance"] = values.guidance
    if dialect == "transformers":
        raw |= {"bos_token_id": data.audio_bos_value, "eos_token_id": data.audio_eos_value}
        raw |= {"pad_token_id": data.audio_pad_value, "max_length": data.audio_length}
    return raw


def write_json(path: Path, value: Json) -> None:
    """A JSON object into a file, for people to read too."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Json:
    """A JSON object from a file.

    Raises:
        CheckpointNotFound: no such file.
        CheckpointMismatch: not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointNotFound(f"{path} does not exist") from error
    except (ValueError, OSError) as error:
        raise CheckpointMismatch(f"{path.name} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointMismatch(f"{path.name} holds a {type(value).__name__}, not an object")
    return value
