"""`dia reproduce`: a file's tags say how it was made, so it can be made again, in any format."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dia.cli import options
from dia.cli.loading import ModelFlags
from dia.cli.narrate import narrate
from dia.cli.script_flags import ScriptFlags, from_typed
from dia.cli.speaking import SpeakRequest, speak
from dia.cli.terminal import Terminal
from dia.errors import BadParameter

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_NUMBERS = {
    "temperature": float,
    "cfg_scale": float,
    "top_p": float,
    "cfg_filter_top_k": int,
    "max_tokens": int,
    "seed": int,
}


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def reproduce(
    source: Annotated[Path, typer.Argument(help="A file that dia say made with --save-text.")],
    output: Annotated[str, typer.Argument(help="Where to write it again, its format by its ending; - is stdout.")],
    audio_prompt: Annotated[
        Path | None, typer.Option("--audio-prompt", help="The voice that was used, if there was one.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option("--speed", help="Another tempo, 0.25 to 4 (default: as it was).")
    ] = None,
    format: Annotated[str | None, typer.Option("--format", help="Audio format, whatever the file is called.")] = None,
    model: options.ModelFlag = None,
    offline: options.OfflineFlag = False,
    codec: options.CodecFlag = None,
    device: options.DeviceFlag = None,
    adapter: options.AdapterFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Make a file again from what its tags say: text, seed, parameters."""
    del debug
    from dia.media.read import read_metadata

    tags = {key.lower(): value for key, value in read_metadata(source).items()}
    request = _request(source, tags, output, audio_prompt)
    if "adapter_hash" in tags and adapter is None:
        raise BadParameter(
            f"{source.name} was made with the adapter {tags.get('adapter', tags['adapter_hash'])}; name it with --adapter"
        )
    from dia.hub import BUNDLED

    made_with = tags.get("model", "")
    # Where else a folder's name was, nobody can tell.
    named = model or (made_with if "/" in made_with or made_with == BUNDLED.name else None)
    flags = replace(request.model, model=named, offline=offline, codec=codec, device=device, adapter=adapter)
    request = replace(request, model=flags, format=format, speed=request.speed if speed is None else speed)
    if "pieces" in tags:
        narrate(request, _script_flags(source, tags), Terminal(quiet), expected=tags)
    else:
        speak(request, Terminal(quiet), expected=tags)


def _script_flags(source: Path, tags: Mapping[str, str]) -> ScriptFlags:
    if "voices" in tags:
        raise BadParameter(
            f"{source.name} was made with voices by name ({', '.join(json.loads(tags['voices']))}); make it again with "
            "dia say, its text and these --voice flags"
        )
    try:
        return from_typed(json.loads(tags["script"]))
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, BadParameter):
            raise
        raise BadParameter(
            f"the tags of {source.name} are not complete ({error}); make the file again with dia say"
        ) from error


def _request(source: Path, tags: Mapping[str, str], output: str, audio_prompt: Path | None) -> SpeakRequest:
    if "seed" not in tags or "text" not in tags:
        raise BadParameter(
            f"{source.name} does not hold its text and seed; only files made with --save-text can be repeated"
        )
    if ("prompt_hash" in tags) != (audio_prompt is not None):
        raise BadParameter(
            f"{source.name} was made with a voice; name it with --audio-prompt"
            if audio_prompt is None
            else f"{source.name} was made without a voice; leave --audio-prompt out"
        )
    try:
        sampling: dict[str, Any] = {name: kind(tags[name]) for name, kind in _NUMBERS.items()}
        speed = float(tags["speed"])
    except (KeyError, ValueError) as error:
        raise BadParameter(
            f"the tags of {source.name} are not complete ({error}); make the file again with dia say"
        ) from error
    return SpeakRequest(
        text=None,
        said=tags["text"],
        output=output,
        audio_prompt=audio_prompt,
        transcript=tags.get("transcript"),
        sampling=sampling | {"guidance": tags.get("guidance")},
        speed=speed,
        exact_text=tags.get("exact_text") == "yes",
        save_text=True,
        model=ModelFlags(
            family=tags.get("family"),
            compute_dtype=tags.get("compute_dtype"),
            quantization=tags.get("quantization", "none"),
        ),
    )
