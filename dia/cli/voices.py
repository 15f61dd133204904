"""`dia voices`: list, add, remove, export and import the voices of a server or of a data folder."""

from pathlib import Path
from typing import Annotated

import typer

from dia.cli import options
from dia.cli.outputs import check_path, save_bytes
from dia.cli.remote import FolderFlag, Remote, ServerFlag, connected, segment
from dia.cli.tables import print_json, print_table
from dia.cli.terminal import Terminal
from dia.cli.texts import read_transcript
from dia.errors import BadParameter, BadPrompt, Conflict, NotFound

__all__ = ["app"]

app = typer.Typer(
    help="List, add, remove and carry over the voices of a server.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_HELP = {"help_option_names": ["-h", "--help"]}
NameArgument = Annotated[str, typer.Argument(help="Its id: letters, digits, _ . and -.", metavar="NAME")]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite", help="Replace what has the same name.")]


@app.command("list", context_settings=_HELP)
def list_voices(
    server: ServerFlag = None,
    data_dir: FolderFlag = None,
    json: options.JsonFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Show all voices: the six built-in ones, then your own."""
    del debug
    with connected(server, data_dir) as remote:
        voices = remote.json("GET", "/voice_mappings")
    if json:
        print_json(voices)
        return
    rows = [
        (voice_id, voice["name"], voice["audio_prompt"] or "", "yes" if voice["builtin"] else "", voice["description"])
        for voice_id, voice in voices.items()
    ]
    print_table(("voice", "name", "recording", "built in", "description"), rows)


@app.command("add", context_settings=_HELP)
def add(
    name: NameArgument,
    recording: Annotated[Path, typer.Argument(help="Somebody speaking, 0.5 to 60 s; 5 to 10 s are best.")],
    transcript: Annotated[
        str | None, typer.Option("--transcript", help="What is said in it, word for word; clones far better with it.")
    ] = None,
    transcript_file: Annotated[Path | None, typer.Option("--transcript-file", help="The same, from a file.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="A line about the voice.")] = None,
    style: Annotated[str | None, typer.Option("--style", help="A word about the voice.")] = None,
    speaker: Annotated[str, typer.Option("--speaker", help="Who speaks untagged text: S1 or S2.")] = "S1",
    adapter: Annotated[
        str | None, typer.Option("--adapter", help="The server's adapter that it is spoken with, by its name.")
    ] = None,
    overwrite: OverwriteFlag = False,
    server: ServerFlag = None,
    data_dir: FolderFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Make a voice from a recording. Only of people who agreed to it."""
    del debug
    words = read_transcript(transcript, transcript_file)
    data = _read(recording)
    given = {
        "description": description, "style": style, "primary_speaker": speaker, "audio_prompt": name, "adapter": adapter,
    }  # fmt: skip
    body = {"voice_id": name, **{key: value for key, value in given.items() if value is not None}}
    terminal = Terminal(quiet)
    with connected(server, data_dir) as remote:
        if not overwrite and name in remote.json("GET", "/voice_mappings"):
            raise Conflict(f"voice {name!r} exists; choose another name, or replace it with --overwrite")
        known = [found["id"] for found in remote.json("GET", "/adapters")["adapters"]] if adapter else []
        if adapter is not None and adapter not in known:
            raise NotFound(f"adapter {adapter!r} is not known; known are {', '.join(known) or 'none'}")
        form = {"prompt_id": name, "overwrite": str(overwrite).lower(), **({"transcript": words} if words else {})}
        file = {"audio_file": (recording.name, data)}
        taken = remote.json("POST", "/audio_prompts/upload", data=form, files=file)
        remote.json("POST", "/voice_mappings", json=body, params={"overwrite": overwrite})
    terminal.warn(taken["warnings"])
    if taken["transcript"] is None:
        terminal.note("note: no transcript; say with --transcript what is said in the recording")
    terminal.note(f"voice {name}: {taken['duration']:.1f} s; speak with it by dia say … --server … --voice {name}")


@app.command("remove", context_settings=_HELP)
def remove(
    name: NameArgument,
    server: ServerFlag = None,
    data_dir: FolderFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Remove a voice, and the recording of the same name unless another voice speaks from it."""
    del debug
    with connected(server, data_dir) as remote:
        remote.json("DELETE", f"/voice_mappings/{segment(name)}")
        kept = _remove_recording(remote, name)
    Terminal(quiet).note(f"voice {name} removed{kept}")


@app.command("export", context_settings=_HELP)
def export(
    output: Annotated[Path, typer.Argument(help="Where to write the zip file.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Voices (default: all your own).", metavar="[NAME]...")
    ] = None,
    server: ServerFlag = None,
    data_dir: FolderFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Write voices with their recordings into one zip file."""
    del debug
    if output.suffix.lower() != ".zip":
        raise BadParameter(f"{output.name}: voices are exported as one .zip file; name it so")
    check_path(output)
    chosen = {"ids": ",".join(names)} if names else {}
    with connected(server, data_dir) as remote:
        data = remote.request("GET", "/voices/export", params=chosen).content
    save_bytes(output, data)
    Terminal(quiet).note(f"{output}: {len(data):,} bytes")


@app.command("import", context_settings=_HELP)
def import_(
    archive: Annotated[Path, typer.Argument(help="A zip file that was exported.")],
    overwrite: OverwriteFlag = False,
    server: ServerFlag = None,
    data_dir: FolderFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Take in voices that were exported."""
    del debug
    file = {"archive": (archive.name, _read(archive))}
    with connected(server, data_dir) as remote:
        done = remote.json("POST", "/voices/import", data={"overwrite": str(overwrite).lower()}, files=file)
    Terminal(quiet).note(f"taken in: {', '.join(done['voices']) or 'no voice'}")


def _remove_recording(remote: Remote, name: str) -> str:
    """Remove the prompt of that id; returns what to tell if it stays."""
    try:
        remote.json("DELETE", f"/audio_prompts/{segment(name)}")
    except NotFound:
        return ""
    except Conflict as error:
        return f"; its recording stays: {error}"
    return " with its recording"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPrompt(f"{path} cannot be read: {error.strerror}; check the path") from error
