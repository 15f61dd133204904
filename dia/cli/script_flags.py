"""What is typed about a script besides its text: format, roles, voices by name, tempo, pauses; checked, not yet used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dia.cli.outputs import check_path
from dia.cli.speaking import SpeakRequest
from dia.cli.texts import read_transcript
from dia.errors import BadParameter, BadPrompt, BadScript

if TYPE_CHECKING:
    from dia.narration.delivery import Delivery
    from dia.narration.passes import Making
    from dia.text.plan import Gaps
    from dia.text.roles import Roleplay
    from dia.text.wording import Remarks, Wording

__all__ = [
    "ScriptFlags",
    "check_subtitles",
    "find_dictionary",
    "find_script",
    "from_typed",
    "is_one_pass",
    "parse_delivery",
    "parse_voices",
    "read_gaps",
    "read_speeds",
]

SCRIPTS = (".txt", ".md", ".markdown", ".srt", ".vtt", ".json", ".jsonl")
"""Endings of files that hold a script."""

_MOST_GAP_S = 10.0


@dataclass(frozen=True, slots=True)
class ScriptFlags:
    """What was typed besides a `SpeakRequest`. `loudness` is LUFS or off; None is the default."""

    project: Path | None = None
    resume: bool = False
    one_pass: bool = False
    voices: Sequence[str] = ()
    speeds: Sequence[str] = ()
    gaps: Sequence[str] = ()
    subtitles: Sequence[Path] = ()
    loudness: str | None = None
    retakes: int = 2
    proofread: str | None = None
    format: str = "auto"
    roleplay: str = "off"
    normalize: bool = True
    remarks: str = "keep"
    dictionary: Mapping[str, str] | None = None
    longest_silence: float | None = None
    balance: bool = False

    def typed(self) -> dict[str, Any]:
        """The fields that are not as they are without a flag, as JSON can hold them."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple | list) else value
            for name, (value, default) in values.items()
            if value != default
        }

    @property
    def roles(self) -> "Roleplay | None":
        """Raises BadParameter for a roleplay that is unknown."""
        from dia.text.roles import read_roleplay

        return read_roleplay(self.roleplay)

    @property
    def making(self) -> "Making":
        """Raises BadParameter for a number out of its range."""
        from dia.narration.passes import Making

        return Making(retakes=self.retakes, wording=self.wording, proofread=self.proofread)

    @property
    def wording(self) -> "Wording":
        """Raises BadParameter for remarks that are neither kept nor dropped."""
        from dia.text.wording import Wording

        return Wording(self.normalize, cast("Remarks", self.remarks), self.dictionary or {})

    @property
    def delivered(self) -> dict[str, Any]:
        """What of the flags `parse_delivery` takes."""
        return {
            "speeds": self.speeds, "loudness": self.loudness, "gaps": self.gaps,
            "longest_silence": self.longest_silence, "balance": self.balance or None,
        }  # fmt: skip


def find_dictionary(path: Path | None) -> dict[str, str] | None:
    """What the file of --dictionary says. Raises BadParameter."""
    from dia.text.wording import load_dictionary

    return None if path is None else load_dictionary(path)


def find_script(request: SpeakRequest) -> SpeakRequest:
    """The request with the name of a script file, typed where the text stands, taken for the file.

    Raises:
        BadScript: the text is the name of a folder, of a file of another kind, or of a script that is not there.
    """
    text = request.text
    if text is None or not text.strip() or request.file is not None or "\n" in text or len(text) > 4096:
        return request
    path = Path(text).expanduser()
    if text.lower().endswith(SCRIPTS):
        if not path.is_file():
            raise BadScript(
                f"{text[:200]} is not a file; check the path, or end the text with a full stop to have it said"
            )
        return replace(request, text=None, file=path)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # no name that a file could have
        return request
    if is_folder:
        raise BadScript(
            f"{text[:200]} is a folder; dia batch speaks every script in it; to have its name said, end it with a full stop"
        )
    if is_file:
        raise BadScript(
            f"{text[:200]} is a file; --file {text[:200]} reads it; to have its name said, end it with a full stop"
        )
    return request


def is_one_pass(request: SpeakRequest, flags: ScriptFlags) -> bool:
    """Whether the text goes to the model as it is, in one pass: by wish, or with a recording whose words nobody wrote
    down and which the text must therefore begin with.

    Raises:
        BadParameter: one pass was asked for with what it cannot have.
    """
    has_words = request.transcript is not None or request.transcript_file is not None
    is_open = request.audio_prompt is not None and not has_words
    if not (flags.one_pass or request.exact_text or is_open):
        return False
    typed = flags.typed()
    wrong = [f"--{name.replace('_', '-')}" for name in typed if name != "one_pass"]
    if wrong and is_open and not (flags.one_pass or request.exact_text):
        raise BadPrompt(f"{', '.join(wrong)} needs the words of --audio-prompt; give them with --transcript")
    if wrong:
        raise BadParameter(
            f"one pass has no project, voices by name, pauses, subtitles or loudness; leave out {', '.join(wrong)}, or "
            "--one-pass and --exact-text"
        )
    return True


def parse_delivery(
    speed: float | None,
    *,
    speeds: Sequence[str] = (),
    loudness: str | None = None,
    gaps: Sequence[str] = (),
    longest_silence: float | None = None,
    balance: bool | None = None,
    base: "Delivery | None" = None,
) -> "Delivery":
    """`NAME=1.1`, LUFS or off, `turn=0.4`, seconds; what is not given is as in `base`. Raises BadParameter."""
    from dia.narration.delivery import Delivery

    base = base or Delivery()
    target = base.loudness_lufs
    if loudness is not None:
        target = None if loudness == "off" else _number(loudness, "--loudness", "LUFS, as in -18, or off")
    return replace(
        base,
        speed=base.speed if speed is None else speed,
        speeds=read_speeds(speeds) or base.speeds,
        loudness_lufs=target,
        gaps=read_gaps(gaps) or base.gaps,
        longest_silence_s=base.longest_silence_s if longest_silence is None else longest_silence,
        balance=base.balance if balance is None else balance,
    )


def read_speeds(entries: Sequence[str]) -> dict[str, float]:
    """`Alice=1.1`: tempo by speaker. Raises BadParameter."""
    found = {}
    for entry in entries:
        name, _, number = entry.rpartition("=")
        found[name] = _number(number, f"--speed-of {entry}", "a speaker and a number, as in Alice=1.1")
    return found


def read_gaps(entries: Sequence[str]) -> "Gaps | None":
    """`turn=0.4`, `paragraph=1`, `sentence=0.2`, `clause=0`: seconds between two pieces. Raises BadParameter."""
    from dia.text.plan import Gaps

    if not entries:
        return None
    known = [field.name.removesuffix("_s") for field in fields(Gaps)]
    found: dict[str, float] = {}
    for entry in entries:
        name, _, number = entry.partition("=")
        seconds = _number(number, f"--gap {entry}", f"seconds after {', '.join(known)}, as in turn=0.4")
        if name not in known or not 0.0 <= seconds <= _MOST_GAP_S:
            raise BadParameter(
                f"--gap {entry[:60]} is not understood; it is 0 to {_MOST_GAP_S:g} seconds after {', '.join(known)}, as "
                "in turn=0.4"
            )
        found[f"{name}_s"] = seconds
    return Gaps(**found)


def parse_voices(
    voices: Sequence[str], audio_prompt: Path | None, transcript: str | None, transcript_file: Path | None
) -> dict[str, tuple[Path, str]]:
    """Recording and transcript by name. `NAME=voice.wav` has its words in `voice.txt`; --audio-prompt is S1's.

    Raises:
        BadParameter, BadPrompt, BadScript: a voice that is not there or has no words.
    """
    found: dict[str, tuple[Path, str]] = {}
    words = read_transcript(transcript, transcript_file)
    if words is not None and audio_prompt is None:
        raise BadParameter("a transcript is given without --audio-prompt; name the recording that it belongs to")
    if audio_prompt is not None:
        if words is None:
            raise BadPrompt("a script in pieces needs the words of --audio-prompt; give them with --transcript")
        found["S1"] = (_recording(audio_prompt), words)
    for entry in voices:
        name, _, file = entry.partition("=")
        if not name or not file:
            raise BadParameter(f"--voice {entry!r} is not understood; write --voice Alice=alice.wav")
        path = _recording(Path(file).expanduser())
        said = read_transcript(None, path.with_suffix(".txt"))
        assert said is not None
        found[name] = (path, said)
    return found


def check_subtitles(paths: Sequence[Path]) -> None:
    """Raises BadParameter for another kind of file, OutputUnwritable."""
    for path in paths:
        if path.suffix.lower() not in (".srt", ".vtt"):
            raise BadParameter(f"--subtitles is {path.name}; subtitles are .srt or .vtt; name such a file")
        check_path(path)


def _recording(path: Path) -> Path:
    if not path.is_file():
        raise BadPrompt(f"the audio prompt {path} is not a file; check the path")
    return path


def _number(text: str, flag: str, meaning: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadParameter(f"{flag} is not understood; it is {meaning}") from None


def from_typed(values: Mapping[str, Any]) -> ScriptFlags:
    """The flags that `typed` wrote. Raises BadParameter for names that are none."""
    known = {field.name for field in fields(ScriptFlags)}
    if not values.keys() <= known:
        raise BadParameter(
            f"flags {', '.join(sorted(values.keys() - known))} are unknown; use the version that wrote them"
        )
    return ScriptFlags(**values)
