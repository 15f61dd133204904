"""The original implementation (nari-labs/dia), from a checkout that the caller names, as it is.

Its imports of torchaudio and of its codec are answered by empty modules: neither takes part in what is measured.
"""

import contextlib
import importlib
import sys
import time
import types
from typing import Any, Protocol

import torch

from dia.bench.machine import peak_memory_gb
from dia.bench.weights import bundle


class Ticking(Protocol):
    def tick(self, *_: object) -> None: ...
    def summary(self) -> dict[str, float]: ...


def run_original(task: dict[str, Any], clock: Ticking) -> dict[str, Any]:
    """Load, prepare and decode with the implementation in `task["checkout"]`; see `dia.bench.sides.Task`."""
    device = torch.device(task["device"])
    folder = bundle(task["size"], "flat")
    original = _import(task["checkout"])
    start = time.perf_counter()
    kinds = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
    dia = original.Dia.from_pretrained(
        str(folder), compute_dtype=kinds[task["dtype"] or "float32"], device=device, load_dac=False
    )
    load_s, load_gb = time.perf_counter() - start, peak_memory_gb(device)
    text = "".join(chr(97 + index % 26) for index in range(200))
    prepare, step, prepared = dia._prepare_generation, dia._decoder_step, []

    def timed_prepare(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = prepare(*args, **kwargs)
        prepared.append(time.perf_counter() - began)
        return result

    def timed_step(*args: Any, **kwargs: Any) -> Any:
        clock.tick()
        return step(*args, **kwargs)

    dia._prepare_generation, dia._decoder_step = timed_prepare, timed_step
    # Its attention reads as many rows as max_tokens has, so a short run would flatter it: the run is stopped instead.
    wanted = task["steps"] + 5
    count = [0]

    def stop_after(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] > wanted:
            raise _EnoughError
        return timed_step(*args, **kwargs)

    dia._decoder_step = stop_after
    with contextlib.suppress(_EnoughError):
        dia.generate(text, max_tokens=dia.config.decoder_config.max_position_embeddings)
    times = {"load_s": load_s, "load_peak_gb": load_gb, "encode_s": min(prepared)}
    return {**times, **clock.summary(), "peak_gb": peak_memory_gb(device)}


class _EnoughError(Exception):
    """Enough steps were measured."""


def _import(checkout: str) -> types.ModuleType:
    """The checkout's `dia.model`, imported in place of ours (this process needs ours no more)."""
    for name in ("torchaudio", "dac", "soundfile"):
        sys.modules.setdefault(name, types.ModuleType(name))
    for name in [name for name in sys.modules if name == "dia" or name.startswith("dia.")]:
        del sys.modules[name]
    sys.path.insert(0, checkout)
    return importlib.import_module("dia.model")
