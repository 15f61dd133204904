"""Takes of a model: each line of a script spoken, with the time it took and whether it ended by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dia.evals.references import VoiceReference
from dia.evals.takes import Generation, Take
from dia.model import Dia, VoicePrompt
from dia.sampling import SamplingParams

__all__ = ["Line", "cast", "speak"]


@dataclass(frozen=True, slots=True)
class Line:
    """One take to make. `voice` names a prompt; None leaves the voice to the model. `second` as in `Take`."""

    name: str
    text: str
    voice: str | None = None
    second: str | None = None


def cast(texts: Sequence[str], voices: Sequence[str], *, every_voice: bool) -> list[Line]:
    """Sentences given to voices: each to all of them, or to one after the other. Without voices, to the model's own."""
    if not voices:
        return [Line(f"s{number:02}", text) for number, text in enumerate(texts, 1)]
    pairs = [
        (number, text, voice)
        for number, text in enumerate(texts)
        for voice in (voices if every_voice else [voices[number % len(voices)]])
    ]
    return [Line(f"s{number + 1:02}-{voice}", text, voice) for number, text, voice in pairs]


def speak(
    dia: Dia, lines: Sequence[Line], voices: Mapping[str, VoiceReference], params: SamplingParams, seed: int
) -> Iterator[Take]:
    """Each line in order, take n with seed + n; errors as in `Dia.stream`.

    One short take that is thrown away comes first, so that nobody's time holds the warming up.
    """
    prompts = {name: _encode(dia, voices[name]) for name in dict.fromkeys(line.voice for line in lines) if name}
    warm_rows = dia.config.data.max_delay + 10
    dia.stream("Hello.", params=params.updated(max_tokens=warm_rows, seed=seed)).run_codes()
    for number, line in enumerate(lines):
        prompt = prompts[line.voice] if line.voice else None
        yield _speak_one(dia, line, prompt, params.updated(seed=seed + number))


def _encode(dia: Dia, voice: VoiceReference) -> VoicePrompt:
    return dia.encode_prompt(voice.prompt.at(dia.sample_rate_hz), voice.prompt.text)


def _speak_one(dia: Dia, line: Line, prompt: VoicePrompt | None, params: SamplingParams) -> Take:
    wall, cpu = time.perf_counter(), time.process_time()
    with dia.stream(line.text, prompt=prompt, params=params) as stream:
        sound = np.concatenate([np.zeros(0, np.float32), *stream])
        made = Generation(
            time.perf_counter() - wall,
            time.process_time() - cpu,
            stream.frames_done < _room(dia, prompt, params),
            stream.seed,
        )
    return Take(line.name, line.text, sound, dia.sample_rate_hz, line.voice, line.second, made)


def _room(dia: Dia, prompt: VoicePrompt | None, params: SamplingParams) -> int:
    """Frames that fit into one pass: a take that fills it was cut off."""
    rows = params.max_tokens or dia.config.data.audio_length
    return rows - dia.config.data.max_delay - 1 - (0 if prompt is None else len(prompt.codes))
