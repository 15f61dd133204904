"""Audio prompts and their transcripts, by hand or by Whisper."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import FileResponse

from dia.errors import BadParameter
from dia.server.deps import ServiceNow, json_body, takes
from dia.server.forms import FormIn, form_flag, form_text, speech_file, takes_form
from dia.server.problems import documented
from dia.server.schemas import DiscoverBody, TranscriptBody
from dia.server.views import counted, prompt_metadata_view, prompt_view, upload_view

__all__ = ["router"]

router = APIRouter(tags=["audio prompts"])
TranscriptIn = Annotated[TranscriptBody, Depends(json_body(TranscriptBody))]
DiscoverIn = Annotated[DiscoverBody, Depends(json_body(DiscoverBody, may_be_empty=True))]
_TEXTS = {
    "prompt_id": "string",
    "transcript": "string",
    "name": "string",
    "language": "string",
    "overwrite": "boolean",
}


@router.post(
    "/audio_prompts/upload", openapi_extra=takes_form(_TEXTS, "audio_file", ["prompt_id"]),
    responses=documented(409, 415, 507),
)  # fmt: skip
def upload(
    form: FormIn,
    service: ServiceNow,
    overwrite: Annotated[bool, Query(description="Replace a prompt of that id.")] = False,
) -> dict[str, Any]:
    """Take in a recording of 0.5 to 60 s in any usual container; the answer tells what was found in it."""
    info = service.prompts.upload(
        form_text(form, "prompt_id", required=True) or "", speech_file(form, "audio_file"),
        transcript=form_text(form, "transcript"), name=form_text(form, "name"), language=form_text(form, "language"),
        overwrite=overwrite or form_flag(form, "overwrite"),
    )  # fmt: skip
    return upload_view(info)


@router.get("/audio_prompts", responses=documented())
def list_prompts(service: ServiceNow) -> dict[str, Any]:
    """Prompt id to what is known of it."""
    return {prompt_id: prompt_view(info) for prompt_id, info in service.prompts.all().items()}


@router.get("/audio_prompts/metadata", responses=documented())
def list_metadata(service: ServiceNow) -> dict[str, Any]:
    """Prompt id to everything known of it: transcript and quality report included."""
    return {prompt_id: prompt_metadata_view(info) for prompt_id, info in service.prompts.all().items()}


@router.get("/audio_prompts/metadata/{prompt_id}", responses=documented(404))
@router.get("/audio_prompts/{prompt_id}", responses=documented(404))
def get_prompt(prompt_id: str, service: ServiceNow) -> dict[str, Any]:
    """One prompt."""
    return prompt_metadata_view(service.prompts.get(prompt_id))


@router.get(
    "/audio_prompts/{prompt_id}/audio",
    response_class=FileResponse,
    responses={
        200: {"description": "WAV.", "content": {"audio/wav": {}}},
        206: {"description": "A part of it.", "content": {"audio/wav": {}}},
        **documented(404, 416),
    },
)
def listen(prompt_id: str, service: ServiceNow) -> FileResponse:
    """The recording as the model hears it."""
    return FileResponse(
        service.prompts.audio_path(prompt_id), media_type="audio/wav", filename=f"{prompt_id}.wav",
        content_disposition_type="inline",
    )  # fmt: skip


@router.delete("/audio_prompts/{prompt_id}", responses=documented(404, 409))
def delete_prompt(
    prompt_id: str,
    service: ServiceNow,
    force: Annotated[bool, Query(description="Also where voices use it, which then lose it.")] = False,
) -> dict[str, Any]:
    """Delete a prompt; 409 while a voice uses it."""
    users = service.voices.delete_prompt(prompt_id, force=force)
    return {"message": f"Audio prompt '{prompt_id}' deleted", "detached_voices": list(users)}


@router.put(
    "/audio_prompts/{prompt_id}/transcript", openapi_extra=takes(TranscriptBody), responses=documented(404, 507)
)
def set_transcript(prompt_id: str, body: TranscriptIn, service: ServiceNow) -> dict[str, Any]:
    """Say what is said in a prompt; without it the first words of a cloned voice are garbled."""
    if body.prompt_id is not None and body.prompt_id != prompt_id:
        raise BadParameter(f"prompt_id is {body.prompt_id[:64]!r} but the path says {prompt_id[:64]!r}")
    service.prompts.set_transcript(prompt_id, body.transcript)
    return {
        "message": f"Transcript of '{prompt_id}' set", "prompt_id": prompt_id,
        "updated_voices": list(service.voices.using_prompt(prompt_id)),
    }  # fmt: skip


@router.post("/audio_prompts/{prompt_id}/transcribe", responses=documented(404, 507))
def transcribe(prompt_id: str, service: ServiceNow) -> dict[str, Any]:
    """Hear the words by Whisper; 503 without the extra `asr`."""
    info = service.prompts.transcribe(prompt_id)
    return {"prompt_id": prompt_id, "transcript": info.transcript, "saved_to": f"/audio_prompts/metadata/{prompt_id}"}


@router.post("/audio_prompts/discover", openapi_extra=takes(DiscoverBody, required=False), responses=documented(507))
def discover(body: DiscoverIn, service: ServiceNow) -> dict[str, Any]:
    """Look for new recordings in the prompts folder."""
    found = service.prompts.discover(force_retranscribe=body.force_retranscribe)
    return {
        "message": counted(len(found.discovered), "new or changed prompt"), "total_prompts": found.total_prompts,
        "discovered": [prompt_metadata_view(info) for info in found.discovered], "refused": dict(found.refused),
    }  # fmt: skip


@router.get("/whisper/status", responses=documented())
def whisper_status(service: ServiceNow) -> dict[str, Any]:
    """Whether prompts can be transcribed here."""
    transcriber = service.prompts.transcriber
    return {
        "available": transcriber.is_available, "model_loaded": transcriber.loaded_size is not None,
        "model_size": transcriber.loaded_size, "auto_transcribe": service.config.current.auto_transcribe,
    }  # fmt: skip


@router.post("/whisper/load", responses=documented())
def whisper_load(service: ServiceNow) -> dict[str, Any]:
    """Load the Whisper model of the configuration; it is fetched if it is not here."""
    transcriber = service.prompts.transcriber
    transcriber.load(service.config.current.whisper_model_size)
    return {"message": f"Whisper model '{transcriber.loaded_size}' loaded", "model_size": transcriber.loaded_size}
