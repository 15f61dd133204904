"""Good recordings pass without a word; each fault is found by its own name, with a sentence."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from dia.errors import BadParameter, BadPrompt
from dia.media.prompt_check import check_prompt, require_usable
from dia.media.read import resample
from tests.media.signals import RATE, tone, voice


def noise(count: int, level: float) -> np.ndarray:
    return (np.random.default_rng(3).standard_normal(count) * level).astype(np.float32)


GOOD = voice(6.0)
FAULTS = {
    "too_short": (GOOD[: RATE // 2 - 100], "0.50 s; at least 0.5 s"),
    "too_long": (np.tile(GOOD, 11), "66.00 s; at most 60 s; cut it shorter"),
    "short": (GOOD[RATE // 4 : RATE], "0.75 s; best from 3 s up"),
    "long": (np.tile(GOOD, 4), "24.00 s; best up to 20 s"),
    "silent": (noise(6 * RATE, 1e-5), "silent, its level is -9"),
    "clipped": (np.clip(GOOD * 8, -1, 1), "of the samples are clipped; at most 0.1 %"),
    "quiet": (GOOD * np.float32(0.05), "LUFS; best above -40"),
    "noisy": (GOOD + noise(len(GOOD), 0.02), "dB above the noise; best above 25"),
    "pauses": (np.concatenate([GOOD[: 3 * RATE], noise(8 * RATE, 1e-5)]), "% of the recording is pause"),
    "muffled": (resample(resample(GOOD, RATE, 4_000), 4_000, RATE), "the sound ends at 1,"),
}


def test_a_good_recording_has_no_findings() -> None:
    report = check_prompt(GOOD, RATE)
    assert report.findings == ()
    assert report.is_usable
    require_usable(report)
    assert report.duration_s == 6.0
    assert report.snr_db is not None
    assert report.snr_db > 40
    assert -30 < report.loudness_lufs < -10
    assert 5_000 < report.bandwidth_hz < 15_000


@pytest.mark.parametrize("fault", list(FAULTS))
def test_each_fault_is_named_with_value_limit_and_cure(fault: str) -> None:
    waveform, words = FAULTS[fault]
    findings = {finding.name: finding for finding in check_prompt(waveform, RATE).findings}
    assert fault in findings
    assert words in findings[fault].message
    assert findings[fault].message.count("; ") == 2


@pytest.mark.parametrize("fault", ["too_short", "too_long", "silent"])
def test_useless_recordings_are_refused(fault: str) -> None:
    report = check_prompt(FAULTS[fault][0], RATE)
    assert not report.is_usable
    with pytest.raises(BadPrompt):
        require_usable(report)


@pytest.mark.parametrize("fault", ["short", "long", "clipped", "quiet", "noisy", "pauses", "muffled"])
def test_poor_recordings_are_only_warned_about(fault: str) -> None:
    report = check_prompt(FAULTS[fault][0], RATE)
    require_usable(report)
    assert {finding.severity for finding in report.findings} == {"warning"}


def test_measured_noise_is_the_noise() -> None:
    report = check_prompt(GOOD + noise(len(GOOD), 0.01), RATE)
    assert report.noise_floor_dbfs == pytest.approx(-40, abs=1)


def test_a_normalised_peak_is_not_clipping() -> None:
    assert check_prompt(GOOD / np.abs(GOOD).max(), RATE).clipped_share == 0.0


@pytest.mark.parametrize("length", [0, 1, 100])
def test_almost_nothing_gives_a_report_that_json_can_hold(length: int) -> None:
    report = check_prompt(np.zeros(length, np.float32), RATE)
    json.dumps(asdict(report), allow_nan=False)
    assert report.findings[0].name == "too_short"


def test_a_steady_tone_has_no_noise_to_measure() -> None:
    assert check_prompt(tone(4.0), RATE).snr_db is None


def test_only_mono_floats_are_taken() -> None:
    with pytest.raises(BadParameter, match="mono floats"):
        check_prompt(np.zeros((2, 10), np.float32), RATE)
