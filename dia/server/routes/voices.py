"""Voices: lists for every kind of client, mappings, previews, freezing, export and import."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from dia.errors import BadParameter, NotFound
from dia.server.deps import CallerNow, Pool, RequestId, ServiceNow, json_body, takes
from dia.server.forms import FormIn, form_flag, speech_file, takes_form
from dia.server.previews import cached_preview, keep_preview, preview_request
from dia.server.problems import documented
from dia.server.schemas import FreezeBody, VoiceChanges, VoiceCreation
from dia.server.speaking import speak_whole
from dia.server.views import adapter_view, counted, mapping_view, voice_view
from dia.service.archive import export_voices, import_voices

__all__ = ["router"]

router = APIRouter(tags=["voices"])
CreationIn = Annotated[VoiceCreation, Depends(json_body(VoiceCreation))]
ChangesIn = Annotated[VoiceChanges, Depends(json_body(VoiceChanges))]
FreezeIn = Annotated[FreezeBody, Depends(json_body(FreezeBody))]


def _fields(body: VoiceCreation | VoiceChanges) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True, exclude={"voice_id"})


@router.get("/models", responses=documented())
def list_models(service: ServiceNow) -> dict[str, Any]:
    """The one model."""
    name = service.speech.model.name if service.speech.model_state == "ready" else service.settings.model
    return {"models": [{"id": "dia", "name": "Dia TTS", "description": f"Text to dialogue; checkpoint {name}"}]}


@router.get("/adapters", responses=documented())
def list_adapters(service: ServiceNow) -> dict[str, Any]:
    """Adapters of `dia finetune` in the server's data folder, and the voices that speak with them."""
    voices = service.voices.all()
    return {"adapters": [adapter_view(adapter, voices) for adapter in service.adapters.all()]}


@router.get("/voices", responses=documented())
def list_voices(service: ServiceNow) -> dict[str, Any]:
    """All voices: the six built-in ones, then custom ones."""
    return {"voices": [voice_view(voice) for voice in service.voices.all()]}


@router.get("/voice_mappings", responses=documented())
def list_mappings(service: ServiceNow) -> dict[str, Any]:
    """Voice id to configuration."""
    return {voice.id: mapping_view(voice) for voice in service.voices.all()}


@router.post("/voice_mappings", openapi_extra=takes(VoiceCreation), responses=documented(404, 409, 507))
def create_mapping(
    body: CreationIn,
    service: ServiceNow,
    overwrite: Annotated[bool, Query(description="Replace a voice of that id.")] = False,
) -> dict[str, Any]:
    """Make a voice; 409 if it exists."""
    voice = service.voices.create(body.voice_id, _fields(body), overwrite=overwrite)
    return {"message": f"Voice '{voice.id}' created", "voice_config": mapping_view(voice)}


@router.put("/voice_mappings/{voice_id}", openapi_extra=takes(VoiceChanges), responses=documented(404, 507))
def update_mapping(voice_id: str, body: ChangesIn, service: ServiceNow) -> dict[str, Any]:
    """Change the given fields of a voice, built-in ones too; null clears a field."""
    if body.voice_id is not None and body.voice_id != voice_id:
        raise BadParameter(
            f"voice_id is {body.voice_id[:64]!r} but the path says {voice_id[:64]!r}; ids cannot change"
        )
    voice = service.voices.update(voice_id, _fields(body))
    return {"message": f"Voice '{voice.id}' updated", "voice_config": mapping_view(voice)}


@router.delete("/voice_mappings/{voice_id}", responses=documented(404))
def delete_mapping(voice_id: str, service: ServiceNow) -> dict[str, Any]:
    """Delete a custom voice; its prompts stay. Built-in ones are refused with 400."""
    service.voices.delete(voice_id)
    return {"message": f"Voice '{voice_id}' deleted"}


@router.post("/voice_mappings/{voice_id}/restore", responses=documented(404, 409))
def restore_mapping(voice_id: str, service: ServiceNow) -> dict[str, Any]:
    """Undo all changes to a built-in voice."""
    voice = service.voices.restore(voice_id)
    return {"message": f"Voice '{voice.id}' restored", "voice_config": mapping_view(voice)}


@router.post("/voices/from-log/{log_id}", openapi_extra=takes(FreezeBody), responses=documented(404, 409, 507))
def freeze(log_id: str, body: FreezeIn, service: ServiceNow, caller: CallerNow) -> dict[str, Any]:
    """Keep the voice of a finished generation: its sound becomes the prompt of a new voice."""
    take = service.takes.get(log_id)
    if not caller.may_see(take.owner):
        raise NotFound(f"the take of log {log_id!r} is no longer at hand; speak it again and freeze it soon after")
    voice = service.voices.freeze(body.voice_id, take, _fields(body), service.settings.max_prompt_s)
    return {"message": f"Voice '{voice.id}' frozen", "voice_config": mapping_view(voice)}


@router.get(
    "/voices/export",
    response_class=Response,
    responses={200: {"description": "A zip file.", "content": {"application/zip": {}}}, **documented(404)},
)
def export(
    service: ServiceNow,
    ids: Annotated[str | None, Query(description="Voice ids with commas; all custom ones.")] = None,
) -> Response:
    """Voices with their prompts in one zip file."""
    chosen = None if ids is None else [part.strip() for part in ids.split(",") if part.strip()]
    data = export_voices(service.voices, service.prompts, chosen)
    return Response(
        data, media_type="application/zip", headers={"Content-Disposition": "attachment; filename=voices.zip"}
    )


@router.post(
    "/voices/import", openapi_extra=takes_form({"overwrite": "boolean"}, "archive", []),
    responses=documented(404, 409, 415, 507),
)  # fmt: skip
def import_(form: FormIn, service: ServiceNow) -> dict[str, Any]:
    """Take in voices that were exported."""
    file = speech_file(form, "archive")
    data = file.read(service.settings.max_upload_bytes + 1)
    done = import_voices(service.voices, service.prompts, data, overwrite=form_flag(form, "overwrite"))
    return {
        "message": f"Imported {counted(len(done.voices), 'voice')}",
        "voices": list(done.voices),
        "prompts": list(done.prompts),
    }


@router.get(
    "/preview/{voice_id}",
    response_class=Response,
    responses={200: {"description": "WAV.", "content": {"audio/wav": {}}}, **documented(404, 504, 507)},
)
async def preview(
    voice_id: str, request: Request, service: ServiceNow, pool: Pool, caller: CallerNow, request_id: RequestId
) -> Response:
    """Two sentences in that voice, kept until the voice changes."""
    voice = await run_in_threadpool(service.voices.get, voice_id)
    headers = {"Content-Disposition": f"attachment; filename=preview_{voice.id}.wav", "X-Preview": "kept"}
    data = await run_in_threadpool(cached_preview, service, voice)
    if data is None:
        wanted = preview_request(voice, owner=caller.owner, request_id=request_id)
        spoken = await speak_whole(request, service.speech, pool, wanted, [])
        data = bytes(spoken.body)
        headers = {**spoken.headers, **headers, "X-Preview": "new"}
        del headers["content-disposition"]
        await run_in_threadpool(keep_preview, service, voice, data)
    return Response(data, media_type="audio/wav", headers=headers)
