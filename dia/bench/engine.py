"""The comparison: each implementation in its own process, in ABBA order, and what follows from the times."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from dia.bench.machine import command_line
from dia.bench.sides import SIDES, Task
from dia.errors import GenerationFailed

Record = dict[str, Any]
FRAME_MS = 1000 * 512 / 44_100
"""One step makes one frame of DAC at 44.1 kHz: 11.61 ms of sound."""


def measure(task: Task, *, apart: bool = True) -> Record:
    """Run one task in a process of its own, or in this one (quicker to start; peaks of memory then mean nothing).

    Raises:
        GenerationFailed: the process failed; the message ends with what it said last.
    """
    if not apart:
        return SIDES[task.side](task)
    command = [sys.executable, "-m", "dia.bench.sides", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise GenerationFailed(f"the measurement of {task.side} failed: {done.stderr.strip()[-600:]}")
    result: Record = json.loads(lines[-1])
    return result


def plan(base: Task, *, rounds: int, opponents: list[str], int8: bool, streams: list[int]) -> list[tuple[str, Task]]:
    """All runs by name, in order: limit first, then the sides forth and back, then what ours alone is measured for."""
    sides = [("ours", replace(base, side="ours"))]
    eight = "int8" if base.device == "cpu" else "int8-weights"
    if int8:
        sides.append(("ours int8", replace(base, side="ours", quantization=eight)))
    sides += [(name, replace(base, side=name)) for name in opponents]
    runs = [("limit", replace(base, side="limit"))]
    for number in range(rounds):
        runs += sides if number % 2 == 0 else sides[::-1]
    for count in streams:
        if count > 1:
            runs.append((f"ours x{count}", replace(base, side="ours", streams=count)))
            if int8:
                runs.append((f"ours int8 x{count}", replace(base, side="ours", streams=count, quantization=eight)))
    codec = [(side, replace(base, side=side)) for side in ("codec", "codec whole")]
    return [*runs, *codec, *codec[::-1]]


def run(runs: list[tuple[str, Task]], tell: Callable[[str], None], *, apart: bool = True) -> Record:
    """Measure everything; the record with the single results and the conclusions."""
    results: dict[str, list[Record]] = {}
    for number, (name, task) in enumerate(runs, 1):
        tell(f"[{number}/{len(runs)}] {name}")
        results.setdefault(name, []).append(measure(task, apart=apart))
    limit = results.pop("limit")[0]
    windows = min(one["windows_s_per_s"] for one in results.pop("codec"))
    whole = results.pop("codec whole")
    whole_s = min(one["whole_s_per_s"] for one in whole)
    sides = {name: _merged(name, rounds, limit["read_gbs"]) for name, rounds in results.items()}
    return {
        "machine": {**limit["machine"], "command": command_line()},
        "read_gbs": limit["read_gbs"],
        "gflops": limit["gflops"],
        "size": runs[0][1].size,
        "sides": sides,
        "ratios": ratios(sides),
        "codec": {
            "sound_s": whole[0]["sound_s"],
            "windows_s_per_s": windows,
            "whole_s_per_s": whole_s,
            "ratio": round(whole_s / windows, 3),
        },
        "rounds": results,
    }


def _merged(name: str, rounds: list[Record], read_gbs: float) -> Record:
    """Medians over rounds, steps per second over all streams, and the share of the bandwidth limit."""
    numbers = [key for key, value in rounds[0].items() if isinstance(value, (int, float))]
    merged: Record = {key: round(statistics.median(one[key] for one in rounds), 4) for key in numbers}
    merged["step_ms_min"] = min(one["step_ms_min"] for one in rounds)
    merged["step_cpu_ms"] = min(one["step_cpu_ms"] for one in rounds)
    streams = int(name.rpartition(" x")[2]) if " x" in name else 1
    merged["streams"] = streams
    merged["steps_per_s"] = round(1000 * streams / merged["step_ms"], 3)
    merged["times_real_time"] = round(FRAME_MS * streams / merged["step_ms"], 4)
    if "step_weight_gb" in merged:
        limit_ms = merged["step_weight_gb"] / read_gbs * 1000
        merged["bandwidth_limit_ms"] = round(limit_ms, 3)
        merged["share_of_limit"] = round(limit_ms / merged["step_ms_min"], 3)
    return merged


def ratios(sides: dict[str, Record]) -> dict[str, float]:
    """How many times each of ours is faster than each opponent, by steps of all streams; and the text encoder."""
    found = {}
    for name, ours in sides.items():
        if not name.startswith("ours"):
            continue
        for other in ("transformers", "original"):
            if other in sides:
                theirs = sides[other]
                found[f"{name} / {other}: steps"] = round(ours["steps_per_s"] / theirs["steps_per_s"], 3)
                cpu = theirs["step_cpu_ms"] / ours["step_cpu_ms"] * ours["streams"]
                found[f"{name} / {other}: steps, processor time"] = round(cpu, 3)
                if name == "ours":
                    found[f"{name} / {other}: text encoder"] = round(theirs["encode_s"] / ours["encode_s"], 3)
    return found
