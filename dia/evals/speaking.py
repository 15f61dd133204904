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
from dia.text.script import TAG

__all__ = ["Line", "cast", "fits_two", "speak"]

PAUSE_S = 0.2
"""Between the two prompts of a dialogue."""


@dataclass(frozen=True, slots=True)
class Line:
    """One take to make. `voice` names a prompt; None leaves it to the model. `second` names that of S2, in a dialogue."""

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
    wanted = dict.fromkeys((line.voice, line.second) for line in lines)
    prompts = {(one, two): _encode(dia, voices, one, two) for one, two in wanted}
    warm_rows = dia.config.data.max_delay + 10
    dia.stream("Hello.", params=params.updated(max_tokens=warm_rows, seed=seed)).run_codes()
    for number, line in enumerate(lines):
        yield _speak_one(dia, line, prompts[line.voice, line.second], params.updated(seed=seed + number))


def fits_two(dia: Dia, first: VoiceReference, second: VoiceReference) -> bool:
    """Whether two prompts in a row leave half of one pass for the dialogue."""
    frames = (first.prompt.duration_s + second.prompt.duration_s + PAUSE_S) * dia.frame_rate_hz
    return frames <= dia.config.data.audio_length / 2


def _encode(
    dia: Dia, voices: Mapping[str, VoiceReference], first: str | None, second: str | None
) -> VoicePrompt | None:
    if first is None:
        return None
    one = voices[first].prompt
    if second is None:
        codes = voices[first].codes
        ready = codes[1] if codes is not None and codes[0] == dia.model_hash else None
        return dia.encode_prompt(one.at(dia.sample_rate_hz) if ready is None else ready, one.text)
    two = voices[second].prompt
    pause = np.zeros(round(PAUSE_S * dia.sample_rate_hz), np.float32)
    sound = np.concatenate([one.at(dia.sample_rate_hz), pause, two.at(dia.sample_rate_hz)])
    said, answered = (" ".join(TAG.sub(" ", take.text).split()) for take in (one, two))
    return dia.encode_prompt(sound, f"[S1] {said} [S2] {answered}")


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
