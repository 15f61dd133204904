"""Error class to HTTP status and body: one table, so that routes contain no `try`. Knows no route.

Under /v1 the body is OpenAI's `{"error": {...}}`; elsewhere the same object stands beside `detail`, which older
clients of this API read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dia import errors
from dia.service.logs import error_code, error_message

__all__ = ["STATUSES", "Problem", "describe", "documented", "on_dia_error", "on_http_error", "on_invalid", "respond"]

# The nearest class in an error's ancestry decides.
STATUSES: Mapping[type[errors.DiaError], int] = {
    errors.BadInput: 422,
    errors.NotAudio: 415,
    errors.UnknownVoice: 404,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Protected: 400,
    errors.ResultGone: 410,
    errors.OperatorError: 503,
    errors.DiskFull: 507,
    errors.RetryLater: 503,
    errors.QueueFull: 429,
    errors.NotFinished: 425,
    errors.GenerationFailed: 500,
    errors.Cancelled: 503,
    errors.DeadlineExceeded: 504,
    errors.OutOfMemory: 503,
    errors.EngineWedged: 503,
    errors.DiaError: 500,
}
# Which field of a request an error speaks of, where the class says so.
_PARAMS: Mapping[type[errors.DiaError], str] = {
    errors.BadScript: "input",
    errors.UnknownVoice: "voice",
    errors.UnknownFormat: "response_format",
}
_RETRY_AFTER_S: Mapping[int, float] = {429: 5.0, 503: 10.0, 507: 60.0}
# OpenAI's client gives up where it is told to wait longer than this.
_LONGEST_RETRY_AFTER_S = 120
# Asking again at once would cost another generation and fail alike; OpenAI's clients heed the header.
_POINTLESS_TO_RETRY = frozenset([409, 425, 500, 504, 507])


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for the caller. `details` replaces `detail` where older clients expect a list."""

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after_s: float | None = None
    details: Sequence[Any] | None = None

    @property
    def type(self) -> str:
        """OpenAI's word for the kind of error."""
        named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return named.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")


def describe(error: BaseException) -> Problem:
    """The problem behind any exception; of foreign ones it only says that there was one."""
    if not isinstance(error, errors.DiaError):
        return Problem(500, "the server failed on this request; see its log", error_code(error))
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    param = next((_PARAMS[kind] for kind in type(error).__mro__ if kind in _PARAMS), None)
    asked_s = error.retry_after_s if isinstance(error, errors.RetryLater) else None
    return Problem(status, error_message(error), error_code(error), param, asked_s or _RETRY_AFTER_S.get(status))


def body_of(problem: Problem, path: str, request_id: str | None) -> dict[str, Any]:
    """The JSON of a problem as the route of that path tells it."""
    error = {
        "message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code,
        "request_id": request_id,
    }  # fmt: skip
    if path.startswith("/v1/"):
        return {"error": error}
    return {"detail": problem.details or problem.message, "error": error}


def asks_for_password(path: str) -> bool:
    """Whether people look at this path in a browser, which can ask for a password and knows of no bearer."""
    return path in ("/docs", "/redoc")


def respond(problem: Problem, path: str, request_id: str | None) -> Response:
    """The whole answer."""
    headers: dict[str, str] = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(min(max(math.ceil(problem.retry_after_s), 1), _LONGEST_RETRY_AFTER_S))
    if problem.status in _POINTLESS_TO_RETRY:
        headers["X-Should-Retry"] = "false"
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Dia", charset="UTF-8"' if asks_for_password(path) else "Bearer"
    if problem.status == 413:
        # What is left of the body is not worth reading.
        headers["Connection"] = "close"
    return JSONResponse(body_of(problem, path, request_id), problem.status, headers=headers)


async def on_dia_error(request: Request, error: Exception) -> Response:
    """Exception handler for our own errors."""
    return _answer(request, describe(error))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Exception handler for the framework's errors: no such path, method not allowed, unreadable form."""
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_").replace("-", "_")
    message = error.detail
    if error.status_code == 404 and message == "Not Found":
        message = f"no such path: {request.url.path[:100]}; GET /openapi.json lists them"
    if error.status_code == 405:
        message = f"{request.method} is not possible here; see the header Allow"
    answer = _answer(request, Problem(error.status_code, message, code))
    answer.headers.update(error.headers or {})
    return answer


async def on_invalid(request: Request, error: Exception) -> Response:
    """Exception handler for bodies and parameters of a wrong shape."""
    assert isinstance(error, RequestValidationError)
    items = [{key: item[key] for key in ("loc", "msg", "type") if key in item} for item in error.errors()]
    parts = [
        (".".join(str(step) for step in item["loc"][1:]), str(item["msg"]).removeprefix("Value error, "))
        for item in items
    ]
    message = "; ".join(f"{name}: {complaint}" if name else complaint for name, complaint in parts[:8])
    param = parts[0][0] if parts and parts[0][0] else None
    return _answer(request, Problem(422, message, "validation_error", param, details=items))


def _answer(request: Request, problem: Problem) -> Response:
    return respond(problem, request.url.path, request.scope.get("state", {}).get("request_id"))


_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "detail": {"description": "The message, or a list of faults; on paths outside /v1 only."},
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "request_id": {"type": ["string", "null"]},
            },
        },
    },
}
_MEANING: Mapping[int, str] = {
    400: "Malformed request", 401: "No or wrong API key", 403: "Not allowed for this key or this web origin",
    404: "Not found", 405: "Method not allowed", 409: "Exists, is in use, or is in another state",
    410: "Gone: expired or cancelled", 413: "Body too large", 415: "Not audio of a known kind",
    416: "Range not satisfiable", 421: "Host name not served here", 422: "A value is wrong; the message says which",
    425: "Not finished yet", 429: "Queue full or too many requests; see Retry-After", 500: "Generation or server failed",
    503: "Not ready, draining or out of memory; see Retry-After", 504: "Deadline passed", 507: "Disk full",
}  # fmt: skip
# Any route may be refused by a guard or meet a fault of the server.
_ALWAYS = (400, 401, 403, 413, 421, 422, 429, 500, 503)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers for a route's OpenAPI: the given statuses beside those that any route may give."""
    return {
        status: {"description": _MEANING[status], "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
        for status in sorted({*_ALWAYS, *statuses})
    }
