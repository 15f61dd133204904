"""Model training: the open forward pass, learning, exact resume, export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dia.checkpoint import load_model, read_config, read_json, save_model
from dia.config import DiaConfig, PointerConfig
from dia.device import Placement
from dia.errors import BadInput, CheckpointMismatch, TrainingDiverged
from dia.layers import DiaModel
from dia.train.encoding import codec_hash
from dia.train.forward import (
    Unguided,
    batch_losses,
    channel_losses,
    end_accuracy,
    forward_open,
    guide_penalty,
    sampled_losses,
    unguide,
    unguided_states,
)
from dia.train.model_loop import ModelTrainer, drive, export_model, new_model, train_model
from dia.train.run import LATEST, AveragedWeights, learning_rate, load_state, read_metrics, run_training
from dia.train.targets import make_batch, spoken_places
from tests.tiny import tiny_codec, tiny_config, tiny_model
from tests.train.small import small_config, small_pack


def trainer_of(**changes: object) -> ModelTrainer:
    config, pack = small_config(**changes), small_pack()
    return ModelTrainer(config, pack, new_model(config, pack))


@pytest.mark.parametrize(
    ("family", "pointer"), [("0626", None), ("v0_1", None), ("0626", PointerConfig(layer=0, heads=1))]
)
def test_the_open_pass_equals_the_models_own(family, pointer):
    model = tiny_model(tiny_config(family, delays=(0, 2, 3), pointer=pointer))
    trainer = trainer_of()
    batch = make_batch(trainer.dialogues.one_pass(0)[:4], model.config.data)
    spoken = spoken_places(batch)
    hidden = forward_open(model, batch.ids, batch.rows, batch.text_mask, None, 1, spoken).hidden
    own = model(batch.ids, batch.rows, batch.text_mask, spoken)
    assert torch.allclose(model.decoder.head(hidden), own, atol=2e-5)


def test_losses_on_all_rows_equal_the_losses_of_all_logits():
    trainer = trainer_of()
    batch = trainer._next()
    spoken = spoken_places(batch)
    hidden = forward_open(trainer.model, batch.ids, batch.rows, batch.text_mask, None, 1, spoken).hidden
    whole = channel_losses(trainer.model.decoder.head(hidden), batch.targets)
    assert torch.allclose(sampled_losses(trainer.model, hidden, batch, 1.0), whole, atol=1e-5)
    part = sampled_losses(trainer.model, hidden, batch, 0.3)
    assert part[0].item() == pytest.approx(whole[0].item(), abs=1e-5)


def test_the_unguided_states_are_the_pass_over_a_text_of_zeros():
    trainer = trainer_of()
    batch = trainer._next()
    own = trainer.model(torch.zeros_like(batch.ids), batch.rows, batch.text_mask, spoken_places(batch))
    states = unguided_states(trainer.model, batch.rows)
    assert not states.requires_grad
    assert torch.allclose(trainer.model.decoder.head(states), own, atol=2e-5)


def test_logits_that_guidance_made_are_held_against_the_data_as_those_they_were_made_from():
    trainer = trainer_of()
    batch = trainer._next()
    spoken = spoken_places(batch)
    hidden = forward_open(trainer.model, batch.ids, batch.rows, batch.text_mask, None, 1, spoken).hidden
    without = unguided_states(trainer.model, batch.rows)
    plain, other = trainer.model.decoder.head(hidden), trainer.model.decoder.head(without)
    strength = torch.full((len(plain),), 1.5)
    assert torch.allclose(unguide(plain + 1.5 * (plain - other), other, strength), plain, atol=1e-5)
    strength[::2] = 0.0  # examples without text are nobody to guide
    whole = channel_losses(unguide(plain, other, strength), batch.targets)
    found = sampled_losses(trainer.model, hidden, batch, 1.0, Unguided(without, strength))
    assert torch.allclose(found, whole, atol=1e-5)
    assert not torch.allclose(found, sampled_losses(trainer.model, hidden, batch, 1.0), atol=1e-3)


@torch.no_grad()
def difference(trainer, batch):
    """How far the model's logits are from those without text, root mean square."""
    spoken = spoken_places(batch)
    logits = trainer.model(batch.ids, batch.rows, batch.text_mask, spoken)
    without = trainer.model(torch.zeros_like(batch.ids), batch.rows, batch.text_mask, spoken)
    return float((logits - without)[batch.real].square().mean().sqrt())


def test_a_model_learns_to_guide_itself():
    """What it says at once is what guidance makes of the same lessons: more of the text's own codes."""
    said = {}
    for guidance in (0.0, 3.0):
        trainer = trainer_of(learnt_guidance=guidance, steps=100, text_dropout=0.2, code_noise=0.0, passage_noise=0.0)
        batch = make_batch(trainer.dialogues.one_pass(0)[:6], trainer.model.config.data)
        trainer._next = lambda batch=batch: batch  # type: ignore[method-assign]
        for _ in range(100):
            trainer.step()
        said[guidance] = difference(trainer, batch)
    assert said[3.0] > 1.25 * said[0.0], said


def test_a_model_that_guides_itself_says_so_and_goes_on_learning_it(tmp_path):
    config, pack = small_config(learnt_guidance=1.5, steps=1), small_pack()
    trainer = ModelTrainer(config, pack, new_model(config, pack))
    drive(trainer, tmp_path, resume=False, max_minutes=None)
    told = DiaConfig.model_validate_json(load_state(tmp_path / LATEST)["architecture"])
    assert (told.learnt_guidance, told.defaults.cfg_scale) == (1.5, 1.5)
    save_model(DiaModel(told), tmp_path / "model", "flat")
    again = read_config(read_json(tmp_path / "model" / "config.json"))
    assert again.learnt_guidance == 1.5
    model = DiaModel(again)
    assert ModelTrainer(replace(config, learnt_guidance=0.0), pack, model).learnt_guidance == 1.5


def test_the_guide_punishes_looking_away_and_only_that():
    penalty = guide_penalty(torch.tensor([[3.0]]), 50, 4.0)[0, 0]
    assert penalty[3] == 0
    assert penalty[40] > 0.99
    assert (penalty[3:].diff() >= 0).all()


def test_one_batch_is_learnt_by_heart():
    trainer = trainer_of(
        text_dropout=0.0, code_noise=0.0, passage_noise=0.0, row_share=1.0, peak_rate=1e-2, steps=400, decay_steps=100
    )
    batch = make_batch(trainer.singles.one_pass(0)[:3], trainer.model.config.data)
    trainer._next = lambda: batch  # type: ignore[method-assign]  # the same batch again and again
    first = trainer.step()["first"]
    for _ in range(120):
        last = trainer.step()["first"]
    assert first > 5
    assert last < 0.5
    logits = trainer.model(batch.ids, batch.rows, batch.text_mask, spoken_places(batch))
    found, ends, false_alarms, _ = end_accuracy(logits, batch.targets, 1024)
    assert (found, ends, false_alarms) == (3, 3, 0)


@pytest.mark.parametrize("muon", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path: Path, muon: bool):
    pack = small_pack()
    pack.save(tmp_path / "codes.safetensors")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = small_config(muon=muon)
    train_model(config, tmp_path / "codes.safetensors", whole)
    # Interrupted in the middle of a pass: after a fraction of a second, and again.
    stopped = trainer_of(muon=muon)
    for _ in range(3):
        stopped.step()
    parts.mkdir()
    torch.save(stopped.state_dict(), parts / "latest.pt")
    train_model(config, tmp_path / "codes.safetensors", parts)
    one, other = load_state(whole / "latest.pt"), load_state(parts / "latest.pt")
    assert one["step"] == other["step"] == 6
    assert (one["passes"], one["place"]) == (other["passes"], other["place"])
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, other["model"][name]), name
    for name, tensor in one["average"]["shadow"].items():
        assert torch.equal(tensor, other["average"]["shadow"][name]), name


def test_a_run_leaves_a_log_with_validation_and_a_picture(tmp_path: Path):
    small_pack(120).save(tmp_path / "codes.safetensors")
    train_model(small_config(log_every=2), tmp_path / "codes.safetensors", tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert {"loss", "first", "guide", "channels", "pass"} <= set(rows[0])
    assert {"val_loss", "val_first", "val_heard", "val_channels", "ends_found", "false_ends"} <= set(rows[1])
    pytest.importorskip("matplotlib")
    assert (tmp_path / "run" / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_time_limits_stop_a_run_with_a_checkpoint(tmp_path: Path):
    small_pack().save(tmp_path / "codes.safetensors")
    train_model(small_config(steps=10_000), tmp_path / "codes.safetensors", tmp_path / "run", max_minutes=0.001)
    assert 0 < load_state(tmp_path / "run" / "latest.pt")["step"] < 10_000


@pytest.mark.parametrize("muon", [False, True])
def test_tutors_learn_alone_at_first(muon: bool):
    trainer = trainer_of(tutor_steps=2, muon=muon, warmup_steps=1)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    tutors = {name: tensor.clone() for name, tensor in trainer.tutors.state_dict().items()}
    trainer.step()
    trainer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert not all(torch.equal(tensor, tutors[name]) for name, tensor in trainer.tutors.state_dict().items())
    trainer.step()
    assert not all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())


def test_accumulated_steps_use_one_batch_after_the_other():
    trainer = trainer_of(accumulate=3)
    trainer.step()
    assert trainer.place == 3


def test_clips_that_do_not_fit_the_model_are_left_out_and_counted(capsys: pytest.CaptureFixture):
    trainer = trainer_of(audio_length=13)
    assert "too long and left out" in capsys.readouterr().err
    longest = max(len(dialogue.codes) for dialogue in trainer.dialogues.one_pass(0))
    assert longest <= 13 - 2 - 2
    trainer.step()
    with pytest.raises(BadInput, match="no clip fits"):
        trainer_of(audio_length=6)


def test_a_run_refuses_codes_of_another_codec(tmp_path: Path):
    small_pack().save(tmp_path / "one")
    small_pack(codec_hash="other").save(tmp_path / "other")
    train_model(small_config(steps=2), tmp_path / "one", tmp_path / "run")
    with pytest.raises(CheckpointMismatch, match="codec abc"):
        train_model(small_config(steps=4), tmp_path / "other", tmp_path / "run")


def test_a_run_refuses_another_architecture(tmp_path: Path):
    small_pack().save(tmp_path / "one")
    train_model(small_config(steps=2), tmp_path / "one", tmp_path / "run")
    with pytest.raises(CheckpointMismatch, match="another configuration"):
        train_model(small_config(steps=4, decoder_width=32), tmp_path / "one", tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path):
    trainer = trainer_of()
    trainer.model.decoder.norm.weight.data.fill_(float("nan"))
    with pytest.raises(TrainingDiverged):
        run_training(trainer, tmp_path, steps=3, log_every=1, validate_every=9, save_every_s=99)


def test_an_exported_run_loads_as_a_checkpoint_with_its_codec(tmp_path: Path):
    codec_dir = tmp_path / "codec"
    tiny_codec().save(codec_dir)
    small_pack(codec_hash=codec_hash(codec_dir)).save(tmp_path / "codes")
    train_model(small_config(steps=2), tmp_path / "codes", tmp_path / "run")
    export_model(tmp_path / "run", codec_dir, tmp_path / "out")
    config = read_config(read_json(tmp_path / "out" / "config.json"))
    assert config.data.delay_pattern == (0, 1, 2)
    model = load_model(config, [tmp_path / "out" / "model.safetensors"], Placement(torch.device("cpu"), torch.float32))
    shadow = load_state(tmp_path / "run" / "latest.pt")["average"]["shadow"]
    assert torch.allclose(model.decoder.embedding.weight, shadow["decoder.embedding.weight"], atol=1e-2)
    assert (tmp_path / "out" / "codec" / "config.json").is_file()
    train_model(small_config(steps=1), tmp_path / "codes", tmp_path / "next", start=tmp_path / "out")
    begun = load_state(tmp_path / "next" / "latest.pt")["model"]["decoder.embedding.weight"]
    assert torch.allclose(begun, shadow["decoder.embedding.weight"], atol=2e-2)
    tiny_codec(seed=3).save(tmp_path / "foreign")
    with pytest.raises(CheckpointMismatch, match="not the codec"):
        export_model(tmp_path / "run", tmp_path / "foreign", tmp_path / "out2")


def test_the_learning_rate_warms_up_holds_and_falls():
    schedule = {"peak": 1.0, "warmup": 10, "total": 100, "decay": 20}
    rates = [learning_rate(step, **schedule) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:80] == [1.0] * 70
    assert all(a > b for a, b in zip(rates[81:], rates[82:], strict=False))
    assert rates[100] == pytest.approx(0.05)


def test_averages_are_put_in_and_taken_out_again():
    module = torch.nn.Linear(2, 2)
    average = AveragedWeights(module, 0.5)
    own = module.weight.detach().clone()
    with torch.no_grad():
        module.weight += 1
    average.update(module)
    with average.applied(module):
        assert not torch.equal(module.weight, own + 1)
        assert np.all(module.weight.detach().numpy() > own.numpy())
    assert torch.equal(module.weight, own + 1)


def test_codes_that_sound_alike_start_alike_whatever_constant_stands_beside_their_vectors():
    config, pack = small_config(decoder_width=64), small_pack()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 1024, 16)).astype(np.float32)
    vectors[..., -1] = 50.0
    model = new_model(config, replace(pack, codebooks=vectors))
    vocabulary = model.decoder.vocabulary
    for channel in range(2):
        rows = model.decoder.embedding.weight[channel * vocabulary :][:200].detach().numpy()
        near = np.linalg.norm(vectors[channel, :200, None] - vectors[channel, None, :200], axis=-1)
        apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
        pairs = np.triu_indices(200, 1)
        assert np.corrcoef(near[pairs], apart[pairs])[0, 1] > 0.5


def test_the_pointer_of_a_training_step_is_off_a_little_and_straight_over_some_first_parts():
    trainer = trainer_of(straight_share=0.0, pointer_noise=1.0)
    batch = make_batch(trainer.dialogues.one_pass(0)[:16], trainer.model.config.data)
    spoken = spoken_places(batch)
    assert torch.equal(spoken[:, 1:], batch.places[:, :-1])
    pointed = trainer._pointed(batch)
    ends = batch.text_mask.sum(1, keepdim=True) - 1
    assert ((pointed >= 0) & (pointed <= ends)).all()
    off = (pointed - spoken)[batch.real]
    assert 0.1 < off.std() < 1.0
    assert not torch.equal(trainer._pointed(batch), pointed)
    exact = trainer_of(straight_share=0.0, pointer_noise=0.0)
    assert torch.equal(exact._pointed(batch), spoken.minimum(ends))
    straight = trainer_of(straight_share=1.0, pointer_noise=0.0)._pointed(batch)
    assert torch.allclose(straight[:, 0], spoken[:, 0])
    assert torch.equal(straight[:, -1], spoken[:, -1])
    assert not torch.allclose(straight, spoken, atol=0.3)
    assert trainer_of(pointer=False)._pointed(batch) is None


def test_letters_are_learnt_from_sound_and_reach_only_the_layers_that_listen():
    trainer = trainer_of(guide_start=1.0)
    batch = make_batch(trainer.dialogues.one_pass(0)[:2], trainer.model.config.data)
    weights = trainer.config.channel_weights[: trainer.pack.channels]
    options = {"guide_width": 3.0, "guided_heads": 1}
    options |= {"tutors": trainer.tutors, "spoken": spoken_places(batch)}
    assert batch_losses(trainer.model, batch, weights, guide_weight=1.0, **options).spelling > 1
    assert batch_losses(trainer.model, batch, weights, guide_weight=0.0, **options).spelling == 0
    first = trainer.step()["spelling"]
    trainer._next = lambda: batch  # type: ignore[method-assign]  # the same batch again and again
    for _ in range(60):
        last = trainer.step()["spelling"]
    assert last < first


def test_a_batch_whose_texts_are_all_blank_teaches_something_finite():
    trainer = trainer_of(text_dropout=1.0, guide_start=1.0)
    measured = trainer.step()
    assert np.isfinite(measured["loss"])
    assert measured["reading"] == measured["guide"] == 0
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


@pytest.mark.parametrize(
    ("capabilities", "warned"), [({}, True), ({"avx512_bf16": True}, False), ({"amx_bf16": 1}, False)]
)
def test_a_processor_that_imitates_bfloat16_is_named(monkeypatch, capsys, tmp_path, capabilities, warned):
    found = {"architecture": "x86_64", **capabilities}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    trainer = trainer_of(bfloat16=True, steps=1, validate_every=100)
    drive(trainer, tmp_path, resume=False, max_minutes=None)
    assert ("imitates bfloat16" in capsys.readouterr().err) == warned


def test_noise_changes_codes_only_and_leaves_some_examples_nearly_whole():
    trainer = trainer_of(code_noise=0.5, passage_noise=0.3)
    end = trainer.model.config.data.audio_eos_value
    batch = make_batch(trainer.dialogues.one_pass(0), trainer.model.config.data)
    torch.manual_seed(3)
    noisy = trainer._noisy(batch.rows)
    special = batch.rows >= end
    assert torch.equal(noisy[special], batch.rows[special]) and int(noisy[~special].max()) < end
    changed = ((noisy != batch.rows) & ~special).float().sum((1, 2)) / (~special).float().sum((1, 2))
    assert changed.min() < 0.15 and 0.2 < changed.mean() < 0.5
    quiet = trainer_of(code_noise=0.0, passage_noise=0.0)
    assert torch.equal(quiet._noisy(batch.rows), batch.rows)
    # A passage of another time is whole rows, as many as it is long.
    spanning = trainer_of(code_noise=0.0, passage_noise=0.3)
    torch.manual_seed(3)
    spans = torch.stack([spanning._noisy(batch.rows) for _ in range(30)])
    rows = (spans != batch.rows).any(-1)
    assert 0.015 < rows.float().mean() < 0.3
