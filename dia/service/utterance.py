"""`Speech`: one admitted request from its turn to its end, as waveforms or as encoded bytes. Made by `SpeechService`.

Holds a place in the queue and an open log row until it has ended, whichever way; knows no voices and no HTTP.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from dia.errors import Cancelled, DeadlineExceeded, OutOfMemory
from dia.media.encode import AudioEncoder, encode_audio, find_format, output_rate
from dia.media.writers import INT16_SCALE, to_int16
from dia.narration.casting import Sound
from dia.narration.passes import Made, Making, Narrator, Passes
from dia.narration.producer import Producer
from dia.narration.voices import Cast
from dia.service.admission import Place
from dia.service.logs import LogStatus, Outcome
from dia.service.request import ModelStream, Progress, SpeechModel, SpeechPlan
from dia.service.settings import ConfigStore, Settings
from dia.service.takes import Take, TakePiece
from dia.text.plan import Piece, render_turns


@dataclass(frozen=True, slots=True)
class Tools:
    """What a `Speech` needs of the service: the model and its limits, how to get the codes of prompts, whom to tell of the end."""

    model: SpeechModel
    settings: Settings
    config: ConfigStore
    passes: Passes
    prompt_codes: Callable[[SpeechModel, Sequence[Sound], int], np.ndarray]
    ended: "Callable[[Speech, LogStatus, BaseException | None], None]"


class Speech:
    """One admitted request. Iterate once, by `waveforms`, `encoded` or `read`; close it whatever happens.

    The place in the queue and the log row are held until it has ended; `with` does that. `cancel` may come from any
    thread. Made by `SpeechService.open`.

    Attributes:
        id: the id of the log row.
        plan: what was decided.
        sample_rate_hz: of the waveforms.
        output_rate_hz: of the encoded sound.
        content_type, extension: of the encoded sound.
    """

    def __init__(self, tools: Tools, plan: SpeechPlan, place: Place, log_id: str) -> None:
        self.id = log_id
        self.plan = plan
        self._tools = tools
        self._place = place
        self._model = tools.model
        self.sample_rate_hz = self._model.sample_rate_hz
        self._format = find_format(plan.request.format)
        self.content_type = self._format.content_type
        self.extension = self._format.extension
        self.output_rate_hz = output_rate(self._format, self.sample_rate_hz, plan.request.sample_rate_hz)
        self._lock = threading.RLock()
        self._opened_at = time.monotonic()
        self._deadline = self._opened_at + (plan.request.timeout_s or tools.settings.request_timeout_s)
        self._status: LogStatus = "processing"
        self._ended = False
        self._cancelled = False
        self._began_at: float | None = None
        self._ended_at: float | None = None
        self._first_byte_s: float | None = None
        self._producer: Producer | None = None
        self._stream: ModelStream | None = None
        self._percent = 0.0
        self._texts: list[str] = []
        self._warnings: list[str] = []
        self._pieces: list[TakePiece] = []
        self._frames = 0
        self._samples_out = 0
        self._keep_output = tools.config.current.save_outputs
        self._kept: list[np.ndarray] = []

    def __enter__(self) -> "Speech":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def seed(self) -> int:
        """The seed that was used; the same request with it gives the same sound."""
        return self.plan.seed

    @property
    def status(self) -> LogStatus:
        return self._status

    @property
    def is_debugged(self) -> bool:
        """Whether answers tell how the sound was sampled."""
        return self._tools.config.current.debug_mode

    @property
    def text(self) -> str:
        """The text as the model got it so far, pieces joined by a line break; empty before the start."""
        return "\n".join(self._texts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything the caller should know; complete at the end, most of it at the start."""
        producer = self._producer
        # What the plan counted in the whole text is not counted again for each piece.
        planned = {_kind(warning) for warning in self.plan.warnings}
        later = [*self._warnings, *(producer.warnings if producer else ())]
        return tuple(dict.fromkeys([*self.plan.warnings, *(w for w in later if _kind(w) not in planned)]))

    @property
    def audio_duration_s(self) -> float:
        """Sound given out so far, seconds, after any change of speed."""
        return self._samples_out / self.sample_rate_hz

    @property
    def frames_done(self) -> int:
        """Frames of all finished pieces."""
        return self._frames

    @property
    def generation_s(self) -> float:
        """Time since its turn came, until its end."""
        if self._began_at is None:
            return 0.0
        return (self._ended_at or time.monotonic()) - self._began_at

    @property
    def first_byte_s(self) -> float | None:
        """Time from opening to the first sound, queue included; None before it."""
        return self._first_byte_s

    @property
    def queue_s(self) -> float:
        """Time it waited for its turn."""
        return self._place.wait_s

    def warn(self, warning: str) -> None:
        """Add something that the caller should know."""
        self._warnings.append(warning)

    @property
    def has_turn(self) -> bool:
        return self._place.has_turn

    @property
    def turn_within_s(self) -> float:
        """How long from now `start` waits at most for the turn, counted from the opening."""
        turn_by = self._opened_at + self._tools.settings.queue_timeout_s
        return max(min(turn_by, self._deadline) - time.monotonic(), 0.0)

    def on_turn(self, callback: Callable[[], None]) -> None:
        """Call back once, from some thread, when `start` will no longer wait; at once if that is so already."""
        self._place.on_turn(callback)

    def progress(self) -> Progress:
        """How far it is; cheap, from any thread."""
        done = len(self._pieces)
        stream = self._stream
        whole_s = sum(piece.estimated_s for piece in self.plan.pieces)
        made_s = sum(piece.estimated_s for piece in self.plan.pieces[:done])
        if stream is not None and done < len(self.plan.pieces):
            share = min(stream.frames_done / max(stream.frames_estimate, 1), 1.0)
            made_s += share * self.plan.pieces[done].estimated_s
        part = 1.0 if self._status == "completed" else min(made_s / whole_s, 0.99)
        eta_s = self.generation_s * (1 - part) / part if part > 0.02 and self._began_at is not None else None
        # A piece that is made again takes nothing back.
        self._percent = max(self._percent, round(100 * part, 1))
        return Progress(self._percent, self.audio_duration_s, eta_s, self._place.position)

    def start(self) -> None:
        """Wait for the turn, encode the voice's prompt, submit the first piece. A second call does nothing.

        Raises:
            DeadlineExceeded: no turn in time; the model was never asked.
            Cancelled, BadScript, BadPrompt, and what the model raises: the request has then ended.
        """
        with self._lock:
            if self._ended:
                raise Cancelled("this request has ended already")
            if self._began_at is not None:
                return
        try:
            self._place.wait(self.turn_within_s)
            self._began_at = time.monotonic()
            self._check_alive()
            self._producer = self._make_producer()
            self._producer.begin()
        except BaseException as error:
            self._fail(error)
            raise

    def waveforms(self) -> Iterator[np.ndarray]:
        """Float32 chunks [samples] at `sample_rate_hz` as they are made; starts if need be. Only once."""
        try:
            self.start()
            producer = self._producer
            if producer is None:
                raise Cancelled("this request has ended already")
            with closing(producer.chunks()) as chunks:  # type: ignore[type-var]  # a generator, and so closable
                for chunk in chunks:
                    yield from self._given(chunk)
                    self._check_alive()
            self._end("completed", None)
        except GeneratorExit:
            self._fail(Cancelled("the listener left"))
            raise
        except MemoryError as error:
            failure = OutOfMemory("no memory left on this machine for the request; try a shorter text or later")
            self._fail(failure)
            raise failure from error
        except BaseException as error:
            self._fail(error)
            raise

    def encoded(self) -> Iterator[bytes]:
        """Bytes in the asked format as they are made; together they are one valid file. Only once."""
        encoder = AudioEncoder(self._format, self.sample_rate_hz, output_rate_hz=self.plan.request.sample_rate_hz)
        with closing(self.waveforms()) as chunks:  # type: ignore[type-var]  # a generator, and so closable
            for chunk in chunks:
                data = encoder.write(chunk)
                if data:
                    yield data
        data = encoder.close()
        if data:
            yield data

    def read_waveform(self) -> np.ndarray:
        """All of it at once, float32 [samples]."""
        return np.concatenate(list(self.waveforms()))

    def read(self) -> bytes:
        """All of it at once as a file with exact sizes."""
        waveform = self.read_waveform()
        return encode_audio(
            waveform, self.sample_rate_hz, self._format, output_rate_hz=self.plan.request.sample_rate_hz
        )

    def cancel(self) -> None:
        """Stop at the next step of the model, or leave the queue. Whoever iterates gets `Cancelled`."""
        with self._lock:
            if self._ended:
                return
            self._cancelled = True
            stream = self._stream
        if stream is not None:
            stream.cancel()
        elif not self._place.has_turn:
            self._place.leave()

    def close(self) -> None:
        """Cancel if it has not ended, give the place back, close the row. May be called twice."""
        if not self._ended:
            self.cancel()
            self._fail(Cancelled("closed before its end"))

    def _make_producer(self) -> Producer:
        plan, tools = self.plan, self._tools
        codes = {sound.slot: tools.prompt_codes(self._model, [sound], len(plan.sounds)) for sound in plan.sounds}
        narrator = Narrator(
            self._model, tools.passes, plan.script, Cast(plan.sounds, codes, plan.casting),
            Making(close_tag=plan.request.close_tag), plan.seed, plan.params,
            plan.request.priority, remaining_s=lambda: max(self._remaining_s(), 0.001), adapter=plan.adapter,
        )  # fmt: skip
        return Producer(narrator, plan.delivery, begun=self._begun, finished=self._finished)

    def _begun(self, stream: ModelStream) -> None:
        with self._lock:
            self._stream = stream
            cancelled = self._cancelled
            # Of a piece that is made again only the last take counts.
            del self._texts[len(self._pieces) :]
            self._texts.append(stream.text)
        self._warnings.extend(stream.warnings)
        if cancelled:
            stream.cancel()
        else:
            self._check_alive()

    def _finished(self, piece: Piece, made: Made) -> None:
        """Keep the words of a piece as they are heard, without what was cut off around them."""
        first, last = (made.take.edges[0], made.take.edges[-1]) if made.take.edges else (0, len(made.waveform))
        hop = round(self.sample_rate_hz / self._tools.passes.frame_rate_hz)
        frames = slice(first // hop, -(-last // hop))
        waveform = made.waveform[frames.start * hop : frames.stop * hop]
        with self._lock:
            self._frames += made.take.frames
            words = render_turns(piece.turns, piece.speakers)
            self._pieces.append(TakePiece(words, np.asarray(made.codes)[frames], to_int16(waveform)))
            self._stream = None

    def _given(self, chunk: np.ndarray) -> Iterator[np.ndarray]:
        if len(chunk):
            if self._first_byte_s is None:
                self._first_byte_s = time.monotonic() - self._opened_at
            self._samples_out += len(chunk)
            if self._keep_output:
                self._kept.append(to_int16(chunk))
            yield chunk

    def _check_alive(self) -> None:
        if self._cancelled:
            raise Cancelled("cancelled")
        if self._remaining_s() <= 0:
            if self._stream is not None:
                self._stream.cancel()
            raise DeadlineExceeded(
                f"not finished within {self._deadline - self._opened_at:.1f} s; ask for less text or more time"
            )

    def _remaining_s(self) -> float:
        return self._deadline - time.monotonic()

    def _fail(self, error: BaseException) -> None:
        is_cancel = isinstance(error, Cancelled) or not isinstance(error, Exception)
        self._end("cancelled" if is_cancel else "failed", error)

    def _end(self, status: LogStatus, error: BaseException | None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._status = status
            self._ended_at = time.monotonic()
            stream = self._stream
        if stream is not None:
            stream.close()
        self._place.leave()
        self._tools.ended(self, status, error)
        if self._producer is not None:
            self._warnings.extend(self._producer.warnings)
            # It calls back, so the two would hold each other, and all that was made, until a full collection of cycles.
            self._producer = None

    def outcome(self, status: LogStatus, error: BaseException | None) -> Outcome:
        """For the log; complete once it has ended."""
        file = None
        if self._keep_output and status == "completed":
            waveform = np.concatenate(self._kept).astype(np.float32) / INT16_SCALE
            file = encode_audio(waveform, self.sample_rate_hz, "wav")
        return Outcome(
            status=status, frames=self._frames + (self._stream.frames_done if self._stream else 0),
            audio_duration_s=self.audio_duration_s, queue_s=self._place.wait_s, first_byte_s=self._first_byte_s,
            generation_s=self.generation_s, warnings=self.warnings,
            processed_text=self.text if self._tools.config.current.show_prompts else None,
            error=error, waveform_file=file,
        )  # fmt: skip

    def take(self) -> Take:
        """What was made, to be frozen as a voice."""
        return Take(
            log_id=self.id, owner=self.plan.request.owner, voice=self.plan.voice.id, seed=self.plan.seed,
            sample_rate_hz=self.sample_rate_hz, model_hash=self._model.model_hash, pieces=tuple(self._pieces),
        )  # fmt: skip


def _kind(warning: str) -> str:
    """What a repair's account says without its number."""
    return warning.split(": ", 1)[0]
