"""Voice prompts that come with the package: taken into the prompt store at start, and given to the built-in voices.

For a voice NAME the folder holds `NAME.json` (`transcript`, and perhaps `language`) and its recording `NAME.opus`,
`.flac` or `.wav`; codes for one model may lie beside as `NAME.safetensors` (tensor `codes` [frames, channels], its
model named by `model_hash` in the JSON). A voice without files keeps the anchor of its seed.
"""

import io
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dia.errors import DiaError
from dia.service.prompts import PromptStore
from dia.service.voices import BUILTINS, SpeakerPrompt, Voice, VoiceStore

FOLDER = Path(__file__).parent.parent / "assets" / "voices"
_RECORDINGS = (".opus", ".flac", ".wav")

_logger = logging.getLogger(__name__)


def bundle_voices(voices: VoiceStore, prompts: PromptStore, folder: Path | None = None) -> tuple[str, ...]:
    """Give every built-in voice the prompt that the folder (None: the package's) holds for it; returns those with one.

    A damaged file is reported in the log and leaves its voice as it was.
    """
    given = []
    for voice in BUILTINS:
        try:
            prompt_id = _take_in(voice, prompts, folder or FOLDER)
        except (DiaError, OSError, ValueError, KeyError) as error:
            _logger.warning("the bundled prompt of voice %s cannot be used: %s", voice.id, error)
            continue
        if prompt_id is not None:
            speakers: dict[str, SpeakerPrompt] = {voice.primary_speaker: SpeakerPrompt(prompt_id)}
            # A prompt holds the voice, so every take may be another one.
            voices.bundle(replace(voice, speakers=speakers, seed=None))
            given.append(voice.id)
    return tuple(given)


def _take_in(voice: Voice, prompts: PromptStore, folder: Path) -> str | None:
    facts_path = folder / f"{voice.id}.json"
    recording = next((path for ending in _RECORDINGS if (path := folder / f"{voice.id}{ending}").is_file()), None)
    if recording is None or not facts_path.is_file():
        return None
    facts: dict[str, Any] = json.loads(facts_path.read_text(encoding="utf-8"))
    files = {
        "original": recording.read_bytes(),
        "prompt.json": json.dumps({**facts, "codes_model_hash": facts.get("model_hash")}).encode(),
    }
    codes_path = folder / f"{voice.id}.safetensors"
    if codes_path.is_file():
        from safetensors.numpy import load_file

        buffer = io.BytesIO()
        np.save(buffer, load_file(codes_path)["codes"].astype(np.int16), allow_pickle=False)
        files["codes.npy"] = buffer.getvalue()
    prompt_id = f"builtin-{voice.id}"
    prompts.take_bundled(prompt_id, files)
    return prompt_id
