"""Engines over the tiny model, and requests for them."""

from dataclasses import replace

import numpy as np
import torch

from dia.config import DiaConfig, PointerConfig
from dia.engine import Engine, Request
from dia.engine.runner import Runner
from dia.layers import DiaModel
from dia.sampling import SamplingParams
from tests.tiny import tiny_config, tiny_model

CONFIG = tiny_config(audio_length=128, text_length=64)
DELAY = CONFIG.data.max_delay


SMALL = CONFIG.model_copy(
    update={
        "data": CONFIG.data.model_copy(
            update={
                "channels": 3,
                "delay_pattern": (0, 2, 3),
                "audio_eos_value": 64,
                "audio_pad_value": 65,
                "audio_bos_value": 66,
            }
        ),
        "model": tiny_config(layers=(1, 1)).model.model_copy(update={"tgt_vocab_size": 68}),
    }
)
"""Three channels, a short delay, a small vocabulary, one layer: for tests of thousands of steps."""

POINTER = PointerConfig(layer=0, heads=1)
POINTED = tiny_config(audio_length=128, text_length=64, layers=(1, 3), pointer=POINTER)
"""A model that carries a place in the text from row to row."""

_SMALL_POINTED = tiny_config(layers=(1, 2), pointer=POINTER).model.model_copy(update={"tgt_vocab_size": 68})
SMALL_POINTED = SMALL.model_copy(update={"model": _SMALL_POINTED})


def make_model(dtype: torch.dtype = torch.float32, config: DiaConfig = CONFIG) -> DiaModel:
    return tiny_model(config).to(dtype)


def make_engine(model: DiaModel, slots: int = 4, max_waiting: int | None = None, **options) -> Engine:
    engine_options = {name: options.pop(name) for name in ("watchdog_s", "keep_alive_s") if name in options}
    return Engine(Runner(model, slots, **options), max_waiting, **engine_options)


def make_request(
    number: int = 0,
    *,
    frames: int = 8,
    prompt_frames: int = 0,
    text_length: int = 9,
    config: DiaConfig = CONFIG,
    **options,
) -> Request:
    """A request with a text and prompt of its own, `frames` new frames long at most."""
    random = np.random.default_rng(number)
    data = config.data
    shape = (prompt_frames, data.channels)
    prompt = random.integers(0, data.audio_eos_value, shape, dtype=np.int16) if prompt_frames else None
    if prompt_frames:
        options.setdefault("prompt_ids", text_length // 2)
    params = {"temperature": 1.2, "seed": number, **options.pop("params", {})}
    return Request(
        text=random.integers(1, 256, text_length).tolist(),
        params=SamplingParams(**params),
        rows=prompt_frames + frames + data.max_delay + 1,
        prompt=prompt,
        **options,
    )


def codes_of(ticket, drive=None) -> np.ndarray:
    """All frames of a ticket, to its end."""
    parts = list(ticket.frames(drive))
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.int16)


def alone(model: DiaModel, request: Request, **options) -> np.ndarray:
    """The codes of one request in an engine of its own."""
    engine = make_engine(model, slots=1, **options)
    return codes_of(engine.submit(request), engine.step)


def again(request: Request) -> Request:
    """The same request under another name."""
    return replace(request, id=f"{request.id} again")


def finish(engine: Engine) -> None:
    """Drive an engine until nothing runs or waits."""
    while engine.num_running or engine.num_waiting:
        engine.step()
