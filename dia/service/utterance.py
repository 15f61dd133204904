"""`Speech`: one admitted request from its turn to its end, as waveforms or as encoded bytes. Made by `SpeechService`.

Holds a place in the queue and an open log row until it has ended, whichever way; knows no voices and no HTTP.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np

from dia.errors import Cancelled, CodecFailed, DeadlineExceeded, GenerationFailed, OutOfMemory
from dia.media.encode import AudioEncoder, encode_audio, find_format, output_rate
from dia.media.stretch import Stretcher
from dia.narration.casting import Sound, piece_words, unprompted
from dia.narration.context import Context, Said, choose_anchor, context_words
from dia.narration.seeds import piece_seed
from dia.service.admission import Place
from dia.service.casting import PassLimits, anchor_room
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
    passes: PassLimits
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
        self._stream: ModelStream | None = None
        self._texts: list[str] = []
        self._warnings: list[str] = list(plan.warnings)
        self._pieces: list[TakePiece] = []
        self._said: list[Said] = []
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
    def text(self) -> str:
        """The text as the model got it so far, pieces joined by a line break; empty before the start."""
        return "\n".join(self._texts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything the caller should know; complete at the end, most of it at the start."""
        return tuple(dict.fromkeys(self._warnings))

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
        return Progress(round(100 * part, 1), self.audio_duration_s, eta_s, self._place.position)

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
            self._open_stream(self.plan.pieces[0])
        except BaseException as error:
            self._fail(error)
            raise

    def waveforms(self) -> Iterator[np.ndarray]:
        """Float32 chunks [samples] at `sample_rate_hz` as they are made; starts if need be. Only once."""
        try:
            self.start()
            yield from self._at_speed(self._raw())
            self._check_alive()
            if self._samples_out == 0:
                raise GenerationFailed("the model ended without any sound; try another seed or a longer text")
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

    def _open_stream(self, piece: Piece) -> None:
        prompt = self._prompt_of(piece)
        rows = self.plan.params.max_tokens
        if rows is not None:
            rows = min(rows + (0 if prompt is None else len(prompt.codes)), self._tools.passes.context_rows)
        params = replace(self.plan.params, seed=piece_seed(self.plan.seed, piece.index), max_tokens=rows)
        # Without its closing tag: which one is right depends on the prompt's words before it.
        text = render_turns(piece.turns, piece.speakers)
        stream: ModelStream = self._model.stream(
            text, prompt=prompt, params=params, close_tag=self.plan.request.close_tag,
            priority=self.plan.request.priority, deadline_s=max(self._remaining_s(), 0.001),
        )  # fmt: skip
        with self._lock:
            self._stream = stream
            cancelled = self._cancelled
        self._texts.append(stream.text)
        self._warnings.extend(stream.warnings)
        if cancelled:
            stream.cancel()

    def _raw(self) -> Iterator[np.ndarray]:
        for piece in self.plan.pieces:
            yield from self._silence(piece.pause_before_s)
            if piece.index > 0:
                self._check_alive()
                self._open_stream(piece)
            stream = self._stream
            assert stream is not None
            made: list[np.ndarray] = []
            with closing(stream):
                for chunk in stream:
                    self._check_alive()
                    if not np.isfinite(chunk).all():
                        raise CodecFailed(
                            f"sound of request {self.id} is not finite after {stream.frames_done} frames"
                        )
                    made.append(_pcm16(chunk))
                    if self._first_byte_s is None and len(chunk):
                        self._first_byte_s = time.monotonic() - self._opened_at
                    yield chunk
                self._check_alive()
                waveform = np.concatenate(made) if made else np.zeros(0, np.int16)
                words = render_turns(piece.turns, piece.speakers)
                codes = np.asarray(stream.codes)
                if len(codes):
                    self._said.append(Said.of(piece, codes, waveform, self.sample_rate_hz))
                with self._lock:
                    self._frames += stream.frames_done
                    self._pieces.append(TakePiece(words, codes, waveform))
                    self._stream = None
        yield from self._silence(self.plan.script.pause_after_s)

    def _silence(self, duration_s: float) -> Iterator[np.ndarray]:
        samples = round(duration_s * self.sample_rate_hz)
        if samples:
            yield np.zeros(samples, np.float32)

    def _prompt_of(self, piece: Piece) -> Any:
        """The voice's prompts for the speakers of a piece; speakers without one are held by what they said before."""
        sounds, words = piece_words(piece, self.plan.sounds, self.plan.casting)
        codes = [self._tools.prompt_codes(self._model, sounds, len(self.plan.sounds))] if sounds else []
        anchor = self._anchor_of(piece)
        if anchor is not None:
            codes.append(anchor.codes)
            words = f"{words} {context_words(piece, anchor)}".strip()
        return self._model.encode_prompt(np.concatenate(codes), words) if codes else None

    def _anchor_of(self, piece: Piece) -> Context | None:
        wanted = unprompted(piece, self.plan.casting)
        return choose_anchor(self._said, piece, wanted, anchor_room(self._tools.passes))

    def _at_speed(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        stretcher = None if self.plan.speed == 1.0 else Stretcher(self.sample_rate_hz, self.plan.speed)
        with closing(chunks):  # type: ignore[type-var]  # a generator, and so closable
            for chunk in chunks:
                yield from self._given(chunk if stretcher is None else stretcher.push(chunk))
        if stretcher is not None:
            yield from self._given(stretcher.flush())

    def _given(self, chunk: np.ndarray) -> Iterator[np.ndarray]:
        if len(chunk):
            self._samples_out += len(chunk)
            if self._keep_output:
                self._kept.append(_pcm16(chunk))
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

    def outcome(self, status: LogStatus, error: BaseException | None) -> Outcome:
        """For the log; complete once it has ended."""
        file = None
        if self._keep_output and status == "completed":
            waveform = np.concatenate(self._kept).astype(np.float32) / 32767.0
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


def _pcm16(chunk: np.ndarray) -> np.ndarray:
    samples: np.ndarray = (np.clip(chunk, -1.0, 1.0) * 32767.0).astype(np.int16)
    return samples
