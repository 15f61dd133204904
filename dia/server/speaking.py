"""From the service's blocking speech to HTTP: waiting without threads, whole answers, streams and events.

The event loop never waits for the model: a turn comes as a callback, work is done in the pool. A client that leaves
cancels its speech at the next step of the model, whichever of these is under way.
"""

import asyncio
import base64
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from dia.errors import Cancelled, DiaError
from dia.server.problems import body_of, describe
from dia.service.request import SpeechRequest
from dia.service.speech import Speech, SpeechService

__all__ = ["StreamOptions", "speech_headers", "speak_stream", "speak_whole", "until_gone", "warnings_header"]

HEARTBEAT_S = 10.0  # some clients give up after 30 s of silence
PACE_LEAD_S = 12.0  # SillyTavern's streaming player holds 16.3 s at 44.1 kHz and 30 s at 24 kHz
USUAL_PCM_HZ = 24_000
MAX_WARNING_CHARS = 2000  # of all warnings in one header

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream goes out: as OpenAI's events or as bytes, and whether no faster than it is played."""

    as_events: bool = False
    is_paced: bool = False


def warnings_header(warnings: Iterable[str]) -> str:
    """All warnings as a header can hold them: ASCII on one line of bounded length; empty if there are none."""
    text = " ".join("; ".join(warnings).split())
    return text.encode("ascii", "backslashreplace").decode()[:MAX_WARNING_CHARS]


def content_type(speech: Speech) -> str:
    """The truth about the bytes; headerless sound of another rate than clients take for granted names it."""
    if speech.content_type == "audio/pcm" and speech.output_rate_hz != USUAL_PCM_HZ:
        return f"audio/pcm;rate={speech.output_rate_hz}"
    return speech.content_type


def speech_headers(speech: Speech, *, is_whole: bool) -> dict[str, str]:
    """What is known of a speech: everything if it is whole, what was decided before it if it streams."""
    headers = {
        "X-Generation-ID": speech.id,
        "X-Seed": str(speech.seed),
        "X-Sample-Rate": str(speech.output_rate_hz),
        "X-Estimated-Duration": f"{speech.plan.estimated_s:.2f}",
        "X-Script-Format": speech.plan.script.format,
        "Content-Disposition": f"{'attachment' if is_whole else 'inline'}; filename=speech{speech.extension}",
    }
    if is_whole:
        headers["X-Audio-Duration"] = f"{speech.audio_duration_s:.3f}"
        headers["X-Generation-Time"] = f"{speech.generation_s:.3f}"
    if speech.is_debugged:
        headers["X-Dia-Parameters"] = json.dumps(speech.plan.parameters)
    if told := warnings_header(speech.warnings):
        headers["X-Dia-Warnings"] = told
    return headers


async def speak_whole(
    request: Request, service: SpeechService, pool: ThreadPoolExecutor, wanted: SpeechRequest, warnings: list[str]
) -> Response:
    """Everything at once, with exact sizes in the file's head.

    Raises:
        What `SpeechService.open` and the model raise; Cancelled: by the server, or the client left.
    """
    async with _opened(service, wanted, warnings) as speech:
        data = await until_gone(request.receive, _in_turn(speech, pool, speech.read), speech.cancel)
        return Response(data, media_type=content_type(speech), headers=speech_headers(speech, is_whole=True))


async def speak_stream(
    request: Request, service: SpeechService, pool: ThreadPoolExecutor, wanted: SpeechRequest, warnings: list[str],
    options: StreamOptions,
) -> Response:  # fmt: skip
    """Sound while it is made. What can be refused is refused before this returns, and so is what fails before the
    first sound; later failures break the connection, so that half a file is never taken for a whole one."""
    speech = await run_in_threadpool(_open, service, wanted, warnings)
    chunks = _Chunks(speech, pool)
    try:
        first = asyncio.ensure_future(_in_turn(speech, pool, chunks.pull))
        await until_gone(request.receive, _soon(first, options), speech.cancel)
        if options.as_events:
            return _EventStream(speech, chunks, first, options)
        return _ByteStream(speech, chunks, first, options)
    except BaseException:
        await chunks.close()
        raise


async def until_gone(receive: Receive, work: Awaitable[Any], cancel: Callable[[], None]) -> Any:
    """Await `work`; when the client leaves first, call `cancel` and await the work's end.

    Raises:
        What the work raises.
    """
    leaving = asyncio.ensure_future(_until_left(receive))
    leaving.add_done_callback(lambda task: None if task.cancelled() else cancel())
    try:
        return await work
    except BaseException:
        cancel()
        raise
    finally:
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _open(service: SpeechService, wanted: SpeechRequest, warnings: list[str]) -> Speech:
    speech = service.open(wanted)
    for warning in warnings:
        speech.warn(warning)
    return speech


@asynccontextmanager
async def _opened(service: SpeechService, wanted: SpeechRequest, warnings: list[str]) -> AsyncIterator[Speech]:
    speech = await run_in_threadpool(_open, service, wanted, warnings)
    try:
        yield speech
    finally:
        speech.cancel()
        await asyncio.shield(run_in_threadpool(speech.close))


async def _in_turn(speech: Speech, pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    """Wait for the turn without a thread, then do the work in the pool; it raises if no turn came in time."""
    loop = asyncio.get_running_loop()
    turned = asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is gone at the end of the process
            loop.call_soon_threadsafe(turned.set)

    speech.on_turn(tell)
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(turned.wait(), speech.turn_within_s)
    return await loop.run_in_executor(pool, work)


async def _soon(first: "asyncio.Future[Any]", options: StreamOptions) -> None:
    """Wait for the first sound so that its failure still gets a status; events wait only until a heartbeat is due."""
    if options.as_events:
        await asyncio.wait({first}, timeout=HEARTBEAT_S)
    else:
        await asyncio.wait({first})
    if first.done():
        first.result()


class _Chunks:
    """The encoded bytes of a speech, pulled one by one in the pool; closing waits for a pull under way."""

    def __init__(self, speech: Speech, pool: ThreadPoolExecutor) -> None:
        self._speech = speech
        self._pool = pool
        self._lock = threading.Lock()
        self._chunks: Iterator[bytes] = speech.encoded()

    def pull(self) -> bytes | None:
        """The next bytes, None at the end."""
        with self._lock:
            return next(self._chunks, None)

    async def next(self) -> bytes | None:
        result: bytes | None = await asyncio.get_running_loop().run_in_executor(self._pool, self.pull)
        return result

    async def close(self) -> None:
        """End the speech, whatever it is doing."""
        self._speech.cancel()
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._pool, self._close))

    def _close(self) -> None:
        with self._lock:
            self._chunks.close()  # type: ignore[attr-defined]  # a generator
            self._speech.close()


class _Stream(Response):
    """A response that sends a speech while it is made."""

    media_type = "application/octet-stream"

    def __init__(self, speech: Speech, chunks: _Chunks, first: "asyncio.Future[Any]", options: StreamOptions) -> None:
        self.speech = speech
        self.chunks = chunks
        self.first = first
        self.options = options
        self.status_code = 200
        self.background = None
        self.init_headers({**speech_headers(speech, is_whole=False), **self.more_headers()})

    def more_headers(self) -> Mapping[str, str]:
        return {"Content-Type": content_type(self.speech)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await until_gone(receive, self._send_all(scope, send), self.speech.cancel)
        except DiaError:
            # The service has logged it; leaving the answer unfinished makes the server break the connection.
            pass
        finally:
            await self.chunks.close()

    async def _send_all(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self.send_body(scope, send)
        await send(_body(b"", more=False))

    async def send_body(self, scope: Scope, send: Send) -> None:
        raise NotImplementedError


class _ByteStream(_Stream):
    """The bytes of the format."""

    async def send_body(self, scope: Scope, send: Send) -> None:
        chunk = await self.first
        began_at = time.monotonic()
        while chunk is not None:
            await send(_body(chunk))
            if self.options.is_paced:
                lead_s = self.speech.audio_duration_s - (time.monotonic() - began_at)
                await asyncio.sleep(max(lead_s - PACE_LEAD_S, 0.0))
            chunk = await self.chunks.next()


class _EventStream(_Stream):
    """OpenAI's events: base64 pieces of one file, then the count of tokens; comments while there is nothing to say."""

    def more_headers(self) -> Mapping[str, str]:
        return {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}

    async def send_body(self, scope: Scope, send: Send) -> None:
        pending = self.first
        try:
            while True:
                chunk = await self._await_beating(pending, send)
                if chunk is None:
                    break
                await send(_event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()}))
                pending = asyncio.ensure_future(self.chunks.next())
        except Cancelled:
            raise
        except Exception as error:  # the edge: the listener is told in the stream, for its head has gone
            state = scope.get("state", {})
            if not isinstance(error, DiaError):
                _logger.exception("request %s failed", state.get("request_id"))
            await send(_event({"type": "error", **body_of(describe(error), "/v1/", state.get("request_id"))}))
            return
        await send(_event({"type": "speech.audio.done", "usage": self._usage()}))

    async def _await_beating(self, pending: "asyncio.Future[bytes | None]", send: Send) -> bytes | None:
        while not pending.done():
            await asyncio.wait({pending}, timeout=HEARTBEAT_S)
            if not pending.done():
                await send(_body(b": still working\n\n"))
        return pending.result()

    def _usage(self) -> dict[str, int]:
        heard = len(self.speech.text.encode())
        made = self.speech.frames_done
        return {"input_tokens": heard, "output_tokens": made, "total_tokens": heard + made}


def _body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _event(value: Mapping[str, Any]) -> Message:
    return _body(f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode())
