"""The sound of a plan, chunk by chunk: the first piece while it is made, the next ones whole.

Pieces after the first go out whole: their ends are known, bad takes have been made again, and where the machine is
slower than speech the wait falls between pieces and not into a word.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from dia.errors import Cancelled, DeadlineExceeded, GenerationFailed
from dia.narration.delivery import Delivery
from dia.narration.joins import make_segment
from dia.narration.levels import limit
from dia.narration.live import LiveSegment
from dia.narration.passes import Made, Narrator, Opened, finite, least_bad
from dia.narration.seeds import piece_seed
from dia.text.plan import Piece

__all__ = ["Producer"]


class Producer:
    """Makes the chunks of a narration, in the thread of whoever iterates `chunks`; `cancel` may come from any.

    Attributes:
        warnings: what was cut off and what stayed bad; complete at the end.
        pieces_made: pieces that are finished.
    """

    def __init__(
        self,
        narrator: Narrator,
        delivery: Delivery,
        *,
        gain_db: Callable[[], float] = lambda: 0.0,
        begun: Callable[[Any], None] = lambda stream: None,
        finished: Callable[[Piece, Made], None] = lambda piece, made: None,
    ) -> None:
        """`gain_db` is asked once, when the first piece is on its way; `begun` gets every stream, retakes too;
        `finished` every piece as it will be heard."""
        self._narrator, self._delivery = narrator, delivery
        self._rate = narrator.model.sample_rate_hz
        self._ask_gain_db, self._begun, self._on_finished = gain_db, begun, finished
        self._first: Opened | None = None
        self._stream: Any = None
        self._is_cancelled = False
        self._finished_frames = 0
        self.warnings: list[str] = []
        self.pieces_made = 0

    @property
    def frames_done(self) -> int:
        """Frames of finished pieces and of the one being made."""
        stream = self._stream
        return self._finished_frames + (0 if stream is None else int(stream.frames_done))

    def begin(self) -> None:
        """Submit the first piece."""
        self._first = self._narrator.open(self._narrator.plan.pieces[0])
        self._watch(self._first.stream)

    def cancel(self) -> None:
        """End what is being made."""
        self._is_cancelled = True
        if self._stream is not None:
            self._stream.cancel()

    def chunks(self) -> Iterator[np.ndarray]:
        """Float32 chunks [samples] after `begin`, pauses included.

        Raises:
            GenerationFailed: a piece came out empty in all takes. And what the model raises.
        """
        gain_db = self._ask_gain_db()
        for piece in self._narrator.plan.pieces:
            if piece.index == 0 and self._can_be_live(piece):
                yield from self._live(piece, gain_db)
            else:
                yield limit(self._whole(piece), self._rate, gain_db, self._delivery.true_peak_dbtp)

    def _live(self, piece: Piece, gain_db: float) -> Iterator[np.ndarray]:
        opened = self._first
        assert opened is not None
        speed = self._delivery.speeds_of(piece.speakers)[piece.speakers[0]]
        segment = LiveSegment(self._rate, opened.expected_s, speed, gain_db, self._delivery.true_peak_dbtp)
        with closing(opened.stream) as stream:
            try:
                for chunk in stream:
                    yield segment.push(finite(chunk, stream.frames_done))
            except (Cancelled, DeadlineExceeded):
                # What was made is heard to its end, and ends softly.
                if segment.has_begun:
                    yield segment.finish(len(segment.waveform()))
                raise
        made = self._narrator.judge(opened, segment.waveform())
        if not segment.has_begun and "empty" in made.take.problems:
            whole = self._segment(piece, self._made(piece, first_attempt=1))
            yield limit(whole, self._rate, gain_db, self._delivery.true_peak_dbtp)
            return
        self._finish(piece, made)
        yield segment.finish(made.take.edges[-1] if made.take.edges else len(made.waveform))
        yield self._pause_after(piece)

    def _whole(self, piece: Piece) -> np.ndarray:
        return self._segment(piece, self._made(piece, opened=self._first if piece.index == 0 else None))

    def _made(self, piece: Piece, *, first_attempt: int = 0, opened: Opened | None = None) -> Made:
        made = least_bad(self._narrator.takes(piece, first_attempt=first_attempt, opened=opened, watch=self._watch))
        if not made.take.edges:
            raise GenerationFailed(
                f"piece {piece.index + 1} of {len(self._narrator.plan.pieces)} came out empty "
                f"{self._narrator.making.retakes + 1} times; try another seed"
            )
        self._finish(piece, made)
        return made

    def _finish(self, piece: Piece, made: Made) -> None:
        self._narrator.accept(piece, made.codes, made.take)
        self._finished_frames += made.take.frames
        self._stream = None
        self.pieces_made += 1
        self.warnings.extend(made.warnings)
        for found in (*made.take.cuts, *(f"{problem} after all takes" for problem in made.take.problems)):
            self.warnings.append(f"piece {piece.index + 1}: {found}")
        self._on_finished(piece, made)

    def _segment(self, piece: Piece, made: Made) -> np.ndarray:
        segment = make_segment(
            made.waveform,
            self._rate,
            made.take.phrases(piece),
            pause_s=self._delivery.pause_before(piece),
            pause_after_s=self._pause_after_s(piece),
            speeds=self._delivery.speeds_of(piece.speakers),
            turn_gap_s=self._delivery.turn_gap_s,
            longest_silence_s=self._delivery.longest_silence_s,
            seed=piece_seed(self._narrator.seed, piece.index),
        )
        return segment.samples

    def _pause_after_s(self, piece: Piece) -> float:
        is_last = piece.index == len(self._narrator.plan.pieces) - 1
        return self._narrator.plan.pause_after_s if is_last else 0.0

    def _pause_after(self, piece: Piece) -> np.ndarray:
        return np.zeros(round(self._pause_after_s(piece) * self._rate), np.float32)

    def _can_be_live(self, piece: Piece) -> bool:
        """Words to be cut away again, two tempos, gaps between two speakers and silences to be cut need the whole piece
        first."""
        return (
            piece.carrier is None
            and self._delivery.longest_silence_s is None
            and self._delivery.pause_before(piece) == 0
            and len(set(self._delivery.speeds_of(piece.speakers).values())) == 1
            and (self._delivery.turn_gap_s == 0 or len(piece.speakers) == 1)
        )

    def _watch(self, stream: Any) -> None:
        self._stream = stream
        self._begun(stream)
        if self._is_cancelled:
            stream.cancel()
