"""`dia data`, `dia train` and `dia finetune`. Training code, and with it torch, is imported when a command runs."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

_SETTINGS = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
_HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(**_SETTINGS)  # type: ignore[arg-type]
data = typer.Typer(help="Prepare recordings for training.", no_args_is_help=True, **_SETTINGS)  # type: ignore[arg-type]
train = typer.Typer(help="Train a codec or a model.", no_args_is_help=True, **_SETTINGS)  # type: ignore[arg-type]
app.add_typer(data, name="data")
app.add_typer(train, name="train")

RunFlag = Annotated[Path, typer.Option("--run", help="Folder of the run: checkpoint, log, curves. Resumed if there.")]
SoundFlag = Annotated[Path, typer.Option("--sound", help="Folder made by `dia data prepare`.")]
CodesFlag = Annotated[Path, typer.Option("--codes", help="File made by `dia data encode`.")]
CodecFlag = Annotated[Path, typer.Option("--codec", help="Codec folder.")]
OutFlag = Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")]
SetFlag = Annotated[
    list[str] | None, typer.Option("--set", help="name=value over a default of the run; may be repeated.")
]
MinutesFlag = Annotated[
    float | None, typer.Option("--max-minutes", min=0.1, help="Stop and save after this long; run again to go on.")
]
DeviceFlag = Annotated[
    str | None,
    typer.Option("--device", help="cuda, cuda:N or cpu (default: cpu); on cuda a model learns in bfloat16."),
]
FreshFlag = Annotated[bool, typer.Option("--fresh", help="Start over although the run has a checkpoint.")]


def _settings(given: list[str] | None, device: str | None, *, prefix: str = "", half: bool = False) -> list[str]:
    """The settings of a run with what `--device` stands for in front, so that --set has the last word."""
    settings = [] if device is None else [f"{prefix}device={device}"]
    if device is not None and half and device.startswith("cuda"):
        settings.append(f"{prefix}bfloat16=true")
    return settings + (given or [])


def _progress(done: int, total: int) -> None:
    """A line on stderr at every twentieth of the work."""
    if done == total or done % max(1, total // 20) == 0:
        typer.echo(f"{done} of {total}", err=True)


@data.command("prepare", context_settings=_HELP)
def prepare(
    source: Annotated[
        list[Path], typer.Argument(help="Manifests (JSON lines), or folders of clips with .txt beside them.")
    ],
    out: OutFlag,
    rate: Annotated[int, typer.Option("--rate", min=4000, max=96000, help="Sample rate of the codec in Hz.")] = 16000,
    codec: Annotated[Path | None, typer.Option("--codec", help="Encode with this codec as well.")] = None,
    speed: Annotated[
        list[float] | None,
        typer.Option("--speed", min=0.5, max=2.0, help="Take every clip at this speed too, as another voice; repeat."),
    ] = None,
) -> None:
    """Check, decode and resample a corpus; with --codec also encode it once into codes.safetensors."""
    from dia.train.encoding import prepare_codes
    from dia.train.manifest import ClipLimits
    from dia.train.prepare import prepare_sound

    report = prepare_sound(source, out, rate, ClipLimits(), _progress, speeds=speed or [])
    for line in report.lines():
        typer.echo(line)
    if codec is not None:
        prepare_codes(out, codec, out / "codes.safetensors", _progress)
        typer.echo(str(out / "codes.safetensors"))


@data.command("books", context_settings=_HELP)
def books(
    sound: SoundFlag,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
) -> None:
    """Fit the codebooks of a new codec to a prepared corpus."""
    from dia.measured.analysis import AnalysisShape
    from dia.train.books import fit_books
    from dia.train.encoding import measure
    from dia.train.sound import SoundCorpus

    shape = AnalysisShape()
    found = fit_books(measure(SoundCorpus.open(sound), shape, _progress), shape)
    found.save(out)
    typer.echo(f"{found.channels} codebooks of {shape.codebook_size} codes: {out}")


@data.command("encode", context_settings=_HELP)
def encode(
    sound: SoundFlag,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    codec: Annotated[Path | None, typer.Option("--codec", help="Folder of a finished codec.")] = None,
    books: Annotated[Path | None, typer.Option("--books", help="File made by `dia data books`.")] = None,
    device: Annotated[str, typer.Option("--device", help="cuda or cpu, for --codec.")] = "cpu",
) -> None:
    """Encode a prepared corpus into the compact file that model training reads, by a codec or by codebooks alone."""
    from dia.errors import BadParameter
    from dia.train.encoding import measure_codes, prepare_codes

    if codec is not None and books is None:
        pack = prepare_codes(sound, codec, out, _progress, device=device)
    elif books is not None and codec is None:
        pack = measure_codes(sound, books, out, _progress)
    else:
        raise BadParameter("name either --codec or --books")
    typer.echo(f"{len(pack.clips)} clips, {len(pack.codes)} frames, {out.stat().st_size / 1e6:.1f} MB: {out}")


@data.command("align", context_settings=_HELP)
def align(
    codes: Annotated[Path, typer.Argument(help="File made by `dia data encode`; rewritten with the places added.")],
    settings: SetFlag = None,
) -> None:
    """Find which letter every frame speaks, so that attention is guided by more than a straight line."""
    from dia.train.align import AlignConfig, align_file
    from dia.train.settings import override

    align_file(codes, override(AlignConfig(), settings or []))
    typer.echo(str(codes))


@data.command("vary", context_settings=_HELP)
def vary(
    codes: Annotated[Path, typer.Argument(help="File made by `dia data encode`, of any codec that decodes.")],
    codec: CodecFlag,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    speed: Annotated[
        list[float],
        typer.Option("--speed", min=0.5, max=2.0, help="Take every clip at this speed too, as another voice; repeat."),
    ],
) -> None:
    """Add every clip at other speeds to a set of codes whose recordings are not at hand."""
    from dia.train.packing import CodePack
    from dia.train.vary import vary as at_speeds

    pack = at_speeds(CodePack.open(codes), codec, speed, _progress)
    pack.save(out)
    typer.echo(f"{len(pack.clips)} clips, {len(pack.codes)} frames, {out.stat().st_size / 1e6:.1f} MB: {out}")


@train.command("codec", context_settings=_HELP)
def codec(
    sound: SoundFlag,
    codes: CodesFlag,
    run: RunFlag,
    books: Annotated[
        Path, typer.Option("--books", help="File made by `dia data books`, or the folder of a codec to improve.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the codec into this folder.")] = None,
    device: DeviceFlag = None,
    settings: SetFlag = None,
    max_minutes: MinutesFlag = None,
    fresh: FreshFlag = False,
) -> None:
    """Train a codec's decoder for measured codes, which stay what they are."""
    from dia.memory import keep_freed_memory
    from dia.train.codec_loop import CodecTrainConfig, finish_codec, train_codec
    from dia.train.settings import override

    keep_freed_memory()
    config = override(CodecTrainConfig(), _settings(settings, device, half=True))
    train_codec(config, sound, codes, books, run, resume=not fresh, max_minutes=max_minutes)
    if out is not None:
        finish_codec(config, books, run, out)
        typer.echo(str(out))


@train.command("model", context_settings=_HELP)
def model(
    codes: CodesFlag,
    run: RunFlag,
    start: Annotated[Path | None, typer.Option("--start", help="Begin a new run from this checkpoint folder.")] = None,
    pronunciations: Annotated[
        Path | None, typer.Option("--pronunciations", help="A JSON dictionary of words and phonemes to learn beside.")
    ] = None,
    device: DeviceFlag = None,
    settings: SetFlag = None,
    max_minutes: MinutesFlag = None,
    fresh: FreshFlag = False,
) -> None:
    """Train a new model on codes."""
    from dia.memory import keep_freed_memory
    from dia.train.model_loop import ModelTrainConfig, train_model
    from dia.train.settings import override

    keep_freed_memory()
    config = override(ModelTrainConfig(), _settings(settings, device, half=True))
    train_model(
        config,
        codes,
        run,
        start=start,
        pronunciations=pronunciations,
        resume=not fresh,
        max_minutes=max_minutes,
    )


@train.command("export", context_settings=_HELP)
def export(run: RunFlag, codec: CodecFlag, out: OutFlag) -> None:
    """Write a model run's averaged weights and the codec as one checkpoint folder."""
    from dia.train.model_loop import export_model

    export_model(run, codec, out)
    typer.echo(str(out))


@train.command("grow", context_settings=_HELP)
def grow(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    out: OutFlag,
    encoder_layers: Annotated[int | None, typer.Option("--encoder-layers", help="Up to twice as many as now.")] = None,
    decoder_layers: Annotated[
        int | None, typer.Option("--decoder-layers", help="Up to twice as many as now, less those up to the pointer.")
    ] = None,
) -> None:
    """Write a model with more layers that says the same: a larger one to go on from by `dia train model --start`."""
    from dia.train.grow import grow_checkpoint

    grow_checkpoint(checkpoint, out, encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    typer.echo(str(out))


@app.command("finetune", context_settings=_HELP)
def finetune(
    clips: Annotated[Path, typer.Argument(help="Folder of clips with .txt transcripts, or a manifest.")],
    run: RunFlag,
    checkpoint: Annotated[str, typer.Option("--model", "-m", help="Checkpoint folder or cached hub repository.")],
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of an adapter.")] = False,
    device: DeviceFlag = None,
    settings: SetFlag = None,
    max_minutes: MinutesFlag = None,
    fresh: FreshFlag = False,
) -> None:
    """Adapt a checkpoint to recordings: an adapter file (LoRA), or with --full a new checkpoint folder."""
    from dataclasses import replace

    from dia.memory import keep_freed_memory
    from dia.train.finetune import FinetuneConfig
    from dia.train.finetune import finetune as adapt
    from dia.train.settings import override

    keep_freed_memory()
    config = FinetuneConfig()
    if full:
        config = replace(config, lora=None)
    config = override(config, _settings(settings, device, prefix="train.", half=True))
    typer.echo(str(adapt(config, checkpoint, clips, run, resume=not fresh, max_minutes=max_minutes)))
