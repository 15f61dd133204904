"""Adapters: files come back and wrong ones are refused; each request is spoken with its own, whatever else is asked."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dia.adapters import load_adapter, save_adapter
from dia.checkpoint import load_model, read_config, read_json, save_model
from dia.device import Placement
from dia.engine import EngineOptions
from dia.engine.linear import has_products
from dia.errors import BadParameter, CheckpointMismatch, CheckpointNotFound
from dia.model import Dia
from tests.tiny import tiny_adapter, tiny_codec, tiny_config, tiny_model, write_adapter, write_bundle

CPU = Placement(torch.device("cpu"), torch.float32)
SPOKEN = {"max_tokens": 40, "seed": 5, "temperature": 1.2}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_adapter(tmp_path / "one.safetensors", 1), write_adapter(tmp_path / "two.safetensors", 2)


def baked(bundle: Path, adapter: Path, folder: Path) -> Path:
    """A checkpoint with the adapter in its weights."""
    config = read_config(read_json(bundle / "config.json"))
    save_model(load_model(config, [bundle / "model.safetensors"], CPU, load_adapter(adapter)), folder, "flat")
    tiny_codec().save(folder / "codec")
    return folder


# ---- files ----


def test_an_adapter_comes_back_from_its_file(tmp_path: Path):
    adapter = tiny_adapter()
    save_adapter(adapter, tmp_path / "other-name.safetensors")
    (tmp_path / "plain").touch()
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1, "a file that only its owner can read"
    back = load_adapter(tmp_path / "other-name.safetensors")
    assert back == adapter
    assert back != tiny_adapter(2)
    assert (back.rank, back.alpha, back.name) == (4, 32.0, "other-name.safetensors")
    for layer, pair in adapter.pairs.items():
        assert all(torch.equal(mine, its) for mine, its in zip(back.pairs[layer], pair, strict=True))


def rewritten(path: Path, to: Path, header: dict | None = None, **tensors: torch.Tensor | None) -> Path:
    """The file with other tensors (None takes one out) and another header."""
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        about = {**file.metadata(), **(header or {})}
    kept.update(tensors)
    save_file({name: tensor for name, tensor in kept.items() if tensor is not None}, to, metadata=about)
    return to


LAYER = "decoder.layers.0.mlp.down_proj"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"header": {"format": "other"}}, r"bad\.safetensors is no adapter of Dia \(format 'other'\)"),
        ({"header": {"format": "dia-lora-1"}}, "run `dia finetune` once more"),
        ({"header": {"rank": "5"}}, r"damaged \(.*has A \[4, .*the rank is 5"),
        ({"header": {"rank": "many"}}, "damaged"),
        ({"header": {"alpha": "nan"}}, "damaged"),
        ({"base_mark": None}, "damaged.*base_mark"),
        ({f"{LAYER}.b": None}, "damaged.*down_proj"),
        ({"more": torch.zeros(1)}, "damaged"),
        ({f"{LAYER}.a": torch.full((4, 64), torch.nan)}, "not finite"),
        ({f"{LAYER}.a": torch.zeros(4)}, r"A \[4\]"),
    ],
)
def test_files_that_are_no_adapter_are_refused(files, tmp_path: Path, change: dict, complaint: str):
    with pytest.raises(CheckpointMismatch, match=complaint):
        load_adapter(rewritten(files[0], tmp_path / "bad.safetensors", **change))


def test_a_pickle_a_folder_and_nothing_are_refused(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "trap.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointMismatch, match=r"trap\.safetensors is no readable adapter"):
        load_adapter(tmp_path / "trap.safetensors")
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(CheckpointNotFound, match="a folder; name the file in it"):
        load_adapter(tmp_path)
    with pytest.raises(CheckpointNotFound, match=r"none\.safetensors is no file"):
        load_adapter(tmp_path / "none.safetensors")


def test_an_adapter_of_another_model_is_refused_before_anything_is_said(dia, tmp_path: Path):
    deeper = write_adapter(tmp_path / "deeper.safetensors", 1, tiny_model(tiny_config(layers=(2, 3))))
    with pytest.raises(
        CheckpointMismatch, match=r"deeper\.safetensors.*another architecture.*no decoder\.layers\.2\."
    ):
        dia.stream("[S1] Hello.", adapter=deeper)
    wide = tiny_config()
    decoder = wide.model.decoder.model_copy(update={"n_hidden": 80})
    wide = wide.model_copy(update={"model": wide.model.model_copy(update={"decoder": decoder})})
    wider = write_adapter(tmp_path / "wider.safetensors", 1, tiny_model(wide))
    with pytest.raises(CheckpointMismatch, match=r"would be \[160, 48\], is \[128, 48\]"):
        dia.generate("[S1] Hello.", adapter=wider)
    other = write_adapter(tmp_path / "other.safetensors", 1, tiny_model(seed=9))
    with pytest.raises(CheckpointMismatch, match=r"other\.safetensors was trained beside other weights.*dia finetune"):
        dia.generate("[S1] Hello.", adapter=other)
    assert dia.engine.num_waiting == dia.engine.num_running == 0
    with pytest.raises(CheckpointMismatch, match="other weights"):
        Dia.from_pretrained(write_bundle(tmp_path / "base"), adapter=other)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_adapter_fits_its_model_in_any_number_type_and_dialect(files, tmp_path: Path, dtype: str):
    turned = write_bundle(tmp_path / "turned", "transformers")
    dia = Dia.from_pretrained(turned, dtype, adapter=files[0])
    assert dia.adapter == load_adapter(files[0])
    config = read_config(read_json(turned / "config.json"))
    exact = load_model(config, [turned / "model.safetensors"], CPU, dia.adapter).state_dict()
    for name, weight in dia.model.state_dict().items():
        assert torch.equal(weight, exact[name].to(weight.dtype)), name
    dia.close()


def test_a_model_that_was_not_loaded_from_files_says_so(files):
    dia = Dia(tiny_model(), tiny_codec(), name="tiny")
    with pytest.raises(BadParameter, match=r"one\.safetensors.*not loaded from files.*Dia\.from_pretrained"):
        dia.generate("[S1] Hello.", adapter=files[0])
    dia.close()


# ---- requests ----


EIGHT_BITS = pytest.mark.skipif(
    not has_products("int8-weights", "cpu"), reason="this build of torch has no such product"
)


@pytest.mark.parametrize(
    ("quantization", "threaded"),
    [(None, False), (None, True), pytest.param("int8-weights", False, marks=EIGHT_BITS)],
)
def test_each_request_of_a_mixed_list_is_spoken_as_alone(bundle, files, tmp_path, quantization, threaded):
    one, two = files
    text = "[S1] Hello there. [S2] Good morning."

    def alone(model: Path, adapter: Path | None, number: int) -> np.ndarray:
        dia = Dia.from_pretrained(model, load_dac=False, slots=1, quantization=quantization, adapter=adapter)
        codes = dia.generate(text[: 20 + number], **SPOKEN)
        dia.close()
        return codes

    wanted = [None, one, two, None, two]
    expected = [alone(bundle, adapter, number) for number, adapter in enumerate(wanted)]
    folder = baked(bundle, one, tmp_path / "baked")
    assert np.array_equal(alone(folder, None, 1), expected[1])
    assert not np.array_equal(alone(bundle, None, 1), expected[1])
    assert not np.array_equal(alone(bundle, two, 1), expected[1])
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=4, quantization=quantization)
    if threaded:
        dia.start()
    texts = [text[: 20 + number] for number in range(len(wanted))]
    for codes, alone_codes in zip(dia.generate(texts, adapter=wanted, **SPOKEN), expected, strict=True):
        assert np.array_equal(codes, alone_codes)
    assert np.array_equal(dia.generate(texts[0], **SPOKEN), expected[0])
    dia.close()


def test_a_default_adapter_speaks_where_none_is_named(bundle, files):
    one, two = files
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=2)
    with_one, with_two = dia.generate(["[S1] Hello."] * 2, adapter=[one, two], **SPOKEN)
    base_hash = dia.model_hash
    dia.close()
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=2, adapter=one)
    assert dia.model_hash != base_hash
    assert np.array_equal(dia.generate("[S1] Hello.", **SPOKEN), with_one)
    assert np.array_equal(dia.generate("[S1] Hello.", adapter=two, **SPOKEN), with_two)
    assert np.array_equal(dia.generate("[S1] Hello.", **SPOKEN), with_one)
    dia.close()


def test_voices_are_read_anew_with_every_adapter(bundle, files):
    """The unconditional branch of a voice is remembered; it belongs to the weights."""
    codes = np.random.default_rng(3).integers(0, 1024, (12, 9), dtype=np.int16)
    options = {"audio_prompt": codes, "cfg_scale": 3.0, **SPOKEN, "max_tokens": 60}
    fresh = Dia.from_pretrained(bundle, load_dac=False, slots=1, adapter=files[0])
    expected = fresh.generate("[S1] Hello. [S2] Yes.", **options)
    fresh.close()
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=1)
    before = dia.generate("[S1] Hello. [S2] Yes.", **options)
    assert np.array_equal(dia.generate("[S1] Hello. [S2] Yes.", adapter=files[0], **options), expected)
    assert np.array_equal(dia.generate("[S1] Hello. [S2] Yes.", **options), before)
    dia.close()


def test_an_adapter_comes_back_after_unloading(bundle, files):
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=1)
    base = dia.generate("[S1] Hello.", **SPOKEN)
    adapted = dia.generate("[S1] Hello.", adapter=files[0], **SPOKEN)
    assert dia.unload()
    assert np.array_equal(dia.generate("[S1] Hello.", adapter=files[0], **SPOKEN), adapted)
    assert dia.unload()
    assert np.array_equal(dia.generate("[S1] Hello.", **SPOKEN), base)
    dia.close()


def test_an_adapter_is_read_once_until_its_file_changes(bundle, files):
    one, two = files
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=1)
    assert dia.load_adapter(one) is dia.load_adapter(str(one))
    first = dia.generate("[S1] Hello.", adapter=one, **SPOKEN)
    os.replace(two, one)
    assert not np.array_equal(dia.generate("[S1] Hello.", adapter=one, **SPOKEN), first)
    dia.close()


def test_requests_of_one_adapter_share_a_swap_and_nobody_starves(bundle, files):
    one, two = files
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=4)
    params = dia.defaults.updated(**SPOKEN)
    order = [one, two, one, None, two, one]
    streams = [dia.stream("[S1] Hello.", params=params, adapter=adapter) for adapter in order]
    carried = []
    while any(stream._ticket.status in ("waiting", "running") for stream in streams):
        dia.engine.step()
        now = dia._runner.adapter
        if not carried or carried[-1] != now:
            carried.append(now)
        running = [entry.request.adapter for entry in dia.engine._running]
        assert all(adapter == now for adapter in running)
        if now is None and len(carried) == 3:
            # Who comes later with an adapter that was there before waits for its turn.
            assert dia.engine.num_waiting == 0
    assert carried == [load_adapter(one), load_adapter(two), None]
    for stream in streams:
        stream.close()
    dia.close()


def test_a_stream_of_requests_without_adapter_lets_one_with_another_have_its_turn(bundle, files):
    dia = Dia.from_pretrained(bundle, load_dac=False, slots=2)
    params = dia.defaults.updated(**SPOKEN)
    plain = [dia.stream("[S1] Hello.", params=params) for _ in range(2)]
    dia.engine.step()
    adapted = dia.stream("[S1] Hello.", params=params, adapter=files[0])
    steps = 0
    while not adapted._ticket.is_done:
        dia.engine.step()
        steps += 1
        plain.append(dia.stream("[S1] Hello.", params=params))
        assert steps < 200
    for stream in [*plain, adapted]:
        stream.close()
    dia.close()


def test_files_that_went_fail_the_request_and_not_the_engine(tmp_path, files):
    folder = write_bundle(tmp_path / "base")
    dia = Dia.from_pretrained(folder, load_dac=False, slots=1, options=EngineOptions(slots=1))
    expected = dia.generate("[S1] Hello.", **SPOKEN)
    os.rename(folder / "model.safetensors", folder / "away.safetensors")
    with pytest.raises(CheckpointMismatch, match=r"model\.safetensors"):
        dia.generate("[S1] Hello.", adapter=files[0], **SPOKEN)
    os.rename(folder / "away.safetensors", folder / "model.safetensors")
    assert np.array_equal(dia.generate("[S1] Hello.", **SPOKEN), expected)
    dia.close()
