"""Side by side with transformers' own DiaForConditionalGeneration and DacModel on random small configurations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dia.codec import Codec
from dia.layers import DiaModel
from dia.model import Dia
from dia.text.tokens import encode_text
from tests.tiny import tiny_codec

transformers = pytest.importorskip("transformers")

SHAPES = {
    "square": {"layers": (1, 2), "width": (32, 32), "heads": (2, 4, 2, 2), "dims": (16, 8, 16)},
    "odd": {"layers": (3, 1), "width": (24, 40), "heads": (3, 6, 2, 5), "dims": (10, 6, 12)},
    "one-group": {"layers": (2, 3), "width": (48, 64), "heads": (4, 4, 1, 4), "dims": (12, 16, 8)},
}
TEXTS = [
    "[S1] Hello there. [S2] Hi (laughs) ok. [S1]",
    "[S1] Ça va? [S2]",
    "[S1] One, two; three four five six. [S2] 7! [S1]",
]


@pytest.fixture(scope="module", params=SHAPES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A random transformers model and ours, loaded from the folder that transformers wrote."""
    from transformers import DiaConfig, DiaDecoderConfig, DiaEncoderConfig, DiaForConditionalGeneration

    shape = SHAPES[request.param]
    torch.manual_seed(len(request.param))
    encoder = DiaEncoderConfig(
        num_hidden_layers=shape["layers"][0],
        hidden_size=shape["width"][0],
        intermediate_size=56,
        num_attention_heads=shape["heads"][0],
        num_key_value_heads=shape["heads"][0],
        head_dim=shape["dims"][0],
        max_position_embeddings=128,
    )
    decoder = DiaDecoderConfig(
        num_hidden_layers=shape["layers"][1],
        hidden_size=shape["width"][1],
        intermediate_size=72,
        num_attention_heads=shape["heads"][1],
        num_key_value_heads=shape["heads"][2],
        head_dim=shape["dims"][1],
        cross_num_attention_heads=shape["heads"][3],
        cross_num_key_value_heads=shape["heads"][3],
        cross_head_dim=shape["dims"][2],
        cross_hidden_size=shape["width"][0],
        max_position_embeddings=160,
    )
    theirs = DiaForConditionalGeneration(DiaConfig(encoder_config=encoder, decoder_config=decoder)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(
                torch.randn_like(parameter) * (0.15 if parameter.ndim > 1 else 0.1) + (parameter.ndim == 1)
            )
    folder = tmp_path_factory.mktemp("parity") / "model"
    theirs.save_pretrained(folder)
    return theirs, Dia.from_pretrained(folder, load_dac=False, slots=3), folder


def padded(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = [torch.tensor(encode_text(text)) for text in texts]
    batch = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return batch, batch != 0


def test_logits_of_a_batch_of_unequal_texts(pair):
    theirs, ours, _ = pair
    ids, mask = padded(TEXTS)
    tokens = torch.randint(0, 1027, (3, 21, 9))
    with torch.no_grad():
        output = (
            theirs(
                input_ids=ids,
                attention_mask=mask.long(),
                decoder_input_ids=tokens,
                decoder_attention_mask=torch.ones(3, 21, dtype=torch.long),
            )
            .logits.view(3, 9, 21, -1)
            .transpose(1, 2)
        )
    torch.testing.assert_close(ours.model(ids, tokens, mask), output, atol=1e-4, rtol=0)


@pytest.mark.parametrize("prompt_frames", [0, 5, 18])
def test_greedy_codes_to_the_end(pair, prompt_frames):
    theirs, ours, _ = pair
    rng = np.random.default_rng(prompt_frames)
    new_rows = 44
    for text in TEXTS[: 1 if prompt_frames else 3]:
        prompt = rng.integers(0, 1024, (prompt_frames, 9)) if prompt_frames else None
        grid = greedy_with_transformers(theirs, text, prompt, new_rows)
        codes = ours.generate(
            text,
            audio_prompt=prompt,
            max_tokens=prompt_frames + new_rows,
            temperature=0.0,
            cfg_scale=3.0,
            top_p=1.0,
            cfg_filter_top_k=45,
            exact_text=True,
        )
        delays = ours.config.data.delay_pattern
        first = prompt_frames + 1
        wanted = np.stack([grid[first + d : first + d + len(codes), c] for c, d in enumerate(delays)], axis=1)
        np.testing.assert_array_equal(codes, wanted)
        assert len(codes) == new_rows - 16 or grid[first + len(codes), 0] == 1024


def greedy_with_transformers(model, text: str, prompt: np.ndarray | None, new_rows: int) -> np.ndarray:
    """The delayed grid [rows, 9] that transformers generates."""
    ids = torch.tensor([encode_text(text)])
    frames = 0 if prompt is None else len(prompt)
    delays = model.config.delay_pattern
    # The layout that its processor makes: free cells are PAD.
    start = torch.full((frames + max(delays) + 1, 9), model.config.decoder_config.pad_token_id)
    for channel, delay in enumerate(delays):
        start[: delay + 1, channel] = 1026
        if prompt is not None:
            start[delay + 1 : delay + 1 + frames, channel] = torch.tensor(prompt[:, channel])
    with torch.no_grad():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            decoder_input_ids=start[None],
            decoder_attention_mask=torch.ones(1, len(start), dtype=torch.long),
            do_sample=False,
            guidance_scale=3.0,
            top_k=45,
            max_new_tokens=new_rows,
        )
    return out[0].numpy()


def test_codec_equals_dac_model(tmp_path: Path):
    codec = tiny_codec(3)
    model = codec._model
    codes = np.random.default_rng(0).integers(0, 1024, (131, 9))
    with torch.no_grad():
        whole = model.decode(audio_codes=torch.from_numpy(codes.T.copy())[None]).audio_values[0].numpy()
    np.testing.assert_allclose(codec.decode(codes), whole, atol=1e-5)
    sound = np.sin(np.arange(20_000) / 20).astype(np.float32) * 0.3
    pad = np.pad(sound, (0, -len(sound) % 512))
    with torch.no_grad():
        theirs = model.encode(torch.from_numpy(pad)[None, None]).audio_codes[0].T.numpy()
    np.testing.assert_array_equal(codec.encode(sound), theirs)
    codec.save(tmp_path / "codec")
    np.testing.assert_array_equal(Codec.load(tmp_path / "codec").decode(codes), codec.decode(codes))


def test_a_folder_that_we_write_loads_in_transformers(pair, tmp_path: Path):
    from dia.checkpoint import save_model

    theirs, ours, _ = pair
    save_model(ours.model, tmp_path / "ours", "transformers")
    back = type(theirs).from_pretrained(tmp_path / "ours")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_sharded_folders_load(pair, tmp_path: Path):
    theirs, ours, _ = pair
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    sharded = Dia.from_pretrained(tmp_path / "shards", load_dac=False, slots=1)
    assert isinstance(sharded.model, DiaModel)
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(sharded.model.state_dict()[name], tensor), name
