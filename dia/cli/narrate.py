"""`dia say`: a script of any length through a project beside its output, piece by piece, or to stdout while it is made."""

import contextlib
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dia as package
from dia.cli.codefiles import load_codes
from dia.cli.loading import check_flags, load_dia
from dia.cli.outputs import AudioTarget, check_audio_target, check_path, make_folder, save_codes
from dia.cli.progress import Meter, Reading, shown
from dia.cli.proofreading import check_proofreader, load_proofreader
from dia.cli.script_flags import ScriptFlags, check_subtitles, parse_delivery, parse_voices
from dia.cli.speaking import MARK, SpeakRequest, check_numbers, differences, make_tags
from dia.cli.terminal import Terminal, counted
from dia.cli.texts import read_text
from dia.errors import BadParameter

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.narration.delivery import Delivery
    from dia.narration.passes import Making
    from dia.narration.project import Project
    from dia.narration.render import Rendered
    from dia.narration.run import Event
    from dia.prompts import VoicePrompt
    from dia.text.plan import Plan

__all__ = ["PieceMeter", "Script", "check_script", "deliver", "describe", "narrate", "narrate_with"]

# What of the flags decides how a file sounds, and so stands in its tags.
_TAGGED = (
    "speeds", "gaps", "loudness", "longest_silence", "balance", "retakes", "proofread", "format", "roleplay", "normalize",
    "remarks", "dictionary",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """A request that was checked as far as that needs no model: text and who speaks in it, target, delivery, recordings
    and words by name."""

    request: SpeakRequest
    flags: ScriptFlags
    text: str
    speakers: tuple[str, ...]
    target: AudioTarget
    making: "Making"
    delivery: "Delivery"
    voices: Mapping[str, tuple[Path, str]]


def check_script(request: SpeakRequest, flags: ScriptFlags) -> Script:
    """Everything that can be refused before a model is loaded.

    Raises: BadInput of every kind, OutputUnwritable.
    """
    from dia.narration.script import read_text as read_script

    text = read_text(request.text, request.file) if request.said is None else request.said
    target = check_audio_target(request.output, request.format)
    if request.save_codes is not None:
        if request.save_codes.suffix != ".npy":
            raise BadParameter(f"--save-codes is {request.save_codes.name}; codes are saved as .npy; name such a file")
        check_path(request.save_codes)
    if target.path is None and (
        flags.project or flags.resume or flags.subtitles or request.as_json or request.save_codes or flags.proofread
    ):
        raise BadParameter(
            "stdout takes the sound alone, as it is made; a project, subtitles, codes, --proofread and --json need --output "
            "FILE"
        )
    if target.path is None and flags.balance:
        raise BadParameter("speakers are balanced when all is made; --balance needs --output FILE")
    check_subtitles(flags.subtitles)
    check_flags(request.model)
    check_proofreader(flags.proofread)
    check_numbers(request)
    delivery = parse_delivery(request.speed, **flags.delivered)
    making = flags.making
    voices = parse_voices(flags.voices, request.audio_prompt, request.transcript, request.transcript_file)
    speakers = read_script(text, format=flags.format, roleplay=flags.roles).speakers
    return Script(request, flags, text, speakers, target, making, delivery, voices)


def narrate(
    request: SpeakRequest, flags: ScriptFlags, terminal: Terminal, *, expected: Mapping[str, str] | None = None
) -> None:
    """Plan, generate piece by piece, write, report.

    Args:
        expected: tags of an earlier file that is to be made again; another model or voice than in it is warned about.

    Raises: BadInput of every kind, OutputUnwritable and the loading errors before anything is generated; later
        GenerationFailed, DiskFull. What is finished by then stays in the project, if there is to be one.
    """
    script = check_script(request, flags)
    dia = load_dia(request.model, terminal)
    try:
        narrate_with(dia, script, terminal, expected=expected)
    finally:
        dia.close()


def narrate_with(dia: "Dia", script: Script, terminal: Terminal, *, expected: Mapping[str, str] | None = None) -> None:
    """The same with a model that is loaded."""
    voices = {name: _encoded(dia, path, words) for name, (path, words) in script.voices.items()}
    if script.target.path is None:
        _stream(dia, script, terminal, voices)
    else:
        _through_project(dia, script, terminal, voices, expected or {})


def describe(plan: "Plan") -> str:
    """One line: how a text was read, who speaks, what becomes of it."""
    read = {"play": "a play", "tagged": "tagged text", "plain": "plain text", "json": "JSON turns", "srt": "subtitles"}
    names = ", ".join(plan.speakers[:8]) + (" and others" if len(plan.speakers) > 8 else "")
    who = f"{counted(len(plan.speakers), 'speaker')} ({names})"
    how = read.get(plan.format, "Markdown" if plan.format == "markdown" else plan.format)
    return f"read as {how}: {who}, {counted(len(plan.pieces), 'piece')}, about {plan.estimated_s:.1f} s"


def _encoded(dia: "Dia", path: Path, words: str) -> "VoicePrompt":
    return dia.encode_prompt(load_codes(path) if path.suffix == ".npy" else path, words)


# ---- to a file, through a project ----


def _through_project(
    dia: "Dia",
    script: Script,
    terminal: Terminal,
    voices: "Mapping[str, VoicePrompt]",
    expected: Mapping[str, str],
) -> None:
    from dia.narration.run import make_pieces, open_project

    request, flags, target = script.request, script.flags, script.target
    assert target.path is not None and dia.codec is not None
    hear = load_proofreader(flags.proofread, offline=request.model.offline)
    folder = flags.project or target.path.with_suffix(".dia")
    is_kept = flags.project is not None or flags.resume
    make_folder(folder)
    project = open_project(
        folder,
        dia,
        script.text,
        voices=voices,
        params=dia.defaults.updated(**request.sampling),
        making=script.making,
        format=flags.format,
        roleplay=flags.roles,
        resume=flags.resume,
        delivery=script.delivery,
    )
    with _tidied(project, terminal, is_kept=is_kept):
        script.delivery.check_names(project.plan.speakers)
        tags = _script_tags(dia, script, project, voices)
        terminal.note(describe(project.plan))
        terminal.warn([*project.plan.warnings, *differences(tags, expected)])
        terminal.result(f"seed {project.recipe.seed}")
        meter = PieceMeter(project, dia.frame_rate_hz)
        with shown(meter, wanted=False if terminal.quiet else request.progress):
            notes = make_pieces(project, dia, meter.watch, hear)
        terminal.warn(notes)
        elapsed_s = meter.read().elapsed_s
        rendered = deliver(project, dia.codec, target, script.delivery, flags.subtitles, terminal, tags)
    if request.save_codes is not None:
        import numpy as np

        save_codes(
            request.save_codes, np.concatenate([project.kept(index)[0] for index in range(len(project.pieces))])
        )
    made_s = meter.frames_done / dia.frame_rate_hz
    if made_s:
        terminal.note(f"made in {elapsed_s:.1f} s (real-time factor {elapsed_s / made_s:.2f})")
    if is_kept:
        terminal.note(f"project: {folder}; dia redo makes a piece again, dia render writes another file")
    if request.as_json:
        _print_report(project, rendered, target, elapsed_s, made_s, tags, (*project.plan.warnings, *notes))
    if not is_kept:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _tidied(project: "Project", terminal: Terminal, *, is_kept: bool) -> Iterator[None]:
    """When a run is broken off: a project that nobody asked for goes if nothing is in it yet, else it is told."""
    try:
        yield
    except BaseException:
        made = len(project.pieces) - len(project.missing)
        if not made and not is_kept:
            shutil.rmtree(project.folder, ignore_errors=True)
        elif made:
            terminal.result(
                f"{made} of {counted(len(project.pieces), 'piece')} stay in {project.folder}; the same command with "
                "--resume goes on from there"
            )
        raise


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
    chapters = f", {counted(len(rendered.chapters), 'chapter')}" if holds_chapters else ""
    terminal.note(
        f"{target.path}: {rendered.written.duration_s:.1f} s of speech in {counted(len(project.pieces), 'piece')}"
        f"{chapters}, {rendered.loudness_lufs:.1f} LUFS"
    )
    for drift in rendered.drifts:
        if not drift.is_heard:  # else it is among the warnings
            terminal.note(f"drift of {drift}")
    return rendered


def _tags(project: "Project") -> dict[str, str]:
    """How the file came to be. Not a `seed`, which would promise that it can be made again from its tags."""
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


def _script_tags(
    dia: "Dia", script: Script, project: "Project", voices: "Mapping[str, VoicePrompt]"
) -> dict[str, str]:
    """The tags of `_tags` and those by which `dia reproduce` makes the file again; a project in which a piece was redone
    by hand has no such."""
    request = script.request
    prompt = voices.get("S1") if request.audio_prompt is not None else None
    tags = make_tags(
        dia,
        dia.defaults.updated(**request.sampling),
        request,
        seed=project.recipe.seed,
        prompt_codes=None if prompt is None else prompt.codes,
        transcript=None if prompt is None else prompt.transcript,
        text=script.text,
    )
    typed = script.flags.typed()
    tags["script"] = json.dumps({name: typed[name] for name in _TAGGED if name in typed}, ensure_ascii=False)
    named = {name: voice for name, voice in voices.items() if voice is not prompt}
    if named:
        hashes = {name: hashlib.sha256(voice.codes.tobytes()).hexdigest()[:12] for name, voice in named.items()}
        tags["voices"] = json.dumps(hashes, ensure_ascii=False)
    if not project.is_as_made:
        del tags["seed"]
    return tags


def _print_report(
    project: "Project",
    rendered: "Rendered",
    target: AudioTarget,
    elapsed_s: float,
    made_s: float,
    tags: Mapping[str, str],
    notes: Sequence[str],
) -> None:
    pieces = [
        {
            "text": piece.text,
            "start_s": round(start / rendered.sample_rate_hz, 3),
            "seed": kept.take.seed,
            "problems": list(kept.take.problems),
        }
        for piece, start, state in zip(project.plan.pieces, rendered.starts, project.pieces, strict=True)
        if (kept := state.take) is not None
    ]
    values = {
        "output": str(target.path),
        "format": target.format,
        "duration_s": round(rendered.written.duration_s, 3),
        "elapsed_s": round(elapsed_s, 3),
        "real_time_factor": round(elapsed_s / made_s, 4) if made_s else None,
        "frames": sum(state.take.take.frames for state in project.pieces if state.take is not None),
        "sample_rate_hz": rendered.sample_rate_hz,
        "loudness_lufs": round(rendered.loudness_lufs, 2),
        "seed": project.recipe.seed,
        "script_format": project.plan.format,
        "speakers": list(project.plan.speakers),
        "text_sent": "\n".join(piece.text for piece in project.plan.pieces),
        "pieces": pieces,
        "drift": [
            {
                "speaker": drift.speaker,
                "pace": round(drift.pace, 3),
                "pitch_semitones": round(drift.pitch_semitones, 2),
                "level_db": round(drift.level_db, 2),
            }
            for drift in rendered.drifts
        ],
        "warnings": [*notes, *rendered.warnings],
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "parameters": {key: value for key, value in tags.items() if key not in ("comment", "text", "seed", "script")},
    }
    sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")  # one write, as several may be made at once


# ---- to stdout, while it is made ----


def _stream(dia: "Dia", script: Script, terminal: Terminal, voices: "Mapping[str, VoicePrompt]") -> None:
    from dataclasses import replace

    from dia.narration.stream import narrate as start

    request, flags = script.request, script.flags
    # The loudness of what is still to be made cannot be known, unless a voice's prompt tells it.
    delivery = script.delivery if flags.loudness is not None else replace(script.delivery, loudness_lufs=None)
    with start(
        dia,
        script.text,
        voices=voices,
        params=dia.defaults.updated(**request.sampling),
        making=script.making,
        delivery=delivery,
        format=flags.format,
        roleplay=flags.roles,
    ) as narration:
        terminal.note(describe(narration.plan))
        terminal.result(f"seed {narration.seed}")
        written = 0
        meter = Meter(narration)
        with (
            script.target.open(narration.sample_rate_hz, {"comment": MARK}) as sink,
            shown(meter, wanted=False if terminal.quiet else request.progress),
        ):
            for chunk in narration:
                sink.write(chunk)
                written += len(chunk)
        terminal.warn(narration.warnings)
        elapsed_s = meter.read().elapsed_s
        terminal.note(f"stdout: {written / narration.sample_rate_hz:.1f} s of speech, made in {elapsed_s:.1f} s")


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
