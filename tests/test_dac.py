"""DAC's decoder in pieces: equal to the whole whatever their lengths, batched or not, with a past that does not grow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.codec import Codec
from dia.dac import DacStream, Past
from tests.tiny import tiny_codec

TOLERANCE = 1e-5


def in_pieces(stream: DacStream, codes: torch.Tensor, ends: list[int]) -> tuple[torch.Tensor, list[Past]]:
    """Sound of codes [n, Q, T] that come in pieces up to `ends` and then to the last."""
    sounds, pasts, past, start = [], [], None, 0
    for end in ends:
        sound, past = stream.decode(codes[..., start:end], past, False)
        sounds.append(sound)
        pasts.append(past)
        start = end
    sounds.append(stream.decode(codes[..., start:], past, True)[0])
    return torch.cat(sounds, dim=1), pasts


def whole(codec: Codec, codes: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return codec._model.decode(audio_codes=codes).audio_values


def random_codes(streams: int, frames: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(frames).integers(0, 1024, (streams, 9, frames)))


@pytest.fixture(scope="module")
def codec() -> Codec:
    return tiny_codec()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=6), st.integers(0, 20))
def test_pieces_of_any_lengths_equal_the_whole(codec, lengths, rest):
    first = codec.context_frames
    ends = [first + sum(lengths[:index]) for index in range(len(lengths) + 1)]
    codes = random_codes(2, ends[-1] + rest)
    sound, _ = in_pieces(DacStream(codec._model), codes, ends)
    torch.testing.assert_close(sound, whole(codec, codes), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("hop", [(5, 4, 2), (2,), (3, 3), (10, 2, 2, 10), (7, 5, 3)])
@pytest.mark.parametrize("frames", [1, 2, 40, 60])
def test_strides_of_any_kind_end_as_the_library_ends(hop, frames):
    codec, codes = tiny_codec(hop=hop), random_codes(1, frames)
    ends = [end for end in (codec.context_frames, 45, 60) if end <= frames]
    sound, _ = in_pieces(DacStream(codec._model), codes, ends)
    torch.testing.assert_close(sound, whole(codec, codes), atol=TOLERANCE, rtol=0)


def test_samples_that_an_output_padding_adds_are_there():
    codec, codes = tiny_codec(hop=(5, 3)), random_codes(1, 60)
    for block in codec._model.decoder.block:
        block.conv_t1.output_padding = (1,)
    sound, _ = in_pieces(DacStream(codec._model), codes, [30, 40])
    assert sound.shape[1] == 60 * codec.hop_samples
    torch.testing.assert_close(sound, whole(codec, codes), atol=TOLERANCE, rtol=0)


def test_the_past_of_a_stream_does_not_grow(codec):
    _, pasts = in_pieces(DacStream(codec._model), random_codes(1, 200), [20, 30, 31, 100, 164])
    sizes = [[layer.shape for layer in past] for past in pasts]
    assert all(one == sizes[0] for one in sizes)
    assert all(layer.untyped_storage().nbytes() == layer.nbytes for layer in pasts[-1])


def test_all_that_is_certain_comes_out(codec):
    sound, _ = DacStream(codec._model).decode(random_codes(1, 40), None, False)
    assert (40 - codec.context_frames) * codec.hop_samples <= sound.shape[1]
    assert sound.shape[1] < (41 - codec.context_frames) * codec.hop_samples


def test_the_librarys_own_decoder_is_left_as_it_was(codec):
    codes, before = random_codes(1, 30), {name: t.clone() for name, t in codec._model.state_dict().items()}
    expected = whole(codec, codes)
    DacStream(codec._model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in codec._model.state_dict().items())
    torch.testing.assert_close(whole(codec, codes), expected, atol=1e-6, rtol=0)


def test_another_transposed_convolution_is_refused():
    model = tiny_codec(hop=(4, 2))._model
    model.decoder.block[0].conv_t1.stride = (2,)
    with pytest.raises(ValueError, match="kernel 2 s and stride s"):
        DacStream(model)
