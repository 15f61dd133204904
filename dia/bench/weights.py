"""Random weights of the published size, made once from a seed and shared by all that are compared.

Speed does not depend on what the weights say, but for one thing: how long a passage gets. The end token's column of
channel 0 is therefore zero (a logit of 0 is never the largest of a thousand random ones), and lengths are set by
`max_tokens`. Quality cannot be judged with such weights.
"""

import os
from pathlib import Path
from typing import Literal

import torch

from dia.checkpoint import save_model
from dia.codec import Codec, dac_config_44khz
from dia.config import DataConfig, DecoderConfig, DiaConfig, Dialect, EncoderConfig, ModelConfig
from dia.layers import DiaModel

Size = Literal["full", "tiny"]
SEED = 20_250_626


def cache_folder() -> Path:
    """Where built weights are kept: `DIA_BENCH_CACHE`, else the user's cache."""
    named = os.environ.get("DIA_BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "dia" / "bench"


def config_of(size: Size) -> DiaConfig:
    """The architecture of Dia-1.6B-0626, or a small one with the same delays and channels."""
    if size == "full":
        encoder = EncoderConfig(n_layer=12, n_embd=1024, n_hidden=4096, n_head=16, head_dim=128)
        heads = {"gqa_query_heads": 16, "kv_heads": 4, "gqa_head_dim": 128, "cross_query_heads": 16}
        decoder = DecoderConfig(n_layer=18, n_embd=2048, n_hidden=8192, cross_head_dim=128, **heads)
        return DiaConfig(model=ModelConfig(encoder=encoder, decoder=decoder))
    encoder = EncoderConfig(n_layer=2, n_embd=64, n_hidden=128, n_head=2, head_dim=32)
    heads = {"gqa_query_heads": 4, "kv_heads": 2, "gqa_head_dim": 32, "cross_query_heads": 2}
    decoder = DecoderConfig(n_layer=2, n_embd=96, n_hidden=192, cross_head_dim=32, **heads)
    return DiaConfig(model=ModelConfig(encoder=encoder, decoder=decoder), data=DataConfig(audio_length=512))


def bundle(size: Size, dialect: Dialect = "transformers") -> Path:
    """The folder of the seeded checkpoint in a dialect, built on first use. The codec is `codec/` in it."""
    folder = cache_folder() / f"{size}-{dialect}-{SEED}"
    if not (folder / "model.safetensors").is_file():
        save_model(random_model(config_of(size)), folder, dialect)
    if dialect == "transformers" and not (folder / "codec" / "model.safetensors").is_file():
        random_codec(size).save(folder / "codec")
    return folder


def random_model(config: DiaConfig) -> DiaModel:
    """Every product keeps the variance of what goes in; norms are near 1."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.device("meta"):
        model = DiaModel(config)
    model = model.to_empty(device="cpu").requires_grad_(False)
    model.materialise(torch.device("cpu"))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(1.0)
        else:
            parameter.normal_(0, 0.5 if "embedding" in name else parameter.shape[-1] ** -0.5, generator=generator)
    model.decoder.logits_dense.weight[config.data.audio_eos_value] = 0
    return model.eval()


def random_codec(size: Size) -> Codec:
    """DAC of the published shape (or with few channels), its random weights scaled so that sound stays of order one."""
    from transformers import DacModel

    torch.manual_seed(SEED)
    config = dac_config_44khz()
    if size == "tiny":
        config.encoder_hidden_size, config.decoder_hidden_size = 4, 32
        config.hidden_size = 64
    model = DacModel(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "alpha" not in name:
            parameter.data.normal_(0, 0.5 * parameter[0].numel() ** -0.5)
    return Codec(model, torch.device("cpu"))
