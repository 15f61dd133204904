"""Tempo changes, pitch and samples' company do not; a stream gives the samples of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.errors import BadParameter
from dia.media.stretch import Stretcher, stretch
from tests.media.signals import RATE, tone, voice

SPEEDS = [0.25, 0.5, 0.75, 0.9, 1.1, 1.5, 2.0, 3.0, 4.0]


def pitch_hz(waveform: np.ndarray, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 8 * len(waveform)))
    return float(np.argmax(spectrum) * rate / (8 * len(waveform)))


@pytest.mark.parametrize("speed", SPEEDS)
def test_length_follows_the_speed_and_pitch_does_not(speed: float) -> None:
    for frequency in (110.0, 220.0, 1000.0):
        changed = stretch(tone(1.5, frequency), RATE, speed)
        assert len(changed) == round(1.5 * RATE / speed)
        assert pitch_hz(changed) == pytest.approx(frequency, rel=0.005)


@pytest.mark.parametrize("speed", SPEEDS)
def test_joins_are_no_steeper_than_the_sound(speed: float) -> None:
    for waveform in (tone(2.0, 220.0), voice(3.0)):
        changed = stretch(waveform, RATE, speed)
        for order in (1, 2):
            assert np.abs(np.diff(changed, order)).max() < 1.3 * np.abs(np.diff(waveform, order)).max()


@pytest.mark.parametrize("speed", SPEEDS)
def test_level_and_rhythm_stay(speed: float) -> None:
    """Loudness in cells of a twentieth, laid over the original's at the new tempo: nothing lost or doubled."""
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 0.75 * np.arange(4 * RATE) / RATE)
    waveform = (tone(4.0, 150.0) * swell).astype(np.float32)
    changed = stretch(waveform, RATE, speed)
    parts = 20
    wanted, got = (
        np.sqrt([np.mean(part.astype(np.float64) ** 2) for part in np.array_split(sound, parts)])
        for sound in (waveform, changed)
    )
    assert np.corrcoef(wanted, got)[0, 1] > 0.95
    assert np.mean(got**2) == pytest.approx(np.mean(wanted**2), rel=0.25)


def test_speed_one_returns_the_same_samples() -> None:
    waveform = voice(0.5)
    assert stretch(waveform, RATE, 1.0) is waveform
    stretcher = Stretcher(RATE, 1.0)
    assert np.array_equal(np.concatenate([stretcher.push(waveform), stretcher.flush()]), waveform)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 9000),
    st.floats(0.25, 4.0),
    st.lists(st.integers(0, 3000), max_size=10),
    st.sampled_from([8_000, 24_000, 44_100]),
)
def test_a_stream_gives_the_samples_of_the_whole(length: int, speed: float, sizes: list[int], rate: int) -> None:
    waveform = voice(1.2, rate=rate)[:length]
    stretcher, at, pieces = Stretcher(rate, speed), 0, []
    for size in sizes:
        pieces.append(stretcher.push(waveform[at : at + size]))
        at += size
    pieces += [stretcher.push(waveform[at:]), stretcher.flush()]
    whole = stretch(waveform, rate, speed)
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len(whole) == round(len(waveform) / speed)


@pytest.mark.parametrize("speed", [0.25, 0.8, 1.5, 4.0])
def test_a_stream_runs_at_most_a_tenth_of_a_second_behind(speed: float) -> None:
    stretcher, out = Stretcher(RATE, speed), 0
    for number, chunk in enumerate(np.array_split(voice(2.0), 100), start=1):
        out += len(stretcher.push(chunk))
        assert out * speed / RATE > number * 0.02 - 0.1


def test_a_stream_keeps_only_what_it_needs() -> None:
    stretcher = Stretcher(RATE, 0.5)
    piece = voice(0.2)
    for _ in range(50):
        stretcher.push(piece)
    assert len(stretcher._input) < 0.2 * RATE


def test_silence_stays_silence() -> None:
    assert not stretch(np.zeros(RATE, np.float32), RATE, 0.7).any()


@pytest.mark.parametrize("speed", [0.0, 0.249, 4.001, -1.0, float("nan"), float("inf")])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(BadParameter, match=r"it must be 0\.25 to 4\.0"):
        Stretcher(RATE, speed)
