"""Uploads: multipart forms read with bounds, by hand, so that every fault is a plain 4xx."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

from fastapi import Depends
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dia.service.storage import RESERVED_IDS

__all__ = ["FormIn", "UploadForm", "form_flag", "form_text", "prompt_id_from", "speech_file", "takes_form"]

_MAX_FIELDS = 24
_MAX_FIELD_BYTES = 65_536
_MAX_ID_CHARS = 64


@dataclass(frozen=True, slots=True)
class UploadForm:
    """Text fields and files; of each name only one."""

    fields: Mapping[str, str]
    files: Mapping[str, BinaryIO]


async def _form(request: Request) -> AsyncIterator[UploadForm]:
    """Read the form; its files are closed when the answer is made.

    Raises:
        HTTPException: 400 if it is no form, has too many or too large parts, or a name twice.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(400, "send a multipart form (curl -F), with the recording as a file field")
    async with request.form(max_files=2, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
        fields: dict[str, str] = {}
        files: dict[str, BinaryIO] = {}
        for name, value in form.multi_items():
            if name in fields or name in files:
                raise HTTPException(400, f"form field {name[:64]!r} comes twice; send it once")
            if isinstance(value, UploadFile):
                files[name] = value.file
            else:
                fields[name] = value
        yield UploadForm(fields, files)


FormIn = Annotated[UploadForm, Depends(_form)]


def form_text(form: UploadForm, name: str, *, required: bool = False) -> str | None:
    """A text field, None if it is missing or blank.

    Raises:
        HTTPException: 400, missing or blank although required.
    """
    text = form.fields.get(name, "").strip()
    if required and not text:
        raise HTTPException(400, f"form field {name!r} is missing or empty")
    return text or None


def form_flag(form: UploadForm, name: str) -> bool:
    """A yes or no, no if it is missing."""
    return form.fields.get(name, "").strip().lower() in ("1", "true", "yes", "on")


def speech_file(form: UploadForm, name: str) -> BinaryIO:
    """The uploaded file of that name.

    Raises:
        HTTPException: 400, it is missing.
    """
    if name not in form.files:
        raise HTTPException(400, f"file field {name!r} is missing; send the recording in it (curl -F {name}=@FILE)")
    return form.files[name]


def prompt_id_from(name: str) -> str:
    """An id made from any name: `My Voice!` becomes `my_voice`, and a word that no id may be, `upload`, `upload_voice`."""
    slug = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-")[:_MAX_ID_CHARS] or "voice"
    return f"{slug}_voice" if slug in RESERVED_IDS else slug


def takes_form(fields: Mapping[str, str], file_field: str, required: Sequence[str]) -> dict[str, Any]:
    """The part of a route's OpenAPI that describes a form."""
    properties: dict[str, Any] = {name: {"type": kind} for name, kind in fields.items()}
    properties[file_field] = {"type": "string", "format": "binary"}
    schema = {"type": "object", "required": [*required, file_field], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
