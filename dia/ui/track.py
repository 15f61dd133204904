"""`Track`: sound that is being made or is finished, which any number of listeners can follow from its beginning."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np

__all__ = ["Track"]


class Track:
    """Mono sound as 16-bit samples. One thread appends and finishes; any thread may read.

    Attributes:
        name: file name without ending, for downloads.
        sample_rate_hz: of the samples.
        about: what a player may show beside the sound; complete once finished.
    """

    def __init__(self, name: str, sample_rate_hz: int, about: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.sample_rate_hz = sample_rate_hz
        self.about: Mapping[str, Any] = about or {}
        self._lock = threading.Lock()
        self._data = bytearray()
        self._is_done = False
        self._unheard_since = time.monotonic()
        self._listeners: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}

    @classmethod
    def finished(cls, name: str, waveform: np.ndarray, sample_rate_hz: int, about: Mapping[str, Any]) -> "Track":
        """A whole sound, float32 or int16 [samples]."""
        track = cls(name, sample_rate_hz)
        track.append(waveform)
        track.finish(about)
        return track

    @property
    def is_done(self) -> bool:
        return self._is_done

    @property
    def size_bytes(self) -> int:
        return len(self._data)

    @property
    def duration_s(self) -> float:
        return len(self._data) / 2 / self.sample_rate_hz

    @property
    def unheard_s(self) -> float:
        """For how long nobody has followed it; 0 while somebody does."""
        with self._lock:
            return 0.0 if self._listeners else time.monotonic() - self._unheard_since

    def append(self, waveform: np.ndarray) -> None:
        """Add samples, float32 (±1) or int16 [samples]."""
        if waveform.dtype != np.int16:
            waveform = (np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)
        if len(waveform):
            with self._lock:
                self._data += waveform.astype("<i2", copy=False).tobytes()
            self._wake()

    def finish(self, about: Mapping[str, Any]) -> None:
        """No more will come."""
        with self._lock:
            self.about = about
            self._is_done = True
        self._wake()

    def waveform(self) -> np.ndarray:
        """What is there, float32 [samples]."""
        with self._lock:
            data = bytes(self._data)
        return np.frombuffer(data, "<i2").astype(np.float32) / 32767.0

    async def follow(self) -> AsyncIterator[bytes]:
        """Little-endian 16-bit samples from the beginning on, as they come, until the end."""
        event = asyncio.Event()
        key = id(event)
        with self._lock:
            self._listeners[key] = (asyncio.get_running_loop(), event)
        sent = 0
        try:
            while True:
                event.clear()
                with self._lock:
                    data, is_done = bytes(self._data[sent:]), self._is_done
                if data:
                    sent += len(data)
                    yield data
                elif is_done:
                    return
                else:
                    await event.wait()
        finally:
            with self._lock:
                del self._listeners[key]
                self._unheard_since = time.monotonic()

    def _wake(self) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for loop, event in listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
