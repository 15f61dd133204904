"""The first piece while it is being made: silence before it is dropped, its end is held back, tempo and level as ever."""

import numpy as np

from dia.media.stretch import Stretcher
from dia.media.trim import fade
from dia.narration.joins import FADE_IN_S, FADE_OUT_S
from dia.narration.levels import Limiter

__all__ = ["LiveSegment"]

_ONSET_DBFS = -50.0
_FRAME_S, _KEEP_BEFORE_S = 0.01, 0.03
_MOST_SILENCE_S = 1.5  # then whatever comes is let through
_SURE_SHARE = 0.6  # of the expected length: before it, no end has to be feared
_HELD_S = 0.5  # behind it: what is taken for junk is mostly shorter


class LiveSegment:
    """`push` takes chunks of one take and gives what may be heard already; `finish` ends it where its words end."""

    def __init__(
        self, sample_rate_hz: int, expected_s: float, speed: float, gain_db: float, true_peak_dbtp: float
    ) -> None:
        self._rate = sample_rate_hz
        self._sure = round(_SURE_SHARE * expected_s * sample_rate_hz)
        self._held = round(_HELD_S * sample_rate_hz)
        self._stretcher = Stretcher(sample_rate_hz, speed)
        self._limiter = Limiter(sample_rate_hz, gain_db, true_peak_dbtp)
        self._chunks: list[np.ndarray] = []
        self._total = 0
        self._searched = 0
        self._given: int | None = None  # samples of the take that went out, the silence before it included

    @property
    def has_begun(self) -> bool:
        """Whether anything was let through."""
        return self._given is not None

    def waveform(self) -> np.ndarray:
        """All that came, float32 [samples]."""
        return np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.float32)

    def push(self, chunk: np.ndarray) -> np.ndarray:
        """Takes float32 samples [samples]; returns float32 samples, possibly none."""
        self._chunks.append(chunk)
        self._total += len(chunk)
        is_start = self._given is None
        given = self._onset() if self._given is None else self._given
        ready = self._total if self._total <= self._sure else self._total - self._held
        # The fade at the start must not depend on how the take is cut into chunks.
        if given is None or (is_start and ready < given + round(FADE_IN_S * self._rate)):
            return np.zeros(0, np.float32)
        self._given = given
        return self._let(max(ready, given), is_start=is_start)

    def finish(self, end: int) -> np.ndarray:
        """The rest up to sample `end` of the take, faded out; a short fade beyond what is out if that was more."""
        is_start = self._given is None
        given = self._given = self._given or 0
        fading = round(FADE_OUT_S * self._rate)
        end = min(max(end, given + fading), self._total)
        rest = fade(self._between(given, end), self._rate, in_s=FADE_IN_S if is_start else 0.0, out_s=FADE_OUT_S)
        sound = np.concatenate([self._stretcher.push(rest), self._stretcher.flush()])
        return np.concatenate([self._limiter.push(sound), self._limiter.flush()])

    def _let(self, ready: int, *, is_start: bool) -> np.ndarray:
        assert self._given is not None
        sound = self._between(self._given, ready)
        if not len(sound):
            return np.zeros(0, np.float32)
        self._given = ready
        if is_start:
            sound = fade(sound, self._rate, in_s=FADE_IN_S)
        return self._limiter.push(self._stretcher.push(sound))

    def _between(self, start: int, end: int) -> np.ndarray:
        """Samples of the take; only the chunks that are touched are joined."""
        parts, place = [], self._total
        for chunk in reversed(self._chunks):
            place -= len(chunk)
            if place < end:
                parts.append(chunk[max(start - place, 0) : end - place])
            if place <= start:
                break
        return np.concatenate(parts[::-1]) if parts else np.zeros(0, np.float32)

    def _onset(self) -> int | None:
        """Where sound begins, a little before it; None while there is silence."""
        frame = max(1, round(_FRAME_S * self._rate))
        frames = (self._total - self._searched) // frame
        samples = self._between(self._searched, self._searched + frames * frame)
        power = np.square(samples.reshape(frames, frame), dtype=np.float64).mean(axis=1)
        loud = np.flatnonzero(power > 10.0 ** (_ONSET_DBFS / 10.0))
        if len(loud):
            return max(0, self._searched + int(loud[0]) * frame - round(_KEEP_BEFORE_S * self._rate))
        self._searched += frames * frame
        return 0 if self._total > _MOST_SILENCE_S * self._rate else None
