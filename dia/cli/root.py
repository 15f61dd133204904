"""The `dia` command: a table of sub-commands, each imported when it is called."""

from collections.abc import Sequence
from typing import Annotated

import typer

import dia
from dia.cli.lazy import Entry, make_group
from dia.cli.run import run

__all__ = ["ENTRIES", "app", "main"]

ENTRIES = (
    Entry("say", "dia.cli.speak:app", "Speak a text into an audio file."),
    Entry("redo", "dia.cli.projects:redo_app", "Make one piece of a long script again."),
    Entry(
        "takes",
        "dia.cli.projects:takes_app",
        "Show the takes of a project's pieces, and choose the one that is heard.",
    ),
    Entry("render", "dia.cli.projects:render_app", "Write a long script to another file, without generating."),
    Entry("reproduce", "dia.cli.reproduce:app", "Make a file again from what its tags say."),
    Entry("plan", "dia.cli.plan:app", "Show how dia say would cut a script into passes."),
    Entry("batch", "dia.cli.batch:app", "Speak many scripts, each into a file of its own."),
    Entry("encode", "dia.cli.codes:encode_app", "Turn a recording into codec codes."),
    Entry("decode", "dia.cli.codes:decode_app", "Turn saved codec codes into an audio file."),
    Entry("doctor", "dia.cli.doctor:app", "Check this machine and installation; each finding with its cure."),
    Entry("download", "dia.cli.download:app", "Fetch a checkpoint and its codec into the local cache."),
    Entry("convert", "dia.cli.convert:app", "Write a checkpoint in another dialect."),
    Entry("serve", "dia.cli.serve:main", "Run the HTTP server."),
    Entry("ui", "dia.cli.ui:main", "Open the page in the browser."),
    Entry("voices", "dia.cli.voices:app", "List, add, remove and carry over the voices of a server."),
    Entry("jobs", "dia.cli.jobs:app", "List, watch, cancel and fetch the jobs of a server."),
    Entry("data", "dia.train.commands:app", "Prepare recordings for training."),
    Entry("train", "dia.train.commands:app", "Train a model or a codec."),
    Entry("finetune", "dia.train.commands:app", "Adapt a checkpoint to recordings."),
    Entry("bench", "dia.bench.commands:app", "Measure speed on this machine."),
    Entry("eval", "dia.evals.commands:app", "Measure the quality of speech."),
)
"""Every sub-command; one appears as soon as its module is installed."""


app = typer.Typer(
    cls=make_group(ENTRIES),
    help="Speech from a transcript, on your own machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"dia {dia.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Speech from a transcript, on your own machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dia` with these arguments (None: the process's) and give back the exit code."""
    return run(app, argv, name="dia")
