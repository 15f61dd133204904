"""What is measured of a sound, and the codebooks that say it: pitch, phase, spectra, quantising as DacModel does it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dia.errors import BadInput, BadParameter, CheckpointMismatch, CheckpointNotFound
from dia.measured.analysis import AnalysisShape, analyse, voice_codes, voice_vectors
from dia.measured.books import VOICE_CHANNEL, Books, code_tables
from dia.measured.pitch import track_voice
from dia.train.books import fit_books, install
from dia.train.codec_net import build_dac
from dia.train.encoding import measure_codes
from dia.train.packing import CodePack
from dia.train.sound import SoundCorpus
from tests.train.small import ANALYSIS, SHAPE, small_books, small_corpus

RATE = 16000


def harmonics(frequency: np.ndarray, count: int = 8, start: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(a voice-like sound, the phase of its fundamental)."""
    phase = start + 2 * np.pi * np.cumsum(frequency) / RATE
    return 0.2 * sum(np.cos(k * phase) / k for k in range(1, count + 1)), phase


@pytest.mark.parametrize("low", [70.0, 120.0, 210.0, 300.0])
def test_a_gliding_voice_is_followed_in_frequency_and_phase(low: float):
    frequency = np.linspace(low, 1.2 * low, RATE)
    sound, phase = harmonics(frequency, start=1.0)
    found = track_voice(sound, RATE)
    inner = slice(RATE // 10, -RATE // 10)
    assert np.abs(found.frequency_hz[inner] / frequency[inner] - 1).max() < 0.02
    assert np.abs(np.angle(np.exp(1j * (found.phase[inner] - phase[inner])))).max() < 0.2


def test_noise_and_silence_have_no_voice():
    rng = np.random.default_rng(0)
    assert not track_voice(np.zeros(RATE), RATE).frequency_hz.any()
    noise = track_voice(0.1 * rng.normal(size=RATE), RATE)
    assert (noise.frequency_hz > 0).mean() < 0.1
    assert np.isnan(noise.phase[noise.frequency_hz == 0]).all()


def test_a_voice_code_tells_the_next_ones_phase():
    shape = AnalysisShape()
    sound, phase = harmonics(150 + 40 * np.sin(np.arange(2 * RATE) / 3000))
    codes = voice_codes(sound, shape)[2:-2]
    assert (codes < shape.voiceless).all()
    start, advance = codes // shape.advances, codes % shape.advances + shape.least_advance
    assert ((start[:-1] + advance[:-1]) % shape.phases == start[1:]).all()
    wanted = np.round(phase[::400][2:-2] * shape.phases / (2 * np.pi)) % shape.phases
    off = (start - wanted + shape.phases // 2) % shape.phases - shape.phases // 2
    assert np.abs(off).max() <= 1


def test_voice_vectors_turn_with_the_phase_and_are_all_different():
    shape = AnalysisShape()
    vectors = voice_vectors(shape)
    assert vectors.shape == (1024, 128)
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = (vectors @ vectors.T) / lengths[:, None] / lengths
    np.fill_diagonal(cosines, -1)
    assert cosines[: shape.voiceless, : shape.voiceless].max() < 0.9999
    assert cosines[shape.voiceless, : shape.voiceless].max() < 0.5


def test_spectra_measure_a_tone_in_its_band_and_silence_at_the_floor():
    shape = AnalysisShape()
    tone = analyse(np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE), shape).spectra
    assert tone.shape == (40, 320)
    loudest = tone[20].reshape(4, 80).argmax(1)
    assert (loudest == loudest[0]).all()
    assert tone[20].max() == pytest.approx(-0.6, abs=0.15)
    assert (analyse(np.zeros(1000), shape).spectra == np.float32(-4.5)).all()


def test_a_dac_holding_the_books_finds_the_same_codes(tmp_path: Path):
    corpus = small_corpus(tmp_path)
    books = small_books(corpus)
    one = analyse(corpus.waveform(corpus.clips[0]), ANALYSIS)
    codes = books.encode(one)
    model = build_dac(SHAPE, 3, 32, 16, 0)
    install(books, model.quantizer)
    exact = torch.from_numpy((one.spectra - books.mean) @ books.directions) / torch.from_numpy(books.spread).sqrt()
    voice = torch.from_numpy(voice_vectors(ANALYSIS)[one.voice])
    model.requires_grad_(False)
    hidden = torch.zeros(len(codes), model.config.hidden_size)
    hidden[:, : exact.shape[1]] = exact
    hidden[:, exact.shape[1] : exact.shape[1] + 16] = voice
    found = model.quantizer(hidden.T[None])[1][0].T.numpy()
    assert (found == codes).mean() > 0.99
    back = model.quantizer.from_codes(torch.from_numpy(codes.T.astype(np.int64))[None])[0][0].T
    left = [float((exact - back[:, : exact.shape[1]]).square().mean()), float(exact.square().mean())]
    assert left[0] < 0.2 * left[1]


def test_later_books_come_closer_and_files_come_back(tmp_path: Path):
    corpus = small_corpus(tmp_path / "sound")
    books = small_books(corpus)
    books.save(tmp_path / "books")
    again = Books.open(tmp_path / "books")
    assert again.shape == books.shape
    assert all(
        np.array_equal(getattr(again, n), getattr(books, n)) for n in ("mean", "directions", "spread", "tables")
    )
    assert code_tables(again).shape == (3, 32, 16)
    with pytest.raises(CheckpointNotFound):
        Books.open(tmp_path / "none")
    CodePack.save(measure_codes(tmp_path / "sound", tmp_path / "books", tmp_path / "codes"), tmp_path / "codes")
    with pytest.raises(CheckpointMismatch, match="no codebooks"):
        Books.open(tmp_path / "codes")


def test_measured_codes_are_those_of_each_clip(tmp_path: Path):
    corpus = small_corpus(tmp_path / "sound")
    books = small_books(corpus)
    books.save(tmp_path / "books")
    pack = measure_codes(tmp_path / "sound", tmp_path / "books", tmp_path / "codes")
    for clip, coded in zip(corpus.clips, pack.clips, strict=True):
        assert (pack.clip_codes(coded) == books.encode(analyse(corpus.waveform(clip), ANALYSIS))).all()
    assert (pack.silence[:, VOICE_CHANNEL] == ANALYSIS.voiceless).all()
    assert pack.frame_rate_hz == 250


def test_too_little_sound_too_many_directions_and_another_rate_are_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="too few"):
        fit_books([analyse(np.zeros(320), ANALYSIS)], ANALYSIS, directions=4)
    with pytest.raises(BadParameter, match="directions"):
        fit_books([], ANALYSIS, directions=16)
    books = small_books(small_corpus(tmp_path / "sound"))
    books.save(tmp_path / "books")
    corpus = SoundCorpus.open(tmp_path / "sound")
    (tmp_path / "sound" / "index.json").write_text(
        (tmp_path / "sound" / "index.json").read_text().replace(str(corpus.sample_rate_hz), "16000", 1)
    )
    with pytest.raises(BadParameter, match="16000 Hz"):
        measure_codes(tmp_path / "sound", tmp_path / "books", tmp_path / "codes")
