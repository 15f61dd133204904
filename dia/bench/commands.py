"""`dia bench`: measure speed on this machine."""

import json
import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Measure speed on this machine, side by side with other implementations.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Size(str, Enum):
    full = "full"
    tiny = "tiny"


SizeOption = Annotated[Size, typer.Option(help="Size of the random weights: that of Dia-1.6B, or tiny.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or mps.")]
DtypeOption = Annotated[str | None, typer.Option(help="Number type; default: the device's.")]
OutOption = Annotated[Path | None, typer.Option(help="Write the record here, too (JSON).")]


def _counts(text: str) -> list[int]:
    """Whole numbers from 1 up between commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from 1 up; give one as in 1,8,32")
    return [int(part) for part in parts]


def _range_s(text: str) -> tuple[float, float]:
    """The shortest and the longest, seconds."""
    try:
        shortest, longest = (float(part) for part in text.split(","))
    except ValueError:
        shortest, longest = math.nan, math.nan
    if not 0 < shortest <= longest < math.inf:
        raise typer.BadParameter(f"{text!r} is not the shortest and the longest in seconds; give both as in 2,10")
    return shortest, longest


@app.command()
def engine(
    size: SizeOption = Size.full,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves the choice to torch.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Decode steps that count, per run.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each side, in ABBA order.")] = 2,
    streams: Annotated[str, typer.Option(help="Numbers of requests together, after one alone.")] = "4,16",
    original: Annotated[Path | None, typer.Option(help="A checkout of nari-labs/dia to run beside.")] = None,
    int8: Annotated[
        bool, typer.Option("--int8/--no-int8", help="Measure 8-bit weights, too, where torch has them.")
    ] = True,
    opponents: Annotated[bool, typer.Option("--opponents/--alone", help="Run transformers beside.")] = True,
    apart: Annotated[bool, typer.Option("--apart/--together", help="A process for each run, or one for all.")] = True,
    out: OutOption = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the result here (png or svg; needs matplotlib).")] = None,
) -> None:
    """Decode steps, text encoder, loading, codec: ours and others in one run. The last line is JSON."""
    from dia.bench import engine as comparison
    from dia.bench import report
    from dia.bench.sides import Task
    from dia.bench.weights import bundle
    from dia.engine.linear import QUANTIZATIONS, has_products

    together = _counts(streams)
    if original is not None and not (original / "dia").is_dir():
        raise typer.BadParameter(f"{original} holds no checkout of nari-labs/dia (a folder `dia` in it)")
    bundle(size.value)
    others = ["transformers"] if opponents else []
    if original is not None:
        bundle(size.value, "flat")
        others.append("original")
    base = Task(
        side="ours",
        size=size.value,
        device=device,
        dtype=dtype,
        threads=threads,
        steps=steps,
        checkout=None if original is None else str(original.resolve()),
    )
    runs = comparison.plan(
        base,
        rounds=rounds,
        opponents=others,
        int8=int8 and any(has_products(name, device.partition(":")[0]) for name in QUANTIZATIONS),
        streams=together,
    )
    record = comparison.run(runs, lambda line: typer.echo(line, err=True), apart=apart)
    print(report.table(record))
    if picture is not None:
        report.picture(record, picture)
    _write(record, out)


@app.command()
def load(
    size: SizeOption = Size.full,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = None,
    listeners: Annotated[str, typer.Option(help="Numbers of listeners at once, one after the other.")] = "1,4",
    each: Annotated[int, typer.Option(min=1, help="Passages per listener.")] = 1,
    seconds: Annotated[str, typer.Option(help="Shortest and longest passage.")] = "2,10",
    arrivals_per_s: Annotated[float, typer.Option(help="Open loop at this rate, too; 0 leaves it out.")] = 0.0,
    quantization: Annotated[str | None, typer.Option(help='"int8" or "int8-weights" for 8-bit weights.')] = None,
    out: OutOption = None,
) -> None:
    """Listeners at once, codec included: sound per second, time to the first of it, underruns, and the cold start."""
    import time

    import torch

    from dia.bench.load import closed_loop, listen, open_loop
    from dia.bench.machine import describe, peak_memory_gb
    from dia.bench.weights import bundle
    from dia.model import Dia

    counts, (shortest, longest) = _counts(listeners), _range_s(seconds)
    if not counts:
        raise typer.BadParameter("no number of listeners is given; give one as in 1,8,32")
    folder, start = bundle(size.value), time.perf_counter()
    dia = Dia.from_pretrained(folder, dtype, device, slots=max(counts), quantization=quantization)
    dia.start()
    cold = listen(dia, "[S1] The first sound of a cold machine.", shortest, 0)
    closed = [closed_loop(dia, count, each, (shortest, longest)) for count in counts]
    record: dict[str, object] = {
        "machine": describe(torch.device(device)),
        "size": size.value,
        "dtype": dia.placement.dtype_name,
        "cold_start_s": round(cold.asked + (cold.first_s or 0.0) - start, 3),
        "closed": closed,
    }
    if arrivals_per_s > 0:
        record["open"] = open_loop(dia, arrivals_per_s, max(8, 2 * max(counts)), (shortest, longest))
    record["peak_gb"] = round(peak_memory_gb(dia.placement.device), 3)
    dia.close()
    for row in closed:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    _write(record, out)


@app.command()
def http(
    model: Annotated[Path | None, typer.Option(help="Checkpoint folder; default: random weights, tiny.")] = None,
    clients: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 50,
    seconds: Annotated[float, typer.Option(help="How long they ask.")] = 120.0,
    workers: Annotated[int, typer.Option(min=1, help="Requests in the engine at once.")] = 8,
    max_tokens: Annotated[int, typer.Option(help="Decode steps of a passage at most, 100 to 10000.")] = 100,
    blocking: Annotated[bool, typer.Option("--blocking/--alone", help="Measure a blocking server, too.")] = True,
    out: OutOption = None,
) -> None:
    """Many clients at the server at once: time to first byte, failures, throughput. The last line is JSON."""
    import torch

    from dia.bench.http import Load, measure_blocking, measure_server
    from dia.bench.machine import describe
    from dia.bench.weights import bundle

    folder = model or bundle("tiny")
    load_ = Load(clients, seconds, max_tokens)
    record: dict[str, object] = {"machine": describe(torch.device("cpu")), "clients": clients, "workers": workers}
    sides = {"server": measure_server(folder, load_, workers=workers)}
    if blocking:
        sides["blocking"] = measure_blocking(folder, load_)
    record |= sides
    if blocking and sides["server"]["first_byte_s"] and sides["blocking"]["first_byte_s"]:
        record["first_byte_ratio_p50"] = round(
            sides["blocking"]["first_byte_s"]["p50"] / max(sides["server"]["first_byte_s"]["p50"], 1e-6), 2
        )
        record["throughput_ratio"] = round(
            sides["server"]["sound_s_per_s"] / max(sides["blocking"]["sound_s_per_s"], 1e-6), 2
        )
    for name, side in sides.items():
        print(f"{name:<9}" + "  ".join(f"{key} {value}" for key, value in side.items()))
    _write(record, out)


def _write(record: dict[str, object], out: Path | None) -> None:
    line = json.dumps(record)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(line)
