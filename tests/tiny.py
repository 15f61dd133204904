"""The tiny real model and codec that tests run: true architecture and delays, random weights, a few hundred kilobytes."""

from pathlib import Path

import torch

from dia.adapters import Adapter, save_adapter
from dia.checkpoint import save_model
from dia.codec import Codec
from dia.config import DataConfig, DecoderConfig, DiaConfig, Dialect, EncoderConfig, Family, ModelConfig, PointerConfig
from dia.layers import DiaModel

DELAYS = (0, 8, 9, 10, 11, 12, 13, 14, 15)


def tiny_config(
    family: Family = "0626",
    *,
    text_length: int = 256,
    audio_length: int = 256,
    delays: tuple[int, ...] = DELAYS,
    layers: tuple[int, int] = (2, 2),
    pointer: PointerConfig | None = None,
) -> DiaConfig:
    return DiaConfig(
        model=ModelConfig(
            encoder=EncoderConfig(n_layer=layers[0], n_embd=32, n_hidden=48, n_head=2, head_dim=16),
            decoder=DecoderConfig(
                n_layer=layers[1],
                n_embd=48,
                n_hidden=64,
                gqa_query_heads=4,
                kv_heads=2,
                gqa_head_dim=16,
                cross_query_heads=2,
                cross_head_dim=16,
            ),
            pointer=pointer,
        ),
        data=DataConfig(
            text_length=text_length, audio_length=audio_length, channels=len(delays), delay_pattern=delays
        ),
        family=family,
    )


def tiny_model(config: DiaConfig | None = None, seed: int = 0) -> DiaModel:
    """Random weights, scaled so that logits are of order one and differ between texts."""
    generator = torch.Generator().manual_seed(seed)
    model = DiaModel(config or tiny_config())
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.copy_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
        else:
            scale = parameter.shape[-1] ** -0.5 if "embedding" not in name else 0.5
            parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


def tiny_adapter(seed: int = 1, model: DiaModel | None = None, std: float = 0.1) -> Adapter:
    """An adapter with random values, which change what is said, for a model (the tiny one)."""
    from dia.train.lora import LoraConfig, attach, finished

    model = model or tiny_model()
    config = LoraConfig(rank=4)
    pairs = attach(model, config, seed)
    torch.manual_seed(seed)
    for parameter in pairs.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return finished(config, model, pairs.state_dict(), f"adapter-{seed}.safetensors")


def write_adapter(path: Path, seed: int = 1, model: DiaModel | None = None, std: float = 0.1) -> Path:
    """A file of such an adapter."""
    save_adapter(tiny_adapter(seed, model, std), path)
    return path


def tiny_codec(
    seed: int = 0,
    *,
    sample_rate_hz: int = 44_100,
    hop: tuple[int, ...] = (8, 8, 4, 2),
    books: tuple[int, int] = (9, 1024),
) -> Codec:
    """A DAC of full hop and nine codebooks with few channels."""
    from transformers import DacConfig, DacModel

    state = torch.get_rng_state()
    torch.manual_seed(seed)
    config = DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=list(reversed(hop)),
        decoder_hidden_size=32,
        upsampling_ratios=list(hop),
        n_codebooks=books[0],
        codebook_size=books[1],
        codebook_dim=8,
        sampling_rate=sample_rate_hz,
    )
    model = DacModel(config)
    # The library's initial weights are so small that everything decodes to near silence.
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "alpha" not in name:
            parameter.data.normal_(0, 0.5 * parameter[0].numel() ** -0.5)
    torch.set_rng_state(state)
    return Codec(model, torch.device("cpu"))


def write_bundle(folder: Path, dialect: Dialect = "flat", config: DiaConfig | None = None, seed: int = 0) -> Path:
    """A checkpoint folder with its codec, as `--model FOLDER` takes it."""
    save_model(tiny_model(config, seed), folder, dialect)
    tiny_codec(seed).save(folder / "codec")
    return folder
