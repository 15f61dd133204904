"""Voice prompts: read in by pieces, half of the work kept from one request to the next."""

import numpy as np
import pytest
import torch

from dia.engine.voices import VoiceCache, voice_key
from dia.state import UNCOND
from tests.engine.parts import SMALL, again, alone, codes_of, finish, make_engine, make_model, make_request

REQUEST = make_request(3, frames=12, prompt_frames=40, config=SMALL)


@pytest.fixture(scope="module")
def model():
    return make_model(config=SMALL)


@pytest.mark.parametrize("rows", [1, 7, 39, 40, 400])
def test_a_prompt_read_in_pieces_of_any_size_gives_the_same_codes(model, rows):
    expected = alone(model, REQUEST)
    engine = make_engine(model)
    engine._runner.prefill_rows = rows
    np.testing.assert_array_equal(codes_of(engine.submit(again(REQUEST)), engine.step), expected)


def test_running_requests_advance_between_the_pieces_of_anothers_prompt(model):
    engine = make_engine(model)
    engine._runner.prefill_rows = 8
    running = engine.submit(make_request(0, frames=30, config=SMALL))
    engine.step()
    engine.submit(again(REQUEST))
    received = []
    for _ in range(5):
        before = engine.steps
        engine.step()
        received.append(engine.steps - before)
    assert received == [1] * 5
    assert running.has_frames


def test_a_voice_used_again_skips_its_unconditional_half_and_gives_the_same_codes(model):
    other = make_request(4, frames=9, text_length=33, config=SMALL)
    object.__setattr__(other, "prompt", REQUEST.prompt)
    object.__setattr__(other, "rows", REQUEST.rows)
    expected = [alone(model, request) for request in (REQUEST, other)]
    engine = make_engine(model)
    for request, codes in zip((REQUEST, other, REQUEST), [*expected, expected[0]], strict=True):
        np.testing.assert_array_equal(codes_of(engine.submit(again(request)), engine.step), codes)
    assert engine._runner.voices.hits == 2
    assert len(engine._runner.voices) == 1


@pytest.mark.parametrize("kind", ["full", "int8"])
def test_what_is_kept_of_a_voice_is_what_reading_it_computes(model, kind):
    engine = make_engine(model, kv_cache=kind)
    engine.submit(again(REQUEST))
    engine.step()
    engine.step()  # 40 rows are two pieces
    runner = engine._runner
    place = (slice(None), 0, UNCOND, slice(None), slice(40))
    computed = [cache.copy(place) for cache in runner.state.self_kv]
    with torch.inference_mode():
        runner.state.clear(0)
    assert runner.voices.restore(voice_key(REQUEST.prompt), runner.state, 0)
    for cache, stored in zip(runner.state.self_kv, computed, strict=True):
        assert all(map(torch.equal, cache.copy(place), stored))


def test_the_voice_cache_keeps_the_latest_within_its_bytes(model):
    engine = make_engine(model)
    requests = [make_request(number, frames=1, prompt_frames=20, config=SMALL) for number in range(3)]
    for request in requests:
        engine.submit(again(request))
    finish(engine)
    one = engine._runner.voices.num_bytes // 3
    small = VoiceCache(2 * one)
    state = engine._runner.state
    for request in (requests[0], requests[1], requests[0], requests[2]):
        if not small.restore(voice_key(request.prompt), state, 0):
            small.keep(voice_key(request.prompt), state, 0, 20)
    assert small.num_bytes == 2 * one
    assert not small.restore(voice_key(requests[1].prompt), state, 0)
    assert small.restore(voice_key(requests[0].prompt), state, 0)
    small.keep("too large", state, 0, 100)
    assert len(small) == 2


def test_prompts_that_come_once_push_out_no_voice_that_comes_again(model):
    engine = make_engine(model)
    engine.submit(make_request(0, frames=1, prompt_frames=20, config=SMALL))
    finish(engine)
    cache = VoiceCache(2 * engine._runner.voices.num_bytes)
    state = engine._runner.state
    cache.keep("voice", state, 0, 20)
    assert cache.restore("voice", state, 0)
    for number in range(6):
        cache.keep(f"piece {number}", state, 0, 20)
    assert cache.restore("voice", state, 0)
    assert len(cache) == 2
    # A cache full of voices that came again takes a new one in, in place of the oldest.
    assert cache.restore("piece 5", state, 0)
    cache.keep("new voice", state, 0, 20)
    assert cache.restore("new voice", state, 0)
    assert not cache.restore("voice", state, 0)


def test_voices_differ_by_their_codes():
    codes = np.zeros((4, 3), dtype=np.int16)
    assert voice_key(codes) == voice_key(codes.copy())
    assert voice_key(codes) != voice_key(codes.reshape(3, 4))
    assert voice_key(codes) != voice_key(codes + 1)


def test_the_codes_of_a_recording_are_remembered(dia, monkeypatch):
    waveform = np.random.default_rng(0).normal(0, 0.1, 44_100).astype(np.float32)
    first = dia.encode_prompt(waveform, "Hello.")
    monkeypatch.setattr(dia.codec, "encode", None)
    second = dia.encode_prompt(waveform.copy(), "Hello again.")
    np.testing.assert_array_equal(first.codes, second.codes)
    second.codes[:] = 0  # a caller's copy is his own
    np.testing.assert_array_equal(dia.encode_prompt(waveform).codes, first.codes)
