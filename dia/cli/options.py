"""Flags that several commands share, spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

from dia.cli.run import RunState

__all__ = [
    "BALANCE",
    "AdapterFlag",
    "BalanceFlag",
    "CheckpointFlag",
    "CodecFlag",
    "ConfigFlag",
    "DebugFlag",
    "DeviceFlag",
    "DictionaryFlag",
    "DtypeFlag",
    "FamilyFlag",
    "GapsFlag",
    "JsonFlag",
    "LocalPathsFlag",
    "LongestSilenceFlag",
    "LoudnessFlag",
    "MaxTokensFlag",
    "ModelFlag",
    "NormalizeFlag",
    "OfflineFlag",
    "ProgressFlag",
    "ProofreadFlag",
    "QuantizationFlag",
    "QuietFlag",
    "RemarksFlag",
    "RepoFlag",
    "RetakesFlag",
    "RevisionFlag",
    "RoleplayFlag",
    "ScriptFormatFlag",
    "SpeedFlag",
    "SpeedsFlag",
    "SubtitlesFlag",
    "TemperatureFlag",
    "VoicesFlag",
]


def _remember_debug(context: typer.Context, value: bool) -> bool:
    state = context.find_object(RunState)
    if value and state is not None:
        state.debug = True
    return value


ModelFlag = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Checkpoint folder, hub repository, nano (comes with the package), or auto: the best one at hand (default).",
    ),
]
RepoFlag = Annotated[str | None, typer.Option("--repo-id", help="Hub repository of the checkpoint; same as --model.")]
LocalPathsFlag = Annotated[
    bool, typer.Option("--local-paths", help="Take the checkpoint from --config, --checkpoint.")
]
ConfigFlag = Annotated[Path | None, typer.Option("--config", help="Its config.json, with --local-paths.")]
CheckpointFlag = Annotated[Path | None, typer.Option("--checkpoint", help="Its weight file, with --local-paths.")]
RevisionFlag = Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit of the hub repository.")]
OfflineFlag = Annotated[bool, typer.Option("--offline", help="Never ask the hub; use what is on this machine.")]
CodecFlag = Annotated[
    str | None,
    typer.Option("--codec", help="Codec folder, .pth file or hub repository (default: the checkpoint's own)."),
]
FamilyFlag = Annotated[
    str | None, typer.Option("--family", help="v0_1 or 0626, where config.json implies the wrong one.")
]
AdapterFlag = Annotated[
    Path | None, typer.Option("--adapter", help="Adapter of dia finetune, a .safetensors file, to speak with.")
]
DeviceFlag = Annotated[
    str | None, typer.Option("--device", help="cuda, cuda:N, mps or cpu (default: the best one here).")
]
DtypeFlag = Annotated[
    str | None,
    typer.Option("--compute-dtype", help="float32, float16 or bfloat16 (default: bfloat16 on cuda, else float32)."),
]
QuantizationFlag = Annotated[
    str | None,
    typer.Option(
        "--quantization",
        help="int8 or int8-weights: weights in 8 bits, a little less exact, on a CPU faster; none: not even where the "
        "model advises it.",
    ),
]
TemperatureFlag = Annotated[
    float | None,
    typer.Option("--temperature", help="0 (always the likeliest) to 5 (default: the checkpoint's own)."),
]
MaxTokensFlag = Annotated[
    int | None,
    typer.Option("--max-tokens", help="Longest pass in decoder steps, prompt included (default: the model's)."),
]
RetakesFlag = Annotated[int, typer.Option("--retakes", help="How often a bad piece is made again, 0 to 8.")]
VoicesFlag = Annotated[
    list[str] | None,
    typer.Option("--voice", help="Voice of one speaker, Alice=alice.wav, its words in alice.txt; again for others."),
]
ScriptFormatFlag = Annotated[
    str,
    typer.Option(
        "--script-format", help="What the text is: plain, tagged, play, json, markdown or srt (default: recognised)."
    ),
]
RoleplayFlag = Annotated[
    str,
    typer.Option(
        "--roleplay",
        help='Who says *actions* and "quotes": off, chat, novel, no-actions, quotes-only, or roles spelled out, as in '
        "asterisks=skip,outside=narrator; the narrator is the speaker Narrator.",
    ),
]
DictionaryFlag = Annotated[
    Path | None,
    typer.Option("--dictionary", help="File of words to be said otherwise: SQL -> sequel, one on each line."),
]
RemarksFlag = Annotated[
    str,
    typer.Option("--remarks", help="keep or drop: remarks in brackets that are no known sound, such as (nods)."),
]
NormalizeFlag = Annotated[
    bool,
    typer.Option("--normalize/--no-normalize", help="Say numbers, money, dates and the like in words (default)."),
]
ProofreadFlag = Annotated[
    str | None,
    typer.Option(
        "--proofread",
        help="Have each piece heard by Whisper (tiny, base, small, medium, large, or a folder with one) and made again, as "
        "--retakes says, where it hears other words.",
    ),
]
SpeedFlag = Annotated[float, typer.Option("--speed", help="Tempo without a change of pitch, 0.25 to 4.")]
SpeedsFlag = Annotated[
    list[str] | None, typer.Option("--speed-of", help="Tempo of one speaker, as in Alice=1.1; again for others.")
]
GapsFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--gap",
        help="Pause between two pieces in seconds after a turn, paragraph, sentence or clause, as in turn=0.4, which is "
        "the least between two speakers inside a piece as well; again for others.",
    ),
]
LongestSilenceFlag = Annotated[
    float | None,
    typer.Option(
        "--longest-silence", help="Cut longer silences between words to so many seconds, 0.1 to 60 (default: none)."
    ),
]
BALANCE = "Bring all speakers to one level"
BalanceFlag = Annotated[bool, typer.Option("--balance", help=f"{BALANCE}, each by one gain for all he says.")]
SubtitlesFlag = Annotated[
    list[Path] | None, typer.Option("--subtitles", help="Also write subtitles, .srt or .vtt; again for both.")
]
LoudnessFlag = Annotated[
    str | None, typer.Option("--loudness", help="LUFS of the whole, or off (default: -18).", metavar="LUFS")
]
ProgressFlag = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Show progress (default: on a terminal).")
]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors and the seed only.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DebugFlag = Annotated[
    bool, typer.Option("--debug", callback=_remember_debug, is_eager=True, help="Show the traceback of an error.")
]
