"""The last takes, kept in memory so that a liked one can be frozen as a voice: codes, words and sound of each piece.

Bounded in bytes; the oldest go first. Nothing reaches the disk, so this holds whatever privacy is set.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from dia.errors import NotFound


@dataclass(frozen=True, slots=True)
class TakePiece:
    """What one pass of the model made: codes int16 [frames, channels], waveform int16 [samples] before any speed
    change, and the words said in it."""

    text: str
    codes: np.ndarray
    waveform: np.ndarray

    @property
    def size_bytes(self) -> int:
        return int(self.codes.nbytes + self.waveform.nbytes)


@dataclass(frozen=True, slots=True)
class Take:
    """One finished request. `owner` names the API key it was made for."""

    log_id: str
    owner: str | None
    voice: str
    seed: int
    sample_rate_hz: int
    model_hash: str
    pieces: tuple[TakePiece, ...]

    @property
    def size_bytes(self) -> int:
        return sum(piece.size_bytes for piece in self.pieces)


class TakeStore:
    """The takes that fit. Any thread may call."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._takes: OrderedDict[str, Take] = OrderedDict()
        self._size_bytes = 0

    def add(self, take: Take) -> None:
        """Remember a take; older ones, or this one if it is too large, are forgotten."""
        with self._lock:
            self._takes[take.log_id] = take
            self._size_bytes += take.size_bytes
            while self._size_bytes > self._max_bytes:
                _, oldest = self._takes.popitem(last=False)
                self._size_bytes -= oldest.size_bytes

    def get(self, log_id: str) -> Take:
        """The take of that log.

        Raises:
            NotFound: never finished, or forgotten since.
        """
        with self._lock:
            take = self._takes.get(log_id)
        if take is None:
            raise NotFound(f"the take of log {log_id!r} is no longer at hand; speak it again and freeze it soon after")
        return take
