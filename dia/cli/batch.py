"""`dia batch`: many scripts, each into a file of its own, with one loading of the model, or by a server.

Scripts are files, folders of them, the lines of a JSONL file, or the rows of a table (CSV). What is there already, made
of the same ingredients, is not made again; what cannot be made is told, and the rest goes on.
"""

import csv
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dia.cli import options
from dia.cli.loading import ModelFlags, load_dia
from dia.cli.narrate import Script, check_script, narrate_with
from dia.cli.remote_say import check_remote, speak_remotely
from dia.cli.script_flags import SCRIPTS, ScriptFlags, find_dictionary
from dia.cli.speaking import SpeakRequest
from dia.cli.terminal import Terminal, counted
from dia.cli.texts import read_text
from dia.errors import BadInput, BadParameter, BadScript, GenerationFailed

if TYPE_CHECKING:
    from dia.model import Dia

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

RECORD = ".dia-batch.json"
"""What was made in an output folder: the hash of its ingredients by file name."""

_KEYS = {"text", "turns", "id", "output", "seed", "speed", "voice"}


@dataclass(frozen=True, slots=True)
class _Item:
    """One file to be made: `name` without its ending, its text, and what of the flags it says otherwise."""

    name: str
    text: str
    seed: int | None = None
    speed: float | None = None
    voice: str | None = None


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def batch(
    scripts: Annotated[
        list[Path],
        typer.Argument(
            help="Script files, folders of them, or .jsonl or .csv files with one script a line: text (or turns), and "
            "perhaps id, seed, speed, voice."
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the audio files.")],
    format: Annotated[
        str, typer.Option("--format", help="Audio format: wav, flac, mp3, opus, aac, m4a or m4b.")
    ] = "wav",
    again: Annotated[bool, typer.Option("--again", help="Make what is there already as well.")] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=64, help="How many files are made at once; each needs memory.")
    ] = 1,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            help="Have the server at this address speak; DIA_API_KEY is sent to it. --voice is then the name of one of "
            "its voices.",
        ),
    ] = None,
    model: options.ModelFlag = None,
    offline: options.OfflineFlag = False,
    codec: options.CodecFlag = None,
    device: options.DeviceFlag = None,
    compute_dtype: options.DtypeFlag = None,
    quantization: options.QuantizationFlag = None,
    adapter: options.AdapterFlag = None,
    voice: options.VoicesFlag = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of every file (default: drawn for each).")] = None,
    temperature: options.TemperatureFlag = None,
    max_tokens: options.MaxTokensFlag = None,
    speed: options.SpeedFlag = 1.0,
    speed_of: options.SpeedsFlag = None,
    gap: options.GapsFlag = None,
    loudness: options.LoudnessFlag = None,
    longest_silence: options.LongestSilenceFlag = None,
    balance: options.BalanceFlag = False,
    retakes: options.RetakesFlag = 2,
    proofread: options.ProofreadFlag = None,
    script_format: options.ScriptFormatFlag = "auto",
    roleplay: options.RoleplayFlag = "off",
    normalize: options.NormalizeFlag = True,
    remarks: options.RemarksFlag = "keep",
    dictionary: options.DictionaryFlag = None,
    subtitles: Annotated[
        str | None, typer.Option("--subtitles", help="Also write subtitles beside each file: srt or vtt.")
    ] = None,
    progress: options.ProgressFlag = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line for each file on stdout.")] = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Speak many scripts, each into a file of its own; what is there already is left as it is."""
    del debug
    terminal = Terminal(quiet)
    if subtitles not in (None, "srt", "vtt"):
        raise BadParameter(f"--subtitles is {subtitles[:20]}; it is srt or vtt")
    request = SpeakRequest(
        text=None,
        output="",
        format=format,
        model=ModelFlags(
            model=model, offline=offline, codec=codec, device=device, compute_dtype=compute_dtype,
            quantization=quantization, adapter=adapter,
        ),
        sampling={"seed": seed, "temperature": temperature, "max_tokens": max_tokens},
        speed=speed,
        progress=progress,
        as_json=as_json,
    )  # fmt: skip
    flags = ScriptFlags(
        voices=voice or (),
        speeds=speed_of or (),
        gaps=gap or (),
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
    from dia.media.formats import find_format

    ending = find_format(format).extension
    items = _items(scripts)
    if jobs > 1:  # bars of several would overwrite each other
        request = replace(request, progress=False)
    model_here = _Model(request.model, terminal, min(jobs, len(items)))
    if server is None:
        # What is wrong with the flags is said once.
        check_script(replace(request, said="Hello.", output=str(output / f"a{ending}")), flags)

        def prepare(item: _Item, path: Path) -> _Work:
            script = _script(item, request, flags, path, subtitles)
            return _Work(_hash(script), lambda: narrate_with(model_here.get(), script, terminal))

    else:
        flags = replace(flags, subtitles=() if subtitles is None else (Path(f"a.{subtitles}"),))
        check_remote(request, flags)

        def prepare(item: _Item, path: Path) -> _Work:
            asked = _asked(item, request, path)
            wanted = flags if item.voice is None else replace(flags, voices=(item.voice,))
            made_of = _digest([server, item.text, asked.format, asked.sampling, asked.speed, wanted.typed()])
            return _Work(made_of, lambda: speak_remotely(asked, wanted, server, terminal))

    try:
        _speak_all(items, prepare, output, ending, terminal, again=again, jobs=jobs)
    finally:
        model_here.close()


@dataclass(frozen=True, slots=True)
class _Work:
    """A file to be made: what it is made of, as a hash, and how it is spoken."""

    made_of: str
    speak: Callable[[], None]


class _Model:
    """The model, loaded when it is first needed; any thread may ask."""

    def __init__(self, flags: ModelFlags, terminal: Terminal, slots: int) -> None:
        self._flags, self._terminal, self._slots = flags, terminal, slots
        self._lock = threading.Lock()
        self._dia: Dia | None = None

    def get(self) -> "Dia":
        with self._lock:
            self._dia = self._dia or load_dia(self._flags, self._terminal, slots=self._slots)
            return self._dia

    def close(self) -> None:
        if self._dia is not None:
            self._dia.close()


def _speak_all(
    items: Sequence[_Item],
    prepare: Callable[[_Item, Path], _Work],
    folder: Path,
    ending: str,
    terminal: Terminal,
    *,
    again: bool,
    jobs: int,
) -> None:
    """Raises GenerationFailed at the end if a file could not be made; at once what would befall the others as well."""
    record = _read_record(folder)
    counts = {"made": 0, "there": 0, "failed": 0}
    lock = threading.Lock()

    def speak(number: int, item: _Item) -> None:
        path = folder / f"{item.name}{ending}"
        where = f"{number} of {len(items)}: {path.name}"
        try:
            work = prepare(item, path)
            if not again and path.is_file() and record.get(path.name) == work.made_of:
                terminal.note(f"{where} is there already")
                with lock:
                    counts["there"] += 1
                return
            terminal.note(where)
            work.speak()
        except (BadInput, GenerationFailed) as error:
            terminal.result(f"error: {where}: {error}")
            with lock:
                counts["failed"] += 1
            return
        with lock:
            counts["made"] += 1
            record[path.name] = work.made_of
            _write_record(folder, record)

    pool = ThreadPoolExecutor(jobs)
    try:
        for future in [pool.submit(speak, number, item) for number, item in enumerate(items, 1)]:
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    terminal.note(
        f"{counted(counts['made'], 'file')} made, {counts['there']} there already, {counts['failed']} not made"
    )
    if counts["failed"]:
        raise GenerationFailed(
            f"{counts['failed']} of {counted(len(items), 'file')} could not be made; the reasons stand above"
        )


def _asked(item: _Item, request: SpeakRequest, path: Path) -> SpeakRequest:
    """The request with what an item says otherwise."""
    sampling = request.sampling if item.seed is None else {**request.sampling, "seed": item.seed}
    speed = request.speed if item.speed is None else item.speed
    return replace(request, said=item.text, output=str(path), sampling=sampling, speed=speed)


def _script(item: _Item, request: SpeakRequest, flags: ScriptFlags, path: Path, subtitles: str | None) -> Script:
    voices = flags.voices if item.voice is None else [*flags.voices, f"S1={item.voice}"]
    beside = () if subtitles is None else (path.with_suffix(f".{subtitles}"),)
    script = check_script(_asked(item, request, path), replace(flags, voices=voices, subtitles=beside))
    # Voices and tempos are for all scripts; not everybody speaks in each.
    speakers = {*script.speakers, "S1", "S2"}
    speeds = {name: speed for name, speed in script.delivery.speeds.items() if name in speakers}
    present = {name: voice for name, voice in script.voices.items() if name in speakers}
    return replace(script, voices=present, delivery=replace(script.delivery, speeds=speeds))


def _hash(script: Script) -> str:
    """Of what decides how the file sounds, as far as it is known before the model is loaded."""
    request = script.request
    values: list[Any] = [
        script.text, script.target.format, request.sampling, request.speed, request.model.model,
        {name: value for name, value in script.flags.typed().items() if name != "subtitles"},
        {name: _file_hash(path) for name, (path, _) in script.voices.items()},
    ]  # fmt: skip
    if request.model.adapter is not None:
        values.append(_file_hash(request.model.adapter))
    return _digest(values)


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _read_record(folder: Path) -> dict[str, str]:
    try:
        value = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_record(folder: Path, record: Mapping[str, str]) -> None:
    from dia.narration.files import write_json

    write_json(folder / RECORD, record)


def _items(paths: Sequence[Path]) -> list[_Item]:
    """Every script of the files and folders, in order, each with a name of its own.

    Raises:
        BadScript: nothing to read. BadParameter: two scripts would become one file.
    """
    found = [item for path in paths for item in _items_of(path)]
    if not found:
        raise BadScript(f"there is no script; a folder is looked through for {', '.join(SCRIPTS)}")
    names: set[str] = set()
    for item in found:
        if item.name.casefold() in names:
            raise BadParameter(f"two scripts are called {item.name[:80]}; rename one, or give their lines an id")
        names.add(item.name.casefold())
    return found


def _items_of(path: Path) -> Iterator[_Item]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.suffix.lower() in SCRIPTS and file.is_file():
                yield from _items_of(file)
    elif path.suffix.lower() == ".jsonl":
        for number, line in enumerate(read_text(None, path).splitlines(), 1):
            if line.strip():
                yield _item(path, number, _parsed_line(path, number, line))
    elif path.suffix.lower() == ".csv":
        yield from _table_items(path)
    else:
        yield _Item(path.stem, read_text(None, path))


def _parsed_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadScript(f"{path.name}, line {number} is no JSON: {error}") from None


def _table_items(path: Path) -> Iterator[_Item]:
    """The rows of a table whose first row names the columns; an empty cell says nothing.

    Raises BadScript for what `_item` refuses, for rows that are too long, and for quotes that never end.
    """
    text = read_text(None, path)
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        if "text" not in [name.strip() for name in rows.fieldnames or ()]:
            raise BadScript(f"{path.name} has no column text; its first row names the columns, as in id,text,seed")
        for number, row in enumerate(rows, 1):
            if None in row:
                raise BadScript(f"{path.name}, line {number} has more cells than the first row names; quote its text")
            yield _item(path, number, {name.strip(): _read_cell(name, cell) for name, cell in row.items() if cell})
    except csv.Error as error:
        raise BadScript(f"{path.name}, line {rows.line_num} is no row of a table: {error}") from None


def _read_cell(name: str, cell: str) -> str | int | float:
    """Numbers where numbers belong; what is none stays as it is, and is refused."""
    kind = {"seed": int, "speed": float}.get(name.strip(), str)
    try:
        return kind(cell)
    except ValueError:
        return cell


def _item(path: Path, number: int, value: Any) -> _Item:
    """Raises BadScript for a line that is no object with a text, or has a field of another kind."""
    where = f"{path.name}, line {number}"
    if not isinstance(value, dict) or ("text" in value) == ("turns" in value):
        raise BadScript(f'{where} is no script; it is an object with a text or turns, as in {{"text": "Hello."}}')
    unknown = sorted(value.keys() - _KEYS)
    if unknown:
        raise BadScript(f"{where} has {', '.join(unknown)[:80]}; known are {', '.join(sorted(_KEYS))}")
    kinds: dict[str, Any] = {
        "id": (str, int),
        "output": str,
        "seed": int,
        "speed": (int, float),
        "voice": str,
        "text": str,
        "turns": list,
    }
    for name, kind in kinds.items():
        if name in value and (isinstance(value[name], bool) or not isinstance(value[name], kind)):
            raise BadScript(f"{where} has {name} {str(value[name])[:40]!r}, which is of another kind")
    name = str(value.get("output", value.get("id", f"{path.stem}-{number:04d}")))
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise BadScript(f"{where} would be called {name[:40]!r}; a name has no folder and no dot in front")
    text = value["text"] if "text" in value else json.dumps(value["turns"], ensure_ascii=False)
    return _Item(
        Path(name).stem if "output" in value else name, text, value.get("seed"), value.get("speed"), value.get("voice")
    )
