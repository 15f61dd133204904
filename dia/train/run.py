"""What every training run shares: the loop, atomic checkpoints, averaged weights, the log and its progress line."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from dia.device import imitates_bfloat16
from dia.errors import CheckpointMismatch, TrainingDiverged
from dia.train.curves import draw_curves

LATEST = "latest.pt"
METRICS = "metrics.jsonl"
CURVES = "curves.png"


def save_atomically(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".part")
    torch.save(dict(state), temporary)
    os.replace(temporary, path)


def load_state(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint written by `save_atomically`; tensors and plain values only, no code is run.

    Raises:
        CheckpointMismatch: damaged, or not such a file.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, ValueError, EOFError, KeyError) as error:
        raise CheckpointMismatch(f"{path.name} is no readable training checkpoint: {str(error)[:200]}") from error
    return state


class AveragedWeights:
    """Exponential moving average of a module's parameters and float buffers.

    The weight of the past grows as (1 + n) / (10 + n) up to `decay`, so that the random start is soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present weights."""
        self.updates += 1
        weight = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in module.state_dict().items():
            if tensor.dtype.is_floating_point:
                self.shadow[name].lerp_(tensor, weight)
            else:
                self.shadow[name].copy_(tensor)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module holds the averages inside the block and its own weights again afterwards."""
        kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(self.shadow)
        try:
            yield
        finally:
            module.load_state_dict(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"decay": self.decay, "updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.updates = int(state["updates"])
        for name, tensor in state["shadow"].items():
            self.shadow[name].copy_(tensor)


def learning_rate(step: int, *, peak: float, warmup: int, total: int, decay: int, floor: float = 0.05) -> float:
    """Warm up, hold, then fall along half a cosine over the last `decay` steps to `floor` x peak.

    A run can be lengthened while it holds, which a schedule that falls from the start does not allow (the
    warmup-stable-decay schedule of MiniCPM, Hu et al. 2024).
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    left = total - step
    if left >= decay:
        return peak
    return peak * (floor + (1 - floor) * 0.5 * (1 - math.cos(math.pi * max(0, left) / decay)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class RunLog:
    """Appends one JSON line per report and shows a progress line with the time left."""

    def __init__(self, run_dir: Path, total_steps: int, done: int) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path = run_dir / METRICS
        self._total = total_steps
        self._started, self._first_step = time.monotonic(), done

    def report(self, step: int, values: Mapping[str, Any]) -> None:
        """Log `values` under `step`."""
        row = {"step": step, "time": round(time.time(), 1), **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        elapsed = time.monotonic() - self._started
        left_min = (self._total - step) * elapsed / max(1, step - self._first_step) / 60
        shown = "  ".join(f"{key} {value:.4g}" for key, value in values.items() if isinstance(value, int | float))
        sys.stderr.write(f"step {step}/{self._total}  {left_min:.0f} min left  {shown}\n")
        sys.stderr.flush()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """All logged rows in order of steps; of a step logged twice (after a crash and a resume) the later row."""
    path = run_dir / METRICS
    if not path.exists():
        return []
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[int(row["step"])] = row
    return [rows[step] for step in sorted(rows)]


class Trainer(Protocol):
    """What the loop drives. `step` is one optimiser step, a pure function of the state and the step's number."""

    done: int
    config: Any

    def step(self) -> dict[str, Any]: ...
    def extra_report(self) -> dict[str, Any]: ...
    def validate(self) -> dict[str, Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def mean_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Key by key mean of measurements; lists are averaged place by place, keys may be missing in some rows."""
    means: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        mean = np.mean(values, axis=0)
        means[key] = float(mean) if mean.ndim == 0 else [round(float(value), 3) for value in mean]
    return means


def run_training(
    trainer: Trainer,
    run_dir: Path,
    *,
    steps: int,
    log_every: int,
    validate_every: int,
    save_every_s: float,
    device: torch.device | str = "cpu",
    resume: bool = True,
    max_minutes: float | None = None,
) -> None:
    """Train until `steps`, or for `max_minutes`; goes on from `latest.pt` of `run_dir` when `resume` is true.

    Raises:
        CheckpointMismatch: the checkpoint is damaged or belongs to another model. TrainingDiverged: NaN or infinity.
    """
    if getattr(trainer.config, "bfloat16", False) and imitates_bfloat16(torch.device(device)):
        sys.stderr.write("this processor imitates bfloat16, many times slower than float32; leave bfloat16=true out\n")
    if resume and (run_dir / LATEST).exists():
        try:
            trainer.load_state_dict(load_state(run_dir / LATEST, device))
        except (RuntimeError, KeyError) as error:
            message = str(error)[:300]
            raise CheckpointMismatch(f"{run_dir.name}/{LATEST} belongs to another configuration: {message}") from error
    log = RunLog(run_dir, steps, trainer.done)
    started = saved = time.monotonic()
    rows: list[dict[str, Any]] = []
    while trainer.done < steps:
        rows.append(trainer.step())
        if not math.isfinite(rows[-1]["loss"]):
            raise TrainingDiverged(f"the loss became {rows[-1]['loss']} at step {trainer.done}; lower the rate")
        if trainer.done % log_every == 0:
            report = mean_rows(rows) | trainer.extra_report()
            rows = []
            log.report(trainer.done, report | (trainer.validate() if trainer.done % validate_every == 0 else {}))
        now = time.monotonic()
        late = max_minutes is not None and now - started > 60 * max_minutes
        if late or now - saved > save_every_s or trainer.done >= steps:
            save_atomically(run_dir / LATEST, trainer.state_dict())
            draw_curves(read_metrics(run_dir), run_dir / CURVES)
            saved = now
        if late:
            break
