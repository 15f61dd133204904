"""Configuration, the generation log and clean-up."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import FileResponse

import dia
from dia.door import Caller
from dia.errors import NotFound
from dia.server.deps import CallerNow, ServiceNow, json_body, takes
from dia.server.problems import documented
from dia.server.schemas import ConfigChanges
from dia.server.views import counted, log_view
from dia.service.build import Service
from dia.service.logs import LogEntry, LogFilter, LogStatus

__all__ = ["router"]

router = APIRouter()
ConfigIn = Annotated[ConfigChanges, Depends(json_body(ConfigChanges))]


def _config(service: Service) -> dict[str, Any]:
    settings, speech = service.settings, service.speech
    limits = {
        name: getattr(settings, name)
        for name in (
            "max_text_chars", "max_body_bytes", "max_upload_bytes", "queue_capacity", "queue_timeout_s",
            "request_timeout_s", "job_timeout_s", "result_ttl_s", "rate_limit_per_minute",
        )
    }  # fmt: skip
    effective = {
        "version": dia.__version__, "model": speech.model.name if speech.model_state == "ready" else settings.model,
        "model_state": speech.model_state, "device": speech.limits.device or settings.device,
        "dtype": speech.limits.dtype or settings.dtype,
        "workers": settings.workers, "torch_compile": speech.limits.captures_steps, "limits": limits,
        "api_key_required": bool(settings.api_keys),
    }  # fmt: skip
    return {**service.config.current.model_dump(), "effective": effective}


@router.get("/config", tags=["configuration"], responses=documented())
def get_config(service: ServiceNow) -> dict[str, Any]:
    """What may be changed while the server runs, and under `effective` what was decided at its start."""
    return _config(service)


@router.put("/config", tags=["configuration"], openapi_extra=takes(ConfigChanges), responses=documented(507))
def put_config(body: ConfigIn, service: ServiceNow) -> dict[str, Any]:
    """Change the given fields and keep the rest; applied wholly or not at all, and kept over restarts."""
    changes = body.model_dump(exclude_unset=True)
    changes.pop("effective", None)  # so that what GET gave can be sent back
    service.config.update(changes)
    return {"message": "Configuration updated", "config": _config(service)}


def _visible(service: Service, caller: Caller, log_id: str) -> LogEntry:
    entry = service.logs.get(log_id)
    if not caller.may_see(entry.owner):
        raise NotFound(f"no log {log_id!r}; GET /logs lists them")
    return entry


@router.get("/logs", tags=["logs"], responses=documented(404))
def list_logs(
    service: ServiceNow,
    caller: CallerNow,
    voice: Annotated[str | None, Query(max_length=200)] = None,
    status: LogStatus | None = None,
    since: Annotated[float | None, Query(description="Not older than that, seconds since 1970.")] = None,
    until: Annotated[float | None, Query(description="Not newer than that, seconds since 1970.")] = None,
    before: Annotated[str | None, Query(max_length=64, description="Older than the log of that id.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> dict[str, Any]:
    """The generation log, newest first. `total` counts all rows, `filtered` those that match."""
    page = service.logs.page(
        LogFilter(
            voice=voice, status=status, since=since, until=until, owner=caller.sees, before=before, limit=limit,
            offset=offset,
        )
    )  # fmt: skip
    return {
        "logs": [log_view(entry) for entry in page.entries], "total": page.total, "filtered": page.filtered,
        "returned": len(page.entries),
    }  # fmt: skip


@router.delete("/logs", tags=["logs"], responses=documented())
def clear_logs(
    service: ServiceNow, keep_files: Annotated[bool, Query(description="Keep the saved audio.")] = False
) -> dict[str, Any]:
    """Delete all logs and, unless told otherwise, their saved audio."""
    removed = service.logs.clear(keep_files=keep_files)
    return {"message": f"Cleared {counted(removed, 'log')}", "logs_removed": removed}


@router.get("/logs/{log_id}", tags=["logs"], responses=documented(404))
def get_log(log_id: str, service: ServiceNow, caller: CallerNow) -> dict[str, Any]:
    """One log."""
    return log_view(_visible(service, caller, log_id))


@router.get(
    "/logs/{log_id}/download",
    tags=["logs"],
    response_class=FileResponse,
    responses={
        200: {"description": "WAV.", "content": {"audio/wav": {}}},
        206: {"description": "A part of it.", "content": {"audio/wav": {}}},
        **documented(404, 416),
    },
)
def download_log(log_id: str, service: ServiceNow, caller: CallerNow) -> FileResponse:
    """The saved audio of a log; only there if `save_outputs` was on."""
    _visible(service, caller, log_id)
    path = service.logs.file_path(log_id)
    return FileResponse(path, media_type="audio/wav", filename=path.name)


@router.delete("/logs/{log_id}", tags=["logs"], responses=documented(404))
def delete_log(log_id: str, service: ServiceNow) -> dict[str, Any]:
    """Delete a log and its saved audio."""
    service.logs.delete(log_id)
    return {"message": f"Log '{log_id}' deleted"}


@router.post("/cleanup", tags=["configuration"], responses=documented(507))
def clean_up(service: ServiceNow) -> dict[str, Any]:
    """Remove what is past its time now instead of within the minute."""
    cleaned = service.retention.clean()
    return {
        "message": "Cleanup completed", "files_removed": cleaned.files_removed, "bytes_freed": cleaned.bytes_freed,
        "logs_removed": cleaned.logs_removed, "jobs_removed": cleaned.jobs_removed,
    }  # fmt: skip
