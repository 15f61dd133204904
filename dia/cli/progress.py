"""How far a generation is: seconds of sound, estimate, real-time factor, time to go; on stderr, never on stdout."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Meter", "Progress", "Reading", "shown"]

_LINE_EVERY_S = 2.0
_BAR_COLUMNS, _LEAST_BAR_COLUMNS = 24, 4
_LARGEST_SHARE = 0.99
"""The estimate may be too short; only the end is the end."""


class Progress(Protocol):
    """What a speech stream tells about itself."""

    @property
    def frames_done(self) -> int: ...
    @property
    def frames_estimate(self) -> int: ...
    @property
    def frame_rate_hz(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a generation; all times in seconds. `real_time_factor` and `eta_s` are None before the first frame."""

    sound_s: float
    estimate_s: float
    elapsed_s: float
    share: float
    real_time_factor: float | None
    eta_s: float | None

    def line(self) -> str:
        """For people."""
        if self.real_time_factor is None or self.eta_s is None:
            return f"reading the text … {self.elapsed_s:.0f} s"
        return (
            f"{self.sound_s:.1f} of about {self.estimate_s:.1f} s, real-time factor {self.real_time_factor:.2f}, "
            f"about {_duration(self.eta_s)} to go"
        )


class Meter:
    """Reads a stream's progress against the clock that started with it."""

    def __init__(self, stream: Progress, clock: Callable[[], float] = time.perf_counter) -> None:
        self._stream, self._clock = stream, clock
        self._start = clock()

    def read(self) -> Reading:
        """How far it is now; may be called from another thread than the generating one."""
        done, estimate, rate = self._stream.frames_done, self._stream.frames_estimate, self._stream.frame_rate_hz
        elapsed_s, sound_s = self._clock() - self._start, done / rate
        left_s = max(0, estimate - done) / rate
        factor = elapsed_s / sound_s if done else None
        return Reading(
            sound_s=sound_s,
            estimate_s=max(estimate, done) / rate,
            elapsed_s=elapsed_s,
            share=min(_LARGEST_SHARE, done / estimate),
            real_time_factor=factor,
            eta_s=None if factor is None else left_s * factor,
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def shown(meter: Meter, *, wanted: bool | None) -> Iterator[None]:
    """Show progress during the block.

    Args:
        wanted: False shows nothing; None shows a bar if stderr is a terminal; True a bar there, and elsewhere a line
            every two seconds.
    """
    interactive = sys.stderr.isatty()
    if wanted is False or (wanted is None and not interactive):
        yield
        return
    with _bar(meter) if interactive else _lines(meter):
        yield


@contextlib.contextmanager
def _bar(meter: Meter) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    # The generating thread is busy inside a step most of the time, so the bar looks for itself.
    live = Live(
        get_renderable=lambda: _rendered(meter.read(), console.width),
        console=console,
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live:
        yield


def _rendered(reading: Reading, columns: int) -> "Table":
    """The bar and its words in one line, whatever the terminal's width: the bar gives way first."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    words = Text(reading.line(), no_wrap=True, overflow="ellipsis")
    room = min(_BAR_COLUMNS, columns - len(words) - 1)
    row = Table.grid(padding=(0, 1))
    if room < _LEAST_BAR_COLUMNS:
        row.add_row(words)
    else:
        row.add_row(ProgressBar(total=1.0, completed=reading.share, width=room), words)
    return row


@contextlib.contextmanager
def _lines(meter: Meter) -> Iterator[None]:
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(_LINE_EVERY_S):
            print(meter.read().line(), file=sys.stderr, flush=True)

    writer = threading.Thread(target=write, name="progress", daemon=True)
    print(meter.read().line(), file=sys.stderr, flush=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join(timeout=5)
        print(meter.read().line(), file=sys.stderr, flush=True)
