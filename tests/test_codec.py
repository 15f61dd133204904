"""The codec: windows and streams equal the whole, any configuration, bad codes refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dia.codec import Codec, _new_encoder_name, _new_name, decoder_context_frames
from dia.errors import BadCodes, BadPrompt, CheckpointMismatch, CheckpointNotFound
from tests.tiny import tiny_codec

RNG = np.random.default_rng(0)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def codec() -> Codec:
    return tiny_codec()


def whole(codec: Codec, codes: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return codec._model.decode(audio_codes=torch.from_numpy(codes.T.copy())[None]).audio_values[0].numpy()


def test_the_published_model_needs_ten_frames_of_context():
    assert decoder_context_frames([8, 8, 4, 2]) == 10


@pytest.mark.parametrize("ratios", [(8, 8, 4, 2), (8, 4, 4, 4), (5, 4, 2)])
def test_no_code_reaches_further_than_the_context(ratios):
    codec = tiny_codec(hop=ratios)
    codec._model.double()
    codes = RNG.integers(0, 1024, (60, 9))
    changed = codes.copy()
    changed[30] = (changed[30] + 1) % 1024
    difference = np.abs(whole(codec, codes) - whole(codec, changed))
    frames = np.add.reduceat(difference, np.arange(0, len(difference), codec.hop_samples))
    touched = np.flatnonzero(frames > 0)
    assert 30 - codec.context_frames <= touched.min()
    assert touched.max() <= 30 + codec.context_frames


@pytest.mark.parametrize("frames", [1, 9, 17, 18, 19, 33, 34, 35, 200])
def test_windows_equal_the_whole(codec, frames):
    codes = RNG.integers(0, 1024, (frames, 9))
    decoded = codec.decode(codes)
    assert decoded.shape == (frames * codec.hop_samples,)
    np.testing.assert_allclose(decoded, whole(codec, codes), atol=TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_a_stream_of_any_pieces_equals_the_whole(codec, sizes):
    codes = RNG.integers(0, 1024, (sum(sizes), 9))
    stream, pieces, start = codec.stream(), [], 0
    for size in sizes:
        pieces.append(stream.push(codes[start : start + size]))
        start += size
        ends = [end for end in (0, 8, 24, 56, 120, 184, 248, 312, 376) if end <= max(0, start - codec.context_frames)]
        assert sum(map(len, pieces)) == ends[-1] * codec.hop_samples
    pieces.append(stream.flush())
    assert np.array_equal(np.concatenate(pieces), codec.decode(codes))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_a_decoder_in_a_thread_of_its_own_makes_the_same_sound(codec, sizes):
    codes = RNG.integers(0, 1024, (sum(sizes), 9))
    stream, pieces, start = codec.stream(aside=True), [], 0
    for size in sizes:
        pieces.append(stream.push(codes[start : start + size]))
        start += size
    settled = stream.settle()
    assert len(stream.settle()) == 0
    pieces += [settled, stream.flush()]
    assert np.array_equal(np.concatenate(pieces), codec.decode(codes))


def test_an_error_in_the_decoders_thread_reaches_its_user(codec, monkeypatch):
    stream = codec.stream(aside=True)
    assert len(stream.push(RNG.integers(0, 1024, (30, 9))))

    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(codec, "_window", fail)
    stream.push(RNG.integers(0, 1024, (40, 9)))
    with pytest.raises(RuntimeError, match="no memory"):
        stream.flush()


def test_rates_come_from_the_configuration():
    codec = tiny_codec(sample_rate_hz=16_000, hop=(8, 4, 4, 4))
    assert (codec.sample_rate_hz, codec.hop_samples, codec.frame_rate_hz) == (16_000, 512, 31.25)
    odd = tiny_codec(sample_rate_hz=24_000, hop=(5, 4, 4))
    codes = RNG.integers(0, 1024, (120, 9))
    np.testing.assert_allclose(odd.decode(codes), whole(odd, codes), atol=TOLERANCE)


def test_encode_gives_whole_frames_of_small_integers(codec):
    codes = codec.encode(np.sin(np.arange(1000) / 9).astype(np.float32))
    assert (codes.shape, codes.dtype) == ((2, 9), np.int16)
    assert codes.min() >= 0 and codes.max() < codec.codebook_size


@pytest.mark.parametrize(
    ("codes", "complaint"),
    [
        (np.zeros((4, 8), dtype=int), r"\[4, 8\]; expected \[frames, 9\]"),
        (np.zeros(9, dtype=int), "shape"),
        (np.zeros((4, 9)), "float64; expected integers"),
        (np.full((4, 9), 1024), "code 1024 at frame 0, channel 0 is outside 0 … 1023"),
        (np.where(np.arange(36).reshape(4, 9) == 13, -1, 5), "code -1 at frame 1, channel 4"),
    ],
)
def test_bad_codes_are_errors_not_zeros(codec, codes, complaint):
    with pytest.raises(BadCodes, match=complaint):
        codec.decode(codes)
    with pytest.raises(BadCodes, match=complaint):
        codec.stream().push(codes)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros((2, 100)), np.array([0.0, np.nan])])
def test_bad_waveforms_are_refused(codec, sound):
    with pytest.raises(BadPrompt):
        codec.encode(sound)


def test_no_frames_are_no_sound(codec):
    assert codec.decode(np.zeros((0, 9), dtype=int)).shape == (0,)


def test_a_folder_without_or_with_a_damaged_codec(codec, tmp_path):
    with pytest.raises(CheckpointNotFound, match="holds no codec"):
        Codec.load(tmp_path)
    codec.save(tmp_path / "c", torch.float16)
    assert Codec.load(tmp_path / "c").sample_rate_hz == 44_100
    path = tmp_path / "c" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        Codec.load(tmp_path / "c")


def to_original(codec: Codec) -> dict[str, torch.Tensor]:
    """The tensors under the names and with the split weight norm of the original release."""
    import re

    state = {}
    for name, tensor in codec._model.state_dict().items():
        old = _old_name(name)
        if re.search(r"(conv\d|conv_t1|in_proj|out_proj)\.weight$", name):
            norm = tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.ndim - 1))
            state[old + "_v"] = tensor * 3  # any scale: only the direction counts
            state[old + "_g"] = norm
        else:
            state[old] = tensor
    return state


def _old_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "quantizer":
        return name
    unit = {"snake1": "0", "conv1": "1", "snake2": "2", "conv2": "3"}
    top = {"conv1": "0", "snake1": "5", "conv2": "6"}
    stem = "encoder.block" if parts[0] == "encoder" else "decoder.model"
    if parts[1] != "block":
        return ".".join([stem, top[parts[1]], *parts[2:]])
    block, inner = int(parts[2]) + 1, parts[3]
    if inner.startswith("res_unit"):
        offset = int(inner[-1]) - 1 if parts[0] == "encoder" else int(inner[-1]) + 1
        return ".".join([stem, str(block), "block", str(offset), "block", unit[parts[4]], *parts[5:]])
    index = {"encoder": {"snake1": "3", "conv1": "4"}, "decoder": {"snake1": "0", "conv_t1": "1"}}[parts[0]][inner]
    return ".".join([stem, str(block), "block", index, *parts[4:]])


def test_the_original_release_file_loads(codec, tmp_path):
    kwargs = {
        "encoder_dim": 4,
        "encoder_rates": [2, 4, 8, 8],
        "decoder_dim": 32,
        "decoder_rates": [8, 8, 4, 2],
        "n_codebooks": 9,
        "codebook_size": 1024,
        "codebook_dim": 8,
        "sample_rate": 44_100,
    }
    torch.save({"state_dict": to_original(codec), "metadata": {"kwargs": kwargs}}, tmp_path / "weights.pth")
    loaded = Codec.load(tmp_path / "weights.pth")
    codes = RNG.integers(0, 1024, (30, 9))
    np.testing.assert_allclose(loaded.decode(codes), codec.decode(codes), atol=TOLERANCE)


def test_every_original_name_has_one_new_name(codec):
    names = list(codec._model.state_dict())
    assert [_new_name(_old_name(name)) for name in names] == names
    assert _new_encoder_name(["block", "0", "bias"]) == "encoder.conv1.bias"


def test_a_file_that_is_no_codec_is_refused(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"not a pickle")
    with pytest.raises(CheckpointMismatch, match="x.pth is damaged or holds more than tensors"):
        Codec.load(tmp_path / "x.pth")
    torch.save({"state_dict": {}}, tmp_path / "y.pth")
    with pytest.raises(CheckpointMismatch, match="y.pth is not an original DAC file: 'metadata' is not in it"):
        Codec.load(tmp_path / "y.pth")
