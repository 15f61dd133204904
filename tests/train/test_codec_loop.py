"""Codec training: quantiser, spectral distance, learning, exact resume, export, polishing the decoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dia.codec import Codec
from dia.errors import CheckpointMismatch
from dia.train.codec_loop import CodecTrainer, finish_codec, train_codec
from dia.train.codec_loss import MultiScaleMel, mel_filters
from dia.train.codec_net import build_dac, calibrate, fuse_snakes, load_dac
from dia.train.discriminator import Discriminator, decoder_losses, judge_loss
from dia.train.encoding import prepare_codes
from dia.train.packing import CodePack
from dia.train.polish import DecoderPolisher, FrameSampler, PolishConfig, finish_polish, polish_decoder
from dia.train.quantise import CodebookTrainer, nearest_codes
from dia.train.run import load_state, read_metrics
from dia.train.sound import CropSampler, SoundCorpus
from tests.train.small import RATE_HZ, SHAPE, codec_config, small_corpus

POLISH = PolishConfig(
    steps=4,
    batch_size=2,
    crop_frames=90,
    context_frames=5,
    warmup_steps=1,
    decay_steps=1,
    judge_channels=2,
    judge_alone_steps=1,
    log_every=100,
    validate_every=100,
    fuse=False,
)


def test_quantising_equals_the_librarys_own_encoder():
    model = build_dac(SHAPE, 0).eval()
    books = CodebookTrainer(model.quantizer).eval()
    hidden = torch.randn(2, model.config.hidden_size, 30)
    ours = books.quantise(model.quantizer, hidden)
    theirs = model.quantizer(hidden)
    assert torch.equal(ours.codes, theirs[1])
    assert torch.allclose(ours.hidden, theirs[0], atol=1e-5)


def test_nearest_codes_equal_a_search_by_cosine():
    flat, book = torch.randn(20, 4), torch.randn(9, 4)
    slow = [max(range(9), key=lambda i: float(torch.cosine_similarity(row, book[i], dim=0))) for row in flat]
    assert nearest_codes(flat, book).tolist() == slow


def test_codebooks_move_to_what_they_stand_for_and_unused_codes_come_back_into_use():
    torch.manual_seed(0)
    model = build_dac(SHAPE, 0)
    books = CodebookTrainer(model.quantizer, decay=0.9).train()
    centres = 3 * torch.randn(6, model.config.hidden_size)
    for _ in range(60):
        drawn = centres[torch.randint(6, (64,))] + 0.1 * torch.randn(64, model.config.hidden_size)
        found = books.quantise(model.quantizer, drawn.T[None])
    assert books.perplexity()[0] > 8
    assert len(found.codes[0, 0].unique()) > 8


def test_the_gradient_passes_the_quantiser():
    model = build_dac(SHAPE, 0)
    books = CodebookTrainer(model.quantizer).train()
    hidden = torch.randn(1, model.config.hidden_size, 40, requires_grad=True)
    books.quantise(model.quantizer, hidden).hidden.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum() > 0


def test_dropped_books_say_nothing():
    model = build_dac(SHAPE, 0)
    books = CodebookTrainer(model.quantizer).eval()
    hidden = torch.randn(2, model.config.hidden_size, 10)
    all_books = books.quantise(model.quantizer, hidden).hidden
    fewer = books.quantise(model.quantizer, hidden, kept_books=torch.tensor([3, 1])).hidden
    codes = books.quantise(model.quantizer, hidden).codes
    assert torch.allclose(fewer[0], all_books[0])
    assert torch.allclose(fewer[1], model.quantizer.from_codes(codes[1:, :1])[0][0], atol=1e-5)


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


def test_a_calibrated_network_bends_and_stays_away_from_full_scale():
    model = build_dac(SHAPE, 0)
    sound = 0.1 * torch.randn(4, 1, 1600)
    calibrate(model, sound)
    seen: list[float] = []
    for module in model.decoder.modules():
        if type(module).__name__ == "Snake1d":
            module.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0].detach().std())))
    out = model.decoder(model.encoder(sound)).detach()
    assert all(0.8 < spread < 2 for spread in seen)
    assert 0.03 < out.std() < 0.07


def test_fused_snakes_equal_the_librarys():
    model = build_dac(SHAPE, 0).eval()
    hidden = torch.randn(1, model.config.hidden_size, 12)
    plain = model.decoder(hidden).detach()
    # Compiling takes half a minute and a C++ compiler; what is checked here is the arithmetic.
    with torch.compiler.set_stance("force_eager"):
        fuse_snakes(model)
        assert torch.allclose(model.decoder(hidden).detach(), plain, atol=1e-6)


def test_a_codec_learns(tmp_path: Path):
    corpus = small_corpus(tmp_path)
    trainer = CodecTrainer(codec_config(steps=200, peak_rate=3e-3, batch_size=4), corpus)
    first = trainer.step()["mel"]
    for _ in range(30):
        last = trainer.step()["mel"]
    assert last < 0.8 * first


def test_a_resumed_codec_run_equals_an_uninterrupted_one_to_the_bit(tmp_path: Path):
    corpus = small_corpus(tmp_path / "sound")
    train_codec(codec_config(), tmp_path / "sound", tmp_path / "whole")
    stopped = CodecTrainer(codec_config(), corpus)
    for _ in range(3):
        stopped.step()
    (tmp_path / "parts").mkdir()
    torch.save(stopped.state_dict(), tmp_path / "parts" / "latest.pt")
    train_codec(codec_config(), tmp_path / "sound", tmp_path / "parts")
    one, other = (load_state(tmp_path / name / "latest.pt") for name in ("whole", "parts"))
    for part in ("model", "books"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), name


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of a codec, exported, with its corpus and codes beside it."""
    folder = tmp_path_factory.mktemp("codec")
    small_corpus(folder / "sound", clips=40)
    train_codec(codec_config(), folder / "sound", folder / "run")
    finish_codec(codec_config(), folder / "sound", folder / "run", folder / "codec", settle_batches=3)
    prepare_codes(folder / "sound", folder / "codec", folder / "codes.safetensors")
    return folder


def test_an_exported_codec_loads_and_goes_both_ways(exported: Path):
    codec = Codec.load(exported / "codec")
    assert (codec.sample_rate_hz, codec.hop_samples, codec.num_codebooks) == (RATE_HZ, 32, 3)
    codes = codec.encode(np.zeros(320, np.float32))
    assert codec.decode(codes).shape == (320,)


def test_a_new_run_may_begin_from_a_finished_codec(exported: Path):
    corpus = SoundCorpus.open(exported / "sound")
    trainer = CodecTrainer(codec_config(), corpus, exported / "codec")
    stored = load_dac(exported / "codec").state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in trainer.model.state_dict().items())
    before = trainer.model.quantizer.quantizers[0].codebook.weight.clone()
    trainer.step()
    moved = (trainer.model.quantizer.quantizers[0].codebook.weight - before).norm(dim=1)
    assert moved.median() < 0.1 * before.norm(dim=1).median()


def test_a_pack_holds_each_clips_codes_and_comes_back_from_disk(exported: Path):
    corpus, codec = SoundCorpus.open(exported / "sound"), Codec.load(exported / "codec")
    pack = CodePack.open(exported / "codes.safetensors")
    assert [(clip.text, clip.voice) for clip in pack.clips] == [(clip.text, clip.voice) for clip in corpus.clips]
    for clip, coded in list(zip(corpus.clips, pack.clips, strict=True))[:5]:
        assert (pack.clip_codes(coded) == codec.encode(corpus.waveform(clip))).all()
    assert pack.frame_rate_hz == RATE_HZ / 32
    assert pack.codebooks.shape == (3, 32, 4)


def test_frames_and_sound_of_a_drawn_stretch_belong_together(exported: Path):
    corpus, pack = SoundCorpus.open(exported / "sound"), CodePack.open(exported / "codes.safetensors")
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


def test_polishing_changes_the_decoder_and_no_code(exported: Path):
    run = exported / "polish"
    parts = (exported / "sound", exported / "codes.safetensors", exported / "codec")
    polish_decoder(replace(POLISH, log_every=2, validate_every=4), *parts, run)
    assert read_metrics(run)[-1]["val_mel"] > 0
    finish_polish(exported / "codec", run, exported / "better")
    before, after = Codec.load(exported / "codec"), Codec.load(exported / "better")
    sound = SoundCorpus.open(parts[0]).waveform(SoundCorpus.open(parts[0]).clips[0])
    codes = before.encode(sound)
    assert (after.encode(sound) == codes).all()
    assert not np.array_equal(before.decode(codes), after.decode(codes))


def test_a_resumed_polish_equals_an_uninterrupted_one_to_the_bit(exported: Path, tmp_path: Path):
    parts = (exported / "sound", exported / "codes.safetensors", exported / "codec")
    polish_decoder(POLISH, *parts, tmp_path / "whole")
    stopped = DecoderPolisher(POLISH, SoundCorpus.open(parts[0]), CodePack.open(parts[1]), parts[2])
    stopped.step()
    (tmp_path / "parts").mkdir()
    torch.save(stopped.state_dict(), tmp_path / "parts" / "latest.pt")
    polish_decoder(POLISH, *parts, tmp_path / "parts")
    one, other = (load_state(tmp_path / name / "latest.pt") for name in ("whole", "parts"))
    for part in ("decoder", "judge"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), name


def test_polishing_refuses_codes_of_another_codec(exported: Path, tmp_path: Path):
    pack = replace(CodePack.open(exported / "codes.safetensors"), codec_hash="other")
    with pytest.raises(CheckpointMismatch, match="codec other"):
        DecoderPolisher(POLISH, SoundCorpus.open(exported / "sound"), pack, exported / "codec")


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


def test_crops_are_balanced_repeatable_and_from_the_corpus(tmp_path: Path):
    corpus = small_corpus(tmp_path)
    sampler = CropSampler(corpus, corpus.clips, 500, seed=4)
    batch = sampler.batch(7, 3)
    assert batch.shape == (3, 1, 500)
    assert np.array_equal(batch, sampler.batch(7, 3))
    assert not np.array_equal(batch, sampler.batch(8, 3))
    whole = corpus.sound.astype(np.float32) / np.float32(32767)
    for crop in batch[:, 0]:
        assert any(np.array_equal(whole[i : i + 500], crop) for i in np.flatnonzero(whole == crop[0]))
