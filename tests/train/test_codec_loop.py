"""Codec training: spectral distances, calibration, learning, exact resume, export, improving a finished codec."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dia.codec import Codec
from dia.errors import BadParameter, CheckpointMismatch
from dia.measured.books import Books
from dia.measured.mel import mel_filters
from dia.train.codec_loop import CodecTrainer, finish_codec, train_codec
from dia.train.codec_loss import LowBandPhase, MultiScaleMel
from dia.train.codec_net import build_dac, calibrate
from dia.train.discriminator import Discriminator, decoder_losses, judge_loss
from dia.train.encoding import measure_codes
from dia.train.frames import FrameSampler
from dia.train.packing import CodePack
from dia.train.run import load_state, read_metrics
from dia.train.sound import SoundCorpus
from tests.train.small import RATE_HZ, SHAPE, codec_config, small_books, small_corpus


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of tones with its books and codes."""
    folder = tmp_path_factory.mktemp("codec")
    small_books(small_corpus(folder / "sound", clips=40)).save(folder / "books")
    measure_codes(folder / "sound", folder / "books", folder / "codes")
    return folder


@pytest.fixture(scope="module")
def exported(work: Path) -> Path:
    """A few steps of a codec, exported."""
    train_codec(codec_config(), work / "sound", work / "codes", work / "books", work / "run")
    finish_codec(codec_config(), work / "books", work / "run", work / "codec")
    return work


def trainer_in(work: Path, source: Path | None = None, **changes: object) -> CodecTrainer:
    from dia.train.codec_loop import open_source

    corpus, pack = SoundCorpus.open(work / "sound"), CodePack.open(work / "codes")
    return CodecTrainer(codec_config(**changes), corpus, pack, open_source(source or work / "books"))


@pytest.mark.parametrize(("window", "bands"), [(2048, 160), (512, 80), (128, 20)])
def test_mel_filters_cover_every_band(window, bands):
    filters = mel_filters(16000, window, bands)
    assert filters.shape == (bands, window // 2 + 1)
    assert torch.allclose(filters.sum(1), torch.ones(bands))
    peaks = filters.argmax(1)
    assert (peaks.diff() >= 0).all()


def test_the_spectral_distance_is_zero_for_equal_sounds_and_grows_with_noise():
    distance = MultiScaleMel(RATE_HZ, (512, 128), (40, 10))
    sound = 0.1 * torch.randn(1, 4000)
    assert distance(sound, sound) == (0, 0)
    little, much = (distance(sound + noise * torch.randn(1, 4000), sound) for noise in (0.01, 0.1))
    assert 0 < little[0] < much[0]
    assert 0 < little[1] < much[1]


def test_the_two_spectral_distances_see_different_things():
    distance = MultiScaleMel(RATE_HZ, (512,), (40,))
    time_s = torch.arange(4000) / RATE_HZ
    loud, faint = torch.sin(2000 * time_s)[None], 0.002 * torch.sin(9000 * time_s)[None]
    without_loud, without_faint = distance(0.5 * loud + faint, loud + faint), distance(loud, loud + faint)
    assert without_loud[1] > 5 * without_faint[1]
    assert without_faint[0] / without_loud[0] > 2 * without_faint[1] / without_loud[1]


def test_the_low_band_hears_phases_and_neither_loudness_nor_what_is_above():
    band = LowBandPhase(RATE_HZ, top_hz=1000.0, window=256)
    time_s = torch.arange(4000) / RATE_HZ
    low, high = torch.sin(2 * torch.pi * 300 * time_s)[None], torch.sin(2 * torch.pi * 3000 * time_s)[None]
    turned = torch.cos(2 * torch.pi * 300 * time_s)[None]
    assert band(low, low) < 0.01
    assert band(0.1 * low, low) < 0.02
    assert 0.5 < band(turned, low) < 1.5
    assert band(low + 0.1 * high, low) < 0.1


def test_a_calibrated_network_bends_and_stays_away_from_full_scale():
    model = build_dac(SHAPE, 3, 32, 16, 0)
    hidden = torch.randn(4, model.config.hidden_size, 50)
    calibrate(model.decoder, hidden, last_spread=0.05)
    seen: list[float] = []
    for module in model.decoder.modules():
        if type(module).__name__ == "Snake1d":
            module.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0].detach().std())))
    out = model.decoder(hidden).detach()
    assert all(0.8 < spread < 2 for spread in seen)
    assert 0.03 < out.std() < 0.07


def test_the_decoder_learns(work: Path):
    trainer = trainer_in(work, steps=200, peak_rate=3e-3, batch_size=4, judge_from=1000)
    first = trainer.step()
    for _ in range(40):
        last = trainer.step()
    assert last["mel"] < 0.8 * first["mel"]
    assert last["phase"] < first["phase"]


def test_nothing_but_the_decoder_changes(work: Path):
    trainer = trainer_in(work)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    for _ in range(2):
        assert trainer.step()["loss"] > 0
    changed = {name.split(".")[0] for name, t in trainer.model.state_dict().items() if not t.equal(before[name])}
    assert changed == {"decoder"}
    assert trainer.validate(2)


def test_a_resumed_codec_run_equals_an_uninterrupted_one_to_the_bit(work: Path, tmp_path: Path):
    parts = (work / "sound", work / "codes", work / "books")
    train_codec(codec_config(), *parts, tmp_path / "whole")
    stopped = trainer_in(work)
    for _ in range(3):
        stopped.step()
    (tmp_path / "parts").mkdir()
    torch.save(stopped.state_dict(), tmp_path / "parts" / "latest.pt")
    train_codec(codec_config(), *parts, tmp_path / "parts")
    one, other = (load_state(tmp_path / name / "latest.pt") for name in ("whole", "parts"))
    for part in ("model", "judge"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), name


def test_an_exported_codec_encodes_exactly_what_was_measured(exported: Path, tmp_path: Path):
    codec, pack = Codec.load(exported / "codec"), CodePack.open(exported / "codes")
    corpus = SoundCorpus.open(exported / "sound")
    for clip, coded in zip(corpus.clips[:4], pack.clips[:4], strict=True):
        assert np.array_equal(codec.encode(corpus.waveform(clip)), pack.clip_codes(coded))
    codec.save(tmp_path / "again")
    sound = corpus.waveform(corpus.clips[0])
    assert np.array_equal(Codec.load(tmp_path / "again").encode(sound), codec.encode(sound))


def test_codebooks_of_another_codec_beside_it_are_refused(exported: Path, tmp_path: Path):
    shutil.copytree(exported / "codec", tmp_path / "codec")
    books = Books.open(exported / "codec" / "books.safetensors")
    replace(books, tables=books.tables[:, ::-1].copy()).save(tmp_path / "codec" / "books.safetensors")
    with pytest.raises(CheckpointMismatch, match="other codebooks"):
        Codec.load(tmp_path / "codec")


def test_an_exported_codec_goes_both_ways_and_keeps_its_codes(exported: Path):
    codec, pack = Codec.load(exported / "codec"), CodePack.open(exported / "codes")
    assert (codec.sample_rate_hz, codec.hop_samples, codec.num_codebooks) == (RATE_HZ, 32, 3)
    codes = codec.encode(np.zeros(320, np.float32))
    assert codec.decode(codes).shape == (320,)
    trainer = trainer_in(exported, exported / "codec")
    hidden = trainer._hidden(torch.from_numpy(pack.codes[:50].T.astype(np.int64))[None])
    again = trainer_in(exported)._hidden(torch.from_numpy(pack.codes[:50].T.astype(np.int64))[None])
    assert torch.allclose(hidden, again, rtol=2e-3, atol=2e-2)  # float16 on disk


def test_a_finished_codec_is_improved_without_changing_a_code(exported: Path):
    parts = (exported / "sound", exported / "codes", exported / "codec")
    run = exported / "more"
    train_codec(codec_config(log_every=2), *parts, run)
    assert read_metrics(run)[-1]["mel"] > 0
    finish_codec(codec_config(), exported / "codec", run, exported / "better")
    before, after = Codec.load(exported / "codec"), Codec.load(exported / "better")
    sound = SoundCorpus.open(parts[0]).waveform(SoundCorpus.open(parts[0]).clips[0])
    codes = before.encode(sound)
    assert (after.encode(sound) == codes).all()
    assert not np.array_equal(before.decode(codes), after.decode(codes))


def test_frames_and_sound_of_a_drawn_stretch_belong_together(work: Path):
    corpus, pack = SoundCorpus.open(work / "sound"), CodePack.open(work / "codes")
    codes = [pack.clip_codes(clip) for clip in pack.clips]
    sampler = FrameSampler(corpus, corpus.clips, codes, 32, seed=1)
    grids, sounds = sampler.batch(3, 4, 50)
    assert grids.shape == (4, 3, 50)
    whole = {grid.tobytes(): corpus.waveform(clip) for grid, clip in zip(codes, corpus.clips, strict=True)}
    for grid, sound in zip(grids.numpy(), sounds.numpy(), strict=True):
        places = [
            (waveform, start)
            for key, waveform in whole.items()
            for start in range(len(key) // 6 - 49)
            if (np.frombuffer(key, np.int16).reshape(-1, 3)[start : start + 50].T == grid).all()
        ]
        assert any(np.array_equal(waveform[32 * start : 32 * start + 1600], sound) for waveform, start in places)
    again, _ = sampler.batch(3, 4, 50)
    assert torch.equal(again, grids)


def test_codes_of_other_books_sound_of_another_rate_and_a_narrow_codec_are_refused(work: Path):
    corpus, pack = SoundCorpus.open(work / "sound"), CodePack.open(work / "codes")
    books = small_books(corpus)
    with pytest.raises(CheckpointMismatch, match="codebooks other"):
        CodecTrainer(codec_config(), corpus, replace(pack, codec_hash="other"), books)
    with pytest.raises(BadParameter, match="16000 Hz"):
        CodecTrainer(codec_config(), replace(corpus, sample_rate_hz=16000), pack, books)
    with pytest.raises(BadParameter, match="encoder_hidden"):
        CodecTrainer(codec_config(shape=replace(SHAPE, encoder_hidden=2)), corpus, pack, books)
    with pytest.raises(BadParameter, match="samples a frame"):
        CodecTrainer(codec_config(shape=replace(SHAPE, upsampling=(2, 4, 8))), corpus, pack, books)


def test_the_discriminators_losses_reward_the_right_side():
    torch.manual_seed(0)
    judge = Discriminator(windows=(256, 128), channels=2)
    sound = torch.randn(1, 2000)
    real = judge(sound)
    adversarial, matching = decoder_losses(real, judge(sound))
    assert matching == 0
    sure = [replace(one, scores=one.scores * 0 + 5) for one in real]
    beaten = [replace(one, scores=one.scores * 0 - 5) for one in real]
    assert judge_loss(sure, beaten) == 0
    assert judge_loss(beaten, sure) == 12
    assert decoder_losses(real, sure)[0] < decoder_losses(real, beaten)[0]
    assert torch.isfinite(adversarial)
