"""The transformer: cached equals uncached, the constant equals the long way, both families."""

import pytest
import torch

from dia.config import ModelConfig, PointerConfig
from dia.layers import DiaModel, RotaryTable, around, attend, moved, rotate
from dia.state import COND, UNCOND, DecoderInferenceState, EncoderInferenceState
from tests.tiny import tiny_config, tiny_model

CPU = torch.device("cpu")
TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}  # float32 sums in another order
FIFTEEN = (slice(None), 0, slice(None), slice(None), slice(15))


POINTER = PointerConfig(layer=0, heads=1)


@pytest.fixture(params=["v0_1", "0626", "pointer"])
def model(request: pytest.FixtureRequest) -> DiaModel:
    if request.param == "pointer":
        return tiny_model(tiny_config(layers=(2, 3), pointer=POINTER))
    return tiny_model(tiny_config(request.param))


def random_rows(length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1027, (1, length, 9), generator=generator)


def random_text(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 256, (1, length), generator=torch.Generator().manual_seed(seed))


def pointed(length: int, text_length: int) -> torch.Tensor:
    """Places [1, T] that a pointer may take; models without one do not look at them."""
    return torch.linspace(0.3, text_length - 1, length)[None]


def filled_state(model: DiaModel, texts: list[torch.Tensor]) -> DecoderInferenceState:
    state = DecoderInferenceState.new(model.config, len(texts) + 1, 64, 64, CPU, torch.float32)
    for slot, text in enumerate(texts):
        memory = model.encode(EncoderInferenceState.new([text[0].tolist()], CPU))
        state.put_text(slot, model.decoder.cross_keys_values(memory), text.shape[1])
    return state


def test_cached_steps_equal_the_teacher_forced_pass(model):
    text, tokens = random_text(23), random_rows(20)
    state, constants = filled_state(model, [text]), model.unconditional_constants()
    spoken = pointed(20, 23)
    conditional = model(text, tokens, spoken=spoken)
    unconditional = model(torch.zeros_like(text), tokens, spoken=spoken)
    for row in range(20):
        state.pointer[0] = spoken[0, row]
        logits = model.step(state, tokens[:, row], torch.tensor([row]), constants, row + 1, 23)
        torch.testing.assert_close(logits[0, COND], conditional[0, row], **TOLERANCE)
        torch.testing.assert_close(logits[0, UNCOND], unconditional[0, row], **TOLERANCE)


def test_steps_without_the_unconditional_branch_leave_the_conditional_one_as_it_is(model):
    texts = [random_text(23), random_text(9, 1)]
    tokens = torch.cat((random_rows(12), random_rows(12, 1)))
    both, one = filled_state(model, texts), filled_state(model, texts)
    constants = model.unconditional_constants()
    for row in range(12):
        at = torch.tensor([row, row])
        expected = model.step(both, tokens[:, row], at, constants, row + 1, 23)
        logits = model.step(one, tokens[:, row], at, constants, row + 1, 23, 1)
        assert logits.shape == (2, 1, *expected.shape[2:])
        torch.testing.assert_close(logits[:, COND], expected[:, COND], **TOLERANCE)
        torch.testing.assert_close(one.heading, both.heading)
    assert not any(cache.tensors[0][:, :, UNCOND].any() for cache in one.self_kv)


def test_the_unconditional_constant_is_the_cross_attention_over_zero_text_of_any_length(model):
    """Over identical positions every weighted mean is the same vector, so one zero token stands for all of them."""
    tokens = random_rows(12)
    passes = [
        model(torch.zeros(1, length, dtype=torch.int64), tokens, spoken=pointed(12, length)) for length in (1, 7, 60)
    ]
    for other in passes[1:]:
        torch.testing.assert_close(other, passes[0], **TOLERANCE)


def test_unequal_slots_in_one_step_equal_each_alone(model):
    texts = [random_text(length, length) for length in (5, 17, 9)]
    rows = [3, 11, 7]
    tokens = [random_rows(12, seed) for seed in range(3)]
    constants = model.unconditional_constants()
    state = filled_state(model, texts)
    spoken = [pointed(12, text.shape[1]) for text in texts]
    for slot in range(3):
        known = spoken[slot][0, : rows[slot]]
        model.prefill(state, slot, tokens[slot][0, : rows[slot]], 0, constants, spoken=known)
        state.pointer[slot] = spoken[slot][0, rows[slot]]
    together = model.step(
        state,
        torch.cat([tokens[slot][:, rows[slot]] for slot in range(3)]),
        torch.tensor(rows),
        constants,
        span=12,
        text_span=17,
    )
    for slot in range(3):
        expected = model(texts[slot], tokens[slot], spoken=spoken[slot])[0, rows[slot]]
        torch.testing.assert_close(together[slot, COND], expected, **TOLERANCE)


def test_prefill_in_pieces_equals_steps(model):
    text, tokens = random_text(9), random_rows(16)
    constants = model.unconditional_constants()
    whole, pieces = filled_state(model, [text]), filled_state(model, [text])
    spoken = pointed(16, 9)
    for row in range(15):
        whole.pointer[0] = spoken[0, row]
        model.step(whole, tokens[:, row], torch.tensor([row]), constants, row + 1, 9)
    for start, end in ((0, 4), (4, 5), (5, 15)):
        model.prefill(pieces, 0, tokens[0, start:end], start, constants, spoken=spoken[0, start:end])
    for one, other in zip(whole.self_kv, pieces.self_kv, strict=True):
        torch.testing.assert_close(one.get(FIFTEEN), other.get(FIFTEEN), **TOLERANCE)


def test_padded_texts_in_a_batch_equal_each_at_its_true_length(model):
    texts = [random_text(5)[0].tolist(), random_text(12, 1)[0].tolist()]
    together = model.encode(EncoderInferenceState.new(texts, CPU))
    for index, text in enumerate(texts):
        alone = model.encode(EncoderInferenceState.new([text], CPU))
        torch.testing.assert_close(together[index, : len(text)], alone[0], **TOLERANCE)


def test_forward_with_a_text_mask_ignores_padding(model):
    text, tokens = random_text(9), random_rows(6)
    padded = torch.cat([text, random_text(4, 5)], dim=1)
    mask = torch.arange(13)[None] < 9
    spoken = pointed(6, 9)
    given, expected = model(padded, tokens, mask, spoken), model(text, tokens, spoken=spoken)
    torch.testing.assert_close(given, expected, **TOLERANCE)


def test_no_row_sees_a_later_one(model):
    tokens = random_rows(10)
    changed = tokens.clone()
    changed[0, 6:] = 5
    text = random_text(8)
    spoken = pointed(10, 8)
    one, other = model(text, tokens, spoken=spoken), model(text, changed, spoken=spoken)
    torch.testing.assert_close(one[:, :6], other[:, :6], atol=0, rtol=0)
    assert not torch.equal(one[:, 6:], other[:, 6:])


def test_grouped_attention_equals_repeated_keys():
    q, k, v = torch.randn(2, 8, 5, 4), torch.randn(2, 2, 7, 4), torch.randn(2, 2, 7, 4)
    mask = torch.rand(2, 1, 5, 7) > 0.3
    mask[..., 0] = True
    repeated = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(4, 1), v.repeat_interleave(4, 1), attn_mask=mask, scale=1.0
    )
    torch.testing.assert_close(attend(q, k, v, mask), repeated)


def test_rotation_turns_each_pair_by_its_angle():
    table = RotaryTable(10, 4, 1.0, 10_000.0)
    x = torch.tensor([1.0, 0.0, 0.0, 2.0]).view(1, 1, 1, 4)
    out = rotate(x, table.between(3, 4)).flatten()
    slow, fast = torch.tensor(3.0), torch.tensor(0.03)
    expected = torch.stack([slow.cos(), -2 * fast.sin(), slow.sin(), 2 * fast.cos()])
    torch.testing.assert_close(out, expected)


def test_bfloat16_stays_near_float32():
    exact = tiny_model()
    rough = tiny_model().to(torch.bfloat16)
    rough.materialise(CPU)
    text, tokens = random_text(9), random_rows(8)
    expected = exact(text, tokens)
    error = (rough(text, tokens) - expected).abs().mean() / expected.abs().mean()
    assert error < 0.05


def test_led_heads_look_where_the_pointer_stands_and_the_text_elsewhere_does_not_count_there():
    model = tiny_model(tiny_config(layers=(2, 3), pointer=POINTER))
    text, tokens = random_text(30), random_rows(4)
    near, far = (model(text, tokens, spoken=torch.full((1, 4), place)) for place in (3.0, 25.0))
    assert (near - far).abs().max() > 1e-3
    with pytest.raises(ValueError, match="places it points at"):
        model(text, tokens)


def test_attention_around_a_place_sums_to_one_and_is_even_about_it():
    weights = around(torch.tensor([[2.0, 2.5, -40.0]]), 6, 0.6)[0]
    torch.testing.assert_close(weights.sum(-1), torch.ones(3))
    assert weights[0].argmax() == 2
    assert weights[0, 1] == weights[0, 3]
    assert weights[1, 2] == weights[1, 3]
    assert weights[2, 0] == 1
    padded = around(torch.tensor([[4.0]]), 6, 0.6, torch.arange(6)[None] < 3)[0, 0]
    assert padded[3:].sum() == 0
    assert padded.sum() == pytest.approx(1)


def test_the_pointer_goes_to_the_middle_of_the_attention_within_reach_and_never_beyond_the_text():
    pointer = PointerConfig(layer=0, heads=1, back=1, ahead=4)
    told = torch.zeros(5, 20)
    told[0, [6, 7]] = 0.5  # between two letters ahead
    told[1, 15] = 1.0  # out of reach
    told[2, 4] = 1.0  # one letter back
    told[3, 8] = 1.0  # behind the end of its text
    place = torch.tensor([5.0, 5.0, 5.0, 5.0, 5.0])
    ends = torch.tensor([19, 19, 19, 7, 19])
    told[4, [5, 17]] = torch.tensor([0.2, 0.8])  # only what is in reach counts
    new = moved(place, told, pointer, ends)
    torch.testing.assert_close(new, torch.tensor([6.5, 5.0, 4.0, 5.0, 5.0]), atol=5e-3, rtol=0)
    at_the_end = moved(torch.tensor([7.0]), torch.ones(1, 20) / 20, pointer, torch.tensor([7]))
    assert at_the_end.item() <= 7


def test_a_pointer_without_a_layer_above_it_or_with_too_many_heads_is_refused():
    for wrong in ({"layer": 1, "heads": 1}, {"layer": 0, "heads": 3}):
        with pytest.raises(ValueError, match="pointer"):
            ModelConfig.model_validate({**tiny_config().model.model_dump(), "pointer": wrong})
