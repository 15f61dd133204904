"""Side by side with transformers' own DiaForConditionalGeneration and DacModel on random small configurations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dia.codec import Codec
from dia.layers import DiaModel
from dia.model import Dia
from dia.text.tokens import encode_text
from tests.tiny import tiny_codec, write_bundle

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


GREEDY = {"temperature": 0.0, "cfg_scale": 3.0, "top_p": 1.0, "cfg_filter_top_k": 45}
NEW_ROWS = 44


@pytest.mark.parametrize("prompt_frames", [0, 5, 18])
def test_greedy_codes_to_the_end(pair, prompt_frames):
    theirs, ours, _ = pair
    for text in TEXTS[: 1 if prompt_frames else 3]:
        prompt = random_codes(prompt_frames)
        (wanted,) = greedy_with_transformers(theirs, [text], [prompt])
        codes = ours.generate(
            text, audio_prompt=prompt, max_tokens=prompt_frames + NEW_ROWS, exact_text=True, **GREEDY
        )
        np.testing.assert_array_equal(codes, wanted)


@pytest.mark.parametrize("prompt_frames", [(0, 0, 0), (7, 7, 7), (12, 3, 18), (0, 9, 1)])
def test_greedy_codes_of_a_batch_with_voice_prompts(pair, prompt_frames):
    """Unequal texts and prompts at once: they pad, on the left, what is shorter; we do not."""
    theirs, ours, _ = pair
    prompts = [random_codes(frames) for frames in prompt_frames]
    streams = [
        ours.stream(
            text,
            prompt=None if prompt is None else ours.encode_prompt(prompt),
            # Their rows are new ones; ours include the prompt's.
            params=ours.defaults.updated(**GREEDY, max_tokens=frames + NEW_ROWS),
            exact_text=True,
        )
        for text, prompt, frames in zip(TEXTS, prompts, prompt_frames, strict=True)
    ]
    for stream, wanted in zip(streams, greedy_with_transformers(theirs, TEXTS, prompts), strict=True):
        np.testing.assert_array_equal(stream.run_codes(), wanted)


def random_codes(frames: int) -> np.ndarray | None:
    return np.random.default_rng(frames).integers(0, 1024, (frames, 9)) if frames else None


def greedy_with_transformers(model, texts: list[str], prompts: list[np.ndarray | None]) -> list[np.ndarray]:
    """The codes [frames, 9] that transformers generates for each text in one batch, its delayed grid straightened."""
    ids, mask = padded(texts)
    delays = model.config.delay_pattern
    lengths = [0 if prompt is None else len(prompt) for prompt in prompts]
    # The layout that its processor makes: shorter prompts behind masked rows of BOS, free cells PAD.
    rows = max(lengths) + max(delays) + 1
    start = torch.full((len(texts), rows, 9), model.config.decoder_config.pad_token_id)
    seen = torch.ones(len(texts), rows, dtype=torch.long)
    for item, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        left = max(lengths) - length
        seen[item, :left] = 0
        for channel, delay in enumerate(delays):
            start[item, : left + delay + 1, channel] = 1026
            if prompt is not None:
                start[item, left + delay + 1 : left + delay + 1 + length, channel] = torch.tensor(prompt[:, channel])
    with torch.no_grad():
        grids = model.generate(
            input_ids=ids,
            attention_mask=mask.long(),
            decoder_input_ids=start,
            decoder_attention_mask=seen,
            do_sample=False,
            guidance_scale=3.0,
            top_k=45,
            max_new_tokens=NEW_ROWS,
        ).numpy()
    first = max(lengths) + 1
    ends = [first + int(np.flatnonzero(grid[first:, 0] == 1024)[0]) for grid in grids]
    return [
        np.stack([grid[first + delay : end + delay, channel] for channel, delay in enumerate(delays)], axis=1)
        for grid, end in zip(grids, ends, strict=True)
    ]


CODECS = {
    "44.1 kHz": {},
    "24 kHz, 32 books, odd stride": {"sample_rate_hz": 24_000, "hop": (8, 5, 4, 2), "books": (32, 1024)},
    "16 kHz, 12 books": {"sample_rate_hz": 16_000, "hop": (8, 5, 4, 2), "books": (12, 1024)},
    "three blocks, small books": {"sample_rate_hz": 22_050, "hop": (4, 4, 2), "books": (4, 256)},
    "five blocks": {"sample_rate_hz": 48_000, "hop": (6, 4, 4, 2, 2), "books": (2, 512)},
}


@pytest.mark.parametrize("name", CODECS)
def test_codec_equals_dac_model(tmp_path: Path, name: str):
    codec = tiny_codec(3, **CODECS[name])
    model, hop = codec._model, codec.hop_samples
    codes = np.random.default_rng(0).integers(0, codec.codebook_size, (131, codec.num_codebooks))
    with torch.no_grad():
        whole = model.decode(audio_codes=torch.from_numpy(codes.T.copy())[None]).audio_values[0].numpy()
    np.testing.assert_allclose(codec.decode(codes), whole, atol=1e-5)
    sound = np.sin(np.arange(20_000) / 20).astype(np.float32) * 0.3
    pad = np.pad(sound, (0, -len(sound) % hop))
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
    # It lacked the token ids in generation_config.json, without which transformers begins nothing.
    spoken, wanted = (greedy_with_transformers(model, TEXTS[:1], [random_codes(5)]) for model in (back, theirs))
    np.testing.assert_array_equal(spoken[0], wanted[0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # they leave a file open
def test_a_converted_folder_speaks_in_transformers_with_its_own_processor(tmp_path: Path):
    """Text and sound in, sound out, by transformers alone; ours is the same to 1e-5."""
    from transformers import AutoProcessor, DiaForConditionalGeneration

    from dia.cli.root import main

    source, folder = write_bundle(tmp_path / "flat", "flat"), tmp_path / "converted"
    assert main(["convert", str(source), str(folder), "--to", "transformers", "--quiet"]) == 0
    processor, model = AutoProcessor.from_pretrained(folder), DiaForConditionalGeneration.from_pretrained(folder)
    ours = Dia.from_pretrained(folder, slots=1)
    sound = (0.3 * np.sin(np.arange(25_000) / 40)).astype(np.float32)
    for prompt in (None, sound):
        given = {} if prompt is None else {"audio": [prompt], "sampling_rate": 44_100}
        inputs = processor(text=TEXTS[:1], **given)
        frames = 0 if prompt is None else processor.get_audio_prompt_len(inputs["decoder_attention_mask"]) - 1
        grid = model.generate(**inputs, do_sample=False, guidance_scale=3.0, top_k=45, max_new_tokens=NEW_ROWS)
        (theirs,) = processor.batch_decode(grid, audio_prompt_len=frames + 1)
        made = ours.generate(TEXTS[0], audio_prompt=prompt, max_tokens=frames + NEW_ROWS, exact_text=True, **GREEDY)
        np.testing.assert_allclose(made, theirs.numpy(), atol=1e-5)


def test_sharded_folders_load(pair, tmp_path: Path):
    theirs, ours, _ = pair
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    sharded = Dia.from_pretrained(tmp_path / "shards", load_dac=False, slots=1)
    assert isinstance(sharded.model, DiaModel)
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(sharded.model.state_dict()[name], tensor), name
