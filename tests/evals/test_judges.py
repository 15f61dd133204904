"""The real judges: do they react to what people would hear? Skipped where their packages are not installed."""

import numpy as np
import pytest

from dia.errors import DiaError, MissingExtra
from dia.evals import hearing, identity, naturalness
from dia.evals.packages import check_installed
from dia.evals.scoring import Judges, load_judges

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


def vowel(pitch_hz: float, formants_hz: tuple[float, ...], seconds: float = 2.0) -> np.ndarray:
    """A buzz through resonances: as near to a voice as a formula comes."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = np.zeros_like(times)
    for harmonic in range(1, int(7000 / pitch_hz)):
        frequency = harmonic * pitch_hz
        gain = sum(1 / (1 + ((frequency - formant) / 120) ** 2) for formant in formants_hz)
        sound += gain * np.sin(2 * np.pi * frequency * times)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


LOW, HIGH = vowel(100, (700, 1200, 2600)), vowel(230, (850, 1600, 3100))


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
def test_the_recogniser_hears_nothing_in_silence(judges: Judges):
    assert judges.hear(np.zeros(2 * RATE_HZ, np.float32)).text == ""


@pytest.mark.slow
def test_the_speaker_judge_tells_a_low_from_a_high_voice(judges: Judges):
    noise = np.random.default_rng(0).normal(0, 1e-3, len(LOW)).astype(np.float32)
    low, again, high = (judges.embed(sound) for sound in (LOW, 0.5 * LOW + noise, HIGH))
    assert float(low @ again) > float(low @ high) + 0.05


@pytest.mark.slow
def test_naturalness_falls_with_noise_and_lies_on_its_scale(judges: Judges):
    noise = np.random.default_rng(0).normal(0, 0.3, len(LOW)).astype(np.float32)
    clean, noisy, silent = (judges.rate(sound) for sound in (LOW, LOW + noise, 0 * LOW))
    assert clean > noisy
    assert all(1.0 <= score <= 5.0 for score in (clean, noisy, silent))


@pytest.mark.slow
def test_loading_leaves_no_false_torchaudio_behind(judges: Judges):
    import importlib.util
    import sys

    assert judges is not None
    assert "torchaudio" not in sys.modules or importlib.util.find_spec("torchaudio") is not None
    assert issubclass(MissingExtra, DiaError)
