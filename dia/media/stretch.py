"""Tempo without a change of pitch, for a whole waveform or a stream of chunks; the two give the same samples.

WSOLA: Verhelst and Roelands, "An overlap-add technique based on waveform similarity (WSOLA) for high quality
time-scale modification of speech", ICASSP 1993. Segments of the input are laid over each other at half their length;
each is taken not exactly where the tempo says but within a search range, where it best continues the one before.
FFmpeg's `atempo` was measured first: below speed 1 it begins with a click (a step up to 11 times the sound's own in the
first 10 ms of a tone) and its length is off by up to 0.5 % on five seconds; here lengths are exact and joins keep
within twice the sound's own steps.
"""

import numpy as np

from dia.errors import BadParameter

__all__ = ["MAX_SPEED", "MIN_SPEED", "Stretcher", "stretch"]

MIN_SPEED, MAX_SPEED = 0.25, 4.0
# Two periods of a 70 Hz voice fit a segment, and the search range holds one period whichever way it falls.
_SEGMENT_S = 0.030
_SEARCH_S = 0.0075
# Added to both energies so that silence matches silence anywhere; -80 dBFS for each sample.
_QUIET_POWER = 1e-8


class Stretcher:
    """Changes the tempo of a stream. `push` gives what is ready, `flush` the rest; no other use after `flush`.

    It runs behind its input by at most a segment, a search range and half a segment of output, 98 ms at speed 4. The output's length is
    round(samples / speed). At speed 1 every chunk comes back as it is.
    """

    def __init__(self, sample_rate_hz: int, speed: float) -> None:
        """Raises BadParameter unless 0.25 <= speed <= 4 and the rate is at least 1,000 Hz."""
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise BadParameter(f"speed is {speed}; it must be {MIN_SPEED} to {MAX_SPEED}; 1 is the natural tempo")
        if sample_rate_hz < 1_000:
            raise BadParameter(f"sample rate is {sample_rate_hz} Hz; it must be at least 1000 Hz")
        self.speed = speed
        self._hop = round(sample_rate_hz * _SEGMENT_S / 2)
        self._search = round(sample_rate_hz * _SEARCH_S)
        window = np.sin(np.pi * (np.arange(2 * self._hop) + 0.5) / (2 * self._hop)) ** 2
        self._fade_in, self._fade_out = window[: self._hop], window[self._hop :]
        self._fft_size = 1 << (2 * self._hop + 2 * self._search - 1).bit_length()
        self._input = np.zeros(0, np.float64)
        self._input_start = 0  # position of _input[0] in the whole input
        self._input_end = 0
        self._tail = np.zeros(0, np.float64)  # faded-out second half of the last segment
        self._natural = 0  # where the input goes on after the last segment's first half
        self._segments = 0
        self._samples_out = 0

    def push(self, chunk: np.ndarray) -> np.ndarray:
        """Takes float samples [samples]; returns float32 samples that are ready, possibly none."""
        samples = np.asarray(chunk, dtype=np.float32)
        if self.speed == 1.0:
            return samples
        self._append(samples)
        return self._emit(None)

    def flush(self) -> np.ndarray:
        """Returns the last samples, float32."""
        if self.speed == 1.0 or not self._input_end:
            return np.zeros(0, np.float32)
        total = round(self._input_end / self.speed)
        # A sound shorter than one segment is filled up with silence.
        self._append(np.zeros(max(0, 2 * self._hop - self._input_end), np.float32))
        rest = self._emit(total)
        return rest[: total - (self._samples_out - len(rest))]

    def _append(self, samples: np.ndarray) -> None:
        self._input = np.concatenate([self._input, samples.astype(np.float64)])
        self._input_end += len(samples)

    def _emit(self, total: int | None) -> np.ndarray:
        """Half segments while the input reaches, or at the end of the input until `total` samples are out."""
        ready: list[np.ndarray] = []
        while not self._has_to_wait() if total is None else self._segments * self._hop < total:
            ready.append(self._next_half_segment())
            if total is None:
                self._forget()
        emitted = np.concatenate(ready) if ready else np.zeros(0)
        self._samples_out += len(emitted)
        return emitted.astype(np.float32)

    def _wanted(self) -> int:
        return round(self._segments * self._hop * self.speed)

    def _has_to_wait(self) -> bool:
        # At high speeds a segment can be longer than the whole output, should the input end now.
        if (self._segments + 1) * self._hop > round(self._input_end / self.speed):
            return True
        # The natural continuation is compared with, and can reach further than the wanted segment.
        return max(self._wanted() + self._search, self._natural) + 2 * self._hop > self._input_end

    def _next_half_segment(self) -> np.ndarray:
        if self._segments == 0:
            start = 0
            first_half = self._span(0, self._hop)
        else:
            start = self._best_start()
            first_half = self._tail + self._fade_in * self._span(start, self._hop)
        self._tail = self._fade_out * self._span(start + self._hop, self._hop)
        self._natural = start + self._hop
        self._segments += 1
        return first_half

    def _best_start(self) -> int:
        """Where the input is most like the natural continuation: the highest normalised cross-correlation."""
        length = 2 * self._hop
        # The last segments are taken from the end of the sound, never from beyond it.
        latest = self._input_end - length
        high = min(self._wanted() + self._search, latest)
        low = max(0, min(self._wanted(), latest) - self._search)
        candidates = self._span(low, high - low + length)
        target = self._span(self._natural, length)
        spectrum = np.fft.rfft(candidates, self._fft_size) * np.conj(np.fft.rfft(target, self._fft_size))
        products = np.fft.irfft(spectrum, self._fft_size)[: high - low + 1]
        power = np.concatenate([[0.0], np.cumsum(candidates**2)])
        energy = power[length:] - power[:-length]
        likeness = products / np.sqrt(energy + length * _QUIET_POWER)
        return low + int(np.argmax(likeness))

    def _span(self, start: int, length: int) -> np.ndarray:
        offset = start - self._input_start
        return self._input[offset : offset + length]

    def _forget(self) -> None:
        """Lets go of input that no later segment can reach; the end may come now, so its segment is kept."""
        latest = self._input_end - 2 * self._hop
        drop = min(self._natural, self._wanted() - self._search, latest - self._search) - self._input_start
        if drop > 0:
            self._input = self._input[drop:]
            self._input_start += drop


def stretch(waveform: np.ndarray, sample_rate_hz: int, speed: float) -> np.ndarray:
    """The waveform (float [samples]) at another tempo: float32 [round(samples / speed)]; speed 1 changes nothing.

    Raises:
        BadParameter: speed outside 0.25 to 4.
    """
    stretcher = Stretcher(sample_rate_hz, speed)
    if speed == 1.0:
        return waveform
    return np.concatenate([stretcher.push(waveform), stretcher.flush()])
