"""`dia say --server URL`: a server speaks; here its sound is written and its words are shown."""

import json
import sys
from typing import TYPE_CHECKING, Any

from dia.cli.loading import ModelFlags
from dia.cli.outputs import AudioTarget, check_audio_target, make_folder, save_bytes
from dia.cli.remote import connected
from dia.cli.script_flags import ScriptFlags, read_speeds
from dia.cli.speaking import SpeakRequest
from dia.cli.terminal import Terminal
from dia.cli.texts import read_text
from dia.errors import BadParameter

if TYPE_CHECKING:
    import httpx

__all__ = ["check_remote", "speak_remotely"]


def speak_remotely(
    request: SpeakRequest, flags: ScriptFlags, server: str, terminal: Terminal, *, adapter: str | None = None
) -> None:
    """Have a server speak, write what it sends, report. `adapter` is the id of one of its own.

    Raises:
        BadParameter: flags that need the model in this process; what the server refuses, in its words.
        EngineStopped: no server answers. OutputUnwritable.
    """
    check_remote(request, flags)
    text = request.said if request.said is not None else read_text(request.text, request.file)
    target = check_audio_target(request.output, request.format)
    if request.as_json and target.path is None:
        raise BadParameter("both --json and --output - write to stdout; use one of them")
    with connected(server) as remote:
        body = _body(request, flags, text, target) | ({} if adapter is None else {"adapter": adapter})
        answer = remote.request("POST", "/generate", json=body, patient=True)
    if target.path is None:
        sys.stdout.buffer.write(answer.content)
        sys.stdout.buffer.flush()
    else:
        make_folder(target.path)
        save_bytes(target.path, answer.content)
    _report(request, terminal, answer, target)


def check_remote(request: SpeakRequest, flags: ScriptFlags) -> None:
    """Refuse flags that need the model in this process. Raises BadParameter."""
    given = {
        "--model and its relatives": request.model != ModelFlags(),
        "--guidance": request.sampling.get("guidance") is not None,
        "--exact-text": request.exact_text,
        "--save-codes": request.save_codes is not None,
        "--save-text": request.save_text,
        "--project and --resume": flags.project is not None or flags.resume,
        "--one-pass": flags.one_pass,
        "--gap": bool(flags.gaps),
        "--subtitles": bool(flags.subtitles),
        "--loudness": flags.loudness is not None,
        "--balance": flags.balance,
        "--proofread": flags.proofread is not None,
        "--retakes": flags.retakes != ScriptFlags().retakes,
    }
    if request.audio_prompt is not None:
        raise BadParameter(
            "--audio-prompt is for the model in this process; with --server make the recording a voice first, by "
            "dia voices add, and name it with --voice"
        )
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise BadParameter(f"a server does not take {', '.join(wrong)}; leave --server or these out")
    if len(flags.voices) > 1 or any("=" in name for name in flags.voices):
        raise BadParameter("with --server, --voice is the name of one of its voices, as dia voices list shows them")


def _body(request: SpeakRequest, flags: ScriptFlags, text: str, target: AudioTarget) -> dict[str, Any]:
    wanted = {
        "text": text,
        "voice": next(iter(flags.voices), None),
        "response_format": target.format,
        "script_format": None if flags.format == "auto" else flags.format,
        "roleplay": None if flags.roleplay == "off" else flags.roleplay,
        "normalize": None if flags.normalize else False,
        "remarks": None if flags.remarks == "keep" else flags.remarks,
        "dictionary": flags.dictionary,
        "speeds": read_speeds(flags.speeds) or None,
        "longest_silence": flags.longest_silence,
        "speed": None if request.speed == 1.0 else request.speed,  # a voice may have a tempo of its own
        **{name: value for name, value in request.sampling.items() if name != "guidance"},
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _report(request: SpeakRequest, terminal: Terminal, answer: "httpx.Response", target: AudioTarget) -> None:
    headers = answer.headers
    warnings = [part for part in headers.get("X-Dia-Warnings", "").split("; ") if part]
    terminal.result(f"seed {headers.get('X-Seed', 'unknown')}")
    terminal.warn(warnings)
    name = "stdout" if target.path is None else str(target.path)
    duration_s, elapsed_s = float(headers.get("X-Audio-Duration", 0)), float(headers.get("X-Generation-Time", 0))
    terminal.note(f"{name}: {duration_s:.1f} s of speech, made in {elapsed_s:.1f} s")
    if request.as_json:
        values = {
            "output": name,
            "format": target.format,
            "duration_s": duration_s,
            "elapsed_s": elapsed_s,
            "seed": int(headers["X-Seed"]),
            "generation_id": headers.get("X-Generation-ID"),
            "warnings": warnings,
        }
        sys.stdout.write(json.dumps(values) + "\n")  # one write, as several may be made at once
