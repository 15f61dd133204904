"""`dia eval`, also `python -m dia.evals`: judge a model, or a folder of sound, and write table, JSON and picture."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dia.errors import BadParameter

if TYPE_CHECKING:
    from dia.evals.report import Report
    from dia.evals.run import Plan
    from dia.evals.scoring import Judges

__all__ = ["app"]

RECORDINGS_RATE_HZ = 24_000
"""At which a manifest's files are read; the judges listen at 16 kHz, the codec at its own rate."""

JUDGE_THREADS = 2
"""CPU threads of the judges where nobody says otherwise."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command("eval", context_settings={"help_option_names": ["-h", "--help"]})
def evaluate(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Checkpoint folder, hub repository, or auto for the default model.")
    ] = "auto",
    waveforms: Annotated[
        Path | None,
        typer.Option("--waveforms", help="Judge this folder instead: NAME.wav with NAME.txt, or manifest.jsonl."),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus", help="Training manifest or prepared folder: voices, ceilings, proof that texts are unseen."
        ),
    ] = None,
    voice: Annotated[
        list[str] | None,
        typer.Option("--voice", help="NAME=SPEAKER of the corpus; may be repeated. Default: the six built-in ones."),
    ] = None,
    no_voice: Annotated[bool, typer.Option("--no-voice", help="No voice prompts: the model's own voice.")] = False,
    voices: Annotated[
        Path | None, typer.Option("--voices", help="Folder of voice prompts: NAME.wav with NAME.txt.")
    ] = None,
    every_voice: Annotated[
        bool, typer.Option("--every-voice", help="Each sentence by every voice, instead of the voices in turn.")
    ] = False,
    script: Annotated[
        Path | None, typer.Option("--script", help="Texts to speak, one a line, instead of the built-in ones.")
    ] = None,
    sentences: Annotated[int, typer.Option("--sentences", min=0, help="How many of the sentences.")] = 50,
    dialogues: Annotated[int, typer.Option("--dialogues", min=0, help="How many of the dialogues.")] = 20,
    teacher: Annotated[int, typer.Option("--teacher", min=0, help="How many held-out recordings as ceiling.")] = 24,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many of each kind, for a quick look.")
    ] = None,
    earlier: Annotated[
        Path | None, typer.Option("--ceilings", help="Take the ceilings from this earlier report.json.")
    ] = None,
    codec: Annotated[
        Path | None, typer.Option("--codec", help="With --waveforms: also judge what this codec makes of them.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report.json, report.png and takes/.")] = Path(
        "evaluation"
    ),
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder for the judges' joined files. Default: the user's cache.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="Of the model: cpu, cuda or mps.")] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="CPU threads of model and judges; by itself what suits the model."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Take n is drawn with seed + n.")] = 0,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Default: the checkpoint's.")] = None,
    cfg_scale: Annotated[float | None, typer.Option("--cfg-scale", help="Default: the checkpoint's.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Default: the checkpoint's.")] = None,
) -> None:
    """Score speech with public judges: words (Whisper base), speaker (Resemblyzer), naturalness (DistillMOS).

    Prints a table with the teacher's recordings and the codec's reconstructions as ceilings; the last line of stdout
    is the same as JSON.
    """
    from dia.evals.references import open_recordings
    from dia.evals.run import Plan
    from dia.evals.scoring import load_judges

    if codec is not None and waveforms is None:
        raise BadParameter("--codec belongs to --waveforms; a model is judged with its own codec")
    judges = load_judges(threads or JUDGE_THREADS, cache)
    single, talks = _texts(script)
    plan = Plan(
        sentences=single[: _least(sentences, limit)],
        dialogues=talks[: _least(dialogues, limit)],
        recordings=None if corpus is None else open_recordings(corpus, RECORDINGS_RATE_HZ),
        speakers=_speakers(voice, no_voice),
        voices=voices,
        every_voice=every_voice,
        teacher_takes=_least(teacher, limit),
        earlier=earlier,
        keep=_fresh(out / "takes") if waveforms is None else None,
        seed=seed,
    )
    if waveforms is not None:
        report = _of_folder(waveforms, plan, judges, codec, threads, limit)
    else:
        changes = {"temperature": temperature, "cfg_scale": cfg_scale, "top_p": top_p}
        report = _of_model(model, device, plan, judges, changes, threads)
    _show(report, out)


def _of_model(
    model: str,
    device: str | None,
    plan: "Plan",
    judges: "Judges",
    changes: dict[str, float | None],
    threads: int | None,
) -> "Report":
    import torch

    from dia import hub
    from dia.device import place
    from dia.evals.run import describe, judge_model
    from dia.model import Dia

    if model == "auto":
        model = hub.choose_default(place(device, None)).model
    dia = Dia.from_pretrained(model, device=device, slots=1)
    if threads is None:
        threads = dia.settle_threads()
    else:
        torch.set_num_threads(threads)
    try:
        params = dia.defaults.updated(**changes)
        return judge_model(dia, plan, params, judges, describe(dia, params, threads, plan.seed), _say)
    finally:
        dia.close()


def _of_folder(
    folder: Path, plan: "Plan", judges: "Judges", codec: Path | None, threads: int | None, limit: int | None
) -> "Report":
    import torch

    from dia.codec import Codec
    from dia.evals.run import judge_folder

    torch.set_num_threads(threads or JUDGE_THREADS)
    return judge_folder(folder, plan, judges, None if codec is None else Codec.load(codec), _say, limit)


def _texts(script: Path | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences and dialogues; those with a second speaker are dialogues."""
    from dia.evals.sentences import dialogues, read_script, sentences

    if script is None:
        return sentences(), dialogues()
    texts = read_script(script)
    return tuple(text for text in texts if "[S2]" not in text), tuple(text for text in texts if "[S2]" in text)


def _speakers(pairs: list[str] | None, no_voice: bool) -> dict[str, str]:
    from dia.evals.references import BUILTIN_SPEAKERS, parse_voices

    if no_voice and pairs:
        raise BadParameter("--no-voice and --voice contradict each other; give one of them")
    if no_voice:
        return {}
    return parse_voices(pairs) if pairs else dict(BUILTIN_SPEAKERS)


def _least(wanted: int, limit: int | None) -> int:
    return wanted if limit is None else min(wanted, limit)


def _fresh(folder: Path) -> Path:
    """An earlier evaluation's takes make room: a folder's manifest must tell of one run only."""
    manifest = folder / "manifest.jsonl"
    if manifest.is_file():
        manifest.unlink()
    return folder


def _say(line: str) -> None:
    typer.echo(" ".join(line.split()), err=True)


def _show(report: "Report", out: Path) -> None:
    from dia.evals.report import draw, table

    report.save(out / "report.json")
    draw(report, out / "report.png")
    for line in table(report):
        typer.echo(line)
    typer.echo(json.dumps(report.as_json(with_takes=False)))
