"""Whether the server lives, whether it is ready, and how it is."""

import sys
import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import dia
from dia.server.deps import ServiceNow
from dia.server.problems import Problem, documented, respond
from dia.service.build import Service

__all__ = ["router"]

router = APIRouter(tags=["health"])
_STATUS = {"loading": "starting", "ready": "healthy", "failed": "degraded", "stopped": "stopping"}
_RETRY_S = {"loading": 5.0, "failed": 60.0, "stopped": 10.0}


def _why_not_ready(service: Service) -> str | None:
    """None when ready."""
    if service.admission.is_closed:
        return "the server is shutting down"
    return None if service.speech.model_state == "ready" else service.speech.model_state_reason


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
        "status": _STATUS[state], "model_loaded": service.speech.model_state == "ready", "timestamp": time.time(),
        "version": dia.__version__, "reason": reason, "running": numbers.running, "waiting": numbers.waiting,
    }  # fmt: skip


@router.get("/health/live", responses=documented())
async def live() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "alive"}


@router.get("/health/ready", responses=documented())
async def ready(request: Request, service: ServiceNow) -> Response:
    """200 when a request would be served now; 503 with the reason while loading, draining or failed."""
    reason = _why_not_ready(service)
    if reason is None:
        return JSONResponse({"status": "ready"})
    state = "stopped" if service.admission.is_closed else service.speech.model_state
    problem = Problem(503, reason, "not_ready", retry_after_s=_RETRY_S[state])
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
    memory = _gpu_memory()
    return {
        "gpu_mode": "single", "gpu_count": len(memory), "allowed_gpus": list(range(len(memory))),
        "use_multi_gpu": False, "models_loaded": {"single_model": service.speech.model_state == "ready"},
        "device": service.settings.device, "gpu_memory": memory,
    }  # fmt: skip


def _gpu_memory() -> dict[str, dict[str, float]]:
    """Nothing until the model has brought torch: asking must not load it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    report = {}
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        report[f"gpu_{index}"] = {
            "allocated_gb": round(torch.cuda.memory_allocated(index) / 1e9, 3),
            "reserved_gb": round(torch.cuda.memory_reserved(index) / 1e9, 3),
            "total_gb": round(total / 1e9, 3), "free_gb": round(free / 1e9, 3),
        }  # fmt: skip
    return report
