"""A model with a pointer into the text: where it starts, how it moves, and that it stays with its request."""

import numpy as np
import pytest
import torch

from dia.engine.request import Request
from dia.sampling import SamplingParams
from tests.engine.parts import POINTED, again, alone, codes_of, make_engine, make_model, make_request


@pytest.fixture(scope="module")
def model():
    return make_model(config=POINTED)


def request_for(text: list[int], prompt_ids: int = 0, prompt_frames: int = 0) -> Request:
    prompt = np.zeros((prompt_frames, 9), np.int16) if prompt_frames else None
    return Request(text, SamplingParams(seed=1), 60, prompt, prompt_ids=prompt_ids)


def test_speech_begins_behind_the_first_tag_and_after_a_prompt_behind_its_words():
    text = [1, 32, *b"Yes.", 32, 2, 32, *b"No.", 32, 1]
    assert request_for(text).prompt_end == 2
    assert request_for(text, prompt_ids=7, prompt_frames=5).prompt_end == 6
    assert request_for(text, prompt_ids=99, prompt_frames=5).prompt_end == len(text) - 1
    assert request_for(list(b"Yes.")).prompt_end == 0
    assert request_for([1, 32]).prompt_end == 0


def test_the_pointer_starts_there_moves_within_reach_and_stays_in_the_text(model):
    engine = make_engine(model, slots=1)
    request = make_request(3, frames=40, text_length=20)
    engine.submit(request)
    state = engine._runner.state
    engine.step()
    places = [float(request.prompt_end), state.pointer[0].item()]
    while engine.num_running:
        engine.step()
        places.append(state.pointer[0].item())
    steps = np.diff(places)
    assert steps.max() > 0.05
    assert steps.min() >= -1.01
    assert steps.max() <= 4.01
    assert 0 <= min(places)
    assert max(places) <= 19


def test_a_prompt_is_read_in_along_a_straight_line(model):
    runner = make_engine(model)._runner
    request = make_request(1, prompt_frames=10, text_length=20, prompt_ids=11)
    places = torch.cat([runner._prompt_places(request, 0, 4), runner._prompt_places(request, 4, 10)])
    torch.testing.assert_close(places, torch.arange(10) / 10 * 10.0)


def test_a_known_voice_gives_the_same_codes_as_an_unknown_one(model):
    request = make_request(5, frames=30, prompt_frames=40, text_length=30)
    expected = alone(model, request)
    engine = make_engine(model, slots=2)
    for _ in range(2):
        np.testing.assert_array_equal(codes_of(engine.submit(again(request)), engine.step), expected)


def test_where_a_prompt_ends_in_the_text_makes_a_difference(model):
    shapes = [make_request(5, frames=30, prompt_frames=40, text_length=30, prompt_ids=ids) for ids in (5, 25)]
    one, other = (alone(model, request) for request in shapes)
    assert one.shape != other.shape or not np.array_equal(one, other)
