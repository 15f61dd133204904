"""Whether the server lives, whether it is ready, and how it is."""

import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import dia
from dia.server.deps import ServiceNow
from dia.server.gpus import gpu_memory
from dia.server.problems import Problem, documented, respond
from dia.service.build import Service

__all__ = ["router"]

router = APIRouter(tags=["health"])
_STATUS = {
    "loading": "starting", "ready": "healthy", "hangs": "degraded", "failed": "degraded", "stopped": "stopping",
}  # fmt: skip
_RETRY_S = {"loading": 5.0, "hangs": 30.0, "failed": 60.0, "stopped": 10.0}
# A step that is overdue may come back; after so long a supervisor should restart the process.
DEAD_AFTER_S = 180.0


def _why_not_ready(service: Service) -> str | None:
    """None when ready."""
    if service.admission.is_closed:
        return "the server is shutting down"
    return service.speech.model_state_reason or None


@router.get("/", responses=documented())
async def root() -> dict[str, str]:
    """A sign of life."""
    return {"message": "Dia TTS Server is running", "status": "healthy"}


@router.get("/health", responses=documented())
async def health(service: ServiceNow) -> dict[str, Any]:
    """How the server is, always with 200: starting, healthy, degraded or stopping."""
    reason = _why_not_ready(service)
    state = "stopped" if service.admission.is_closed else service.speech.model_state
    numbers = service.admission.numbers()
    return {
        "status": _STATUS[state], "model_loaded": service.speech.model_state in ("ready", "hangs"), "timestamp": time.time(),
        "version": dia.__version__, "reason": reason, "running": numbers.running, "waiting": numbers.waiting,
    }  # fmt: skip


@router.get("/health/live", responses=documented())
async def live(request: Request, service: ServiceNow) -> Response:
    """200 as long as the process answers; 503 once the engine has hung for three minutes and wants a restart."""
    if service.speech.hangs_s <= DEAD_AFTER_S:
        return JSONResponse({"status": "alive"})
    return _unavailable(request, service.speech.model_state_reason, "engine_wedged", _RETRY_S["hangs"])


@router.get("/health/ready", responses=documented())
async def ready(request: Request, service: ServiceNow) -> Response:
    """200 when a request would be served now; 503 with the reason while loading, draining or failed."""
    reason = _why_not_ready(service)
    if reason is None:
        return JSONResponse({"status": "ready"})
    state = "stopped" if service.admission.is_closed else service.speech.model_state
    return _unavailable(request, reason, "not_ready", _RETRY_S[state])


def _unavailable(request: Request, reason: str, code: str, retry_after_s: float) -> Response:
    problem = Problem(503, reason, code, retry_after_s=retry_after_s)
    return respond(problem, request.url.path, request.scope.get("state", {}).get("request_id"))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus text.", "content": {"text/plain": {}}}, **documented()},
)
def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    return Response(request.app.state.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/gpu/status", responses=documented())
def gpu_status(service: ServiceNow) -> dict[str, Any]:
    """Which devices there are and how full their memory is."""
    memory = gpu_memory()
    return {
        "gpu_mode": "single", "gpu_count": len(memory), "allowed_gpus": list(range(len(memory))),
        "use_multi_gpu": False, "models_loaded": {"single_model": service.speech.model_state == "ready"},
        "device": service.speech.limits.device or service.settings.device, "gpu_memory": memory,
    }  # fmt: skip
