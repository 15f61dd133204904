"""Three dialects, every file kind, and exact complaints."""

import json
import pickle
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dia import hub
from dia.checkpoint import original_layout, save_model
from dia.config import (
    DIALECTS,
    DiaConfig,
    GenerationDefaults,
    PointerConfig,
    config_dialect,
    read_config,
    read_json,
    write_config,
)
from dia.errors import BadParameter, CheckpointMismatch, CheckpointNotFound, CodecUnavailable, DeviceUnavailable
from dia.model import ComputeDtype, Dia, VoicePrompt
from dia.prompts import write_voice
from tests.tiny import tiny_config, tiny_model, write_bundle

TEXT = torch.tensor([[1, 72, 105, 2, 33]])
TOKENS = torch.randint(0, 1026, (1, 7, 9), generator=torch.Generator().manual_seed(1))


def load(folder: Path, **options) -> Dia:
    return Dia.from_pretrained(folder, load_dac=False, slots=1, **options)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_saved_is_loaded_to_equal_logits(tmp_path, dialect):
    family = "v0_1" if dialect == "nested" else "0626"
    model = tiny_model(tiny_config(family))
    save_model(model, tmp_path / dialect, dialect)
    loaded = load(tmp_path / dialect)
    own = {"generation": model.config.defaults if dialect == "transformers" else None}  # which is always written there
    assert loaded.config == model.config.model_copy(update=own)
    assert torch.equal(loaded.model(TEXT, TOKENS), model(TEXT, TOKENS))


def test_golden_dialects_load_to_the_same_weights(golden):
    flat, transformers = load(golden / "flat_0626"), load(golden / "transformers_0626")
    nested = Dia.from_local(
        golden / "nested_v01" / "config.json", golden / "nested_v01" / "model.pth", load_dac=False, slots=1
    )
    for name, tensor in flat.model.state_dict().items():
        assert torch.equal(transformers.model.state_dict()[name], tensor), name
        assert torch.equal(nested.model.state_dict()[name], tensor), name


@pytest.mark.parametrize("source", DIALECTS)
@pytest.mark.parametrize("target", DIALECTS)
def test_converting_between_dialects_keeps_weights_and_family(tmp_path, source, target):
    model = tiny_model(tiny_config("v0_1"))
    save_model(model, tmp_path / "a", source)
    first = load(tmp_path / "a")
    save_model(first.model, tmp_path / "b", target)
    second = load(tmp_path / "b")
    assert second.config.family == "v0_1"
    assert torch.equal(second.model(TEXT, TOKENS), model(TEXT, TOKENS))


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pt"])
def test_pickled_tensors_load(tmp_path, suffix):
    model = tiny_model()
    save_model(model, tmp_path, "flat")
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / f"weights{suffix}")
    loaded = Dia.from_local(tmp_path / "config.json", tmp_path / f"weights{suffix}", load_dac=False, slots=1)
    assert torch.equal(loaded.model(TEXT, TOKENS), model(TEXT, TOKENS))


def test_a_folder_with_a_pickle_only_loads(tmp_path):
    model = tiny_model(tiny_config("v0_1"))
    save_model(model, tmp_path, "nested")
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "dia-v0_1.pth")
    (tmp_path / "model.safetensors").unlink()
    assert torch.equal(load(tmp_path).model(TEXT, TOKENS), model(TEXT, TOKENS))


@pytest.mark.parametrize("name", ["dia-v0_1.pth", "dia.pt", "dia.bin"])
def test_a_voice_beside_a_lone_pickle_is_not_taken_for_weights(tmp_path, name):
    model = tiny_model()
    save_model(model, tmp_path, "flat")
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / name)
    (tmp_path / "model.safetensors").unlink()
    write_voice(tmp_path / "voice.safetensors", VoicePrompt(np.ones((12, 9), np.int16), "[S1] One."))
    dia = load(tmp_path)
    assert torch.equal(dia.model(TEXT, TOKENS), model(TEXT, TOKENS))
    assert dia.default_voice is not None


def test_pickled_shards_are_found_by_their_index(tmp_path):
    model = tiny_model()
    save_model(model, tmp_path, "transformers")
    tensors = list(load_file(tmp_path / "model.safetensors").items())
    (tmp_path / "model.safetensors").unlink()
    half = len(tensors) // 2
    shards = {"pytorch_model-00001-of-00002.bin": tensors[:half], "pytorch_model-00002-of-00002.bin": tensors[half:]}
    for name, part in shards.items():
        torch.save(dict(part), tmp_path / name)
    homes = {tensor: name for name, part in shards.items() for tensor, _ in part}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": homes}))
    assert torch.equal(load(tmp_path).model(TEXT, TOKENS), model(TEXT, TOKENS))
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(CheckpointNotFound, match="not there: pytorch_model-00002-of-00002.bin"):
        load(tmp_path)


def test_of_several_weight_files_none_is_guessed(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    (tmp_path / "model.safetensors").rename(tmp_path / "one.safetensors")
    shutil.copy(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    shutil.copy(tmp_path / "one.safetensors", tmp_path / "one_bf16.safetensors")
    with pytest.raises(
        CheckpointNotFound, match=r"3 weight files \(one.safetensors, one_bf16.safetensors, two.safe.+\)"
    ):
        load(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    assert [path.name for path in hub.from_folder(tmp_path).weights] == ["one.safetensors"], "the other is its variant"


def test_number_types(tmp_path):
    save_model(tiny_model(), tmp_path, "transformers")
    for name in ("float16", "bfloat16", torch.float16, ComputeDtype.FLOAT16):
        loaded = load(tmp_path, compute_dtype=name)
        assert {p.dtype for p in loaded.model.parameters()} == {
            getattr(torch, getattr(name, "value", str(name)).removeprefix("torch."))
        }
        assert torch.isfinite(loaded.model(TEXT, TOKENS)).all()


def test_half_precision_files_load_as_float32(tmp_path):
    save_model(tiny_model(), tmp_path, "flat", torch.float16)
    assert {p.dtype for p in load(tmp_path).model.parameters()} == {torch.float32}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's memory map")
def test_stored_layouts_that_need_no_turning_stay_views_of_the_file(tmp_path):
    """What is stored as it is used is mapped, not copied: memory peaks at the model's size."""
    save_model(tiny_model(), tmp_path, "transformers")
    model = load(tmp_path).model
    address = model.decoder.layers[0].mlp.down_proj.weight.data_ptr()
    mappings = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    homes = [m[-1] for m in mappings if int(m[0].split("-")[0], 16) <= address < int(m[0].split("-")[1], 16)]
    assert homes == [str(tmp_path / "model.safetensors")]


def test_the_family_can_be_overridden_and_changes_the_result(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    usual, other = load(tmp_path), load(tmp_path, family="v0_1")
    assert (usual.config.family, other.config.family) == ("0626", "v0_1")
    assert not torch.allclose(usual.model(TEXT, TOKENS), other.model(TEXT, TOKENS), atol=1e-3)


def test_an_unknown_family_is_not_blamed_on_the_file(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    with pytest.raises(BadParameter, match="family '0815' is not known; use one of v0_1, 0626"):
        load(tmp_path, family="0815")


def test_families_have_their_own_defaults(tmp_path):
    save_model(tiny_model(), tmp_path / "flat", "flat")
    save_model(tiny_model(tiny_config("v0_1")), tmp_path / "nested", "nested")
    assert load(tmp_path / "flat").defaults.temperature == 1.8
    assert load(tmp_path / "nested").defaults.temperature == 1.2


def test_a_generation_config_beside_the_weights_wins(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    (tmp_path / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "top_k": 20, "do_sample": True}))
    defaults = load(tmp_path).defaults
    assert (defaults.temperature, defaults.cfg_filter_top_k, defaults.top_p) == (0.7, 20, 0.95)


def test_older_transformers_spelling_of_rope_is_read(golden):
    raw = read_json(golden / "transformers_0626" / "config.json")
    for half in ("encoder_config", "decoder_config"):
        del raw[half]["rope_parameters"]
        raw[half]["rope_theta"] = 5000.0
    assert read_config(raw).model.rope_max_timescale == 5000.0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_written_configs_are_read_back(dialect):
    pointer = PointerConfig(layer=0, heads=1, ahead=3.0)
    for config in (tiny_config("v0_1" if dialect == "nested" else "0626"), tiny_config("0626", pointer=pointer)):
        assert read_config(write_config(config, dialect)) == config


def test_who_has_learnt_sounds_is_written_in_the_config_or_follows_from_the_kind():
    small = tiny_config(pointer=PointerConfig(layer=0, heads=1))
    assert (tiny_config("v0_1").knows_sounds, small.knows_sounds) == (True, False)
    assert "dia_sounds" not in write_config(small, "flat")
    for config in (tiny_config(), small):
        other = config.model_copy(update={"sounds": not config.knows_sounds})
        raw = write_config(other, "flat")
        assert raw["dia_sounds"] is other.knows_sounds is not config.knows_sounds
        assert read_config(raw) == other
    bundled = read_config(read_json(hub.BUNDLED / "config.json"))
    assert not bundled.knows_sounds, "the model card says that it makes none"


@pytest.mark.parametrize("guidance", ["filter", "combined"])
def test_a_checkpoints_own_sampling_is_written_and_read_back(tmp_path, guidance):
    own = GenerationDefaults(temperature=0.6, cfg_scale=1.5, top_p=0.9, cfg_filter_top_k=40, guidance=guidance)
    save_model(tiny_model(tiny_config().model_copy(update={"generation": own})), tmp_path, "flat")
    dia = load(tmp_path)
    assert dia.config.generation == own
    assert (dia.defaults.guidance, dia.defaults.temperature, dia.defaults.cfg_scale) == (guidance, 0.6, 1.5)


@pytest.mark.parametrize(("family", "dialect"), [("v0_1", "nested"), ("0626", "flat")])
def test_a_configuration_saves_itself_in_its_familys_dialect(tmp_path, family, dialect):
    own = GenerationDefaults(temperature=0.6)
    config = tiny_config(family).model_copy(update={"generation": own})
    config.save(tmp_path / "new" / "config.json")
    assert config_dialect(read_json(tmp_path / "new" / "config.json")) == dialect
    assert DiaConfig.load(tmp_path / "new" / "config.json") == config
    assert DiaConfig.load(str(tmp_path / "new" / "config.json"), "v0_1").family == "v0_1"


# ---- complaints ----


def broken(folder: Path, change) -> Path:
    save_model(tiny_model(), folder, "flat")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_missing_unknown_and_wrong_tensors_are_listed(tmp_path):
    def change(tensors):
        del tensors["encoder.norm.weight"]
        tensors["decoder.extra.weight"] = torch.zeros(1)
        tensors["decoder.norm.weight"] = torch.zeros(3)

    with pytest.raises(CheckpointMismatch) as caught:
        load(broken(tmp_path, change))
    message = str(caught.value)
    assert "1 missing: encoder.norm.weight" in message
    assert "1 unknown: decoder.extra.weight" in message
    assert "decoder.norm.weight is [3], expected [48]" in message


def test_every_missing_tensor_is_listed_layers_folded(tmp_path):
    """The list ended after twenty names."""

    def change(tensors):
        for name in [name for name in tensors if name.startswith("decoder.")]:
            del tensors[name]

    with pytest.raises(CheckpointMismatch) as caught:
        load(broken(tmp_path, change))
    message = str(caught.value)
    names = [name for name in original_layout_names(tiny_config()) if name.startswith("decoder.")]
    assert f"{len(names)} missing" in message
    for name in names:
        assert re.sub(r"layers\.\d", "layers.0-1", re.sub(r"embeddings\.\d", "embeddings.0-8", name)) in message


def original_layout_names(config) -> list[str]:
    return [part.name for parts in original_layout(config).values() for part in parts]


def test_truncated_weights(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointMismatch, match="not a readable safetensors file"):
        load(tmp_path)


def test_truncated_pickle(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:5000])
    with pytest.raises(CheckpointMismatch, match="damaged"):
        Dia.from_local(tmp_path / "config.json", tmp_path / "w.pth", load_dac=False)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path(__file__).parent / "executed",))


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    for name, kind in (("evil.pth", r"holds more than tensors \(\w+\)"), ("plain.pth", "more than tensors")):
        with pytest.raises(CheckpointMismatch, match=f"{kind}, which is never loaded; use a .safetensors file$"):
            Dia.from_local(tmp_path / "config.json", tmp_path / name, load_dac=False)
    assert not (Path(__file__).parent / "executed").exists()


def test_an_unknown_dialect_names_what_it_found(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": 8}')
    with pytest.raises(CheckpointMismatch, match="no known dialect.*hidden_size, model_type"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda raw: raw["decoder_config"].pop("head_dim"), "lacks the field 'head_dim'"),
        (lambda raw: raw.update(delay_pattern=[0, 1]), "2 entries for 9 channels"),
        (lambda raw: raw["decoder_config"].update(num_key_value_heads=3), "evenly"),
        (lambda raw: raw["decoder_config"].update(hidden_act="gelu"), "only silu"),
        (lambda raw: raw["encoder_config"].update(rope_scaling={"type": "linear"}), "scaled rope"),
        (lambda raw: raw.update(bos_token_id=5000), "does not fit a vocabulary"),
    ],
)
def test_a_contradictory_config_is_refused(change, complaint):
    raw = write_config(tiny_config(), "flat")
    change(raw)
    with pytest.raises(CheckpointMismatch, match=complaint):
        read_config(raw)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointNotFound, match="config.json does not exist"):
        DiaConfig.load(tmp_path / "config.json")
    with pytest.raises(CheckpointNotFound, match="neither a folder here nor a hub name"):
        load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointNotFound, match="no config.json"):
        load(tmp_path / "empty")
    save_model(tiny_model(), tmp_path / "m", "flat")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(CheckpointNotFound, match="no weights"):
        load(tmp_path / "m")
    with pytest.raises(CheckpointNotFound, match="gone.json does not exist"):
        Dia.from_local(tmp_path / "gone.json", tmp_path / "gone.pth")
    (tmp_path / "m" / "config.json").write_text("{")
    with pytest.raises(CheckpointMismatch, match="not readable JSON"):
        Dia.from_local(tmp_path / "m" / "config.json", tmp_path / "m" / "config.json")


# ---- the hub's cache ----


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A hub cache that holds the tiny model under the published name, as a download would leave it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for repository in ("nari-labs/Dia-1.6B",):
        root = tmp_path / f"models--{repository.replace('/', '--')}"
        write_bundle(root / "snapshots" / ("a" * 40), "nested", tiny_config("v0_1"))
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text("a" * 40)
    codec = tmp_path / "models--descript--dac_44khz"
    shutil.copytree(root / "snapshots" / ("a" * 40) / "codec", codec / "snapshots" / ("b" * 40))
    (codec / "refs").mkdir()
    (codec / "refs" / "main").write_text("b" * 40)
    return tmp_path


SNIPPETS = """
# From Hugging Face Hub (default)
model = Dia.from_pretrained("nari-labs/Dia-1.6B", compute_dtype="float16")

# From local files
model = Dia.from_local("config.json", "model.pth", compute_dtype="float16")
"""
WITH_CUSTOM_DEVICE = 'model = Dia.from_pretrained("nari-labs/Dia-1.6B", device=torch.device("cuda:0"))'


def test_the_documented_snippets_run_as_written(cache, tmp_path, monkeypatch):
    """Word for word: model and codec are in the hub's cache, the two files in the working directory."""
    root = cache / "models--nari-labs--Dia-1.6B" / "snapshots" / ("a" * 40)
    shutil.rmtree(root / "codec")
    desk = tmp_path / "desk"
    desk.mkdir()
    shutil.copy(root / "config.json", desk)
    torch.save(load_file(root / "model.safetensors"), desk / "model.pth")
    monkeypatch.chdir(desk)
    names: dict[str, object] = {"Dia": Dia, "torch": torch}
    for snippet, name in zip(SNIPPETS.strip().split("\n\n"), ("nari-labs/Dia-1.6B", "model"), strict=True):
        exec(snippet, names)
        model = names["model"]
        assert isinstance(model, Dia)
        assert (model.name, model.placement.dtype, model.config.family) == (name, torch.float16, "v0_1")
        assert model.generate("[S1] Hi.", max_tokens=40, seed=1).ndim == 1
    if torch.cuda.is_available():
        exec(WITH_CUSTOM_DEVICE, names)
    else:
        with pytest.raises(DeviceUnavailable, match="cuda:0 is not here"):
            exec(WITH_CUSTOM_DEVICE, names)


def test_what_is_not_in_the_cache_is_named(cache):
    with pytest.raises(CheckpointNotFound, match="someone/else is not in the local cache"):
        hub.find("someone/else", offline=True)
    with pytest.raises(CheckpointNotFound, match="'nari-labs/Dia 1.6B' cannot be the name of a hub repository"):
        hub.find("nari-labs/Dia 1.6B")


def test_the_bundled_model_has_a_name_unless_a_folder_here_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.find("nano").config.parent == hub.BUNDLED
    write_bundle(tmp_path / "nano")
    assert hub.find("nano").config.parent == Path("nano")


def test_a_folder_has_no_revisions(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    with pytest.raises(BadParameter, match="revision 'v2' is for hub repositories.*leave it out"):
        load(tmp_path, revision="v2")


def test_a_codec_that_is_nowhere_is_called_by_its_name(tmp_path):
    save_model(tiny_model(), tmp_path, "flat")
    with pytest.raises(CodecUnavailable, match="the codec: nowhere is neither a folder.*name a folder, a file"):
        Dia.from_pretrained(tmp_path, codec="nowhere")


def test_a_missing_codec_says_how_to_go_on(cache):
    shutil.rmtree(cache / "models--descript--dac_44khz")
    shutil.rmtree(cache / "models--nari-labs--Dia-1.6B" / "snapshots" / ("a" * 40) / "codec")
    with pytest.raises(CodecUnavailable, match="load_dac=False"):
        Dia.from_pretrained("nari-labs/Dia-1.6B")
