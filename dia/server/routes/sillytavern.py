"""What SillyTavern's Silero, XTTSv2 and Chatterbox providers ask for. TTS WebUI and OpenAI Compatible use OpenAI's."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from dia.server.deps import CallerNow, Pool, RequestId, ServiceNow, json_body, takes
from dia.server.problems import documented
from dia.server.routes.generate import AUDIO_ANSWER, FAULTS, answer
from dia.server.schemas import ChatterboxBody, SpeechBody, XttsBody
from dia.service.build import Service

__all__ = ["router"]

router = APIRouter(tags=["SillyTavern"])
XttsIn = Annotated[XttsBody, Depends(json_body(XttsBody))]
ChatterboxIn = Annotated[ChatterboxBody, Depends(json_body(ChatterboxBody))]


def _speakers(request: Request, service: Service) -> list[dict[str, str]]:
    base = str(request.base_url).rstrip("/")
    return [
        {"name": voice.name, "voice_id": voice.id, "preview_url": f"{base}/preview/{voice.id}"}
        for voice in service.voices.all()
    ]


@router.get("/speakers", responses=documented())
def speakers(request: Request, service: ServiceNow) -> list[dict[str, str]]:
    """Voices as Silero and XTTSv2 list them."""
    return _speakers(request, service)


@router.get("/api/tts/speakers", responses=documented())
def extras_speakers(request: Request, service: ServiceNow) -> list[dict[str, str]]:
    """Voices as SillyTavern Extras lists them."""
    return _speakers(request, service)


@router.post("/session", responses=documented())
async def session() -> dict[str, str]:
    """Silero's start of a session; nothing is kept."""
    return {"message": "ok"}


@router.post("/set_tts_settings", responses=documented())
async def set_tts_settings() -> dict[str, str]:
    """XTTSv2's settings; they have no meaning here."""
    return {"message": "settings of XTTS have no meaning here and were ignored"}


@router.post(
    "/tts_to_audio", openapi_extra=takes(XttsBody), response_class=Response, include_in_schema=False,
    responses={200: AUDIO_ANSWER, **FAULTS},
)  # fmt: skip
@router.post(
    "/tts_to_audio/", openapi_extra=takes(XttsBody), response_class=Response, responses={200: AUDIO_ANSWER, **FAULTS}
)
async def tts_to_audio(
    request: Request, body: XttsIn, service: ServiceNow, pool: Pool, caller: CallerNow, request_id: RequestId
) -> Response:
    """Speak a text for XTTSv2."""
    speech = SpeechBody(text=body.text, voice=body.speaker_wav or None)
    wanted = speech.to_request("wav", owner=caller.owner, request_id=request_id)
    return await answer(request, service, pool, wanted, speech, streams=False)


@router.get("/tts_stream", response_class=Response, include_in_schema=False, responses={200: AUDIO_ANSWER, **FAULTS})
@router.get("/tts_stream/", response_class=Response, responses={200: AUDIO_ANSWER, **FAULTS})
async def tts_stream(
    request: Request,
    service: ServiceNow,
    pool: Pool,
    caller: CallerNow,
    request_id: RequestId,
    text: Annotated[str, Query(max_length=20_000)] = "",
    speaker_wav: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Speak a text as a streamed WAV for XTTSv2's audio element."""
    speech = SpeechBody(text=text, voice=speaker_wav or None, stream=True)
    wanted = speech.to_request("wav", owner=caller.owner, request_id=request_id)
    return await answer(request, service, pool, wanted, speech, streams=True)


@router.get("/api/ui/initial-data", responses=documented())
def initial_data(service: ServiceNow) -> dict[str, Any]:
    """Chatterbox's first question."""
    return {"config": {"ui": {"title": "Dia TTS Server"}}, "voices": len(service.voices.all())}


@router.get("/get_predefined_voices", responses=documented())
def predefined_voices(service: ServiceNow) -> list[dict[str, str]]:
    """Voices as Chatterbox lists them."""
    return [
        {"display_name": voice.name, "filename": voice.id, "voice_id": voice.id, "language": voice.language}
        for voice in service.voices.all()
    ]


@router.get("/get_reference_files", responses=documented())
def reference_files() -> list[str]:
    """Chatterbox's recordings to clone; here a recording is made a voice first."""
    return []


@router.post(
    "/tts", openapi_extra=takes(ChatterboxBody), response_class=Response, responses={200: AUDIO_ANSWER, **FAULTS}
)
async def tts(
    request: Request, body: ChatterboxIn, service: ServiceNow, pool: Pool, caller: CallerNow, request_id: RequestId
) -> Response:
    """Speak a text for Chatterbox. Its temperature, which means something else there, is not taken over."""
    speech = SpeechBody(
        text=body.text, voice=body.predefined_voice_id or body.reference_audio_filename,
        response_format=body.output_format or "wav",
        speed=None if body.speed_factor is None else min(max(body.speed_factor, 0.25), 4.0),
        seed=body.seed if body.seed is not None and body.seed > 0 else None,
    )  # fmt: skip
    wanted = speech.to_request("wav", owner=caller.owner, request_id=request_id)
    return await answer(request, service, pool, wanted, speech, streams=bool(body.stream))
