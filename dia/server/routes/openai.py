"""OpenAI's speech API as its clients expect it, and the listings that self-hosted servers add to it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from dia.errors import NotFound
from dia.server.deps import CallerNow, Pool, RequestId, ServiceNow, takes
from dia.server.forms import FormIn, form_flag, form_text, prompt_id_from, speech_file, takes_form
from dia.server.problems import documented
from dia.server.routes.generate import AUDIO_ANSWER, FAULTS, IdempotencyKey, SpeechIn, answer
from dia.server.routes.jobs import answer_from_job
from dia.server.schemas import SpeechBody
from dia.server.views import MODEL_NAMES, openai_model_view, openai_voice_view
from dia.service.build import Service

__all__ = ["only_v1", "router"]

router = APIRouter(tags=["OpenAI"])
only_v1 = APIRouter(tags=["OpenAI"])
# The heads of these files state a length, which is not known while they are made.
_HEADS_WITH_LENGTH = frozenset(["wav", "flac", "m4a", "m4b"])
_STREAMED_WAV_HZ = 24_000  # what OpenAI sends; SillyTavern's streaming player holds 30 s of it


@router.post(
    "/audio/speech", openapi_extra=takes(SpeechBody), response_class=Response,
    responses={200: AUDIO_ANSWER, **FAULTS},
)  # fmt: skip
async def speech(
    request: Request,
    body: SpeechIn,
    service: ServiceNow,
    pool: Pool,
    caller: CallerNow,
    request_id: RequestId,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Speak a text: MP3 unless another format is asked for.

    Bytes are sent while they are made, but WAV, FLAC and M4A only if `stream` or `stream_format` asks for it, because
    their heads state a length. PCM is 24 kHz, signed 16 bit, little endian, mono.
    """
    wanted = body.to_request("mp3", owner=caller.owner, request_id=request_id)
    if idempotency_key is not None:
        return await answer_from_job(service, wanted, idempotency_key, body.warnings)
    name = wanted.format.strip().lower().removeprefix(".")
    streams = (
        body.stream if body.stream is not None else body.stream_format is not None or name not in _HEADS_WITH_LENGTH
    )
    if streams and name == "wav" and body.sample_rate is None:
        wanted = body.model_copy(update={"sample_rate": _STREAMED_WAV_HZ}).to_request(
            "mp3", owner=caller.owner, request_id=request_id
        )
    return await answer(request, service, pool, wanted, body, streams=streams)


@only_v1.get("/models", responses=documented())
def list_models(service: ServiceNow) -> dict[str, Any]:
    """The one model under its own name and those that OpenAI's clients have built in."""
    return {"object": "list", "data": [openai_model_view(name) for name in _model_names(service)]}


@only_v1.get("/models/{model_id:path}", responses=documented(404))
def get_model(model_id: str, service: ServiceNow) -> dict[str, Any]:
    """One model."""
    names = _model_names(service)
    if model_id not in names:
        raise NotFound(f"no model {model_id[:64]!r}; known are {', '.join(names)}")
    return openai_model_view(model_id)


@only_v1.get("/voices", responses=documented())
def list_voices_plainly(service: ServiceNow) -> list[dict[str, Any]]:
    """Voices as a bare list, as the first version of this API gave them."""
    return [
        {"name": voice.name, "voice_id": voice.id, "preview_url": f"/preview/{voice.id}"}
        for voice in service.voices.all()
    ]


@router.get("/audio/models", responses=documented())
def list_audio_models(service: ServiceNow) -> dict[str, Any]:
    """Models, for Open WebUI."""
    return {"models": [{"id": name, "name": name} for name in _model_names(service)]}


@router.get("/audio/voices", responses=documented())
@router.get("/audio/voices/{model_id}", responses=documented())
def list_audio_voices(
    service: ServiceNow,
    model_id: str | None = None,
    legacy: Annotated[bool, Query(description="Names only, as the first Kokoro servers gave them.")] = False,
) -> dict[str, Any]:
    """Voices, for Open WebUI, Home Assistant and SillyTavern's TTS WebUI provider."""
    voices = service.voices.all()
    return {"voices": [voice.id if legacy else openai_voice_view(voice) for voice in voices]}


@router.post(
    "/audio/voices",
    openapi_extra=takes_form({"name": "string", "consent": "string", "type": "string"}, "audio_sample", ["name"]),
    responses=documented(409, 415, 507),
)
def create_voice(form: FormIn, service: ServiceNow) -> dict[str, Any]:
    """A custom voice from a recording, as `client.audio.voices.create` sends it. The id is made from the name."""
    name = form_text(form, "name", required=True) or ""
    voice_id = prompt_id_from(name)
    overwrite = form_flag(form, "overwrite")
    service.prompts.upload(
        voice_id, speech_file(form, "audio_sample"), transcript=form_text(form, "transcript"), name=name,
        overwrite=overwrite,
    )  # fmt: skip
    voice = service.voices.create(voice_id, {"name": name[:120], "audio_prompt": voice_id}, overwrite=overwrite)
    return {
        "id": voice.id, "object": "audio.voice", "name": voice.name, "created_at": int(voice.created_at),
        "type": form_text(form, "type") or "custom",
    }  # fmt: skip


@router.delete("/audio/voices/{voice_id}", responses=documented(404, 409))
def delete_voice(voice_id: str, service: ServiceNow, caller: CallerNow) -> dict[str, Any]:
    """Delete a custom voice, and its recording if no other voice uses it."""
    prompts = [speaker.prompt for speaker in service.voices.get(voice_id).speakers.values()]
    service.voices.delete(voice_id)
    for prompt_id in prompts:
        if not service.voices.using_prompt(prompt_id):
            service.voices.delete_prompt(prompt_id)
    return {"id": voice_id, "object": "audio.voice.deleted", "deleted": True}


def _model_names(service: Service) -> tuple[str, ...]:
    if service.speech.model_state != "ready":
        return MODEL_NAMES
    return tuple(dict.fromkeys((*MODEL_NAMES, service.speech.model.name)))
