"""Commands typed in process, as `main(argv)` gets them, with stdin, stdout and stderr in hand."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dia.cli import root


@dataclass(frozen=True)
class Answer:
    """What a command said: exit code, stdout as bytes, stderr as text."""

    code: int
    out: bytes
    err: str


Type = Callable[..., Answer]


@pytest.fixture
def type_in(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Type:
    """`type_in("say", "Hello.", "-o", path)` runs `dia say …`; `main` and `stdin` can be given by name."""

    def type_in(*words: object, stdin: bytes = b"", main: Callable[[list[str]], int] = root.main) -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        code = main([str(word) for word in words])
        said = capsysbinary.readouterr()
        return Answer(code, said.out, said.err.decode())

    return type_in


@pytest.fixture
def say(type_in: Type, bundle: Path) -> Type:
    """`dia say` with the tiny model and a short pass; later words override."""

    def say(*words: object, stdin: bytes = b"", seed: int = 5, max_tokens: int = 40) -> Answer:
        common = ("--model", bundle, "--seed", seed, "--max-tokens", max_tokens)
        # The tiny model never ends by itself, so another take would be no better.
        given = set(map(str, words))
        is_open = "--audio-prompt" in given and not {"--transcript", "--transcript-file"} & given
        has_none = is_open or {"--one-pass", "--exact-text", "--server"} & given
        retakes = () if has_none else ("--retakes", 0)
        return type_in("say", *retakes, *words, *common, stdin=stdin)

    return say


@pytest.fixture
def recording(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tone of so many seconds and gives back its path."""
    from dia.media.encode import write_audio

    def recording(seconds: float, level: float = 0.3, name: str = "voice.wav") -> Path:
        path = tmp_path / name
        write_audio(path, (level * np.sin(np.arange(round(seconds * 16_000)) * 0.05)).astype(np.float32), 16_000)
        return path

    return recording


def refused(answer: Answer, code: int, *parts: str) -> None:
    """The command failed in one line that holds these parts, wrote nothing to stdout and showed no traceback."""
    assert answer.code == code, answer.err
    lines = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, answer.err
    assert answer.err.splitlines()[-1] == lines[0]
    assert "Traceback" not in answer.err
    assert answer.out == b""
    for part in parts:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"
