"""A record as a table for people and as a picture."""

from pathlib import Path
from typing import Any

from dia.errors import MissingExtra
from dia.packages import install_command

COLUMNS = (
    ("step_ms", "ms/step", ".1f"),
    ("step_ms_min", "min", ".1f"),
    ("step_cpu_ms", "cpu ms", ".1f"),
    ("steps_per_s", "steps/s", ".2f"),
    ("times_real_time", "x real time", ".3f"),
    ("share_of_limit", "of limit", ".0%"),
    ("encode_s", "encoder s", ".3f"),
    ("load_s", "load s", ".1f"),
    ("load_peak_gb", "load GB", ".2f"),
    ("peak_gb", "peak GB", ".2f"),
)


def table(record: dict[str, Any]) -> str:
    """The sides below each other, then ratios, codec and machine."""
    machine = record["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads ({machine['instructions']}), {machine['device']}, "
        f"load {machine['load_average']}, torch {machine['torch']}, commit {machine['commit'] or '?'}",
        f"memory reads {record['read_gbs']:.1f} GB/s, products {record['gflops']:.0f} GFLOP/s, "
        f"random weights of size {record['size']}: speed only, nothing about quality",
        "",
        f"{'':18}" + "".join(f"{title:>13}" for _, title, _ in COLUMNS),
    ]
    for name, side in record["sides"].items():
        cells = (format(side[key], form) if key in side else "" for key, _, form in COLUMNS)
        lines.append(f"{name:18}" + "".join(f"{cell:>13}" for cell in cells))
    lines += ["", *(f"{name:55}{value:8.2f}" for name, value in record["ratios"].items())]
    codec = record["codec"]
    lines.append(
        f"codec: {codec['windows_s_per_s']:.3f} s per second of sound in windows, {codec['whole_s_per_s']:.3f} for "
        f"{codec['sound_s']:.1f} s in one piece: {codec['ratio']:.2f} times faster"
    )
    return "\n".join(lines)


def picture(record: dict[str, Any], path: Path) -> None:
    """Bars of steps per second.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtra(f"a picture needs matplotlib: {install_command('matplotlib')}") from error
    mpl.use("Agg")
    from matplotlib import pyplot

    sides = record["sides"]
    figure, axes = pyplot.subplots(figsize=(8, 0.6 * len(sides) + 1.5), layout="constrained")
    bars = axes.barh(list(sides), [side["steps_per_s"] for side in sides.values()])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("decode steps per second, all streams together (86.1 = real time)")
    axes.set_title(f"{record['machine']['processor']}, {record['machine']['device']}, size {record['size']}")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
