"""The shelf of sounds that the page shows, each under a name nobody can guess, and the route that serves them.

Bounded in bytes: the sounds that were asked for least recently go first. Knows neither Gradio nor the service.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dia.errors import DiaError
from dia.media.encode import encode_audio, find_format
from dia.ui.track import Track

__all__ = ["AUDIO_PATH", "HISTORY_PATH", "AuthDependency", "History", "Shelf", "make_routes"]

AuthDependency = Callable[[Request], "str | None | Awaitable[str | None]"]
History = Callable[[str, Request], Track]
"""From an entry's id and who asks to its sound; raises NotFound."""
AUDIO_PATH = "/dia/audio"
HISTORY_PATH = "/dia/history"
MAX_BYTES = 128_000_000  # about 25 minutes of sound
MAX_TRACKS = 2000
_HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


class Shelf:
    """Tracks by token, `MAX_TRACKS` at most. Any thread may call."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._tracks: OrderedDict[str, Track] = OrderedDict()

    def add(self, track: Track) -> str:
        """Put a track there and give its token; old finished ones make room."""
        token = secrets.token_urlsafe(18)
        with self._lock:
            self._tracks[token] = track
            total = sum(kept.size_bytes for kept in self._tracks.values())
            for old, kept in list(self._tracks.items()):
                if total <= self._max_bytes and len(self._tracks) <= MAX_TRACKS:
                    break
                if kept.is_done and old != token:
                    del self._tracks[old]
                    total -= kept.size_bytes
        return token

    def holds(self, token: str) -> bool:
        """Whether it is still there; not a use of it."""
        with self._lock:
            return token in self._tracks

    def find(self, token: str) -> Track | None:
        """The track of a token, None if there is none or no more."""
        with self._lock:
            track = self._tracks.get(token)
            if track is not None:
                self._tracks.move_to_end(token)
        return track


def make_routes(shelf: Shelf, history: History, auth: AuthDependency | None = None) -> list[Route]:
    """`GET {AUDIO_PATH}/{token}`: raw 16-bit samples as they are made; `?about` what is known; `?format=` a file.
    `GET {HISTORY_PATH}/{log_id}?format=`: the sound of an entry of the history as a file.

    `auth` is asked first, as for the page's other routes: None from it is 401.
    """

    async def refusal(request: Request) -> Response | None:
        user = auth(request) if auth else ""
        is_in = (await user if isinstance(user, Awaitable) else user) is not None
        return None if is_in else PlainTextResponse("not authenticated", 401, headers=_HEADERS)

    async def serve_old(request: Request) -> Response:
        if (refused := await refusal(request)) is not None:
            return refused
        try:
            track = await run_in_threadpool(history, request.path_params["log_id"], request)
        except DiaError as error:
            return PlainTextResponse(str(error), 404, headers=_HEADERS)
        return await _file(track, request.query_params.get("format", "wav"))

    async def serve(request: Request) -> Response:
        if (refused := await refusal(request)) is not None:
            return refused
        track = shelf.find(request.path_params["token"])
        if track is None:
            return PlainTextResponse("this sound is no longer here; speak it again", 404, headers=_HEADERS)
        if "about" in request.query_params:
            known = {"is_done": track.is_done, "duration_s": track.duration_s, **track.about}
            return JSONResponse(known, headers=_HEADERS)
        if "format" in request.query_params:
            return await _file(track, request.query_params["format"])
        headers = {**_HEADERS, "X-Sample-Rate": str(track.sample_rate_hz)}
        return StreamingResponse(track.follow(), media_type="application/octet-stream", headers=headers)

    return [Route(AUDIO_PATH + "/{token}", serve), Route(HISTORY_PATH + "/{log_id}", serve_old)]


async def _file(track: Track, name: str) -> Response:
    if not track.is_done or not track.size_bytes:
        return PlainTextResponse("the sound is not finished; wait for its end", 409, headers=_HEADERS)
    try:
        format = find_format(name)
        data = await run_in_threadpool(encode_audio, track.waveform(), track.sample_rate_hz, format)
    except DiaError as error:
        return PlainTextResponse(str(error), 400, headers=_HEADERS)
    headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{track.name}{format.extension}"'}
    return Response(data, media_type=format.content_type, headers=headers)
