"""POST /generate and its relatives: speech whole, streamed, as events, or as a job; and what a request would do."""

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dia.server.deps import CallerNow, Pool, RequestId, ServiceNow, json_body, takes
from dia.server.problems import documented
from dia.server.routes.jobs import answer_from_job
from dia.server.schemas import SpeechBody
from dia.server.speaking import StreamOptions, speak_stream, speak_whole, warnings_header
from dia.server.views import plan_view
from dia.service.build import Service
from dia.service.request import SpeechRequest

__all__ = ["AUDIO_ANSWER", "SpeechIn", "answer", "router"]

router = APIRouter(tags=["speech"])
SpeechIn = Annotated[SpeechBody, Depends(json_body(SpeechBody))]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="The same key and request give the same result, made only once."),
]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_AUDIO_TYPES = ("audio/wav", "audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/pcm", "audio/mp4")
AUDIO_ANSWER: dict[str, Any] = {
    "description": "Sound in the asked format; headers tell seed, duration, warnings and the id of the log.",
    "content": {**dict.fromkeys(_AUDIO_TYPES, _BINARY), "text/event-stream": {"schema": {"type": "string"}}},
}
_JOB_ANSWER = {"application/json": {"schema": {"type": "object"}}}
FAULTS = documented(404, 409, 422, 504, 507)


async def answer(
    request: Request, service: Service, pool: ThreadPoolExecutor, wanted: SpeechRequest, body: SpeechBody,
    *, streams: bool,
) -> Response:  # fmt: skip
    """The sound of a request, streamed or whole."""
    warnings = body.warnings
    if not streams:
        return await speak_whole(request, service.speech, pool, wanted, warnings)
    options = StreamOptions(as_events=body.stream_format == "sse", is_paced=isinstance(body.params, dict))
    return await speak_stream(request, service.speech, pool, wanted, warnings, options)


@router.post(
    "/generate",
    openapi_extra=takes(SpeechBody),
    response_class=Response,
    responses={200: {**AUDIO_ANSWER, "content": {**AUDIO_ANSWER["content"], **_JOB_ANSWER}}, **FAULTS},
)
async def generate(
    request: Request,
    body: SpeechIn,
    service: ServiceNow,
    pool: Pool,
    caller: CallerNow,
    request_id: RequestId,
    async_mode: Annotated[bool, Query(description="Answer with a job id instead of sound.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Speak a text. WAV unless another format is asked for; `stream` or `stream_format` sends it while it is made."""
    wanted = body.to_request("wav", owner=caller.owner, request_id=request_id)
    if async_mode:
        submitted = await run_in_threadpool(
            lambda: service.jobs.submit(wanted, priority="batch", idempotency_key=idempotency_key)
        )
        job = submitted.job
        headers = {"Location": f"/jobs/{job.id}", "X-Seed": str(job.seed)}
        if submitted.replayed:
            headers["Idempotent-Replayed"] = "true"
        if told := warnings_header(body.warnings):
            headers["X-Dia-Warnings"] = told
        content = {"job_id": job.id, "status": job.status, "message": "Job queued for processing"}
        return JSONResponse(content, headers=headers)
    if idempotency_key is not None:
        return await answer_from_job(service, wanted, idempotency_key, body.warnings)
    streams = bool(body.stream) or (body.stream is None and body.stream_format is not None)
    return await answer(request, service, pool, wanted, body, streams=streams)


@router.post(
    "/api/tts/generate", openapi_extra=takes(SpeechBody), response_class=Response,
    responses={200: AUDIO_ANSWER, **FAULTS},
)  # fmt: skip
async def generate_extras(
    request: Request, body: SpeechIn, service: ServiceNow, pool: Pool, caller: CallerNow, request_id: RequestId
) -> Response:
    """Speak a text, for clients of SillyTavern Extras."""
    wanted = body.to_request("wav", owner=caller.owner, request_id=request_id)
    return await answer(request, service, pool, wanted, body, streams=bool(body.stream))


@router.post("/plan", openapi_extra=takes(SpeechBody), responses=FAULTS)
async def plan(body: SpeechIn, service: ServiceNow, caller: CallerNow, request_id: RequestId) -> dict[str, Any]:
    """Check a request and show how it would be cut into passes, without speaking."""
    wanted = body.to_request("wav", owner=caller.owner, request_id=request_id)
    planned = await run_in_threadpool(service.speech.plan, wanted)
    return plan_view(planned, body.warnings)
