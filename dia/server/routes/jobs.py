"""Jobs and the queue: list, look, fetch, cancel, follow."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response, StreamingResponse

from dia.door import Caller
from dia.errors import NotFound
from dia.server.deps import CallerNow, ServiceNow
from dia.server.gpus import gpu_memory
from dia.server.problems import documented
from dia.server.speaking import warnings_header
from dia.server.views import counted, job_view, stats_view
from dia.service.build import Service
from dia.service.job import Job, JobResult, JobStatus, failure_of
from dia.service.request import SpeechRequest

__all__ = ["answer_from_job", "router"]

router = APIRouter(tags=["jobs"])
_POLL_S = 0.1
_EVENT_S = 0.5
_HEARTBEAT_EVENTS = 20  # a comment every 10 s where nothing changes

Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


def _visible(service: Service, caller: Caller, job_id: str) -> Job:
    job = service.jobs.get(job_id)
    if not caller.may_see(job.owner):
        raise NotFound(f"Job {job_id!r} not found")
    return job


def _file(result: JobResult, *, warnings: Sequence[str] = ()) -> FileResponse:
    headers = {"X-Seed": str(result.job.seed), "X-Job-ID": result.job.id}
    if result.job.log_id:
        headers["X-Generation-ID"] = result.job.log_id
    if result.job.audio_duration_s is not None:
        headers["X-Audio-Duration"] = f"{result.job.audio_duration_s:.3f}"
    if told := warnings_header([*warnings, *result.job.warnings]):
        headers["X-Dia-Warnings"] = told
    return FileResponse(result.path, media_type=result.content_type, filename=result.name, headers=headers)


async def answer_from_job(service: Service, wanted: SpeechRequest, key: str, warnings: Sequence[str]) -> Response:
    """The sound of a request with an idempotency key: a job that those who ask again join or find finished."""
    submitted = await run_in_threadpool(
        lambda: service.jobs.submit(wanted, priority="interactive", idempotency_key=key)
    )
    job = submitted.job
    while not job.is_ended:
        await asyncio.sleep(_POLL_S)
        job = await run_in_threadpool(service.jobs.get, job.id)
    if job.status == "failed":
        raise failure_of(job)
    response = _file(await run_in_threadpool(service.jobs.result, job.id), warnings=warnings)
    if submitted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@router.get("/jobs", responses=documented())
def list_jobs(
    service: ServiceNow, caller: CallerNow, status: JobStatus | None = None, limit: Limit = 50, offset: Offset = 0
) -> dict[str, Any]:
    """Jobs, newest first. `total` counts all, `filtered` those that match, `returned` those in this page."""
    page = service.jobs.page(status=status, owner=caller.sees, limit=limit, offset=offset)
    return {
        "jobs": [job_view(job) for job in page.jobs], "total": page.total, "filtered": page.filtered,
        "returned": len(page.jobs),
    }  # fmt: skip


@router.delete("/jobs", responses=documented())
def clear_jobs(service: ServiceNow) -> dict[str, Any]:
    """Drop all jobs that have ended, and their results."""
    removed = service.jobs.clear()
    return {"message": f"Cleared {counted(removed, 'finished job')}", "jobs_removed": removed}


@router.get("/jobs/{job_id}", responses=documented(404, 410))
def get_job(job_id: str, service: ServiceNow, caller: CallerNow) -> dict[str, Any]:
    """One job with its progress."""
    return job_view(_visible(service, caller, job_id))


@router.get(
    "/jobs/{job_id}/result",
    response_class=FileResponse,
    responses={
        200: {"description": "The sound.", "content": {"audio/wav": {}}},
        206: {"description": "A part of it.", "content": {"audio/wav": {}}},
        **documented(404, 410, 416, 425, 504),
    },
)
def get_result(job_id: str, service: ServiceNow, caller: CallerNow) -> FileResponse:
    """The sound of a completed job; 425 until then, 410 once it expired or was cancelled."""
    _visible(service, caller, job_id)
    return _file(service.jobs.result(job_id))


@router.delete("/jobs/{job_id}", responses=documented(404, 409, 410))
def cancel_job(job_id: str, service: ServiceNow, caller: CallerNow) -> dict[str, Any]:
    """Cancel a pending job at once, a running one at the next step of the model."""
    _visible(service, caller, job_id)
    job = service.jobs.cancel(job_id)
    return {"message": f"Job '{job_id}' cancelled", "status": job.status}


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "One event for each change.", "content": {"text/event-stream": {}}},
        **documented(404, 410),
    },
)
async def follow_job(job_id: str, service: ServiceNow, caller: CallerNow) -> StreamingResponse:
    """The job as server-sent events until it has ended."""
    await run_in_threadpool(_visible, service, caller, job_id)
    return StreamingResponse(_events(service, job_id), media_type="text/event-stream")


async def _events(service: Service, job_id: str) -> AsyncIterator[str]:
    told, silent = "", 0
    while True:
        job = await run_in_threadpool(service.jobs.get, job_id)
        now = json.dumps(job_view(job))
        silent = 0 if now != told else silent + 1
        if now != told:
            yield f"data: {now}\n\n"
        elif silent % _HEARTBEAT_EVENTS == 0:
            yield ": still working\n\n"
        told = now
        if job.is_ended:
            return
        await asyncio.sleep(_EVENT_S)


@router.get("/queue/stats", responses=documented())
def queue_stats(service: ServiceNow) -> dict[str, Any]:
    """Counts of jobs by state and how busy the workers are; direct requests use the same places."""
    return stats_view(service.jobs.stats(), gpu_memory())
