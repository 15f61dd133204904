"""The long way of `dia say`: a script of any length through a project beside its output, piece by piece."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dia as package
from dia.cli.codefiles import load_codes
from dia.cli.loading import check_flags, load_dia
from dia.cli.outputs import AudioTarget, check_audio_target, check_path, make_folder
from dia.cli.progress import Meter, Reading, shown
from dia.cli.speaking import MARK, SpeakRequest
from dia.cli.terminal import Terminal
from dia.cli.texts import read_text, read_transcript
from dia.errors import BadParameter, BadPrompt, BadScript

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.narration.delivery import Delivery
    from dia.narration.project import Project
    from dia.narration.render import Rendered
    from dia.narration.run import Event
    from dia.stream import VoicePrompt

__all__ = [
    "LongRequest",
    "PieceMeter",
    "deliver",
    "find_script",
    "is_long",
    "narrate",
    "parse_delivery",
    "parse_voices",
]

_SCRIPTS = (".txt", ".md", ".markdown", ".srt", ".vtt", ".json")
_ONE_PASS_S = 18.0  # what the model says well in one go


@dataclass(frozen=True, slots=True)
class LongRequest:
    """What was typed for a long script besides a `SpeakRequest`. `loudness` is LUFS or off; None is the default."""

    project: Path | None = None
    resume: bool = False
    one_pass: bool = False
    voices: Sequence[str] = ()
    speeds: Sequence[str] = ()
    subtitles: Sequence[Path] = field(default_factory=tuple)
    loudness: str | None = None
    retakes: int = 2

    @property
    def is_used(self) -> bool:
        """Whether any of this was asked for."""
        return bool(
            self.project or self.resume or self.voices or self.speeds or self.subtitles or self.loudness is not None
        )


def find_script(request: SpeakRequest) -> SpeakRequest:
    """The request with the name of a script file, typed where the text stands, taken for the file."""
    text = request.text
    if text is None or request.file is not None or not text.lower().endswith(_SCRIPTS) or "\n" in text:
        return request
    path = Path(text).expanduser()
    if not path.is_file():
        raise BadScript(
            f"{text[:200]} is not a file; check the path, or end the text with a full stop to have it said"
        )
    return replace(request, text=None, file=path)


def is_long(request: SpeakRequest, long: LongRequest) -> bool:
    """Whether a text is to be said in pieces: it was asked for, or one pass would not say it well."""
    if long.is_used and (long.one_pass or request.exact_text):
        raise BadParameter("one pass has no project, voices by name, subtitles or loudness; leave them or it out")
    if long.is_used:
        return True
    is_open = request.audio_prompt is not None and request.transcript is None and request.transcript_file is None
    if long.one_pass or request.exact_text or request.save_codes is not None or is_open:
        return False
    from dia.text.formats import read_script
    from dia.text.pace import Pace
    from dia.text.pauses import PAUSE_TAG

    try:
        script = read_script(read_text(request.text, request.file) if request.said is None else request.said)
    except BadScript:
        return False  # said by the one pass in its own words
    words = " ".join(turn.text for turn in script.turns)
    names = {turn.speaker for turn in script.turns}
    return Pace().estimate_s(words) > _ONE_PASS_S or not names <= {"S1", "S2"} or PAUSE_TAG.search(words) is not None


def narrate(request: SpeakRequest, long: LongRequest, terminal: Terminal) -> None:
    """Plan, generate piece by piece, write, report.

    Raises: BadInput of every kind, OutputUnwritable and the loading errors before anything is generated; later
        GenerationFailed, DiskFull. What is finished by then stays in the project.
    """
    text = read_text(request.text, request.file) if request.said is None else request.said
    target = check_audio_target(request.output, request.format)
    if request.save_codes is not None:
        raise BadParameter("--save-codes is for one pass; the codes of a long script are in its project")
    _check_subtitles(long.subtitles)
    check_flags(request.model)
    delivery = parse_delivery(request.speed, long.speeds, long.loudness, is_streamed=target.path is None)
    named = parse_voices(request, long)
    dia = load_dia(request.model, terminal)
    try:
        voices = {name: _encoded(dia, path, words) for name, (path, words) in named.items()}
        if target.path is None:
            _stream(request, long, terminal, dia, text, voices, delivery, target)
        else:
            _through_project(request, long, terminal, dia, text, voices, delivery, target)
    finally:
        dia.close()


def parse_delivery(
    speed: float, speeds: Sequence[str], loudness: str | None, *, is_streamed: bool = False
) -> "Delivery":
    """`NAME=1.1` and LUFS or off, checked. Raises BadParameter."""
    from dia.narration.delivery import Delivery

    found = {}
    for entry in speeds:
        name, _, number = entry.rpartition("=")
        found[name] = _number(number, f"--speed-of {entry}", "a speaker and a number, as in Alice=1.1")
    if loudness is None:
        target = None if is_streamed else -18.0
    else:
        target = None if loudness == "off" else _number(loudness, "--loudness", "LUFS, as in -18, or off")
    return Delivery(speed=speed, speeds=found, loudness_lufs=target)


def parse_voices(request: SpeakRequest, long: LongRequest) -> dict[str, tuple[Path, str]]:
    """Recording and transcript by name. `NAME=voice.wav` has its words in `voice.txt`.

    Raises:
        BadParameter, BadPrompt, BadScript: a voice that is not there or has no words.
    """
    found: dict[str, tuple[Path, str]] = {}
    transcript = read_transcript(request.transcript, request.transcript_file)
    if transcript is not None and request.audio_prompt is None:
        raise BadParameter("a transcript is given without --audio-prompt; name the recording that it belongs to")
    if request.audio_prompt is not None:
        if transcript is None:
            raise BadPrompt("a script in pieces needs the words of --audio-prompt; give them with --transcript")
        found["S1"] = (_recording(request.audio_prompt), transcript)
    for entry in long.voices:
        name, _, file = entry.partition("=")
        if not name or not file:
            raise BadParameter(f"--voice {entry!r} is not understood; write --voice Alice=alice.wav")
        path = _recording(Path(file).expanduser())
        words = read_transcript(None, path.with_suffix(".txt"))
        assert words is not None
        found[name] = (path, words)
    return found


def _recording(path: Path) -> Path:
    if not path.is_file():
        raise BadPrompt(f"the audio prompt {path} is not a file; check the path")
    return path


def _encoded(dia: "Dia", path: Path, words: str) -> "VoicePrompt":
    return dia.encode_prompt(load_codes(path) if path.suffix == ".npy" else path, words)


def _number(text: str, flag: str, meaning: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadParameter(f"{flag} is not understood; it is {meaning}") from None


def _check_subtitles(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.suffix.lower() not in (".srt", ".vtt"):
            raise BadParameter(f"--subtitles is {path.name}; subtitles are .srt or .vtt; name such a file")
        check_path(path)


# ---- to a file, through a project ----


def _through_project(
    request: SpeakRequest,
    long: LongRequest,
    terminal: Terminal,
    dia: "Dia",
    text: str,
    voices: "Mapping[str, VoicePrompt]",
    delivery: "Delivery",
    target: AudioTarget,
) -> None:
    from dia.narration.passes import Making
    from dia.narration.run import make_pieces, open_project

    assert target.path is not None
    folder = long.project or target.path.with_suffix(".dia")
    make_folder(folder)
    project = open_project(
        folder,
        dia,
        text,
        voices=voices,
        params=dia.defaults.updated(**request.sampling),
        making=Making(retakes=long.retakes),
        resume=long.resume,
    )
    delivery.check_names(project.plan.speakers)
    terminal.warn(project.plan.warnings)
    terminal.result(f"seed {project.recipe.seed}")
    meter = PieceMeter(project, dia.frame_rate_hz)
    with shown(meter, wanted=False if terminal.quiet else request.progress):
        notes = make_pieces(project, dia, meter.watch)
    terminal.warn(notes)
    elapsed_s = meter.read().elapsed_s
    extra = {"text": text.replace("\0", "")} if request.save_text else {}
    assert dia.codec is not None
    rendered = deliver(project, dia.codec, target, delivery, long.subtitles, terminal, extra)
    made_s = meter.frames_done / dia.frame_rate_hz
    if made_s:
        terminal.note(f"made in {elapsed_s:.1f} s (real-time factor {elapsed_s / made_s:.2f})")
    if long.project is None and not long.resume:
        shutil.rmtree(folder)
    else:
        terminal.note(f"project: {folder}; dia redo makes a piece again, dia render writes another file")
    if request.as_json:
        _print_report(project, rendered, target, elapsed_s, (*project.plan.warnings, *notes))


def deliver(
    project: "Project",
    codec: Any,
    target: AudioTarget,
    delivery: "Delivery",
    subtitles: Sequence[Path],
    terminal: Terminal,
    extra: Mapping[str, str],
    *,
    relevel: bool = False,
) -> "Rendered":
    """Render a project to a file, and its subtitles beside; tell the person."""
    from dia.narration.files import write_bytes
    from dia.narration.render import render
    from dia.narration.subtitles import make_cues, to_srt, to_vtt

    assert target.path is not None
    make_folder(target.path)
    rendered = render(
        project,
        codec,
        target.path,
        delivery,
        format=target.format,
        metadata={**_tags(project), **extra},
        relevel=relevel,
    )
    cues = make_cues(rendered.phrases, rendered.sample_rate_hz)
    for path in subtitles:
        make_folder(path)
        write_bytes(path, (to_vtt(cues) if path.suffix.lower() == ".vtt" else to_srt(cues)).encode())
    terminal.warn(rendered.warnings)
    holds_chapters = rendered.chapters and target.format in ("m4a", "m4b")
    chapters = f", {len(rendered.chapters)} chapters" if holds_chapters else ""
    terminal.note(
        f"{target.path}: {rendered.written.duration_s:.1f} s of speech in {len(project.pieces)} pieces{chapters}, "
        f"{rendered.loudness_lufs:.1f} LUFS"
    )
    return rendered


def _tags(project: "Project") -> dict[str, str]:
    """How the file came to be. Not a `seed`, which would promise that one pass makes it again."""
    recipe = project.recipe
    return {
        "comment": MARK,
        "dia_version": package.__version__,
        "model": recipe.model,
        "model_hash": recipe.model_hash,
        "pieces": str(len(project.pieces)),
        "project_seed": str(recipe.seed),
        **{name: str(value) for name, value in recipe.params.items() if value is not None},
    }


def _print_report(
    project: "Project", rendered: "Rendered", target: AudioTarget, elapsed_s: float, notes: Sequence[str]
) -> None:
    values = {
        "output": str(target.path),
        "format": target.format,
        "duration_s": round(rendered.written.duration_s, 3),
        "elapsed_s": round(elapsed_s, 3),
        "loudness_lufs": round(rendered.loudness_lufs, 2),
        "seed": project.recipe.seed,
        "pieces": [
            {"text": piece.text, "start_s": round(start / rendered.sample_rate_hz, 3), "seed": kept.take.seed}
            for piece, start, state in zip(project.plan.pieces, rendered.starts, project.pieces, strict=True)
            if (kept := state.take) is not None
        ],
        "warnings": [*notes, *rendered.warnings],
    }
    print(json.dumps(values, ensure_ascii=False))


# ---- to stdout, while it is made ----


def _stream(
    request: SpeakRequest,
    long: LongRequest,
    terminal: Terminal,
    dia: "Dia",
    text: str,
    voices: "Mapping[str, VoicePrompt]",
    delivery: "Delivery",
    target: AudioTarget,
) -> None:
    if long.project or long.resume or long.subtitles or request.as_json:
        raise BadParameter("a project, subtitles and --json need a file; name one with --output")
    from dia.narration.passes import Making
    from dia.narration.stream import narrate as start

    params = dia.defaults.updated(**request.sampling)
    with start(
        dia, text, voices=voices, params=params, making=Making(retakes=long.retakes), delivery=delivery
    ) as narration:
        terminal.result(f"seed {narration.seed}")
        with target.open(narration.sample_rate_hz, {"comment": MARK}) as sink:
            for chunk in narration:
                sink.write(chunk)
        terminal.warn(narration.warnings)


# ---- progress ----


@dataclass(frozen=True, slots=True)
class _PieceReading(Reading):
    piece: int
    pieces: int

    def line(self) -> str:
        # Slots make a new class, which a bare `super` does not know.
        return f"piece {self.piece} of {self.pieces}, {Reading.line(self)}"


class PieceMeter(Meter):
    """Progress over the pieces that are still to be made; what was made before counts neither time nor sound."""

    def __init__(self, project: "Project", frame_rate_hz: float, clock: Callable[[], float] | None = None) -> None:
        self.frame_rate_hz = frame_rate_hz
        self._project = project
        self._finished = 0
        self._piece_idx = project.missing[0] if project.missing else len(project.pieces) - 1
        self._running: Any = None
        self._left = {index: project.plan.pieces[index].estimated_s for index in project.missing}
        super().__init__(self, *([] if clock is None else [clock]))

    def watch(self, event: "Event") -> None:
        """Takes what `make_pieces` tells."""
        if self._running is not None and event.stream is None:
            self._finished += self._running.frames_done
            self._left.pop(event.piece_idx, None)
        self._running, self._piece_idx = event.stream, event.piece_idx

    @property
    def frames_done(self) -> int:
        running = self._running
        return self._finished + (0 if running is None else running.frames_done)

    @property
    def frames_estimate(self) -> int:
        """What is done, and what is expected of the pieces that are left."""
        running = self._running
        left = sum(self._left.values()) * self.frame_rate_hz
        return max(1, self._finished + max(round(left), 0 if running is None else running.frames_done))

    def read(self) -> Reading:
        reading = super().read()
        values = {name: getattr(reading, name) for name in Reading.__slots__}
        return _PieceReading(**values, piece=self._piece_idx + 1, pieces=len(self._project.pieces))
