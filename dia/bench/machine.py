"""The machine under the measurement, and what its memory can do at best."""

import contextlib
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, device, load, versions and commit, for the record."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "numpy": version("numpy"),
        "commit": commit(),
        "command": command_line(),
        "time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def command_line() -> str:
    """How this program was called; of paths only the last name, which is all that others can use."""
    words = sys.argv[2:] if sys.argv[1:2] == ["bench"] else sys.argv[1:]  # `dia bench …` is the same program
    return " ".join(["python -m dia.bench", *(Path(word).name if "/" in word else word for word in words)])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """Of the repository that this file lies in; "" outside of one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def read_bandwidth_gbs(device: torch.device, num_bytes: int) -> float:
    """Gigabytes (10**9) per second at which a large array is read, best of five."""
    array = torch.ones(num_bytes // 4, device=device)
    return array.nbytes / best_of(5, lambda: array.sum(), device) / 1e9


def best_of(times: int, work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of several calls, after one that does not count."""
    work()
    synchronise(device)
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return best


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory_gb(device: torch.device) -> float:
    """The most memory that this process has taken: on the device if it has its own, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    # Linux hands the peak of a parent on to its children here, so that a small one may seem as large.
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
