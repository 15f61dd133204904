"""The real judges: do they react to what people would hear? Skipped where their packages are not installed."""

import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dia.errors import MissingExtra
from dia.evals import hearing, identity, naturalness
from dia.evals.packages import check_installed
from dia.evals.scoring import Judges, load_judges, score_take
from dia.evals.speakers import nearest_voice, similarity
from dia.evals.takes import Take, read_folder
from dia.text.alignment import align, word_error_rate
from dia.text.words import normalise

MODULES = (*hearing.MODULES, *identity.MODULES, *naturalness.MODULES)
RATE_HZ = 16_000


def why_skipped() -> str | None:
    try:
        check_installed(MODULES)
    except MissingExtra as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Judges:
    missing = why_skipped()
    if missing:
        pytest.skip(missing)
    return load_judges(1, tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def speech() -> dict[str, Take]:
    """Two sentences each of a high and a low voice: high1, high2, low1, low2."""
    return {take.name: take for take in read_folder(Path(__file__).parent / "speech", RATE_HZ)}


def word_errors(judges: Judges, takes: Iterable[Take]) -> float:
    """Word error rate of all takes together."""
    return word_error_rate([align(normalise(take.text), normalise(judges.hear(take.waveform).text)) for take in takes])


def test_mel_frames_equal_a_second_implementation():
    audio_utils = pytest.importorskip("transformers.audio_utils")
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)
    bank = audio_utils.mel_filter_bank(201, 40, 0.0, 8000.0, RATE_HZ, norm="slaney", mel_scale="slaney")
    wanted = audio_utils.spectrogram(
        noise,
        audio_utils.window_function(400, "hann"),
        frame_length=400,
        hop_length=160,
        power=2.0,
        pad_mode="constant",
        mel_filters=bank,
        mel_floor=0.0,
    ).T
    assert identity.mel_frames(noise) == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_the_encoder_takes_silence_short_and_long_sound():
    encoder = identity.SpeakerEncoder().eval().requires_grad_(False)
    for samples in (0, 100, RATE_HZ, 5 * RATE_HZ):
        embedding = encoder.embed(np.full(samples, 1e-2, np.float32))
        assert embedding.shape == (256,) and np.isfinite(embedding).all()


def test_a_missing_judge_is_an_error_and_never_skipped():
    if why_skipped() is None:
        pytest.skip("all judges are installed here")
    with pytest.raises(MissingExtra, match="pip install"):
        load_judges(1)


@pytest.mark.slow
def test_words_are_heard_in_speech_and_not_in_reversed_speech(judges: Judges, speech: dict[str, Take]):
    assert word_errors(judges, speech.values()) <= 0.15
    backwards = [replace(take, waveform=take.waveform[::-1]) for take in speech.values()]
    assert word_errors(judges, backwards) >= 0.8


@pytest.mark.slow
def test_speech_that_ends_with_its_last_word_has_no_junk(judges: Judges, speech: dict[str, Take]):
    take = speech["high1"]
    babble = replace(take, waveform=np.concatenate([take.waveform, speech["low2"].waveform[::-1]]))
    assert score_take(take, judges, {}).junk_s <= 0.3
    assert score_take(babble, judges, {}).junk_s > 1.0


@pytest.mark.slow
def test_the_speaker_judge_tells_a_low_from_a_high_voice(judges: Judges, speech: dict[str, Take]):
    voices = {name: judges.embed(take.waveform) for name, take in speech.items()}
    known = {"high": voices["high1"], "low": voices["low1"]}
    assert nearest_voice(voices["high2"], known) == "high" and nearest_voice(voices["low2"], known) == "low"
    assert similarity(voices["low1"], voices["low2"]) > similarity(voices["low1"], voices["high2"]) + 0.1


@pytest.mark.slow
def test_naturalness_falls_with_every_degradation(judges: Judges, speech: dict[str, Take]):
    sound = speech["high1"].waveform
    noise = np.random.default_rng(0).normal(0, float(sound.std()), len(sound)).astype(np.float32)
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / RATE_HZ) > 2000] = 0
    muffled = np.fft.irfft(spectrum, len(sound)).astype(np.float32)
    coarse = np.round(sound * 12).astype(np.float32) / 12
    clean = judges.rate(sound)
    assert clean > 3.5
    for worse in (sound + noise, muffled, coarse, 0 * sound, sound[::-1]):
        assert 1.0 <= judges.rate(worse) < clean - 0.7


@pytest.mark.slow
def test_loading_leaves_no_false_torchaudio_behind(judges: Judges):
    assert judges is not None
    assert "torchaudio" not in sys.modules or importlib.util.find_spec("torchaudio") is not None
