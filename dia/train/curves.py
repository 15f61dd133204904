"""The picture of a run: every logged number over the steps."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SKIPPED = {"step", "time", "pass"}


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> bool:
    """Draw one small panel per logged number into a PNG; numbers named `val_x` share the panel of `x`.

    Returns False, and draws nothing, without matplotlib (extra `train`) or without rows.
    """
    if not rows or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if key not in SKIPPED and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(key, []).append((int(row["step"]), float(value)))
    panels = sorted({key.removeprefix("val_") for key in series})
    columns = min(3, len(panels))
    figure = Figure(figsize=(5 * columns, 3 * math.ceil(len(panels) / columns)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(math.ceil(len(panels) / columns), columns, place)
        for key, label in ((panel, "training"), (f"val_{panel}", "held out")):
            if key in series:
                steps, values = zip(*series[key], strict=True)
                axes.plot(steps, values, label=label, linewidth=1.2, marker="." if label == "held out" else None)
        axes.set_title(panel)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if f"val_{panel}" in series:
            axes.legend()
    figure.savefig(path, dpi=80)
    return True
