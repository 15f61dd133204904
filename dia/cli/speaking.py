"""One pass of the model from the command line to a file, its text as typed: `--one-pass`, `--exact-text`."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dia as package
from dia.cli.codefiles import load_codes
from dia.cli.loading import ModelFlags, check_flags, load_dia
from dia.cli.outputs import AudioTarget, check_audio_target, check_path, save_codes
from dia.cli.progress import Meter, shown
from dia.cli.terminal import Terminal
from dia.cli.texts import read_text, read_transcript
from dia.errors import BadParameter, BadPrompt, GenerationFailed

if TYPE_CHECKING:
    import numpy as np

    from dia.media.encode import WrittenAudio
    from dia.model import Dia
    from dia.prompts import VoicePrompt
    from dia.sampling import SamplingParams
    from dia.stream import SpeechStream

__all__ = ["MARK", "SpeakRequest", "check_numbers", "differences", "make_tags", "speak"]

MARK = "AI-generated speech"
"""Stands in every file that can hold it, so that nobody need guess."""


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """What was typed. `said` is a text from elsewhere, taken as it is. `sampling` holds `SamplingParams` by name; None there is the checkpoint's own value."""

    text: str | None
    output: str
    said: str | None = None
    file: Path | None = None
    format: str | None = None
    model: ModelFlags = ModelFlags()
    audio_prompt: Path | None = None
    transcript: str | None = None
    transcript_file: Path | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    speed: float = 1.0
    exact_text: bool = False
    save_codes: Path | None = None
    save_text: bool = False
    progress: bool | None = None
    as_json: bool = False


def speak(request: SpeakRequest, terminal: Terminal, *, expected: Mapping[str, str] | None = None) -> None:
    """Generate, write, report.

    Args:
        expected: tags of an earlier take that is to be made again; another model or voice than in it is warned about.

    Raises: BadInput of every kind, OutputUnwritable and the loading errors before anything is generated;
        GenerationFailed later. No half-written file is left by any of them.
    """
    text = read_text(request.text, request.file) if request.said is None else request.said
    target = _check(request)
    transcript = _check_voice(request)
    check_numbers(request)
    dia = load_dia(request.model, terminal)
    try:
        prompt = _voice(dia, request.audio_prompt, transcript)
        if prompt is not None and transcript is None:
            terminal.note("note: no --transcript, so the text must begin with what the audio prompt says")
        params = dia.defaults.updated(**request.sampling)
        with dia.stream(text, prompt=prompt, params=params, exact_text=request.exact_text) as stream:
            codes = None if prompt is None else prompt.codes
            tags = make_tags(
                dia, params, request, seed=stream.seed, prompt_codes=codes, transcript=transcript, text=text
            )
            terminal.warn([*stream.warnings, *differences(tags, expected or {})])
            _generate(request, terminal, dia, stream, prompt, params, tags, target)
    finally:
        dia.close()


def _check(request: SpeakRequest) -> AudioTarget:
    """Flags and places, before anything heavy is loaded."""
    target = check_audio_target(request.output, request.format)
    if request.as_json and target.path is None:
        raise BadParameter("both --json and --output - write to stdout; use one of them")
    if request.save_codes is not None:
        if request.save_codes.suffix != ".npy":
            raise BadParameter(f"--save-codes is {request.save_codes.name}; codes are saved as .npy; name such a file")
        check_path(request.save_codes)
    check_flags(request.model)
    return target


def _check_voice(request: SpeakRequest) -> str | None:
    transcript = read_transcript(request.transcript, request.transcript_file)
    if transcript is not None and request.audio_prompt is None:
        raise BadParameter("a transcript is given without --audio-prompt; name the recording that it belongs to")
    if transcript is not None and request.exact_text:
        raise BadParameter(
            "--exact-text sends the text alone; put the transcript in front of it, without --transcript"
        )
    if request.audio_prompt is not None and not request.audio_prompt.is_file():
        raise BadPrompt(f"the audio prompt {request.audio_prompt} is not a file; check the path")
    return transcript


def check_numbers(request: SpeakRequest) -> None:
    """Sampling and tempo, before a model is loaded. Raises BadParameter."""
    from dia.media.stretch import Stretcher
    from dia.sampling import SamplingParams

    SamplingParams().updated(**request.sampling)
    Stretcher(44_100, request.speed)


def _voice(dia: "Dia", path: Path | None, transcript: str | None) -> "VoicePrompt | None":
    if path is None:
        return None
    return dia.encode_prompt(load_codes(path) if path.suffix == ".npy" else path, transcript or "")


def _generate(
    request: SpeakRequest,
    terminal: Terminal,
    dia: "Dia",
    stream: "SpeechStream",
    prompt: "VoicePrompt | None",
    params: "SamplingParams",
    tags: Mapping[str, str],
    target: AudioTarget,
) -> None:
    with target.open(stream.sample_rate_hz, tags) as sink:
        # The take can be repeated whatever happens from here on.
        terminal.result(f"seed {stream.seed}")
        meter = Meter(stream)
        with shown(meter, wanted=False if terminal.quiet else request.progress):
            for chunk in _stretched(stream, request.speed):
                sink.write(chunk)
        elapsed_s = meter.read().elapsed_s
        if not stream.frames_done:
            raise GenerationFailed(
                f"the model ended at once (seed {stream.seed}); no sound was made; try another seed"
            )
    if request.save_codes is not None:
        save_codes(request.save_codes, stream.codes)
    written = getattr(sink, "result", None)
    _warn_about_sound(terminal, dia, stream, prompt, params, written)
    _report(request, terminal, stream, tags, elapsed_s, target)


def _stretched(stream: "SpeechStream", speed: float) -> "Iterator[np.ndarray[Any, Any]]":
    if speed == 1.0:
        yield from stream
        return
    from dia.media.stretch import Stretcher

    stretcher = Stretcher(stream.sample_rate_hz, speed)
    for chunk in stream:
        yield stretcher.push(chunk)
    yield stretcher.flush()


def make_tags(
    dia: "Dia",
    params: "SamplingParams",
    request: SpeakRequest,
    *,
    seed: int,
    prompt_codes: "np.ndarray[Any, Any] | None",
    transcript: str | None,
    text: str,
) -> dict[str, str]:
    """Tags that say how to make the same file again; the text only on request."""
    import hashlib

    tags = {
        "comment": MARK,
        "dia_version": package.__version__,
        "model": dia.name,
        "model_hash": dia.model_hash,
        "family": dia.config.family,
        "compute_dtype": dia.placement.dtype_name,
        "quantization": dia.quantization or "none",
        "seed": str(seed),
        "temperature": f"{params.temperature:g}",
        "cfg_scale": f"{params.cfg_scale:g}",
        "top_p": f"{params.top_p:g}",
        "cfg_filter_top_k": str(params.cfg_filter_top_k),
        "guidance": params.guidance,
        "max_tokens": str(params.max_tokens or dia.config.data.audio_length),
        "speed": f"{request.speed:g}",
    }
    if dia.adapter is not None:
        tags |= {"adapter": dia.adapter.name, "adapter_hash": dia.adapter.id}
    if prompt_codes is not None:
        tags["prompt_hash"] = hashlib.sha256(prompt_codes.tobytes()).hexdigest()[:12]
    if request.exact_text:
        tags["exact_text"] = "yes"
    if request.save_text:
        tags["text"] = text.replace("\0", "")
        if transcript is not None:
            tags["transcript"] = transcript.replace("\0", "")
    return tags


def differences(tags: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """What will make this take another one than the expected."""
    names = {"model_hash": "the model is another one", "prompt_hash": "the voice is another one"}
    if "adapter_hash" in expected and tags.get("adapter_hash") != expected["adapter_hash"]:
        names = {"adapter_hash": "the adapter is another one", **names}
        del names["model_hash"]  # it is another one with every adapter
    return [
        f"{what} ({tags.get(name)}, then {expected[name]}); the take will differ"
        for name, what in names.items()
        if name in expected and tags.get(name) != expected[name]
    ]


def _warn_about_sound(
    terminal: Terminal,
    dia: "Dia",
    stream: "SpeechStream",
    prompt: "VoicePrompt | None",
    params: "SamplingParams",
    written: "WrittenAudio | None",
) -> None:
    found = []
    data = dia.config.data
    rows = params.max_tokens or data.audio_length
    room = rows - data.max_delay - 1 - (0 if prompt is None else len(prompt.codes))
    if stream.frames_done >= room:
        limit = "--max-tokens" if params.max_tokens else "the model"
        found.append(
            f"the speech filled all {room / stream.frame_rate_hz:.1f} s that {limit} allows and may be cut off; "
            "shorten the text" + (" or raise --max-tokens" if params.max_tokens else "")
        )
    if written is not None and written.clipped_samples:
        found.append(f"{written.clipped_samples} samples were louder than full scale and limited")
    terminal.warn(found)


def _report(
    request: SpeakRequest,
    terminal: Terminal,
    stream: "SpeechStream",
    tags: Mapping[str, str],
    elapsed_s: float,
    target: AudioTarget,
) -> None:
    sound_s = stream.frames_done / stream.frame_rate_hz
    duration_s = sound_s / request.speed
    name = "stdout" if target.path is None else str(target.path)
    factor = elapsed_s / sound_s
    terminal.note(f"{name}: {duration_s:.1f} s of speech, made in {elapsed_s:.1f} s (real-time factor {factor:.2f})")
    if request.as_json:
        values = {
            "output": name,
            "format": target.format,
            "duration_s": round(duration_s, 3),
            "elapsed_s": round(elapsed_s, 3),
            "real_time_factor": round(factor, 4),
            "frames": stream.frames_done,
            "sample_rate_hz": stream.sample_rate_hz,
            "seed": stream.seed,
            "text_sent": stream.text,
            "warnings": list(stream.warnings),
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "parameters": {key: value for key, value in tags.items() if key not in ("comment", "text", "seed")},
        }
        print(json.dumps(values))
