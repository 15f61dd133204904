"""Voices as one zip file: every chosen voice with the prompts it speaks from; and back, trusting nothing inside.

Adapters are named in it and not inside: they belong to a model, and are put into the other server's folder as files."""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from dia.errors import BadParameter
from dia.service.prompts import PromptStore
from dia.service.storage import check_id
from dia.service.voices import Voice, VoiceStore, voice_from_json, voice_to_json

FORMAT_VERSION = 1
MAX_UNPACKED_BYTES = 500_000_000
MAX_VOICES = 1000


@dataclass(frozen=True, slots=True)
class Imported:
    """Ids that were taken in."""

    voices: tuple[str, ...]
    prompts: tuple[str, ...]


def export_voices(voices: VoiceStore, prompts: PromptStore, voice_ids: Sequence[str] | None = None) -> bytes:
    """A zip of the named voices, or of all custom ones.

    Raises:
        UnknownVoice
    """
    if voice_ids is None:
        chosen = [voice for voice in voices.all() if not voice.builtin]
    else:
        chosen = [voices.get(voice_id) for voice_id in voice_ids]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        records = [json.loads(voice_to_json(voice)) for voice in chosen]
        archive.writestr("voices.json", json.dumps({"version": FORMAT_VERSION, "voices": records}, ensure_ascii=False))
        for prompt_id in sorted({speaker.prompt for voice in chosen for speaker in voice.speakers.values()}):
            for name, data in prompts.files(prompt_id).items():
                archive.writestr(f"prompts/{prompt_id}/{name}", data)
    return buffer.getvalue()


def import_voices(voices: VoiceStore, prompts: PromptStore, data: bytes, *, overwrite: bool = False) -> Imported:
    """Take in a zip made by `export_voices`. File names inside are only looked up, never used as paths.

    Raises:
        BadParameter: no such archive, or too large unpacked; Conflict: a voice or prompt exists and `overwrite` is not
        set; NotFound: a voice names an adapter that is not here. What was taken in before an error stays.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise BadParameter("the file is no zip archive; send one made by the export of voices") from error
    with archive:
        total = sum(item.file_size for item in archive.infolist())
        if total > MAX_UNPACKED_BYTES:
            raise BadParameter(f"the archive unpacks to {total} bytes; at most {MAX_UNPACKED_BYTES}; split it")
        records = _records(archive)
        wanted = sorted({speaker.prompt for voice in records for speaker in voice.speakers.values()})
        for prompt_id in wanted:
            prompts.restore(prompt_id, _files(archive, prompt_id), overwrite=overwrite)
    for voice in records:
        voices.create(
            voice.id,
            {
                "name": voice.name, "description": voice.description, "style": voice.style,
                "language": voice.language, "primary_speaker": voice.primary_speaker, "seed": voice.seed,
                "defaults": dict(voice.defaults), "adapter": voice.adapter,
                "speakers": {
                    tag: {"prompt": speaker.prompt, "transcript": speaker.transcript}
                    for tag, speaker in voice.speakers.items()
                },
            },
            overwrite=overwrite,
        )  # fmt: skip
    return Imported(tuple(voice.id for voice in records), tuple(wanted))


def _records(archive: zipfile.ZipFile) -> list[Voice]:
    try:
        content = json.loads(archive.read("voices.json"))
        records = [voice_from_json(json.dumps(record)) for record in content["voices"][:MAX_VOICES]]
        version = content["version"]
    except (KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BadParameter("the archive holds no readable voices.json; send one made by the export") from error
    if version != FORMAT_VERSION:
        raise BadParameter(f"the archive is of version {version}; this program reads {FORMAT_VERSION}; update it")
    for voice in records:
        check_id("voice", voice.id)
    return records


def _files(archive: zipfile.ZipFile, prompt_id: str) -> dict[str, bytes]:
    check_id("prompt", prompt_id)
    names = set(archive.namelist())
    files = {}
    for name in ("original", "prompt.json", "codes.npy"):
        member = f"prompts/{prompt_id}/{name}"
        if member in names:
            files[name] = archive.read(member)
    return files
