"""The weights of a checkpoint in any of three dialects to a model, complete or with an exact complaint; and back.

| dialect        | shipped as                         | weights               |
|----------------|------------------------------------|-----------------------|
| `nested`       | nari-labs/Dia-1.6B                 | [in, heads, width]    |
| `flat`         | nari-labs/Dia-1.6B-0626, original  | [in, heads, width]    |
| `transformers` | DiaForConditionalGeneration        | [out, in]             |

Weights are recognised by their names, never by file name. Files are mapped, tensors assigned: what is stored as it is
used stays a view of the file; what must be turned is read, turned and let go one tensor at a time, so that memory
peaks at the model's size. No code in a file is ever run.
"""

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from dia.adapters import MARKED, Adapter, mark_of
from dia.config import DataConfig, DiaConfig, Dialect, Json, read_config, read_json, write_json
from dia.device import Placement
from dia.errors import CheckpointMismatch
from dia.layers import DiaModel
from dia.tensorfile import fold_names
from dia.weightfile import WeightSet

__all__ = [
    "Layout",
    "Part",
    "check_names",
    "known_to_the_processor",
    "layout_for",
    "load_model",
    "load_tensor",
    "original_layout",
    "read_config",
    "read_json",
    "save_model",
    "save_processor",
    "stored_tensors",
    "transformers_layout",
]


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
    """Write model.safetensors, and config.json with what belongs to it (see `DiaConfig.save`)."""
    config = model.config
    layout = transformers_layout(config) if dialect == "transformers" else original_layout(config)
    tensors = {name: tensor.to(dtype or tensor.dtype) for name, tensor in stored_tensors(model, layout)}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "model.safetensors.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    config.save(folder / "config.json", dialect)
    # safetensors makes files that their owner alone can read.
    shutil.copymode(folder / "config.json", temporary)
    os.replace(temporary, folder / "model.safetensors")


# ---- transformers' processor --------------------------------------------------------------------------------------

PROCESSOR_RATE_HZ = 44_100


def known_to_the_processor(config: DiaConfig, codec: Json) -> bool:
    """Whether transformers' DiaProcessor can speak for a model and a codec (its parsed config.json).

    Delays, token ids and sample rate are constants of that class: the published ones.
    """
    data, published = config.data, DataConfig()
    names = ("delay_pattern", "audio_bos_value", "audio_eos_value", "audio_pad_value")
    is_published = all(getattr(data, name) == getattr(published, name) for name in names)
    return is_published and codec["sampling_rate"] == PROCESSOR_RATE_HZ


def save_processor(config: DiaConfig, folder: Path, codec: Json, codec_name: str) -> None:
    """Write what transformers' `AutoProcessor.from_pretrained(folder)` reads.

    Args:
        codec: the parsed config.json of the codec.
        codec_name: its hub id, or its folder's absolute path (transformers takes no other).
    """
    shared = {"processor_class": "DiaProcessor"}
    tokenizer = {"tokenizer_class": "DiaTokenizer", "pad_token": "<pad>", "unk_token": "<pad>", "offset": 0}
    sound: Json = {"feature_extractor_type": "DiaFeatureExtractor", "feature_size": 1, "padding_value": 0.0}
    sound |= {"sampling_rate": codec["sampling_rate"], "hop_length": math.prod(codec["downsampling_ratios"])}
    named = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": codec_name}
    # Their own 1024 cuts nothing and warns of that at every call.
    write_json(folder / "tokenizer_config.json", shared | tokenizer | {"max_length": None})
    write_json(folder / "preprocessor_config.json", shared | sound)
    write_json(folder / "audio_tokenizer_config.json", named)
