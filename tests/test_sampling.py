"""The sampler on distributions worked out by hand, and its draw against the softmax it claims."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dia.errors import BadParameter
from dia.sampling import SamplingParams, SamplingTensors, _uniform, sample, uniform

EOS, VOCABULARY = 6, 9
CPU = torch.device("cpu")


def draw(cond, uncond=None, *, rows=None, seed=0, candidates=VOCABULARY, **params):
    cond = torch.as_tensor(cond, dtype=torch.float32)
    uncond = cond if uncond is None else torch.as_tensor(uncond, dtype=torch.float32)
    given = SamplingParams(**{"temperature": 1.0, "cfg_scale": 0.0, "top_p": 1.0, "cfg_filter_top_k": 9, **params})
    tensors = SamplingTensors.empty(len(cond), CPU)
    for index in range(len(cond)):
        tensors.put(index, given, seed)
    rows = torch.arange(len(cond)) if rows is None else rows
    return sample(cond, uncond, tensors, rows, EOS, candidates)


def logits(*values: float, channels: int = 2) -> torch.Tensor:
    row = torch.full((VOCABULARY,), -10.0)
    row[: len(values)] = torch.tensor(values)
    return row.expand(1, channels, -1).clone()


def test_greedy_takes_the_largest_allowed_logit():
    assert draw(logits(0, 1, 3, 2), temperature=0.0).tolist() == [[2, 2]]


def test_ids_above_eos_never_come_out():
    given = logits(0, 1)
    given[..., 7:] = 50.0
    assert draw(given, temperature=0.0).tolist() == [[1, 1]]


def test_eos_comes_out_of_channel_0_only_and_when_it_leads():
    given = logits(0, 1)
    given[..., EOS] = 5.0
    assert draw(given, temperature=0.0).tolist() == [[EOS, 1]]
    assert draw(given, temperature=1.0).tolist()[0][0] == EOS


def test_eos_is_never_drawn_while_another_leads():
    given = logits(2.0, channels=1).expand(4000, -1, -1).clone()
    given[..., EOS] = 1.9
    drawn = draw(given)
    assert (drawn != EOS).all()


def test_guidance_chooses_candidates_but_conditional_logits_are_sampled():
    cond, uncond = logits(3.0, 2.0, 1.0), logits(3.0, 2.0, -9.0)
    # Guided: 3, 2, 1 + 3 * 10 = 31: with one candidate kept it is token 2 although token 0 has the largest cond logit.
    assert draw(cond, uncond, cfg_scale=3.0, cfg_filter_top_k=1, temperature=0.0).tolist() == [[2, 2]]
    # With two candidates (2 and 0) the conditional logits decide: token 0.
    assert draw(cond, uncond, cfg_scale=3.0, cfg_filter_top_k=2, temperature=0.0).tolist() == [[0, 0]]


def test_the_combined_rule_samples_guided_logits():
    cond, uncond = logits(3.0, 2.0, 1.0), logits(3.0, 2.0, -9.0)
    assert draw(cond, uncond, cfg_scale=3.0, temperature=0.0, guidance="combined").tolist() == [[2, 2]]


def test_the_combined_rule_softens_the_end_token():
    given = logits(4.5, channels=1)
    given[..., EOS] = 5.0  # 5.0 * 0.8 = 4.0 < 4.5
    assert draw(given, temperature=0.0, guidance="combined").tolist() == [[0]]
    assert draw(given, temperature=0.0).tolist() == [[EOS]]


def test_if_guidance_lets_only_forbidden_ids_through_the_likeliest_allowed_one_stands_in():
    cond, uncond = logits(1.0, 2.0), logits(1.0, 2.0)
    cond[..., 8] = 9.0
    assert draw(cond, uncond, cfg_scale=3.0, cfg_filter_top_k=1).tolist() == [[1, 1]]


def frequencies(count: int = 20_000, **params) -> list[float]:
    given = logits(math.log(5), math.log(3), math.log(2), channels=1).expand(count, -1, -1).clone()
    given[..., 3:] = -60.0
    drawn = draw(given, **params)[:, 0]
    return [(drawn == token).float().mean().item() for token in range(4)]


def test_draws_follow_the_softmax():
    assert frequencies() == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.012)


def test_temperature_sharpens():
    total = 25 + 9 + 4
    assert frequencies(temperature=0.5) == pytest.approx([25 / total, 9 / total, 4 / total, 0], abs=0.012)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.0, 1), (0.49, 1), (0.5, 2), (0.51, 2), (0.79, 2), (0.81, 3), (1.0, 3)],
)
def test_top_p_drops_tokens_whose_predecessors_already_exceed_it(top_p, kept):
    weights = [5, 3, 2][:kept] + [0] * (3 - kept)
    assert frequencies(top_p=top_p)[:3] == pytest.approx([weight / sum(weights) for weight in weights], abs=0.012)


def test_top_k_of_each_request_is_its_own():
    given = logits(3.0, 2.9, 2.8, channels=1).expand(2, -1, -1).repeat(500, 1, 1)
    tensors = SamplingTensors.empty(1000, CPU)
    for index in range(1000):
        tensors.put(index, SamplingParams(temperature=1.0, top_p=1.0, cfg_filter_top_k=1 + index % 2), seed=index)
    drawn = sample(given, given, tensors, torch.zeros(1000, dtype=torch.int64), EOS, 4)[:, 0]
    assert set(drawn[0::2].tolist()) == {0}
    assert set(drawn[1::2].tolist()) == {0, 1}


def test_the_draw_depends_on_seed_row_channel_and_token_only():
    ids = torch.arange(50).expand(3, 9, -1)
    seeds, rows = torch.tensor([7, 8, 7]), torch.tensor([3, 3, 4])
    numbers = uniform(seeds, rows, ids)
    alone = uniform(seeds[1:2], rows[1:2], ids[:1, :, 10:20])
    assert torch.equal(alone[0], numbers[1, :, 10:20])
    for other in (numbers[1], numbers[2]):
        assert (numbers[0] == other).float().mean() < 0.01
    assert (numbers[0, 0] == numbers[0, 1]).float().mean() < 0.05


def test_uniform_numbers_are_uniform_and_independent_between_rows():
    count = 40_000
    numbers = uniform(torch.full((count,), 123), torch.arange(count), torch.zeros(count, 2, 1, dtype=torch.int64))
    first, second = numbers[:, 0, 0], numbers[:, 1, 0]
    assert 0 < numbers.min() and numbers.max() < 1
    assert first.mean().item() == pytest.approx(0.5, abs=0.006)
    assert torch.histc(first, 20, 0, 1).std().item() < 3 * math.sqrt(count / 20)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1].item()) < 0.02
    assert abs(torch.corrcoef(torch.stack([first[1:], first[:-1]]))[0, 1].item()) < 0.02


@given(st.integers(0, 2**63 - 1))
def test_any_seed_works(seed):
    drawn = draw(logits(1.0, 2.0), seed=seed)
    assert ((drawn >= 0) & (drawn <= EOS)).all()


@pytest.mark.parametrize(
    ("name", "low", "high", "step"),
    [("temperature", 0.0, 5.0, 0.001), ("cfg_scale", 0.0, 10.0, 0.001), ("top_p", 0.0, 1.0, 0.001)],
)
def test_number_ranges_at_their_edges(name, low, high, step):
    for value in (low, high):
        assert getattr(SamplingParams(**{name: value}), name) == value
    for value in (low - step, high + step, math.nan, math.inf, "1", True):
        with pytest.raises(BadParameter, match=name):
            SamplingParams(**{name: value})


@pytest.mark.parametrize(
    ("name", "low", "high"), [("cfg_filter_top_k", 1, 1028), ("max_tokens", 1, None), ("seed", 0, 2**63 - 1)]
)
def test_integer_ranges_at_their_edges(name, low, high):
    assert getattr(SamplingParams(**{name: low}), name) == low
    for value in (low - 1, 1.5, True, *([] if high is None else [high + 1])):
        with pytest.raises(BadParameter, match=name):
            SamplingParams(**{name: value})


def test_an_unknown_guidance_or_parameter_is_named():
    with pytest.raises(BadParameter, match="'both' is not known"):
        SamplingParams(guidance="both")
    with pytest.raises(BadParameter, match="temprature"):
        SamplingParams().updated(temprature=1.0)


def test_updated_keeps_what_is_none():
    assert SamplingParams(top_p=0.5).updated(temperature=0.7, top_p=None) == SamplingParams(top_p=0.5, temperature=0.7)


def test_numbers_of_numpy_and_torch_are_numbers():
    """A seed drawn by numpy was refused."""
    params = SamplingParams(seed=np.random.default_rng(0).integers(99), temperature=np.float32(0.5))
    assert params.updated(max_tokens=torch.tensor(40)) == SamplingParams(
        seed=int(params.seed), temperature=0.5, max_tokens=40
    )
    assert type(params.seed) is int and type(params.temperature) is float
    with pytest.raises(BadParameter, match="seed is -1"):
        SamplingParams(seed=np.int64(-1))
    with pytest.raises(BadParameter, match="whole number"):
        SamplingParams(max_tokens=np.array([1, 2]))


def test_no_draw_is_infinite():
    """Of 2**32 hashes 256 stand for the largest number below 1; float32 rounded it up, and its noise won every draw."""
    hashed = 0xFFFFFFFF  # the way back through the mixing
    hashed ^= hashed >> 16
    hashed = hashed * pow(0x846CA68B, -1, 2**32) % 2**32
    hashed ^= (hashed >> 15) ^ (hashed >> 30)
    hashed = hashed * pow(0x7FEB352D, -1, 2**32) % 2**32
    hashed ^= hashed >> 16
    values = _uniform(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[[hashed, 5]]]))
    assert 0 < values[0, 0, 1] < values[0, 0, 0] < 1
    assert torch.isfinite(-(-values.log()).log()).all()
