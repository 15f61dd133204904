"""`dia say --proofread`. The recogniser is a module of its package's name that understands the same whatever it hears."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dia.cli.proofreading import load_proofreader
from tests.cli.conftest import Type, refused


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Stands in for faster-whisper; gives what it was loaded and asked with."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class WhisperModel:
        def __init__(self, size: str, **options: Any) -> None:
            calls.append((size, options))

        def transcribe(self, waveform: Any, **options: Any) -> Any:
            calls.append(("heard", {"seconds": len(waveform) / 16_000, **options}))
            return [SimpleNamespace(text=" Good morning to him.")], SimpleNamespace(language="en")

    module = ModuleType("faster_whisper")
    module.__spec__ = ModuleSpec("faster_whisper", None)
    module.WhisperModel = WhisperModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    load_proofreader.cache_clear()
    yield calls
    load_proofreader.cache_clear()


def test_each_take_is_heard_and_what_stays_wrong_is_told(
    type_in: Type, bundle: Path, tmp_path: Path, whisper: list[tuple[str, dict[str, Any]]]
):
    words = ("--model", bundle, "--seed", 5, "--max-tokens", 110, "--retakes", 1, "--offline", "--json")
    answer = type_in("say", "[S1] Good morning to you.", "-o", tmp_path / "a.wav", "--proofread", "base", *words)
    assert answer.code == 0, answer.err
    loaded, *heard = whisper
    assert loaded == ("base", {"device": "auto", "compute_type": "auto", "local_files_only": True})
    assert len(heard) == 2
    assert all(options["language"] == "en" and options["seconds"] > 0.1 for _, options in heard)
    assert "words heard as others: 1" in answer.err
    report = json.loads(answer.out)
    assert "misread" in report["pieces"][0]["problems"]


def test_proofreading_is_refused_where_it_cannot_be(
    type_in: Type, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ("say", "Hello there.", "--model", bundle, "--proofread", "base")
    refused(type_in(*words, "-o", "-"), 2, "--proofread", "--output")
    refused(type_in(*words, "-o", tmp_path / "a.wav", "--one-pass"), 2, "--proofread")
    refused(type_in(*words, "-o", tmp_path / "a.wav", "--server", "http://127.0.0.1:9"), 2, "--proofread")
    monkeypatch.setattr("dia.cli.proofreading.is_installed", lambda module: False)
    refused(type_in(*words, "-o", tmp_path / "a.wav"), 1, "--proofread needs faster-whisper", "pip install")
    assert not (tmp_path / "a.wav").exists()
