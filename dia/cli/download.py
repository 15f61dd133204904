"""`dia download`: a checkpoint and its codec into the local cache, so that everything works offline afterwards."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from dia.cli import options
from dia.cli.terminal import Terminal

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def download(
    repository: Annotated[
        str | None, typer.Argument(help="Hub repository, owner/name (default: nari-labs/Dia-1.6B, about 7 GB).")
    ] = None,
    revision: options.RevisionFlag = None,
    codec: options.CodecFlag = None,
    no_codec: Annotated[bool, typer.Option("--no-codec", help="Fetch the model alone.")] = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Fetch a checkpoint and its codec into the local cache. HF_TOKEN is needed for private repositories only."""
    del debug
    terminal = Terminal(quiet)
    from dia import hub

    name = repository or hub.DEFAULT_MODEL
    source = hub.find(name, revision=revision)
    folders = [source.config.parent]
    if not no_codec:
        codec_path = hub.find_codec(codec, source.codec)
        folders.append(codec_path if codec_path.is_dir() else codec_path.parent)
    size = sum(_size_bytes(folder) for folder in {folder.resolve() for folder in folders})
    free = shutil.disk_usage(folders[0]).free
    terminal.note(f"{name}: {size / 1e9:.2f} GB in {folders[0]}; {free / 1e9:.0f} GB free on that disk")
    terminal.note(f'try it: dia say "[S1] Hello. [S2] Hi!" --output hello.wav --model {name}')


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
