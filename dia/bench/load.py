"""Many listeners at once: how much sound comes out, how soon the first of it, and whether anybody runs dry.

Everything goes through `Dia.stream` with the codec, as a server uses it. Underruns are simulated: a listener starts to
play with the first chunk and hears a gap when the next comes too late.
"""

import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from dia.errors import DiaError
from dia.model import Dia, SpeechStream
from dia.sampling import SamplingParams

WORDS = "the quick brown fox jumps over the lazy dog while two people talk about the weather of tomorrow"


@dataclass(slots=True)
class Heard:
    """What one listener got."""

    asked: float
    first_s: float | None = None
    sound_s: float = 0.0
    underrun_s: float = 0.0
    error: str | None = None
    _dry_at: float = field(default=0.0, repr=False)

    def take(self, seconds: float, now: float) -> None:
        if self.first_s is None:
            self.first_s, self._dry_at = now - self.asked, now
        self.underrun_s += max(0.0, now - self._dry_at)
        self._dry_at = max(self._dry_at, now) + seconds
        self.sound_s += seconds


def requests(count: int, seconds: tuple[float, float], seed: int = 0) -> list[tuple[str, float]]:
    """Texts of 40 to 900 bytes around 200, and how long each sounds: between the two bounds, by its bytes."""
    source, found = random.Random(seed), []
    for _ in range(count):
        length = int(min(900, max(40, source.lognormvariate(5.3, 0.5))))
        text = "[S1] " + (WORDS + " ") * (length // len(WORDS) + 1)
        found.append((text[:length], min(seconds[1], max(seconds[0], length / 15))))
    return found


def listen(dia: Dia, text: str, seconds: float, seed: int) -> Heard:
    """One passage to its end."""
    rows = int(seconds * dia.frame_rate_hz) + dia.config.data.max_delay + 1
    params = SamplingParams(seed=seed, max_tokens=min(rows, dia.config.data.audio_length))
    heard = Heard(time.perf_counter())
    try:
        stream: SpeechStream = dia.stream(text, params=params)
        for chunk in stream:
            heard.take(len(chunk) / stream.sample_rate_hz, time.perf_counter())
    except DiaError as error:
        heard.error = type(error).__name__
    return heard


def closed_loop(dia: Dia, listeners: int, each: int, seconds: tuple[float, float]) -> dict[str, Any]:
    """So many listeners, each asking again as soon as he has heard the end."""
    heard: list[Heard] = []
    todo = iter(enumerate(requests(listeners * each, seconds)))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number, item = next(todo, (0, None))
            if item is None:
                return
            heard.append(listen(dia, *item, seed=number))

    start = time.perf_counter()
    _together([threading.Thread(target=work) for _ in range(listeners)])
    return {"listeners": listeners, **conclude(heard, time.perf_counter() - start)}


def open_loop(dia: Dia, per_s: float, count: int, seconds: tuple[float, float], seed: int = 1) -> dict[str, Any]:
    """Listeners come at random (Poisson), whether the machine keeps up or not."""
    source, heard, threads = random.Random(seed), [], []
    start = time.perf_counter()
    for number, (text, length) in enumerate(requests(count, seconds)):
        time.sleep(source.expovariate(per_s))
        one = threading.Thread(target=lambda t=text, s=length, n=number: heard.append(listen(dia, t, s, n)))
        one.start()
        threads.append(one)
    for one in threads:
        one.join()
    return {"arrivals_per_s": per_s, **conclude(heard, time.perf_counter() - start)}


def _together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def conclude(heard: list[Heard], wall_s: float) -> dict[str, Any]:
    """Totals and percentiles. Goodput counts the sound of listeners who never ran dry."""
    first = sorted(one.first_s for one in heard if one.first_s is not None)
    clean = [one for one in heard if one.error is None and one.underrun_s < 1e-3]
    cuts = statistics.quantiles(first, n=100, method="inclusive") if len(first) > 1 else first * 99
    return {
        "requests": len(heard),
        "failed": sum(one.error is not None for one in heard),
        "sound_s": round(sum(one.sound_s for one in heard), 2),
        "wall_s": round(wall_s, 2),
        "times_real_time": round(sum(one.sound_s for one in heard) / wall_s, 3),
        "goodput_times_real_time": round(sum(one.sound_s for one in clean) / wall_s, 3),
        "without_underrun": len(clean),
        "underrun_s_mean": round(statistics.fmean(one.underrun_s for one in heard), 3) if heard else 0.0,
        "first_sound_ms": {f"p{p}": round(1000 * cuts[p - 1], 1) for p in (50, 95, 99)} if cuts else {},
    }
