"""Fuzzes what reads other people's bytes, guided by coverage: inputs that reach new lines are kept and changed again (Q03).

    pip install atheris                                    # libFuzzer for Python; Linux, Python 3.11 to 3.13
    python scripts/fuzz_parsers.py                         # ten minutes, an equal share for each parser
    python scripts/fuzz_parsers.py recording --seconds 600

A parser may answer or refuse with the error that it declares; anything else, a hang of ten seconds included, is
written to a file beside the corpus and ends the run with exit code 1. `--corpus FOLDER` keeps what was found, so that
the next run goes on from there.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import atheris  # noqa: E402

with atheris.instrument_imports(include=["dia", "python_multipart", "starlette"]):
    from fastapi.exceptions import RequestValidationError
    from pydantic import BaseModel
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

    from dia.errors import BadInput, BadParameter, BadPrompt, BadScript
    from dia.media.encode import encode_audio
    from dia.media.read import probe, read_audio, read_metadata
    from dia.server import forms, schemas
    from dia.server.deps import json_body
    from dia.service.request import SpeechRequest
    from dia.service.storage import check_id
    from dia.text.formats import FORMATS, read_script
    from dia.text.planner import plan
    from dia.text.roles import Roleplay
    from dia.text.script import prepare
    from dia.text.spoken import as_written
    from dia.text.tokens import count_bytes

from tests.media.signals import RATE, voice  # noqa: E402
from tests.text.scripts import MESS, MODEL, SMALL  # noqa: E402

BODIES: tuple[type[BaseModel], ...] = (
    schemas.SpeechBody,
    schemas.ConfigChanges,
    schemas.VoiceCreation,
    schemas.TranscriptBody,
    schemas.ChatterboxBody,
    schemas.XttsBody,
)
_BOUNDARY = b"edge"
_ODD_BRACKET = re.compile(r"[(\[](?![\w ':.,-]*[)\]])")


def fuzz_script(data: bytes) -> None:
    """Each format of scripts: turns whose spans lie in the text, or BadScript."""
    text = data[1:].decode("utf-8", "replace")
    try:
        document = read_script(text, format=("auto", *FORMATS)[data[0] % (len(FORMATS) + 1)])
    except BadScript:
        return
    for turn in document.turns:
        assert turn.span is None or 0 <= turn.span[0] <= turn.span[1] <= len(text), turn


def fuzz_text(data: bytes) -> None:
    """From a text to pieces that fit one pass and are stable, or a declared error."""
    text = data[1:].decode("utf-8", "replace")
    limits, roleplay = (SMALL, MODEL)[data[0] & 1], (None, Roleplay(outside="narrator"))[data[0] >> 1 & 1]
    try:
        pieces = plan(text, limits=limits, roleplay=roleplay, normalize=data[0] & 4 == 0).pieces
    except BadInput:
        return
    for piece in pieces:
        assert piece.num_bytes == count_bytes(piece.text) <= limits.piece_bytes
        assert piece.text.startswith("[S1] ") and len(piece.speakers) <= 2
        # A bracket that holds more than plain words may be another one when its signs, breaks and tags are gone.
        if _ODD_BRACKET.search(text) is None:
            assert prepare(piece.text, max_bytes=limits.max_bytes).text == piece.text, piece.text
        for turn in piece.turns:
            assert as_written(turn.text, turn.spellings) == turn.written


def fuzz_recording(data: bytes) -> None:
    """Any bytes: at most five seconds of finite mono sound, or BadPrompt."""
    for reader in (probe, read_metadata):
        with suppress(BadPrompt):
            reader(data)
    try:
        waveform = read_audio(data, sample_rate_hz=RATE, max_duration_s=5)
    except BadPrompt:
        return
    assert waveform.ndim == 1 and abs(waveform).max(initial=0) < float("inf") and len(waveform) <= 5.1 * RATE


def fuzz_request(data: bytes) -> None:
    """JSON bodies and forms: a request that survives being stored, or 400 and 422."""
    kind = data[0] % (len(BODIES) + 1)
    try:
        if kind == len(BODIES):
            form = forms._form(_request(data[1:], f"multipart/form-data; boundary={_BOUNDARY.decode()}"))
            fields = _finished(anext(form))
            forms.form_text(fields, "prompt_id", required=True)
            forms.speech_file(fields, "audio_file").read()
            return
        body = _finished(json_body(BODIES[kind])(_request(data[1:], "application/json")))
        if isinstance(body, schemas.SpeechBody):
            request = body.to_request("wav", owner=None, request_id=None)
            assert SpeechRequest.from_json(request.to_json()) == request
    except RequestValidationError:  # 422
        return
    except HTTPException as refused:
        if refused.status_code != 400:
            raise


def fuzz_name(data: bytes) -> None:
    """An id from outside stays in its folder or is refused; an id made of any name is one."""
    name = data.decode("utf-8", "surrogateescape")
    check_id("prompt", forms.prompt_id_from(name))
    with suppress(BadParameter):
        here = Path("/data/prompts")
        assert Path(os.path.normpath(here / check_id("prompt", name))).parent == here


def _request(data: bytes, content_type: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    headers = [(b"content-type", content_type.encode())]
    # Inside an app, as here, Starlette turns a broken form into 400.
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers, "app": None}
    return Request(scope, receive)


def _finished(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of work that never waits for anything."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a body in memory was waited for")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "script": fuzz_script,
    "text": fuzz_text,
    "recording": fuzz_recording,
    "request": fuzz_request,
    "name": fuzz_name,
}
# A longer text takes longer and reaches no more.
_MOST_BYTES = {"script": 1024, "text": 512, "recording": 8192, "request": 2048, "name": 128}
_SCRIPTS = (
    "Hello there. It costs $3.50 at 5:30 pm on 3/4/2024, Dr. No.",
    "[S1] Hi. (laughs) [S2] Yes?",
    "Ann: Hello.\nBob (softly): No!\nAnn: Yes.",
    '[{"speaker": "Ann", "text": "Hi.", "pause_s": 1}, ["Bob", "No."]]',
    "# Title\n\n- one\n- **two**\n\n```\ncode\n```\n> said",
    "1\n00:00:01,000 --> 00:00:02,000\n<i>ANN:</i> Hello.\n",
    '*She nods.* "Yes," she said. [pause:1s] <think>no</think>',
)
_SPEECH = {
    "text": "[S1] Hi.",
    "voice": {"id": "alloy"},
    "speed": 1.5,
    "seed": -1,
    "stream_format": "sse",
    "top_p": 0.5,
}
_FORM = b"\r\n".join(
    [
        b"--" + _BOUNDARY,
        b'Content-Disposition: form-data; name="prompt_id"',
        b"",
        b"me",
        b"--" + _BOUNDARY,
        b'Content-Disposition: form-data; name="audio_file"; filename="a.wav"',
        b"Content-Type: audio/wav",
        b"",
        b"RIFF",
        b"--" + _BOUNDARY + b"--",
        b"",
    ]
)


def seeds(target: str) -> list[bytes]:
    """What fuzzing starts from: one good input of each kind."""
    if target == "recording":
        names = ("wav", "mp3", "opus", "aac", "flac", "m4a")
        return [encode_audio(voice(0.1), RATE, name, metadata={"title": "a"}) for name in names]
    if target == "name":
        return [b"my_voice", b"../x", b"con.wav", b"upload", "Größe 2!".encode()]
    if target == "request":
        return [
            *(bytes([kind]) + json.dumps(_SPEECH).encode() for kind in range(len(BODIES))),
            bytes([len(BODIES)]) + _FORM,
        ]
    return [bytes([kind]) + text.encode() for text in _SCRIPTS for kind in range(len(FORMATS) + 1)]


def dictionary() -> str:
    """Marks that scripts are made of, in libFuzzer's spelling."""
    words = [mark.encode("utf-8", "replace") for mark in MESS]
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words)


def fuzz(target: str, corpus: Path, seconds: int) -> None:
    """Fuzz one parser; libFuzzer ends the process."""
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (folder / f"seed-{number}").write_bytes(seed)
    words = corpus / "words.txt"
    words.write_text(dictionary())
    options = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=4096",
        f"-max_len={_MOST_BYTES[target]}",
        "-print_final_stats=1",
    ]
    if target in ("script", "text"):
        options.append(f"-dict={words}")

    def tried(data: bytes) -> None:
        try:
            if data:
                TARGETS[target](data)
        except BaseException:
            # libFuzzer writes what hangs and what kills the process, but not every input that raises.
            (corpus / f"{target}-raised").write_bytes(data)
            raise

    atheris.Setup([target, *options, f"-artifact_prefix={corpus}/{target}-", str(folder)], tried)
    atheris.Fuzz()


def main() -> int:
    """Fuzz each parser in a process of its own; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="parsers; all if none is named")
    parser.add_argument("--seconds", type=int, default=600, help="of all together")
    parser.add_argument("--corpus", type=Path, help="folder of kept inputs; a temporary one if none is named")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    corpus = args.corpus or Path(tempfile.mkdtemp(prefix="dia-fuzz-"))
    chosen = args.targets or list(TARGETS)
    if args.inside:
        fuzz(chosen[0], corpus, args.seconds)
    command = [
        sys.executable,
        __file__,
        "--inside",
        "--corpus",
        str(corpus),
        "--seconds",
        str(args.seconds // len(chosen)),
    ]
    ended = {target: subprocess.run([*command, target], check=False).returncode for target in chosen}
    print(json.dumps({"corpus": str(corpus), "failed": [target for target, code in ended.items() if code]}))
    return 1 if any(ended.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
