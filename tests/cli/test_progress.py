"""Progress: what is read off a stream, and how it is shown."""

import io
import sys
import time
from dataclasses import dataclass

import pytest

from dia.cli.progress import Meter, shown


@dataclass
class Stream:
    frames_done: int = 0
    frames_estimate: int = 200
    frame_rate_hz: float = 100.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def test_seconds_factor_and_time_to_go_follow_from_frames_and_clock():
    stream, clock = Stream(), Clock()
    meter = Meter(stream, clock)
    clock.now_s += 1.0
    assert meter.read().real_time_factor is None
    assert meter.read().line() == "reading the text … 1 s"
    stream.frames_done, clock.now_s = 50, 52.0
    reading = meter.read()
    assert (reading.sound_s, reading.estimate_s, reading.elapsed_s) == (0.5, 2.0, 2.0)
    assert (reading.share, reading.real_time_factor, reading.eta_s) == (0.25, 4.0, 6.0)
    assert reading.line() == "0.5 of about 2.0 s, real-time factor 4.00, about 6 s to go"


def test_an_estimate_that_was_too_short_never_shows_more_than_the_whole():
    stream, clock = Stream(frames_done=300), Clock()
    meter = Meter(stream, clock)
    clock.now_s += 3
    reading = meter.read()
    assert reading.share < 1 and reading.eta_s == 0 and reading.estimate_s == 3.0


@pytest.mark.parametrize(("left_s", "words"), [(600, "10 min"), (7200, "2.0 h")])
def test_long_waits_are_told_in_minutes_and_hours(left_s, words):
    stream, clock = Stream(frames_done=100, frames_estimate=200), Clock()
    meter = Meter(stream, clock)
    clock.now_s += left_s
    assert f"about {words} to go" in meter.read().line()


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_moves_while_the_model_works(monkeypatch, capsys):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    stream = Stream(frames_done=20)
    with shown(Meter(stream), wanted=None):
        end = time.monotonic() + 10
        while "1.7 of about 2.0 s" not in screen.getvalue() and time.monotonic() < end:
            stream.frames_done = 170
            time.sleep(0.05)
    assert "1.7 of about 2.0 s" in screen.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("columns", "bar"), [(200, 24), (80, 14), (62, 0), (40, 0)])
def test_the_bar_never_wraps(columns, bar):
    """At 80 columns bar and words took two lines, of which only one was wiped."""
    from rich.console import Console

    from dia.cli.progress import Reading, _rendered

    screen = io.StringIO()
    reading = Reading(123.4, 234.5, 900.0, 0.5, 7.25, 800.0)
    console = Console(file=screen, width=columns, force_terminal=True, color_system=None)
    console.print(_rendered(reading, columns))
    (line,) = screen.getvalue().splitlines()
    words = "123.4 of about 234.5 s, real-time factor 7.25, about 13 min"
    assert len(line) <= columns and words[: columns - 1] in line
    assert line.index("123.4") == (bar + 1 if bar else 0)


@pytest.mark.parametrize(("wanted", "lines"), [(None, 0), (False, 0), (True, 2)])
def test_elsewhere_lines_come_only_when_asked_for(capsys, wanted, lines):
    with shown(Meter(Stream(frames_done=20)), wanted=wanted):
        pass
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == lines and said.out == ""
