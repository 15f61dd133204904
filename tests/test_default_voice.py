"""The voice that speaks where none is named: it lies in the checkpoint's folder and is a prompt like any other."""

from pathlib import Path

import numpy as np
import pytest

from dia.errors import BadParameter, CheckpointMismatch
from dia.model import NO_ROOM, Dia, VoicePrompt
from dia.prompts import read_voice, write_voice
from tests.tiny import write_bundle

TEXT = "[S1] Hello there. [S2] Hi."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = write_bundle(tmp_path_factory.mktemp("with voice"))
    codes = np.random.default_rng(0).integers(0, 1000, (12, 9))
    write_voice(place / "voice.safetensors", VoicePrompt(codes, "[S1] One. [S2] Two."))
    return place


@pytest.fixture(scope="module")
def dia(folder: Path) -> Dia:
    return Dia.from_pretrained(folder, device="cpu", load_dac=False)


def test_text_without_a_voice_is_spoken_by_the_default_one(dia: Dia):
    voice = dia.default_voice
    assert voice is not None
    with dia.stream(TEXT, params=dia.defaults.updated(seed=3, max_tokens=40)) as stream:
        assert stream.text.startswith("[S1] One. [S2] Two. [S1] Hello")
        alone = stream.run_codes()
    with dia.stream(TEXT, prompt=voice, params=dia.defaults.updated(seed=3, max_tokens=52)) as stream:
        named = stream.run_codes()
    assert np.array_equal(alone, named)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [(99_999, "max_tokens is 99999; one pass of this model has 256"), (5, "max_tokens is 5; at least 17 are needed")],
)
def test_what_is_asked_for_is_checked_before_the_voice_is_added(dia: Dia, rows: int, complaint: str):
    """99999 was cut to what the model has, and 5 was called 17, in silence."""
    with pytest.raises(BadParameter, match=complaint):
        dia.generate(TEXT, max_tokens=rows)


def test_a_named_voice_and_exact_text_are_left_alone(dia: Dia):
    other = dia.encode_prompt(np.ones((8, 9), np.int16), "[S1] Other.")
    for options in ({"prompt": other}, {"exact_text": True}):
        with dia.stream(TEXT, params=dia.defaults.updated(seed=3, max_tokens=40), **options) as stream:
            assert "One." not in stream.text


def test_a_text_that_leaves_no_room_is_spoken_without_it_and_says_so(dia: Dia):
    limit = dia.config.data.text_length
    long = "[S1] " + "word " * ((limit - 14) // 5)
    with dia.stream(long, params=dia.defaults.updated(seed=3, max_tokens=40)) as stream:
        assert NO_ROOM in stream.warnings
        assert "One." not in stream.text


def test_without_the_file_there_is_no_default_voice(folder: Path, tmp_path: Path):
    assert Dia.from_pretrained(write_bundle(tmp_path), device="cpu", load_dac=False).default_voice is None
    assert read_voice(folder / "voice.safetensors").transcript == "[S1] One. [S2] Two."
    with pytest.raises(CheckpointMismatch, match="no voice"):
        read_voice(next(tmp_path.glob("*.safetensors")))
