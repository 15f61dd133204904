"""The drift meter on made voices: pitch, level and pace that stay, and such that do not."""

import numpy as np
import pytest

from dia.narration.drift import Drift, drifts, hear, pitch_hz, strays
from dia.narration.timing import Phrase
from tests.narration.conftest import RATE_HZ

WORDS = "the quick brown fox jumps over it"


def voice(pitches_hz: list[float], levels: list[float], seconds: list[float]) -> tuple[np.ndarray, list[Phrase]]:
    """Buzzes one after another, each a phrase of the same words."""
    parts: list[np.ndarray] = []
    phrases = []
    place = 0
    for number, (hz, level, length_s) in enumerate(zip(pitches_hz, levels, seconds, strict=True)):
        times = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
        parts.append(level * sum(np.sin(2 * np.pi * hz * k * times) / k for k in range(1, 8)))
        phrases.append(Phrase("Ann", WORDS, number, place, place + len(times)))
        place += len(times)
    return np.concatenate(parts), phrases


def measured(pitches_hz: list[float], levels: list[float], seconds: list[float]) -> Drift:
    samples, phrases = voice(pitches_hz, levels, seconds)
    (drift,) = drifts(hear(samples, RATE_HZ, phrases))
    return drift


def test_a_voice_that_stays_has_no_drift():
    drift = measured([150.0] * 9, [0.1] * 9, [2.0] * 9)
    assert not drift.is_heard
    assert drift.pace == pytest.approx(1.0) and abs(drift.pitch_semitones) < 0.1 and abs(drift.level_db) < 0.1


@pytest.mark.parametrize(
    ("pitches_hz", "levels", "seconds", "told"),
    [
        ([150.0] * 6 + [200.0] * 3, [0.1] * 9, [2.0] * 9, "pitch +5.0 semitones"),
        ([150.0] * 9, [0.1] * 6 + [0.05] * 3, [2.0] * 9, "level -6.0 dB"),
        ([150.0] * 9, [0.1] * 9, [2.0] * 6 + [1.4] * 3, "pace +43 %"),
    ],
)
def test_a_voice_that_does_not_stay_is_told(
    pitches_hz: list[float], levels: list[float], seconds: list[float], told: str
):
    drift = measured(pitches_hz, levels, seconds)
    assert drift.is_heard
    assert "Ann from first to last third" in str(drift)
    number = float(told.split()[1])
    assert told.split()[0] in str(drift)
    found = {"pitch": drift.pitch_semitones, "level": drift.level_db, "pace": 100 * (drift.pace - 1)}
    assert found[told.split()[0]] == pytest.approx(number, abs=0.6)


def test_of_a_few_words_nothing_is_said():
    samples, phrases = voice([150.0] * 4, [0.1] * 4, [2.0] * 4)
    assert drifts(hear(samples, RATE_HZ, phrases)) == ()
    assert hear(np.zeros(RATE_HZ), RATE_HZ, [Phrase("Ann", WORDS, 0, 0, RATE_HZ)])[0].pitch_hz == 0.0


def test_a_piece_in_another_voice_than_its_recording_is_told():
    """Nobody compared a piece with the voice that it was to be said in."""
    prompt, _ = voice([160.0], [0.2], [3.0])
    pieces = [
        hear(samples, RATE_HZ, said)
        for samples, said in (voice([pitch] * 2, [0.1] * 2, [1.0] * 2) for pitch in (160.0, 200.0, 250.0, 100.0))
    ]
    found = strays(pieces, {"Ann": pitch_hz(prompt, RATE_HZ), "Bob": 160.0})
    assert [(stray.piece_idx, round(stray.semitones)) for stray in found] == [(2, 8), (3, -8)]
    assert "piece 3: Ann speaks 8 semitones above his voice" in str(found[0])
    assert "piece 4: Ann speaks 8 semitones below" in str(found[1])


def test_without_a_pitch_no_piece_strays():
    samples, said = voice([300.0], [0.1], [0.5])
    assert strays([hear(samples, RATE_HZ, said)], {"Ann": 100.0}) == ()  # too short to tell
    samples, said = voice([300.0], [0.1], [2.0])
    assert strays([hear(samples, RATE_HZ, said)], {"Ann": 0.0}) == ()  # a recording without a voice


def test_without_a_recording_of_his_own_a_speaker_is_compared_with_all_that_he_says():
    pieces = [
        hear(samples, RATE_HZ, said)
        for samples, said in (voice([hz] * 2, [0.1] * 2, [1.0] * 2) for hz in (160.0, 160.0, 160.0, 250.0))
    ]
    assert [stray.piece_idx for stray in strays(pieces, {})] == [3]
    assert strays(pieces[2:], {}) == ()
