"""One passage of speech on its way: frames come from the engine, sound goes out as soon as it can no longer change."""

import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy as np

from dia.codec import Codec
from dia.engine import Ticket
from dia.errors import CodecFailed, CodecUnavailable, DiaError

Array = np.ndarray[Any, Any]


class SpeechStream:
    """Iterator of sound: float32 chunks [samples] at `sample_rate_hz`. Also a context manager; leaving it cancels, and so
    does letting go of it.

    Chunks joined are the whole passage. A failure is raised from `next`, never a shorter success.

    Attributes:
        seed: what was drawn or given; the same seed, text, prompt and parameters give the same codes.
        text: as sent to the model, transcript included.
        warnings: what was repaired in the text, and what the caller should know.
        frames_estimate: expected length in frames, for progress bars.
        verbose: may be set; then a line on stderr tells how far it is, once for each second of speech.
    """

    def __init__(
        self,
        ticket: Ticket,
        codec: Codec | None,
        drive: Callable[[], bool] | None,
        *,
        channels: int,
        seed: int,
        text: str,
        warnings: tuple[str, ...],
        frames_estimate: int,
        frame_rate_hz: float,
    ) -> None:
        self._ticket, self._codec, self._drive = ticket, codec, drive
        self._channels = channels
        # Who drives the engine himself makes the next frames while the codec works on the last ones.
        self._decoder = codec.stream(aside=drive is not None) if codec else None
        self._codes: list[Array] = []
        self._ended, self._began = False, time.perf_counter()
        self.verbose = False
        self.seed, self.text, self.warnings = seed, text, warnings
        self.frames_estimate = frames_estimate
        self.frame_rate_hz = frame_rate_hz

    @property
    def sample_rate_hz(self) -> int:
        """Of the chunks.

        Raises:
            CodecUnavailable: the model was loaded without a codec.
        """
        if self._codec is None:
            raise CodecUnavailable("the model was loaded with load_dac=False; there is no sound, only codes")
        return self._codec.sample_rate_hz

    @property
    def frames_done(self) -> int:
        """Frames received from the engine so far."""
        return sum(len(part) for part in self._codes)

    @property
    def codes(self) -> Array:
        """Codes received so far, int16 [frames, channels]; complete once the stream has ended."""
        return np.concatenate([np.zeros((0, self._channels), dtype=np.int16), *self._codes])

    @property
    def is_finished(self) -> bool:
        """Whether the last chunk is out."""
        return self._ended

    def __iter__(self) -> Iterator[Array]:
        return self

    def __next__(self) -> Array:
        if self._decoder is None:
            raise CodecUnavailable("the model was loaded with load_dac=False; use `run_codes()`")
        while not self._ended:
            try:
                frames = self._take()
            except DiaError:
                if len(made := self._decoder.settle()):
                    return made
                raise
            sound = self._decode(frames)
            if len(sound):
                return sound
        raise StopIteration

    def run(self) -> Array:
        """Generate to the end and give back all sound that was not given out yet, float32 [samples]."""
        return np.concatenate([np.zeros(0, dtype=np.float32), *self])

    def run_codes(self) -> Array:
        """Generate to the end without sound and give back all codes, int16 [frames, channels]."""
        while not self._ended:
            self._take()
        return self.codes

    def _take(self) -> Array | None:
        frames = self._ticket.take(self._drive)
        if frames is None:
            self._ended = True
        else:
            before_s = self.frames_done // self.frame_rate_hz
            self._codes.append(frames)
            if self.verbose and self.frames_done // self.frame_rate_hz > before_s:
                self._tell()
        return frames

    def _tell(self) -> None:
        done_s, elapsed_s = self.frames_done / self.frame_rate_hz, time.perf_counter() - self._began
        expected_s = max(self.frames_estimate / self.frame_rate_hz, done_s)
        sys.stderr.write(
            f"{done_s:.1f} of about {expected_s:.1f} s of speech, real-time factor {elapsed_s / done_s:.2f}\n"
        )

    def _decode(self, frames: Array | None) -> Array:
        assert self._decoder is not None
        try:
            return self._decoder.flush() if frames is None else self._decoder.push(frames)
        except DiaError:
            self.cancel()
            raise
        except (RuntimeError, MemoryError) as error:
            self.cancel()
            raise CodecFailed(f"codes could not be turned into sound: {type(error).__name__}") from error

    def cancel(self) -> None:
        """Stop generating; the next chunk raises `Cancelled`."""
        self._ticket.cancel()

    def close(self) -> None:
        """Cancel unless already finished."""
        if not self._ticket.is_done:
            self._ticket.cancel()
            if self._drive is not None:
                self._drive()
        self._ended = True

    def __del__(self) -> None:
        self._ticket.cancel()  # nobody is left to hear it; once it is done this does nothing

    def __enter__(self) -> "SpeechStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
