"""Loudness against the standard's own tone and FFmpeg's meter; normalising reaches the target under the limit."""

import math
from fractions import Fraction

import av
import numpy as np
import pytest

from dia.errors import BadParameter
from dia.media.loudness import integrated_loudness, normalise, true_peak
from tests.media.signals import RATE, tone, voice


def ffmpeg_loudness(waveform: np.ndarray, rate: int) -> float:
    """Integrated loudness by FFmpeg's ebur128 filter."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout="mono", time_base=Fraction(1, rate))
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    last = ""
    for start in range(0, len(waveform), rate // 10):
        frame = av.AudioFrame.from_ndarray(waveform[None, start : start + rate // 10], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        graph.push(frame)
        while True:
            try:
                last = graph.pull().metadata.get("lavfi.r128.I", last)
            except (av.BlockingIOError, av.EOFError):
                break
    return float(last)


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000, 96_000])
def test_the_reference_tone_reads_minus_three(rate: int) -> None:
    """BS.1770-4: a 997 Hz sine at 0 dBFS in one channel reads -3.01 LUFS; the bilinear filters shift a little at
    low rates, in every implementation."""
    tolerance = 0.01 if rate >= 44_100 else 0.05
    if rate == 96_000:
        tolerance = 0.02
    assert integrated_loudness(tone(5.0, 997.0, rate, 1.0), rate) == pytest.approx(-3.01, abs=tolerance)
    assert integrated_loudness(tone(5.0, 997.0, rate, 0.1), rate) == pytest.approx(-23.01, abs=tolerance)


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
def test_we_agree_with_ffmpeg(rate: int) -> None:
    rng = np.random.default_rng(1)
    noise = (rng.standard_normal(6 * rate) * 0.1).astype(np.float32)
    noise[2 * rate : 4 * rate] *= 0.003
    for waveform in (voice(4.0, rate), noise):
        assert integrated_loudness(waveform, rate) == pytest.approx(ffmpeg_loudness(waveform, rate), abs=0.02)


def test_filtering_in_blocks_equals_the_recurrence() -> None:
    """The slow obvious filter, sample by sample, with the recommendation's printed coefficients for 48 kHz."""
    waveform = np.random.default_rng(0).standard_normal(9 * 48_000 // 2) * 0.1
    stages = [
        ((1.53512485958697, -2.69169618940638, 1.19839281085285), (-1.69065929318241, 0.73248077421585)),
        ((1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621)),
    ]
    filtered = waveform.tolist()
    for (b0, b1, b2), (a1, a2) in stages:
        x1 = x2 = y1 = y2 = 0.0
        out = []
        for x in filtered:
            y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2
            x1, x2, y1, y2 = x, x1, y, y1
            out.append(y)
        filtered = out
    power = [np.mean(np.square(filtered[at : at + 19_200])) for at in range(0, len(filtered) - 19_199, 4_800)]
    expected = -0.691 + 10 * math.log10(np.mean(power))
    assert integrated_loudness(waveform, 48_000) == pytest.approx(expected, abs=1e-4)


def test_silence_and_nothing_have_no_loudness() -> None:
    for waveform in (np.zeros(RATE, np.float32), np.zeros(0, np.float32), tone(1.0, level=1e-5)):
        assert integrated_loudness(waveform, RATE) == -math.inf
    assert true_peak(np.zeros(100, np.float32), RATE) == -math.inf


def test_a_sound_shorter_than_a_block_is_measured_as_one() -> None:
    assert integrated_loudness(tone(0.2, 997.0, level=0.1), RATE) == pytest.approx(-23.0, abs=0.5)


def test_true_peak_sees_between_the_samples() -> None:
    """A quarter of the rate, sampled at 45 degrees: samples reach 0.707, the wave 1."""
    t = np.arange(RATE) / RATE
    waveform = np.sin(2 * np.pi * RATE / 4 * t + np.pi / 4).astype(np.float32)
    assert np.abs(waveform).max() == pytest.approx(0.7071, abs=1e-3)
    assert true_peak(waveform[1000:-1000] * np.hanning(RATE - 2000).astype(np.float32), RATE) == pytest.approx(
        0, abs=0.05
    )


@pytest.mark.parametrize("target", [-30.0, -23.0, -16.0])
@pytest.mark.parametrize("level", [0.01, 1.0])
def test_normalising_reaches_the_target_under_the_limit(target: float, level: float) -> None:
    result = normalise(voice(1.5) * np.float32(level), RATE, target, -1.0)
    assert result.dtype == np.float32
    assert integrated_loudness(result, RATE) == pytest.approx(target, abs=0.15)
    assert true_peak(result, RATE) <= -0.99


def test_the_limiter_holds_peaks_and_little_else() -> None:
    """One click in quiet speech: plain gain would lift it to +9 dB; away from it the gain is untouched."""
    waveform = voice(3.0) * np.float32(0.3)
    waveform[RATE : RATE + 20] = 0.9
    result = normalise(waveform, RATE, -22.0, -1.0)
    assert true_peak(result, RATE) <= -0.99
    gain = result[2 * RATE : 2 * RATE + 1000] / waveform[2 * RATE : 2 * RATE + 1000]
    assert gain.std() < 1e-5
    assert 20 * np.log10(gain.mean()) > 5


def test_what_needs_too_much_limiting_stays_below_the_target() -> None:
    result = normalise(voice(3.0), RATE, 0.0, -6.0)
    assert true_peak(result, RATE) <= -5.99
    assert np.isfinite(result).all()
    assert integrated_loudness(result, RATE) < -6.0


def test_silence_is_not_amplified() -> None:
    assert not normalise(np.zeros(RATE, np.float32), RATE).any()


@pytest.mark.parametrize(
    ("target", "limit"), [(0.1, -1.0), (-71.0, -1.0), (math.nan, -1.0), (-18.0, 0.1), (-18.0, -21.0)]
)
def test_impossible_targets_are_refused(target: float, limit: float) -> None:
    with pytest.raises(BadParameter, match="it must be"):
        normalise(tone(0.5), RATE, target, limit)


def test_loudness_needs_a_rate_that_holds_its_filters() -> None:
    with pytest.raises(BadParameter, match="4000 Hz"):
        integrated_loudness(tone(1.0, rate=4_000), 4_000)
