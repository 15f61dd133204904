"""How much may be sent: bytes are counted while they come in, whatever the head of the request claims. Pure ASGI."""

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dia.door import header_values
from dia.server.problems import Problem, respond
from dia.service.settings import Settings

__all__ = ["BodyLimit"]

_UPLOADS = re.compile(r"(/v1)?/(audio_prompts/upload|audio/voices|voices/import)|/ui(/.*)?")
_FORM_BYTES = 65_536  # names and boundaries around the file


class BodyLimit:
    """Answers 413 before a body is read if its length says so, else as soon as it has become too long."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        problem = Problem(413, f"the body is over {limit} bytes; that is the most here; send less", "body_too_large")
        lengths = header_values(scope, b"content-length")
        if lengths and lengths[0].isdigit() and int(lengths[0][:20]) > limit:
            await respond(problem, scope["path"], scope.get("state", {}).get("request_id"))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                # The framework passes on its own exception only; any other becomes "error parsing the body".
                raise HTTPException(413, problem.message, {"Connection": "close"})
            return message

        await self._app(scope, counted, send)

    def _limit(self, path: str) -> int:
        if _UPLOADS.fullmatch(path):
            return self._settings.max_upload_bytes + _FORM_BYTES
        return self._settings.max_body_bytes
