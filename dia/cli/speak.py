"""`dia say` and `python cli.py "text" --output out.wav`: the flags, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dia.cli import options
from dia.cli.loading import ModelFlags
from dia.cli.narrate import narrate
from dia.cli.remote_say import speak_remotely
from dia.cli.run import run
from dia.cli.script_flags import ScriptFlags, find_dictionary, find_script, is_one_pass
from dia.cli.speaking import SpeakRequest, speak
from dia.cli.terminal import Terminal
from dia.cli.texts import read_text

__all__ = ["app", "main", "say"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_OWN = "(default: the checkpoint's own)"


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def say(
    text: Annotated[
        str | None, typer.Argument(help='What to say, as in "[S1] Hello. [S2] Hi!", or a script file; - is stdin.')
    ] = None,
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Audio file: wav, flac, mp3, opus, aac or m4a by its ending; - is stdout."
        ),
    ],
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the text from a file.")] = None,
    format: Annotated[str | None, typer.Option("--format", help="Audio format, whatever the file is called.")] = None,
    audio_prompt: Annotated[
        Path | None,
        typer.Option("--audio-prompt", help="The voice: a recording of 0.5 to 60 s, or saved codes (.npy)."),
    ] = None,
    transcript: Annotated[
        str | None,
        typer.Option("--transcript", help="What is said in the recording; without it the text must begin with that."),
    ] = None,
    transcript_file: Annotated[Path | None, typer.Option("--transcript-file", help="The same, from a file.")] = None,
    model: options.ModelFlag = None,
    repo_id: options.RepoFlag = None,
    local_paths: options.LocalPathsFlag = False,
    config: options.ConfigFlag = None,
    checkpoint: options.CheckpointFlag = None,
    revision: options.RevisionFlag = None,
    offline: options.OfflineFlag = False,
    codec: options.CodecFlag = None,
    family: options.FamilyFlag = None,
    device: options.DeviceFlag = None,
    compute_dtype: options.DtypeFlag = None,
    quantization: options.QuantizationFlag = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            help="Adapter of dia finetune, a .safetensors file, to speak with. With --server: the name of one of its "
            "adapters.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Repeats a take (default: drawn, and shown).", metavar="INTEGER")
    ] = None,
    temperature: options.TemperatureFlag = None,
    cfg_scale: Annotated[
        float | None, typer.Option("--cfg-scale", help=f"How closely the text is followed, 0 to 10 {_OWN}.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help=f"Share of likely sounds kept, 0 to 1 {_OWN}.")
    ] = None,
    cfg_filter_top_k: Annotated[
        int | None, typer.Option("--cfg-filter-top-k", help=f"Sounds let through by guidance, 1 to 1028 {_OWN}.")
    ] = None,
    max_tokens: options.MaxTokensFlag = None,
    guidance: Annotated[
        str | None,
        typer.Option("--guidance", help="filter (the later rule) or combined (May 2025) (default: the checkpoint's)."),
    ] = None,
    speed: options.SpeedFlag = 1.0,
    exact_text: Annotated[
        bool, typer.Option("--exact-text", help="Send the text byte for byte in one pass, with no repair.")
    ] = False,
    script_format: options.ScriptFormatFlag = "auto",
    roleplay: options.RoleplayFlag = "off",
    normalize: options.NormalizeFlag = True,
    remarks: options.RemarksFlag = "keep",
    dictionary: options.DictionaryFlag = None,
    save_codes: Annotated[
        Path | None,
        typer.Option("--save-codes", help="Also save the codec codes of all pieces as made (.npy), for dia decode."),
    ] = None,
    save_text: Annotated[bool, typer.Option("--save-text", help="Also write the text into the file's tags.")] = False,
    project: Annotated[
        Path | None, typer.Option("--project", help="Folder in which the pieces are made and kept.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted run has made, and keep the project.")
    ] = False,
    one_pass: Annotated[
        bool, typer.Option("--one-pass", help="Send the text as it is in one pass; nothing is cut off or made again.")
    ] = False,
    voice: Annotated[
        list[str] | None,
        typer.Option(
            "--voice",
            help="Voice of one speaker, Alice=alice.wav, its words in alice.txt; again for others. With --server: the "
            "name of one of its voices.",
        ),
    ] = None,
    speed_of: options.SpeedsFlag = None,
    gap: options.GapsFlag = None,
    subtitles: options.SubtitlesFlag = None,
    loudness: options.LoudnessFlag = None,
    longest_silence: options.LongestSilenceFlag = None,
    balance: options.BalanceFlag = False,
    server: Annotated[
        str | None, typer.Option("--server", help="Have the server at this address speak; DIA_API_KEY is sent to it.")
    ] = None,
    retakes: options.RetakesFlag = 2,
    proofread: options.ProofreadFlag = None,
    progress: options.ProgressFlag = None,
    json: options.JsonFlag = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Speak a text into an audio file."""
    del debug  # taken by its callback
    flags = ScriptFlags(
        project=project,
        resume=resume,
        one_pass=one_pass,
        voices=voice or (),
        speeds=speed_of or (),
        gaps=gap or (),
        subtitles=subtitles or (),
        loudness=loudness,
        retakes=retakes,
        proofread=proofread,
        format=script_format,
        roleplay=roleplay,
        normalize=normalize,
        remarks=remarks,
        dictionary=find_dictionary(dictionary),
        longest_silence=longest_silence,
        balance=balance,
    )
    request = find_script(
        SpeakRequest(
            text=text,
            output=output,
            file=file,
            format=format,
            model=ModelFlags(
                model=model,
                repo_id=repo_id,
                local_paths=local_paths,
                config=config,
                checkpoint=checkpoint,
                revision=revision,
                offline=offline,
                codec=codec,
                family=family,
                device=device,
                compute_dtype=compute_dtype,
                quantization=quantization,
                adapter=None if adapter is None or server is not None else Path(adapter),
            ),
            audio_prompt=audio_prompt,
            transcript=transcript,
            transcript_file=transcript_file,
            sampling={
                "seed": seed,
                "temperature": temperature,
                "cfg_scale": cfg_scale,
                "top_p": top_p,
                "cfg_filter_top_k": cfg_filter_top_k,
                "max_tokens": max_tokens,
                "guidance": guidance,
            },
            speed=speed,
            exact_text=exact_text,
            save_codes=save_codes,
            save_text=save_text,
            progress=progress,
            as_json=json,
        )
    )
    if request.text == "-" or (request.file is not None and str(request.file) == "-"):
        # Stdin can be read once only.
        request = replace(request, said=read_text(request.text, request.file))
    if server is not None:
        speak_remotely(request, flags, server, Terminal(quiet), adapter=adapter)
    elif is_one_pass(request, flags):
        speak(request, Terminal(quiet))
    else:
        narrate(request, flags, Terminal(quiet))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `say` as a command of its own, with these arguments (None: the process's); gives back the exit code."""
    return run(app, argv, name="cli.py")
