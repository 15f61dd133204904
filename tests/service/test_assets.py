"""What ships with the package: the small model, its codec, its default voices and the prompts of the built-in ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import dia
from dia.hub import BUNDLED
from dia.media.read import read_audio
from dia.model import Dia
from dia.service.voices import BUILTINS

ASSETS = Path(dia.__file__).parent / "assets"
VOICES = ASSETS / "voices"


@pytest.fixture(scope="module")
def small():
    loaded = Dia.from_pretrained(BUNDLED, device="cpu", slots=2)
    yield loaded
    loaded.close()


def test_everything_together_is_small():
    weights = sum(path.stat().st_size for path in BUNDLED.rglob("*.safetensors"))
    assert 20e6 < weights <= 48e6
    assert sum(path.stat().st_size for path in VOICES.iterdir()) < 1e6


def test_the_small_model_speaks_in_two_default_voices(small: Dia):
    voice = small.default_voice
    assert voice is not None
    assert voice.transcript.startswith("[S1] ")
    assert " [S2] " in voice.transcript
    sound = small.generate("[S1] Hello there. [S2] Good morning.", seed=1, max_tokens=120)
    assert small.sample_rate_hz == 16_000
    assert len(sound) > 16_000
    assert 0.01 < float(np.sqrt(np.mean(np.square(sound)))) < 0.5


@pytest.mark.parametrize("voice", [voice.id for voice in BUILTINS])
def test_a_built_in_voice_has_a_recording_its_words_and_the_small_models_codes(small: Dia, voice: str):
    facts = json.loads((VOICES / f"{voice}.json").read_text())
    assert facts["transcript"].strip()
    assert facts["model_hash"] == small.model_hash
    recording = read_audio(VOICES / f"{voice}.opus", sample_rate_hz=24_000)
    codes = load_file(VOICES / f"{voice}.safetensors")["codes"]
    assert 2.5 < len(recording) / 24_000 < 6
    assert len(codes) / small.frame_rate_hz == pytest.approx(len(recording) / 24_000, abs=0.3)
    prompt = small.encode_prompt(codes, facts["transcript"])
    sound = small.generate("[S1] Good morning to all of you.", audio_prompt=prompt, seed=1, max_tokens=len(codes) + 40)
    assert len(sound) > 1000


def test_built_in_voices_are_different_recordings():
    transcripts = [json.loads((VOICES / f"{voice.id}.json").read_text())["transcript"] for voice in BUILTINS]
    assert len(set(transcripts)) == len(BUILTINS)
    codes = [load_file(VOICES / f"{voice.id}.safetensors")["codes"] for voice in BUILTINS]
    assert len({code.tobytes() for code in codes}) == len(codes)


def test_built_in_voices_are_taken_in_with_their_prompts(make_service):
    from dia.service.bundled import bundle_voices

    service = make_service()
    assert bundle_voices(service.voices, service.prompts, VOICES) == tuple(voice.id for voice in BUILTINS)
