"""`narrate`: a text of any length as a stream of sound. The first piece is heard while it is made, the next ones are
made while it is heard.

Pieces after the first go out whole: their ends are known, bad takes have been made again, and where the machine is
slower than speech the wait falls between pieces and not into a word.
"""

import secrets
import weakref
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from dia.errors import BadParameter, GenerationFailed
from dia.media.loudness import block_powers, gated_loudness
from dia.narration.ahead import Ahead
from dia.narration.delivery import Delivery
from dia.narration.joins import make_segment
from dia.narration.levels import limit
from dia.narration.live import LiveSegment
from dia.narration.passes import Made, Making, Narrator, Opened, plan_for
from dia.narration.script import PlannedScript, read_text
from dia.narration.seeds import piece_seed
from dia.narration.voices import Cast, make_cast
from dia.text.plan import Piece, Plan
from dia.text.roles import Roleplay

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.sampling import SamplingParams
    from dia.stream import SpeechStream, VoicePrompt

__all__ = ["Narration", "narrate"]

_MEASURED_S = 6.0  # of each prompt; enough for the loudness of a voice


def narrate(
    dia: "Dia",
    text: str,
    *,
    voices: "Mapping[str, VoicePrompt] | VoicePrompt | None" = None,
    params: "SamplingParams | None" = None,
    making: Making | None = None,
    delivery: Delivery | None = None,
    format: str = "auto",
    roleplay: Roleplay | None = None,
    ahead_s: float = 60.0,
) -> "Narration":
    """Start to speak a text of any length; everything that can be refused is refused here.

    Args:
        voices: one voice, or a voice by speaker's name; the first piece becomes the voice of those without one.
        params: sampling; None takes the checkpoint's. Its seed is the run's.
        making: how pieces are made.
        delivery: tempo and pauses. Its loudness is reached by one gain for all, taken from the loudness of the voices'
            prompts; None leaves levels as they come.
        format: of the text; see `dia.text.formats.FORMATS`.
        roleplay: gives asterisks and quotes voices of their own.
        ahead_s: how many seconds of sound may be made before they are heard, 1 to 3,600.

    Raises:
        BadScript, BadParameter, UnknownVoice, BadPrompt: the caller changes something. QueueFull, EngineStopped.
        CodecUnavailable: the model was loaded without its codec.
    """
    if not 1.0 <= ahead_s <= 3600.0:
        raise BadParameter(f"ahead_s is {ahead_s:g}; it must be 1 to 3600 seconds")
    making, delivery = making or Making(), delivery or Delivery(loudness_lufs=None)
    params = params or dia.defaults
    rate = dia.sample_rate_hz
    script = read_text(text, format=format, roleplay=roleplay)
    cast = make_cast(voices, script.speakers, dia.frame_rate_hz)
    planned = plan_for(dia, script, cast, making, delivery.gaps)
    delivery.check_names(planned.plan.speakers)
    seed = secrets.randbits(63) if params.seed is None else params.seed
    narrator = Narrator(dia, planned.plan, cast, making, seed, params, "interactive")
    producer = _Producer(narrator, delivery)
    producer.begin()
    return Narration(planned, producer, seed, rate, round(ahead_s * rate))


class Narration:
    """Iterator of sound: float32 chunks [samples] at `sample_rate_hz`. Also a context manager; leaving it stops.

    Attributes:
        plan: the pieces.
        headings: the chapters.
        seed: of the run; the same text, voices, seed and parameters give the same sound.
    """

    def __init__(
        self, planned: PlannedScript, producer: "_Producer", seed: int, sample_rate_hz: int, max_samples: int
    ) -> None:
        self.plan: Plan = planned.plan
        self.headings = planned.headings
        self.seed = seed
        self.sample_rate_hz = sample_rate_hz
        self._producer = producer
        self._ahead = Ahead(producer.chunks, max_samples, producer.cancel)
        # A narration that nobody holds any more must not keep its thread waiting.
        weakref.finalize(self, self._ahead.stop)
        self._ahead.start()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller should know; complete at the end."""
        return tuple(dict.fromkeys([*self.plan.warnings, *self._producer.warnings]))

    @property
    def pieces_made(self) -> int:
        """Pieces that are finished, heard or not."""
        return self._producer.pieces_made

    @property
    def frames_done(self) -> int:
        """Frames of finished pieces and of the one being made."""
        return self._producer.frames_done

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        chunk = self._ahead.take()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop, unless it is over."""
        self._ahead.stop()
        self._ahead.join(30.0)

    def __enter__(self) -> "Narration":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Producer:
    """Makes the chunks of a narration, in the thread of whoever iterates `chunks`."""

    def __init__(self, narrator: Narrator, delivery: Delivery) -> None:
        self._narrator, self._delivery = narrator, delivery
        self._rate = narrator.dia.sample_rate_hz
        self._first: Opened | None = None
        self._stream: SpeechStream | None = None
        self._is_cancelled = False
        self._finished_frames = 0
        self.warnings: list[str] = []
        self.pieces_made = 0

    @property
    def frames_done(self) -> int:
        stream = self._stream
        return self._finished_frames + (0 if stream is None else stream.frames_done)

    def begin(self) -> None:
        """Submit the first piece."""
        self._first = self._narrator.open(self._narrator.plan.pieces[0])
        self._watch(self._first.stream)

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._stream is not None:
            self._stream.cancel()

    def chunks(self) -> Iterator[np.ndarray]:
        gain_db = self._gain_db()
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
        with opened.stream as stream:
            for chunk in stream:
                yield segment.push(chunk)
        made = self._narrator.judge(opened, segment.waveform())
        if not segment.has_begun and "empty" in made.take.problems:
            whole = self._segment(piece, self._made(piece, first_attempt=1))
            yield limit(whole, self._rate, gain_db, self._delivery.true_peak_dbtp)
            return
        self._finish(piece, made)
        yield segment.finish(made.take.edges[-1] if made.take.edges else len(made.waveform))

    def _whole(self, piece: Piece) -> np.ndarray:
        return self._segment(piece, self._made(piece, opened=self._first if piece.index == 0 else None))

    def _made(self, piece: Piece, *, first_attempt: int = 0, opened: Opened | None = None) -> Made:
        made = self._narrator.make(piece, first_attempt=first_attempt, opened=opened, watch=self._watch)
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

    def _segment(self, piece: Piece, made: Made) -> np.ndarray:
        is_last = piece.index == len(self._narrator.plan.pieces) - 1
        segment = make_segment(
            made.waveform,
            self._rate,
            made.take.phrases(piece),
            pause_s=self._delivery.pause_before(piece),
            pause_after_s=self._narrator.plan.pause_after_s if is_last else 0.0,
            speeds=self._delivery.speeds_of(piece.speakers),
            seed=piece_seed(self._narrator.seed, piece.index),
        )
        return segment.samples

    def _can_be_live(self, piece: Piece) -> bool:
        """Words to be cut away again, and two tempos, need the whole piece first."""
        return (
            piece.carrier is None
            and self._delivery.pause_before(piece) == 0
            and len(set(self._delivery.speeds_of(piece.speakers).values())) == 1
        )

    def _watch(self, stream: "SpeechStream") -> None:
        self._stream = stream
        if self._is_cancelled:
            stream.cancel()

    def _gain_db(self) -> float:
        """From the loudness of the prompts to the wanted one; the same for all pieces, so that nothing jumps."""
        target, cast = self._delivery.loudness_lufs, self._narrator.cast
        if target is None:
            return 0.0
        if not cast.sounds:
            self.warnings.append(
                "without a voice prompt the loudness is not known in advance; levels are as they come"
            )
            return 0.0
        loudness = _loudness_of(cast, self._narrator.dia)
        return float(np.clip(target - loudness, -20.0, 20.0)) if np.isfinite(loudness) else 0.0


def _loudness_of(cast: Cast, dia: "Dia") -> float:
    assert dia.codec is not None
    frames = round(_MEASURED_S * dia.frame_rate_hz)
    powers = [
        block_powers(dia.codec.decode(codes[:frames]), dia.sample_rate_hz) for codes in (cast.codes or {}).values()
    ]
    return gated_loudness(np.concatenate(powers))
