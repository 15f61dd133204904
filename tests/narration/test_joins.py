"""Segments and levels on made sound: soft ends, room tone, tempo by speaker, one loudness, peaks held."""

from collections.abc import Callable

import numpy as np
import pytest

from dia.errors import BadParameter
from dia.media.loudness import integrated_loudness, true_peak
from dia.narration.balance import SpeakerLevels, balanced
from dia.narration.delivery import Delivery
from dia.narration.joins import make_segment
from dia.narration.levels import Limiter, limit, programme_gain_db
from dia.narration.timing import Phrase, find_phrases, place_phrases, quietest
from dia.narration.tone import room_tone
from dia.text.plan import Gaps, Limits, Piece
from dia.text.planner import plan
from tests.narration.conftest import RATE_HZ

Speech = Callable[..., np.ndarray]


def one_piece(text: str) -> Piece:
    (piece,) = plan(text, limits=Limits(1024, 3056, 86.13), short_text="plain").pieces
    return piece


def dbfs(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-20))


def test_joins_of_segments_step_less_than_the_sound_itself(speech: Speech):
    takes = [speech(("say", 1.0), rate_hz=44_100) * level for level in (1.0, 0.3, 2.0)]
    segments = [
        make_segment(take, 44_100, [Phrase("S1", "So.", 0, 100, len(take) - 77)], pause_s=pause_s, seed=number).samples
        for number, (take, pause_s) in enumerate(zip(takes, (0.0, 0.25, 0.0), strict=True))
    ]
    steps = np.concatenate([np.abs(np.diff(samples)) for samples in segments])
    joints = [abs(float(b[0] - a[-1])) for a, b in zip(segments, segments[1:], strict=False)]
    assert max(joints) <= np.percentile(steps, 99.9)
    raw = [abs(float(b[0] - a[-1])) for a, b in zip(takes, takes[1:], strict=False)]
    assert max(joints) < max(raw)


def test_a_pause_has_its_length_and_the_floor_of_the_piece(speech: Speech):
    take = speech(("say", 1.0), ("silence", 0.3), ("say", 0.5)) + 0.0
    floor = dbfs(take[round(1.05 * RATE_HZ) : round(1.25 * RATE_HZ)])
    segment = make_segment(
        take, RATE_HZ, [Phrase("S1", "So.", 0, 0, len(take))], pause_s=0.8, pause_after_s=0.4, seed=1
    )
    assert len(segment.samples) == len(take) + round(1.2 * RATE_HZ)
    pause = segment.samples[100 : round(0.7 * RATE_HZ)]
    assert np.all(np.abs(pause).reshape(-1, 100).max(axis=1) > 0)
    assert dbfs(pause) == pytest.approx(floor, abs=3.0)
    assert segment.phrases[0].start == round(0.8 * RATE_HZ)
    inner = slice(round(0.9 * RATE_HZ), round(0.8 * RATE_HZ) + len(take) - 200)
    assert np.array_equal(segment.samples[inner], take[inner.start - round(0.8 * RATE_HZ) : len(take) - 200])


def test_a_long_silence_between_words_loses_its_middle_and_words_stay(speech: Speech):
    take = speech(("say", 1.0), ("silence", 3.0), ("say", 0.5), ("silence", 0.6), ("say", 0.5))
    words = [Phrase("S1", "So.", 0, 0, 2 * RATE_HZ), Phrase("S2", "Go.", 1, 2 * RATE_HZ, len(take))]
    plain = make_segment(take, RATE_HZ, words, pause_s=0.0, seed=1)
    short = make_segment(take, RATE_HZ, words, pause_s=0.0, longest_silence_s=1.2, seed=1)
    gone = len(plain.samples) - len(short.samples)
    assert gone / RATE_HZ == pytest.approx(3.0 - 1.2, abs=0.05)
    for kept in (slice(200, round(1.4 * RATE_HZ)), slice(-round(1.9 * RATE_HZ), -200)):
        assert np.array_equal(short.samples[kept], plain.samples[kept])
    assert np.abs(np.diff(short.samples)).max() <= np.abs(np.diff(plain.samples)).max()
    # The edge of the phrases lay in what is gone.
    assert short.phrases[0].end == short.phrases[1].start and 1.0 < short.phrases[1].start / RATE_HZ < 2.2
    assert short.phrases[1].end == plain.phrases[1].end - gone
    same = make_segment(take, RATE_HZ, words, pause_s=0.0, longest_silence_s=3.2, seed=1)
    assert np.array_equal(same.samples, plain.samples)


def test_balanced_speakers_have_one_loudness_and_each_one_gain(speech: Speech):
    loud, soft = speech(("say", 2.0)), 0.4 * speech(("say", 2.0))
    first = (
        np.concatenate([loud, soft]),
        (Phrase("S1", "a", 0, 0, 2 * RATE_HZ), Phrase("S2", "b", 1, 2 * RATE_HZ, 4 * RATE_HZ)),
    )
    second = (soft[:RATE_HZ], (Phrase("S2", "c", 2, 0, RATE_HZ),))
    levels = SpeakerLevels()
    for samples, phrases in (first, second):
        levels.add(samples, RATE_HZ, phrases)
    gains = levels.gains_db()
    assert gains["S2"] - gains["S1"] == pytest.approx(-20 * np.log10(0.4), abs=0.3)
    assert gains["S1"] + gains["S2"] == pytest.approx(0.0, abs=0.02)
    samples = balanced(*first[:1], RATE_HZ, first[1], gains)
    a, b = (integrated_loudness(part, RATE_HZ) for part in (samples[: 2 * RATE_HZ], samples[2 * RATE_HZ :]))
    assert a == pytest.approx(b, abs=0.3)
    assert np.abs(np.diff(samples)).max() < 1.1 * np.abs(np.diff(loud)).max()
    assert np.allclose(balanced(second[0], RATE_HZ, second[1], gains), second[0] * 10 ** (gains["S2"] / 20), atol=1e-6)
    quiet = SpeakerLevels()
    quiet.add(np.concatenate([loud, 0.02 * loud]), RATE_HZ, first[1])
    assert quiet.gains_db() == {"S1": -9.0, "S2": 9.0}


def test_a_gap_after_turns_is_kept_inside_a_piece_too_where_a_silence_parts_them(speech: Speech):
    """`--gap turn=1` changed nothing between two speakers in one piece, which most are."""
    take = speech(("say", 1.0), ("silence", 0.2), ("say", 0.8), ("silence", 0.3), ("say", 0.6))
    edges = [round(seconds * RATE_HZ) for seconds in (0.0, 1.05, 2.1, 2.9)]
    names = ("Ann", "Bob", "Bob")
    phrases = [
        Phrase(name, "So.", turn, start, end)
        for turn, (name, start, end) in enumerate(zip(names, edges, edges[1:], strict=False))
    ]
    plain = make_segment(take, RATE_HZ, phrases, pause_s=0.1, seed=1)
    wide = make_segment(take, RATE_HZ, phrases, pause_s=0.1, turn_gap_s=1.0, seed=1)
    added = round(0.8 * RATE_HZ)
    assert len(wide.samples) - len(plain.samples) == pytest.approx(added, abs=RATE_HZ // 50)
    added = len(wide.samples) - len(plain.samples)
    middle = wide.phrases[0].end
    assert middle == pytest.approx(round(1.2 * RATE_HZ), abs=RATE_HZ // 50)
    fade, words = round(0.02 * RATE_HZ), round(0.12 * RATE_HZ)
    assert np.array_equal(wide.samples[words:middle], plain.samples[words:middle])
    assert np.array_equal(wide.samples[middle + added : -fade], plain.samples[middle:-fade])
    assert dbfs(wide.samples[middle : middle + added]) < -60
    assert [phrase.start for phrase in wide.phrases[1:]] == [middle + added, plain.phrases[2].start + added]
    assert wide.phrases[-1].end == plain.phrases[-1].end + added
    narrow = make_segment(take, RATE_HZ, phrases, pause_s=0.1, turn_gap_s=0.05, seed=1)
    assert np.array_equal(narrow.samples, plain.samples)
    close = speech(("say", 2.9))
    for gap_s in (0.0, 1.0):
        assert len(make_segment(close, RATE_HZ, phrases, pause_s=0.1, turn_gap_s=gap_s).samples) == 3.0 * RATE_HZ


def test_room_tone_is_never_dead_never_loud_and_repeats_by_its_seed(speech: Speech):
    for take, low, high in (
        (np.zeros(RATE_HZ, np.float32), -87, -81),
        (speech(("burst", 1.0)), -61, -55),
        (np.zeros(3, np.float32), -87, -81),
    ):
        tone = room_tone(take, RATE_HZ, RATE_HZ, 3)
        assert low < dbfs(tone) < high
        assert np.array_equal(tone, room_tone(take, RATE_HZ, RATE_HZ, 3))
        assert not np.array_equal(tone, room_tone(take, RATE_HZ, RATE_HZ, 4))
    assert len(room_tone(take, RATE_HZ, 0, 1)) == 0


def test_each_speaker_has_a_tempo_of_his_own(speech: Speech):
    take = speech(("say", 1.0), ("silence", 0.2), ("say", 1.0))
    half = round(1.1 * RATE_HZ)
    phrases = [Phrase("A", "One.", 0, 0, half), Phrase("B", "Two.", 1, half, len(take))]
    segment = make_segment(take, RATE_HZ, phrases, pause_s=0.0, speeds={"A": 2.0, "B": 0.5})
    first, second = segment.phrases
    assert first.end - first.start == pytest.approx(half / 2, abs=2)
    assert second.end - second.start == pytest.approx(2 * (len(take) - half), abs=2)
    assert second.end == pytest.approx(len(segment.samples), abs=2)


def test_phrases_cover_the_take_keep_every_word_and_begin_in_the_pauses(speech: Speech):
    piece = one_piece("[S1] Good morning to you. How are you today? [S2] Very well.")
    take = speech(("say", 1.4), ("silence", 0.2), ("say", 1.5), ("silence", 0.2), ("say", 0.8))
    phrases = find_phrases(piece, take, RATE_HZ, 0, len(take))
    assert " ".join(phrase.text for phrase in phrases) == piece.words
    assert [phrase.speaker for phrase in phrases] == ["S1", "S1", "S2"]
    assert phrases[0].start == 0 and phrases[-1].end == len(take)
    assert all(a.end == b.start for a, b in zip(phrases, phrases[1:], strict=False))
    assert 1.4 < phrases[1].start / RATE_HZ < 1.6 and 3.1 < phrases[2].start / RATE_HZ < 3.3
    edges = [phrase.start for phrase in phrases] + [phrases[-1].end]
    assert place_phrases(piece, edges) == phrases
    assert quietest(take, RATE_HZ, 5, 9, 7) == 7


def test_the_limiter_gives_the_same_samples_however_the_stream_is_cut(speech: Speech):
    take = np.concatenate([speech(("say", 0.5)), speech(("say", 0.3)) * 4, speech(("say", 0.5))])
    whole = limit(take, RATE_HZ, 6.0, -1.0)
    generator = np.random.default_rng(1)
    limiter, parts, place = Limiter(RATE_HZ, 6.0, -1.0), [], 0
    while place < len(take):
        size = int(generator.integers(1, 900))
        parts.append(limiter.push(take[place : place + size]))
        place += size
    assert np.array_equal(np.concatenate([*parts, limiter.flush()]), whole)
    assert len(whole) == len(take)
    assert true_peak(whole, RATE_HZ) <= -0.9
    assert true_peak(take * 2, RATE_HZ) > 3.0
    quiet = speech(("say", 0.5))
    assert np.allclose(limit(quiet, RATE_HZ, 3.0, -1.0), quiet * 10 ** (3 / 20), atol=1e-6)
    assert len(limit(np.zeros(0, np.float32), RATE_HZ, 3.0, -1.0)) == 0


@pytest.mark.parametrize("target", [-14.0, -18.0, -27.0])
def test_one_gain_brings_a_programme_to_its_loudness(speech: Speech, target: float):
    parts = [speech(("say", 2.0), ("silence", 0.5)), speech(("say", 1.5)) * 3, speech(("say", 1.0)) * 0.2]
    gain_db = programme_gain_db(parts, RATE_HZ, target, -1.0)
    whole = np.concatenate([limit(part, RATE_HZ, gain_db, -1.0) for part in parts])
    assert integrated_loudness(whole, RATE_HZ) == pytest.approx(target, abs=0.5)
    assert true_peak(whole, RATE_HZ) <= -0.9
    assert programme_gain_db([np.zeros(RATE_HZ, np.float32)], RATE_HZ, target, -1.0) == 0.0


def test_a_delivery_refuses_what_cannot_be(speech: Speech):
    for wrong in ({"speed": 9.0}, {"speeds": {"A": 0.1}}, {"loudness_lufs": 3.0}, {"true_peak_dbtp": 2.0}):
        with pytest.raises(BadParameter):
            Delivery(**wrong)  # type: ignore[arg-type]
    delivery = Delivery(speed=1.5, speeds={"Bob": 1.0}, gaps=Gaps(turn_s=2.0))
    assert delivery.speeds_of(["Alice", "Bob"]) == {"Alice": 1.5, "Bob": 1.0}
    with pytest.raises(BadParameter, match="Bob"):
        delivery.check_names(["Alice"])
