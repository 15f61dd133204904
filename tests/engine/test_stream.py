"""Sound as it comes is the sound of the whole, whatever the pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.codec import FIRST_WINDOW_FRAMES

TEXT = "[S1] Pieces of any size. [S2] They fit."


@pytest.fixture(scope="module")
def spoken(bundle):
    """A model, and codes with the sound that decoding them at once gives."""
    from dia.model import Dia

    dia = Dia.from_pretrained(bundle, slots=4)
    codes = np.random.default_rng(0).integers(0, 1024, (70, 9), dtype=np.int16)
    with torch.no_grad():
        whole = dia.codec._model.decode(audio_codes=torch.from_numpy(codes.T.astype(np.int64))[None]).audio_values
    yield dia, codes, whole[0].numpy()
    dia.close()


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_frames_pushed_in_any_pieces_give_the_whole_sound(spoken, sizes):
    dia, codes, whole = spoken
    decoder, parts, start = dia.codec.stream(), [], 0
    for size in sizes:
        parts.append(decoder.push(codes[start : start + size]) if start < len(codes) else whole[:0])
        start += size
    if start < len(codes):
        parts.append(decoder.push(codes[start:]))
    parts.append(decoder.flush())
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    assert np.array_equal(np.concatenate(parts), dia.codec.decode(codes))


@pytest.mark.parametrize("threaded", [False, True])
def test_a_stream_is_the_whole_generation(spoken, threaded):
    dia = spoken[0]
    params = dia.defaults.updated(seed=11, max_tokens=100)
    whole = dia.generate(TEXT, max_tokens=100, seed=11)
    if threaded:
        dia.start()
    with dia.stream(TEXT, params=params) as stream:
        chunks = list(stream)
    assert np.array_equal(np.concatenate(chunks), whole)
    assert len(chunks[0]) == FIRST_WINDOW_FRAMES * dia.codec.hop_samples
    assert len(stream.codes) * dia.codec.hop_samples == len(whole)


def test_the_first_sound_comes_after_the_steps_that_delay_and_context_demand(bundle):
    from dia.model import Dia

    dia = Dia.from_pretrained(bundle, slots=1)
    stream = dia.stream(TEXT, params=dia.defaults.updated(seed=1, max_tokens=120))
    next(stream)
    assert dia.engine.steps == FIRST_WINDOW_FRAMES + dia.config.data.max_delay + dia.codec.context_frames
    stream.close()


def test_closing_a_stream_frees_its_slot_at_once(bundle):
    from dia.model import Dia

    dia = Dia.from_pretrained(bundle, slots=1)
    first = dia.stream(TEXT)
    next(first)
    first.close()
    assert dia.engine.num_running == 0
    assert len(dia.generate(TEXT, max_tokens=40, seed=1))


@pytest.mark.parametrize("threaded", [False, True])
def test_a_stream_that_nobody_holds_any_more_makes_nobody_wait(bundle, threaded):
    from dia.model import Dia

    dia = Dia.from_pretrained(bundle, slots=1)
    if threaded:
        dia.start()
    for _ in dia.stream(TEXT):
        break
    before = dia.engine.steps
    dia.generate(TEXT, max_tokens=40, seed=1)
    # The first went on for as long as the thread took to see it, not to its end at 256 rows.
    assert dia.engine.steps - before <= 40 + 3
    dia.close()
