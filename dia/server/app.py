"""`create_app`: the service behind its routes, inside its guards. Made by name in every process, so that reload works."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from dia.errors import DiaError
from dia.server.drain import Drain
from dia.server.guards import Guard
from dia.server.limits import BodyLimit
from dia.server.metrics import Metrics
from dia.server.middleware import Edge
from dia.server.openapi import describe_api
from dia.server.problems import on_dia_error, on_http_error, on_invalid
from dia.server.routes import admin, generate, health, jobs, openai, prompts, sillytavern, voices
from dia.service.build import Service, build
from dia.service.settings import Settings, load_settings

__all__ = ["create_app"]

# Read by pages in a browser; everything else is hidden from them.
EXPOSED_HEADERS = (
    "X-Generation-ID", "X-Request-ID", "X-Seed", "X-Audio-Duration", "X-Generation-Time", "X-Estimated-Duration",
    "X-Sample-Rate", "X-Dia-Warnings", "X-Dia-Parameters", "X-Job-ID", "Idempotent-Replayed", "Location", "Retry-After",
    "Content-Disposition",
)  # fmt: skip
# Direct requests in the engine are at most `workers`; the rest is for those just being closed.
_SPARE_THREADS = 8

_logger = logging.getLogger(__name__)


def create_app(
    settings: Settings | None = None,
    *,
    service: Service | None = None,
    extend: Callable[[FastAPI, Service], None] | None = None,
) -> FastAPI:
    """The application.

    Args:
        settings: those of the environment if not given; not looked at where a service is.
        service: a started one, which stays its owner's to close; otherwise one is built, started and closed here.
        extend: called with application and service before the guards are put around them, to mount a page.

    Raises:
        DataFolderInUse, StoreUnavailable, BadParameter: the service cannot be built.
    """
    built = service or build(settings or load_settings())
    app = FastAPI(
        title="Dia TTS Server", version="1.0.0", redirect_slashes=False, lifespan=_lifespan,
        description=describe_api.__doc__ or "",
    )  # fmt: skip
    app.state.service = built
    app.state.owns_service = service is None
    app.state.metrics = Metrics(built)
    app.state.pool = ThreadPoolExecutor(built.settings.workers + _SPARE_THREADS, thread_name_prefix="dia-speech")
    app.openapi = lambda: describe_api(app)  # type: ignore[method-assign]
    _include_routes(app)
    if extend is not None:
        extend(app, built)
    app.add_exception_handler(DiaError, on_dia_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    _surround(app, built.settings)
    return app


def _include_routes(app: FastAPI) -> None:
    """Every route stands under /x and /v1/x; the two that OpenAI shapes differently come first."""
    bare = APIRouter()
    for module in (health, generate, openai, jobs, voices, prompts, admin, sillytavern):
        bare.include_router(module.router)
    app.include_router(openai.only_v1, prefix="/v1")
    app.include_router(openai.router, prefix="/v1")
    app.include_router(bare)
    app.include_router(bare, prefix="/v1", include_in_schema=False)


def _surround(app: FastAPI, settings: Settings) -> None:
    """The layers, innermost first."""
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(
        CORSMiddleware, allow_origins=settings.cors_origins, allow_headers=["*"], expose_headers=EXPOSED_HEADERS,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"],
    )  # fmt: skip
    app.add_middleware(Edge, metrics=app.state.metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Start the service at once and load its model meanwhile; close it at the end."""
    service: Service = app.state.service
    if app.state.owns_service:
        await run_in_threadpool(service.start)
    if app.state.owns_service and service.speech.model_state == "loading":
        threading.Thread(target=_load, args=(service,), name="dia-load", daemon=True).start()
    watch = asyncio.create_task(app.state.metrics.loop_delay.watch())
    try:
        yield {"settings": service.settings, "drain": Drain(service)}
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        if app.state.owns_service:
            await run_in_threadpool(service.close, 0.0)
        app.state.pool.shutdown(wait=False, cancel_futures=True)


def _load(service: Service) -> None:
    try:
        service.load_model()
    except DiaError as error:
        _logger.error("the model could not be loaded: %s", error)
    except Exception:  # the thread's edge: health reports tell of it, and the log says why
        _logger.exception("the model could not be loaded")
    else:
        _logger.info("the model is ready")
