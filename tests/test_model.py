"""Dia as its users call it: one text or many, whole or streamed, with and without a voice, and everything it refuses."""

import math
import re

import numpy as np
import pytest
import torch

from dia.checkpoint import save_model
from dia.codec import FIRST_WINDOW_FRAMES
from dia.engine import Engine
from dia.errors import BadCodes, BadInput, BadParameter, BadPrompt, BadScript, Cancelled, CodecUnavailable
from dia.model import Dia, VoicePrompt
from tests.tiny import tiny_codec, tiny_config, tiny_model

TEXT = "[S1] Hello there. [S2] Hi (laughs) ok."
SHORT = {"max_tokens": 80, "seed": 5}


def tone(seconds: float, rate_hz: int = 44_100, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(np.arange(round(seconds * rate_hz)) * 0.05)).astype(np.float32)


def test_a_text_becomes_sound(dia):
    sound = dia.generate(TEXT, **SHORT)
    assert sound.dtype == np.float32 and sound.ndim == 1
    assert 0 < len(sound) <= (80 - 16) * 512 and len(sound) % 512 == 0


def test_a_list_gives_a_list_equal_to_each_alone(dia):
    texts = [TEXT, "[S1] One.", "[S1] A rather longer line than the others are. [S2] Yes?"]
    together = dia.generate(texts, **SHORT)
    assert isinstance(together, list) and len(together) == 3
    for text, sound in zip(texts, together, strict=True):
        np.testing.assert_array_equal(sound, dia.generate(text, **SHORT))
    assert isinstance(dia.generate([TEXT], **SHORT), list)


def test_more_texts_than_slots_are_queued(dia):
    texts = [f"[S1] Number {index}." for index in range(7)]
    assert dia.engine.slots == 4
    together = dia.generate(texts, **SHORT)
    np.testing.assert_array_equal(together[6], dia.generate(texts[6], **SHORT))


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"guidance": "combined"}, {"cfg_scale": 0.0}])
def test_streamed_equals_whole(dia, options):
    params = dia.defaults.updated(**SHORT, **options)
    stream = dia.stream(TEXT, params=params)
    chunks = list(stream)
    whole = dia.generate(TEXT, **SHORT, **options)
    assert np.concatenate(chunks).shape == whole.shape
    np.testing.assert_allclose(np.concatenate(chunks), whole, atol=1e-5)
    np.testing.assert_allclose(dia.codec.decode(stream.codes), whole, atol=1e-6)
    assert stream.is_finished and stream.frames_done * 512 == len(whole)


def test_the_first_chunk_leaves_as_early_as_delay_and_context_allow(dia):
    stream = dia.stream(TEXT, params=dia.defaults.updated(max_tokens=200, seed=5, temperature=0.0))
    chunk = next(stream)
    assert len(chunk) == FIRST_WINDOW_FRAMES * 512
    # One row per frame, behind them the delay's rows and the codec's context.
    assert dia.engine.steps == FIRST_WINDOW_FRAMES + dia.config.data.max_delay + dia.codec.context_frames
    stream.close()


def test_streams_interleave_without_a_thread(dia):
    params = dia.defaults.updated(**SHORT)
    one, two = dia.stream(TEXT, params=params), dia.stream("[S1] Other words.", params=params)
    parts = {one: [], two: []}
    open_streams = [one, two]
    while open_streams:
        for stream in list(open_streams):
            chunk = next(stream, None)
            if chunk is None:
                open_streams.remove(stream)
            else:
                parts[stream].append(chunk)
    np.testing.assert_allclose(np.concatenate(parts[one]), dia.generate(TEXT, **SHORT), atol=1e-5)
    np.testing.assert_allclose(np.concatenate(parts[two]), dia.generate("[S1] Other words.", **SHORT), atol=1e-5)


def test_seeds_repeat_and_differ_and_are_told(dia):
    codes = [dia.stream(TEXT, params=dia.defaults.updated(max_tokens=60, seed=s)).run_codes() for s in (1, 1, 2)]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert codes[0].shape != codes[2].shape or (codes[0] != codes[2]).any()
    drawn = dia.stream(TEXT, params=dia.defaults.updated(max_tokens=60))
    first = drawn.run_codes()
    again = dia.stream(TEXT, params=dia.defaults.updated(max_tokens=60, seed=drawn.seed)).run_codes()
    np.testing.assert_array_equal(first, again)


def test_a_voice_prompt_as_file_waveform_or_codes_is_the_same_voice(dia, tmp_path):
    sound = tone(1.0)
    dia.save_audio(tmp_path / "voice.flac", sound)
    codes = dia.load_audio(tmp_path / "voice.flac")
    from dia.media.read import read_audio

    decoded = read_audio(tmp_path / "voice.flac", sample_rate_hz=44_100)
    options = {"max_tokens": 200, "seed": 1, "transcript": "A tone."}
    results = [
        dia.generate(TEXT, audio_prompt=voice, **options)
        for voice in (tmp_path / "voice.flac", str(tmp_path / "voice.flac"), decoded, codes, torch.from_numpy(codes))
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
    assert results[0].shape != dia.generate(TEXT, max_tokens=200, seed=1).shape or not np.array_equal(
        results[0], dia.generate(TEXT, max_tokens=200, seed=1)
    )


def test_the_transcript_goes_before_the_text(dia):
    prompt = dia.encode_prompt(tone(0.6), "Words of the prompt.")
    stream = dia.stream(TEXT, prompt=prompt, params=dia.defaults.updated(max_tokens=120))
    assert stream.text.startswith("[S1] Words of the prompt. Hello there. [S2] Hi (laughs) ok.")
    stream.close()


def test_the_prompt_is_not_part_of_the_output(dia):
    prompt = dia.encode_prompt(tone(0.6), "Words.")
    codes = dia.stream(TEXT, prompt=prompt, params=dia.defaults.updated(max_tokens=100, temperature=0.0)).run_codes()
    assert len(codes) <= 100 - 16 - len(prompt.codes)


def test_prompts_for_some_texts_of_a_list(dia):
    voice = dia.encode_prompt(tone(0.6), "Words.")
    options = {"max_tokens": 120, "seed": 1}
    mixed = dia.generate([TEXT, TEXT], audio_prompt=[voice, None], **options)
    np.testing.assert_array_equal(mixed[0], dia.generate(TEXT, audio_prompt=voice, **options))
    np.testing.assert_array_equal(mixed[1], dia.generate(TEXT, **options))
    with pytest.raises(BadParameter, match="1 entries for 2 texts"):
        dia.generate([TEXT, TEXT], audio_prompt=[voice])


def test_repairs_are_reported_and_exact_text_is_left_alone(dia):
    params = dia.defaults.updated(max_tokens=40, seed=1)
    repaired = dia.stream("“Hello” (laugh)", params=params)
    assert repaired.text == '[S1] "Hello" (laughs) [S1]' and len(repaired.warnings) >= 2
    exact = dia.stream("[S2] hey [S1]", params=params, exact_text=True)
    assert (exact.text, exact.warnings) == ("[S2] hey [S1]", ())
    repaired.close(), exact.close()


@pytest.mark.parametrize("load_dac", [True, False])
def test_verbose_tells_on_stderr_how_far_it_is(bundle, capfd, load_dac):
    """The reference's argument, which its examples set."""
    dia = Dia.from_pretrained(bundle, slots=1, load_dac=load_dac)
    options = {"max_tokens": 250, "temperature": 0.0}
    told = dia.generate(TEXT, verbose=True, **options)
    out, err = capfd.readouterr()
    assert re.fullmatch(r"(\d\.\d of about \d\.\d s of speech, real-time factor \d+\.\d\d\n){2}", err), err
    np.testing.assert_array_equal(told, dia.generate(TEXT, **options))
    assert (out, capfd.readouterr().err) == ("", "")


def test_codes_are_saved_and_decoded_later(dia, tmp_path):
    stream = dia.stream(TEXT, params=dia.defaults.updated(**SHORT))
    codes = stream.run_codes()
    np.save(tmp_path / "take.npy", codes)
    np.testing.assert_array_equal(dia.codec.decode(np.load(tmp_path / "take.npy")), dia.generate(TEXT, **SHORT))


def test_without_a_codec_codes_come_back(bundle):
    silent = Dia.from_pretrained(bundle, load_dac=False, slots=1)
    codes = silent.generate(TEXT, **SHORT)
    assert codes.dtype == np.int16 and codes.shape[1] == 9
    with pytest.raises(CodecUnavailable, match="load_dac"):
        next(silent.stream(TEXT))
    with pytest.raises(CodecUnavailable):
        silent.encode_prompt(tone(1))


def test_without_a_codec_its_frame_rate_is_known(tmp_path):
    """It was that of DAC at 44.1 kHz, twice the bundled model's: all seconds were wrong, and where a prompt ends."""
    save_model(tiny_model(), tmp_path, "flat")
    assert Dia.from_pretrained(tmp_path, load_dac=False, slots=1).frame_rate_hz == 44_100 / 512
    tiny_codec(sample_rate_hz=16_000, hop=(10, 2, 2, 10)).save(tmp_path / "codec")
    for load_dac in (True, False):
        assert Dia.from_pretrained(tmp_path, load_dac=load_dac, slots=1).frame_rate_hz == 40.0


def test_a_cancelled_stream_raises_and_frees_its_slot(dia):
    stream = dia.stream(TEXT, params=dia.defaults.updated(max_tokens=250, temperature=0.0))
    next(stream)
    stream.cancel()
    with pytest.raises(Cancelled):
        list(stream)
    assert dia.engine.num_running == 0


def test_leaving_a_stream_early_frees_its_slot(dia):
    with dia.stream(TEXT, params=dia.defaults.updated(max_tokens=250)) as stream:
        next(stream)
    assert dia.engine.num_running == 0


def test_a_started_engine_gives_the_same_sound(bundle, dia):
    threaded = Dia.from_pretrained(bundle, slots=2)
    threaded.start()
    try:
        sound = np.concatenate(list(threaded.stream(TEXT, params=threaded.defaults.updated(**SHORT))))
    finally:
        threaded.close()
    np.testing.assert_allclose(sound, dia.generate(TEXT, **SHORT), atol=1e-5)


def test_every_shape_of_delay_and_channels_works():
    for delays in ((0,), (0, 1), (0, 1, 2, 3), (0, 3, 1)):
        config = tiny_config(delays=delays, audio_length=60)
        model = Dia(tiny_model(config), None, name="t", slots=2)
        assert isinstance(model.engine, Engine)
        codes = model.generate(["[S1] Hi.", "[S1] Well, hello."], max_tokens=40, seed=3)
        for item in codes:
            assert item.shape[1] == len(delays) and len(item) <= 40 - max(*delays, 1) - 1


# ---- refusals ----


@pytest.mark.parametrize("text", ["", "   \n", "[S1] ", "…"])
def test_nothing_to_say(dia, text):
    with pytest.raises(BadScript):
        dia.generate(text)


def test_text_at_and_over_the_limit(dia):
    limit = dia.config.data.text_length
    room = limit - len(" ") * 2 - 2  # "[S1] … [S1]": two tags of one byte, two spaces
    dia.generate("a" * (room - 1) + ".", max_tokens=20)
    with pytest.raises(BadScript, match=f"{limit + 1} bytes.*at most {limit}"):
        dia.generate("a" * room + ".")


@pytest.mark.parametrize("text", [None, 5, b"Hello.", ["[S1] Hello.", None]])
def test_a_text_that_is_no_string(dia, text):
    with pytest.raises(BadScript, match="not a string; give the words to say"):
        dia.generate(text)
    with pytest.raises(BadScript, match="not a string"):
        dia.stream(text)


def test_a_transcript_without_its_prompt_is_not_dropped(dia):
    with pytest.raises(BadParameter, match="'Words of nobody.'.*give its recording"):
        dia.generate(TEXT, transcript="Words of nobody.")
    voice = dia.encode_prompt(tone(0.6))
    with pytest.raises(BadParameter, match="'Two.'"):
        dia.generate([TEXT, TEXT], audio_prompt=[voice, None], transcript=["One.", "Two."])


def test_exact_text_and_a_transcript_exclude_each_other(dia):
    for options in (
        {"audio_prompt": tone(0.6), "transcript": "Words."},
        {"audio_prompt": dia.encode_prompt(tone(0.6), "Words.")},
    ):
        with pytest.raises(BadParameter, match="exact_text sends the text alone"):
            dia.generate("[S1] Words. Hello.", exact_text=True, **options)
    assert dia.generate("[S1] Words. Hello.", exact_text=True, audio_prompt=tone(0.6), max_tokens=100).size


def test_an_empty_list(dia):
    with pytest.raises(BadParameter, match="empty"):
        dia.generate([])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": math.nan}, "finite"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_tokens": 99_999}, "max_tokens is 99999; one pass of this model has 256"),
        ({"max_tokens": 16}, "at least 17"),
        ({"top_p": 1.01}, "top_p"),
        ({"cfg_scale": 11}, "cfg_scale"),
        ({"cfg_filter_top_k": 0}, "cfg_filter_top_k"),
        ({"seed": -1}, "seed"),
    ],
)
def test_parameters_out_of_range(dia, options, complaint):
    with pytest.raises(BadParameter, match=complaint):
        dia.generate(TEXT, **options)
    assert dia.engine.num_waiting == dia.engine.num_running == 0


def test_the_smallest_pass_is_one_frame(dia):
    assert len(dia.generate(TEXT, max_tokens=17, seed=1, temperature=0.0)) in (0, 512)


@pytest.mark.parametrize(
    ("sound", "complaint"),
    [
        (np.zeros(0, dtype=np.float32), "0.00 s"),
        (tone(0.4), "0.40 s"),
        (tone(61.0), "61.00 s"),
        (np.zeros(44_100, dtype=np.float32), "silent"),
        (np.full(44_100, np.nan, dtype=np.float32), "finite"),
    ],
)
def test_unusable_prompts(dia, sound, complaint):
    with pytest.raises(BadPrompt, match=complaint):
        dia.generate(TEXT, audio_prompt=sound, transcript="x")


def test_a_prompt_that_leaves_no_room(dia):
    codes = np.zeros((250, 9), dtype=np.int16)
    with pytest.raises(BadPrompt, match="250 frames.*at most"):
        dia.generate(TEXT, audio_prompt=codes, transcript="x")
    with pytest.raises(BadParameter, match="max_tokens is 60; with a prompt of 100 frames at least 117"):
        dia.generate(TEXT, audio_prompt=codes[:100], transcript="x", max_tokens=60)


@pytest.mark.parametrize(
    ("sound", "kind", "complaint"),
    [
        (np.zeros((2, 44_100), np.float32), BadPrompt, r"shape \[2, 44100\]; give one row of samples \(mono\)"),
        (np.zeros((20, 9), np.float32), BadPrompt, "codes as whole numbers"),
        (np.zeros(44_100, np.int16), BadCodes, "a waveform is given as float32"),
    ],
)
def test_what_is_neither_a_waveform_nor_codes(dia, sound, kind, complaint):
    with pytest.raises(kind, match=complaint):
        dia.generate(TEXT, audio_prompt=sound, transcript="x")


@pytest.mark.parametrize("codes", [np.full((20, 9), 1024), np.full((20, 9), -1), np.zeros((20, 8), dtype=int)])
def test_bad_prompt_codes(dia, codes):
    with pytest.raises(BadCodes):
        dia.generate(TEXT, audio_prompt=codes, transcript="x")
    with pytest.raises(BadCodes):
        dia.stream(TEXT, prompt=VoicePrompt(codes, "x"))


def test_a_text_file_named_wav(dia, tmp_path):
    (tmp_path / "voice.wav").write_text("this is not sound")
    with pytest.raises(BadPrompt):
        dia.generate(TEXT, audio_prompt=tmp_path / "voice.wav", transcript="x")


def test_a_misspelt_option_is_an_error(dia):
    with pytest.raises(TypeError, match="temprature"):
        dia.generate(TEXT, temprature=1.0)


def test_all_refusals_are_bad_input_and_value_errors():
    for kind in (BadScript, BadParameter, BadPrompt, BadCodes):
        assert issubclass(kind, BadInput) and issubclass(kind, ValueError)


def test_a_codec_that_speaks_other_codes_is_refused():
    from dia.errors import CheckpointMismatch

    with pytest.raises(CheckpointMismatch, match="9 codebooks of 1024 codes, the model speaks 2 channels"):
        Dia(tiny_model(tiny_config(delays=(0, 1))), tiny_codec(), name="t", slots=1)


def test_the_hash_follows_the_weights(dia):
    other = Dia(tiny_model(dia.config, seed=1), None, name="t", slots=1)
    same = Dia(tiny_model(dia.config, seed=0), None, name="u", slots=1)
    assert dia.model_hash == same.model_hash != other.model_hash and len(dia.model_hash) == 12


def _in_the_middle(weights: torch.Tensor) -> None:
    weights[len(weights) // 2, 7] += 1e-6


def _two_exchanged(weights: torch.Tensor) -> None:
    weights[3, [4, 5]] = weights[3, [5, 4]]


def _two_rows_exchanged(weights: torch.Tensor) -> None:
    weights[[3, 9]] = weights[[9, 3]]


@pytest.mark.parametrize("change", [_in_the_middle, _two_exchanged, _two_rows_exchanged])
@pytest.mark.parametrize("name", ["decoder.embedding.weight", "encoder.layers.1.mlp.down_proj.weight"])
def test_the_hash_sees_every_value(dia, change, name):
    """It looked at the first and last sixteen values of each tensor."""
    model = tiny_model(dia.config, seed=0)
    change(model.state_dict()[name])
    assert Dia(model, None, name="t", slots=1).model_hash != dia.model_hash


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 17, 1000])
def test_a_fingerprint_sees_tensors_of_any_size_and_place(size):
    from dia.fingerprint import fingerprint

    values = torch.arange(size + 1).to(torch.float16)[1:]  # begins between two words
    seen = {fingerprint("", {"x": values})}
    for index in range(size):
        changed = values.clone()
        changed[index] += 1
        seen.add(fingerprint("", {"x": changed}))
    assert len(seen) == size + 1
    assert fingerprint("", {"x": values.clone()}) == fingerprint("", {"x": values})


def test_where_a_prompt_ends_in_the_text_is_known_or_guessed_by_its_length(dia):
    prompt = np.zeros((86, 9), np.int16)  # one second
    texts = {}
    for name, voice, options in (
        ("known", dia.encode_prompt(prompt, "Hi there."), {}),
        ("guessed", dia.encode_prompt(prompt), {}),
        ("not in it", dia.encode_prompt(prompt), {"holds_prompt": False}),
    ):
        with dia.stream("[S1] Hello, this is what I say.", prompt=voice, **options) as stream:
            texts[name] = stream._ticket.request.prompt_ids
    assert texts == {"known": len("1 Hi there. "), "guessed": 15, "not in it": 0}


def test_a_small_model_has_torch_use_one_thread_unless_the_user_has_chosen(dia, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert dia.settle_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.setattr("dia.model.ONE_THREAD_BELOW", 1)
        assert dia.settle_threads() == 2
        monkeypatch.undo()
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert dia.settle_threads() == 1
    finally:
        torch.set_num_threads(1)
