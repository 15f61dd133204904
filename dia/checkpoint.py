"""Any of three file dialects to (DiaConfig, complete state dict), or an exact complaint; and back.

| dialect        | shipped as                         | config.json                        | weights               |
|----------------|------------------------------------|------------------------------------|-----------------------|
| `nested`       | nari-labs/Dia-1.6B                 | model / data / training            | [in, heads, width]    |
| `flat`         | nari-labs/Dia-1.6B-0626, original  | encoder_config / decoder_config    | [in, heads, width]    |
| `transformers` | DiaForConditionalGeneration        | the same with rope_parameters      | [out, in]             |

Weights are recognised by their names, never by file name. Files are mapped, tensors assigned: what is stored as it is
used stays a view of the file; what must be turned is read, turned and let go one tensor at a time, so that memory
peaks at the model's size. No code in a file is ever run.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from dia.adapters import MARKED, Adapter, mark_of
from dia.config import DiaConfig, Family
from dia.device import Placement
from dia.errors import BadParameter, CheckpointMismatch, CheckpointNotFound
from dia.layers import DiaModel
from dia.tensorfile import fold_names
from dia.weightfile import WeightSet

Dialect = Literal["nested", "flat", "transformers"]
DIALECTS: tuple[Dialect, ...] = ("nested", "flat", "transformers")
Json = dict[str, Any]


# ---- configuration ------------------------------------------------------------------------------------------------


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


# ---- names and shapes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """One stored tensor and where it goes.

    Attributes:
        name, shape: in the file.
        rows: how many rows of our tensor it fills (parts of one tensor are stacked in order).
        inputs: for [in, …, out]-style storage, how many leading dimensions are the input; 0: stored as we use it.
    """

    name: str
    shape: tuple[int, ...]
    rows: int
    inputs: int = 0

    def turn(self, stored: torch.Tensor) -> torch.Tensor:
        """Stored layout to ours ([out, in] or a vector)."""
        if not self.inputs:
            return stored
        width = 1
        for size in self.shape[: self.inputs]:
            width *= size
        return stored.reshape(width, -1).T

    def turn_back(self, ours: torch.Tensor) -> torch.Tensor:
        """Our rows to the stored layout; the inverse of `turn`."""
        return (ours.T if self.inputs else ours).reshape(self.shape).contiguous()


Layout = dict[str, list[Part]]
"""Our tensor's name to the stored parts that make it up."""


def original_layout(config: DiaConfig) -> Layout:
    """Names and shapes of the nested and flat dialects (the original implementation's modules)."""
    model, channels, vocabulary = config.model, config.data.channels, config.model.tgt_vocab_size
    encoder, decoder = model.encoder, model.decoder
    layout: Layout = {}

    def vector(name: str, width: int) -> None:
        layout[name] = [Part(name, (width,), width)]

    def heads(name: str, parts: list[tuple[str, int]], width: int, head_dim: int) -> None:
        prefix, _ = name.rsplit(".", 1)
        layout[f"{name}.weight"] = [
            Part(f"{prefix}.{part}.weight", (width, count, head_dim), count * head_dim, inputs=1)
            for part, count in parts
        ]

    def output(name: str, count: int, head_dim: int, width: int) -> None:
        layout[f"{name}.weight"] = [Part(f"{name}.weight", (count, head_dim, width), width, inputs=2)]

    def mlp(prefix: str, width: int, hidden: int) -> None:
        fused = Part(f"{prefix}.wi_fused.weight", (width, 2, hidden), 2 * hidden, inputs=1)
        layout[f"{prefix}.gate_up_proj.weight"] = [fused]
        layout[f"{prefix}.down_proj.weight"] = [Part(f"{prefix}.wo.weight", (hidden, width), width, inputs=1)]

    layout["encoder.embedding.weight"] = [
        Part("encoder.embedding.weight", (model.src_vocab_size, encoder.n_embd), model.src_vocab_size)
    ]
    for index in range(encoder.n_layer):
        layer = f"encoder.layers.{index}"
        vector(f"{layer}.pre_sa_norm.weight", encoder.n_embd)
        qkv = [(part, encoder.n_head) for part in ("q_proj", "k_proj", "v_proj")]
        heads(f"{layer}.self_attention.qkv_proj", qkv, encoder.n_embd, encoder.head_dim)
        output(f"{layer}.self_attention.o_proj", encoder.n_head, encoder.head_dim, encoder.n_embd)
        vector(f"{layer}.post_sa_norm.weight", encoder.n_embd)
        mlp(f"{layer}.mlp", encoder.n_embd, encoder.n_hidden)
    vector("encoder.norm.weight", encoder.n_embd)

    width = decoder.n_embd
    layout["decoder.embedding.weight"] = [
        Part(f"decoder.embeddings.{channel}.weight", (vocabulary, width), vocabulary) for channel in range(channels)
    ]
    for index in range(decoder.n_layer):
        layer = f"decoder.layers.{index}"
        for norm in ("pre_sa_norm", "pre_ca_norm", "pre_mlp_norm"):
            vector(f"{layer}.{norm}.weight", width)
        own = [("q_proj", decoder.gqa_query_heads), ("k_proj", decoder.kv_heads), ("v_proj", decoder.kv_heads)]
        heads(f"{layer}.self_attention.qkv_proj", own, width, decoder.gqa_head_dim)
        output(f"{layer}.self_attention.o_proj", decoder.gqa_query_heads, decoder.gqa_head_dim, width)
        cross, cross_dim = decoder.cross_query_heads, decoder.cross_head_dim
        heads(f"{layer}.cross_attention.q_proj", [("q_proj", cross)], width, cross_dim)
        pair = [("k_proj", cross), ("v_proj", cross)]
        heads(f"{layer}.cross_attention.kv_proj", pair, encoder.n_embd, cross_dim)
        output(f"{layer}.cross_attention.o_proj", cross, cross_dim, width)
        mlp(f"{layer}.mlp", width, decoder.n_hidden)
    vector("decoder.norm.weight", width)
    layout["decoder.logits_dense.weight"] = [
        Part("decoder.logits_dense.weight", (width, channels, vocabulary), channels * vocabulary, inputs=1)
    ]
    return layout


def transformers_layout(config: DiaConfig) -> Layout:
    """Names and shapes of transformers' DiaForConditionalGeneration: the original's, turned and renamed."""
    renamed = {"wi_fused": "gate_up_proj", "mlp.wo.": "mlp.down_proj."}
    layout: Layout = {}
    for ours, parts in original_layout(config).items():
        turned = []
        for part in parts:
            name = part.name if ".logits_dense." not in part.name else "logits_dense.weight"
            for old, new in renamed.items():
                name = name.replace(old, new)
            name = name if name == "logits_dense.weight" else f"model.{name}"
            shape = part.shape
            if part.inputs:
                width = 1
                for size in shape[: part.inputs]:
                    width *= size
                shape = (part.rows, width)
            turned.append(Part(name, shape, part.rows))
        layout[ours] = turned
    table = (config.data.channels * config.model.tgt_vocab_size, config.model.decoder.n_embd)
    layout["decoder.embedding.weight"] = [Part("model.decoder.embeddings.embed.weight", table, table[0])]
    return layout


def layout_for(names: set[str], config: DiaConfig) -> tuple[Layout, Dialect]:
    """The layout that a file's tensor names follow; nested and flat share theirs and are both called `flat` here."""
    if any(name.startswith("model.") for name in names) or "logits_dense.weight" in names:
        return transformers_layout(config), "transformers"
    return original_layout(config), "flat"


def check_names(layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare what is stored with what must be there.

    Raises:
        CheckpointMismatch: lists every missing, unknown and wrongly shaped tensor.
    """
    wanted = {part.name: part.shape for parts in layout.values() for part in parts}
    missing = sorted(set(wanted) - set(shapes))
    unknown = sorted(set(shapes) - set(wanted))
    wrong = sorted(
        f"{name} is {list(shapes[name])}, expected {list(wanted[name])}"
        for name in set(wanted) & set(shapes)
        if tuple(shapes[name]) != wanted[name]
    )
    problems = [
        f"{len(found)} {kind}: {fold_names(found)}"
        for kind, found in (("missing", missing), ("unknown", unknown), ("wrongly shaped", wrong))
        if found
    ]
    if problems:
        raise CheckpointMismatch("the weights do not fit config.json. " + ". ".join(problems))


# ---- weights ------------------------------------------------------------------------------------------------------


def load_tensor(weights: WeightSet, parts: list[Part], placement: Placement) -> torch.Tensor:
    """One of our tensors from its stored parts, on its device and in its number type."""
    only = parts[0]
    if len(parts) == 1 and not only.inputs:
        viewed = weights.view(only.name)
        if viewed.dtype == placement.dtype and placement.device.type == "cpu":
            return viewed
        return weights.once(only.name).to(device=placement.device, dtype=placement.dtype)
    width = parts[0].turn(weights.view(parts[0].name)).shape[1:]
    rows = sum(part.rows for part in parts)
    out = torch.empty((rows, *width), device=placement.device, dtype=placement.dtype)
    start = 0
    for part in parts:
        out[start : start + part.rows] = part.turn(weights.once(part.name)).to(placement.device)
        start += part.rows
    return out


def load_model(config: DiaConfig, paths: list[Path], placement: Placement, adapter: Adapter | None = None) -> DiaModel:
    """Build the model and give it the weights of these files, an adapter added to them if there is one.

    Raises:
        CheckpointMismatch: files damaged, or tensors missing, unknown or wrongly shaped; an adapter of another checkpoint.
    """
    weights = WeightSet(paths)
    layout, _ = layout_for(set(weights.shapes), config)
    check_names(layout, weights.shapes)
    with torch.device("meta"):
        model = DiaModel(config)
    if adapter is not None:
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        adapter.check(shapes, mark_of(load_tensor(weights, layout[MARKED], placement)))
    state = {name: _adapted(weights, name, parts, placement, adapter) for name, parts in layout.items()}
    model.load_state_dict(state, strict=True, assign=True)
    model.materialise(placement.device)
    return model.eval().requires_grad_(False)


def _adapted(
    weights: WeightSet, name: str, parts: list[Part], placement: Placement, adapter: Adapter | None
) -> torch.Tensor:
    if adapter is None or not adapter.changes(name):
        return load_tensor(weights, parts, placement)
    # Added before the number type rounds: as exact as if the files held the sum.
    exact = load_tensor(weights, parts, replace(placement, dtype=torch.float32))
    return adapter.added(name, exact).to(placement.dtype)


def stored_tensors(model: DiaModel, layout: Layout) -> Iterator[tuple[str, torch.Tensor]]:
    """The model's weights under a layout's names, one at a time, on the CPU."""
    state = model.state_dict()
    for ours, parts in layout.items():
        start = 0
        for part in parts:
            rows = state[ours][start : start + part.rows] if len(parts) > 1 else state[ours]
            yield part.name, part.turn_back(rows.detach().cpu())
            start += part.rows


def save_model(model: DiaModel, folder: Path, dialect: Dialect, dtype: torch.dtype | None = None) -> None:
    """Write config.json, model.safetensors and generation_config.json.

    The last only where the checkpoint has defaults of its own, or for transformers, which cannot do without.
    """
    config = model.config
    layout = transformers_layout(config) if dialect == "transformers" else original_layout(config)
    tensors = {name: tensor.to(dtype or tensor.dtype) for name, tensor in stored_tensors(model, layout)}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "model.safetensors.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    _write_json(folder / "config.json", write_config(config, dialect))
    # safetensors makes files that their owner alone can read.
    shutil.copymode(folder / "config.json", temporary)
    os.replace(temporary, folder / "model.safetensors")
    if config.generation is not None or dialect == "transformers":
        _write_json(folder / "generation_config.json", _write_generation(config, dialect))


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


def _write_json(path: Path, value: Json) -> None:
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
