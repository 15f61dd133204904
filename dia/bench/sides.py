"""One implementation measured in a process of its own: `python -m dia.bench.sides JSON` prints one JSON line.

A process each, so that peaks of memory are true and only one model is in memory at a time.
"""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from dia.bench.machine import best_of, describe, peak_memory_gb, read_bandwidth_gbs, synchronise
from dia.bench.original import run_original
from dia.bench.weights import Size, bundle, config_of
from dia.layers import DiaModel
from dia.sampling import SamplingParams

TEXT_BYTES = 200
WARM_STEPS = 3


@dataclass(frozen=True, slots=True)
class Task:
    """What one process measures.

    Attributes:
        side: "ours", "transformers", "original", "codec", "codec whole" or "limit".
        steps: decode steps that count.
        streams: requests at once (ours only).
        checkout: folder of the original implementation.
    """

    side: str
    size: Size = "full"
    device: str = "cpu"
    dtype: str | None = None
    threads: int = 0
    steps: int = 10
    streams: int = 1
    quantization: str | None = None
    checkout: str | None = None


class Clock:
    """Times between calls of `tick`, wall and processor, the first few left out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wall: list[float] = []
        self._cpu: list[float] = []

    def tick(self, *_: object) -> None:
        synchronise(self._device)
        self._wall.append(time.perf_counter())
        self._cpu.append(time.process_time())

    def summary(self) -> dict[str, float]:
        """Milliseconds per step: median and minimum of wall time, minimum of processor time."""
        wall, cpu = (np.diff(values)[WARM_STEPS:] * 1e3 for values in (self._wall, self._cpu))
        return {
            "step_ms": round(float(np.median(wall)), 3),
            "step_ms_min": round(float(wall.min()), 3),
            "step_cpu_ms": round(float(cpu.min()), 3),
        }


def run_ours(task: Task) -> dict[str, Any]:
    from dia.engine import Request
    from dia.model import Dia
    from dia.state import EncoderInferenceState

    start = time.perf_counter()
    options = {"compute_dtype": task.dtype, "quantization": task.quantization, "load_dac": False}
    dia = Dia.from_pretrained(bundle(task.size), device=task.device, slots=task.streams, **options)  # type: ignore[arg-type]
    load_s, load_gb = time.perf_counter() - start, peak_memory_gb(dia.placement.device)
    device = dia.placement.device
    text = torch.randint(97, 123, (TEXT_BYTES,), generator=torch.Generator().manual_seed(0)).tolist()
    state = EncoderInferenceState.new([text], device)

    def encode() -> None:
        with torch.inference_mode():
            dia.model.decoder.cross_keys_values(dia.model.encode(state))

    encode_s = best_of(2, encode, device)
    clock = Clock(device)
    for index in range(task.streams):
        params = SamplingParams(seed=index)
        dia.engine.submit(Request(text=text, params=params, rows=dia.config.data.audio_length))
    for _ in range(task.steps + WARM_STEPS + 1):
        dia.engine.step()
        clock.tick()
    bytes_per_weight = dia.placement.dtype.itemsize if task.quantization is None else 1
    return {
        "load_s": load_s,
        "load_peak_gb": load_gb,
        "encode_s": encode_s,
        **clock.summary(),
        "step_weight_gb": weights_of_a_step(task.size) * bytes_per_weight / 1e9,
        "peak_gb": peak_memory_gb(device),
    }


def weights_of_a_step(size: Size) -> int:
    """How many weights one decode step reads: all of the decoder but embeddings and what only joining needs."""
    with torch.device("meta"):
        model = DiaModel(config_of(size))
    read = (
        parameter.numel()
        for name, parameter in model.decoder.named_parameters()
        if "embedding" not in name and "cross_attention.kv_proj" not in name
    )
    return sum(read)


def run_transformers(task: Task) -> dict[str, Any]:
    from transformers import DiaForConditionalGeneration

    device = torch.device(task.device)
    start = time.perf_counter()
    dtype = getattr(torch, task.dtype or "float32")
    model: Any = DiaForConditionalGeneration.from_pretrained(bundle(task.size), dtype=dtype)
    model = model.to(device).eval()
    load_s, load_gb = time.perf_counter() - start, peak_memory_gb(device)
    ids = torch.randint(97, 123, (1, TEXT_BYTES), generator=torch.Generator().manual_seed(0)).to(device)
    encode = Stopwatch(device)
    model.model.encoder.register_forward_pre_hook(encode.start)
    model.model.encoder.register_forward_hook(encode.stop)
    clock, data = Clock(device), config_of(task.size).data
    model.model.decoder.register_forward_pre_hook(clock.tick)
    with torch.inference_mode():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=task.steps + WARM_STEPS + 1,
            decoder_start_token_id=data.audio_bos_value,
            bos_token_id=data.audio_bos_value,
            eos_token_id=data.audio_eos_value,
            pad_token_id=data.audio_pad_value,
            guidance_scale=3.0,
            do_sample=True,
            temperature=1.2,
            top_p=0.95,
            top_k=45,
        )
        model.model.encoder(torch.cat((ids, torch.zeros_like(ids))), torch.ones(2, TEXT_BYTES, device=device).long())
    times = {"load_s": load_s, "load_peak_gb": load_gb, "encode_s": min(encode.seconds)}
    return {**times, **clock.summary(), "peak_gb": peak_memory_gb(device)}


class Stopwatch:
    """Times between `start` and `stop`, as hooks of a module."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = 0.0
        self.seconds: list[float] = []

    def start(self, *_: object) -> None:
        synchronise(self._device)
        self._began = time.perf_counter()

    def stop(self, *_: object) -> None:
        synchronise(self._device)
        self.seconds.append(time.perf_counter() - self._began)


def run_codec(task: Task) -> dict[str, Any]:
    """Seconds per second of sound, four seconds in windows. Neither codec side keeps freed memory as `dia say` does: that
    helps one piece more than windows, and the library's user does not have it."""
    codec, codes = _codec(task)
    return {"windows_s_per_s": _per_second(codec, codes, lambda: codec.decode(codes))}


def run_whole_codec(task: Task) -> dict[str, Any]:
    """The same by the library alone: one `DacModel.decode` of all of it."""
    from transformers import DacModel

    codec, codes = _codec(task)
    whole = torch.from_numpy(codes.T.copy())[None].to(codec.device)
    model: Any = DacModel.from_pretrained(bundle(task.size) / "codec").to(codec.device).eval()

    def decode() -> None:
        with torch.inference_mode():
            model.decode(audio_codes=whole).audio_values.cpu()

    return {"whole_s_per_s": _per_second(codec, codes, decode), "sound_s": len(codes) / codec.frame_rate_hz}


def _codec(task: Task) -> tuple[Any, Any]:
    """The codec of random weights, and random codes of the sound to decode."""
    from dia.codec import Codec
    from dia.device import place

    codec = Codec.load(bundle(task.size) / "codec", place(task.device, "float32"))
    frames = round(4 * codec.frame_rate_hz) if task.size == "full" else 60
    return codec, np.random.default_rng(0).integers(0, codec.codebook_size, (frames, codec.num_codebooks))


def _per_second(codec: Any, codes: Any, decode: Callable[[], object]) -> float:
    """The best of three times; the first also warms up."""
    return min(_once(decode) for _ in range(3)) * float(codec.frame_rate_hz) / len(codes)


def _once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run_limit(task: Task) -> dict[str, Any]:
    """What memory and arithmetic give at best, and the machine."""
    device = torch.device(task.device)
    num_bytes = (1 << 30) if task.size == "full" else (1 << 26)
    width = 2048 if task.size == "full" else 512
    matrix = torch.randn(width, width, device=device)
    seconds = best_of(3, lambda: matrix @ matrix, device)
    return {
        "read_gbs": read_bandwidth_gbs(device, num_bytes),
        "gflops": 2 * width**3 / seconds / 1e9,
        "machine": describe(device),
    }


SIDES: dict[str, Callable[[Task], dict[str, Any]]] = {
    "ours": run_ours,
    "transformers": run_transformers,
    "original": lambda task: run_original(asdict(task), Clock(torch.device(task.device))),
    "codec": run_codec,
    "codec whole": run_whole_codec,
    "limit": run_limit,
}


def main(argument: str) -> None:
    task = Task(**json.loads(argument))
    if task.threads:
        torch.set_num_threads(task.threads)
    noise = io.StringIO()
    with contextlib.redirect_stdout(noise):
        result = SIDES[task.side](task)
    print(
        json.dumps({"side": task.side, **{k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}})
    )


if __name__ == "__main__":
    main(sys.argv[1])
