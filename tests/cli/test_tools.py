"""doctor, plan, convert, encode, decode and download: what they find, write and refuse."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dia.checkpoint import save_model
from dia.cli import checks
from dia.config import PointerConfig
from dia.media.read import read_audio
from dia.model import Dia, VoicePrompt
from dia.prompts import read_voice, write_voice
from tests.cli.conftest import refused
from tests.tiny import tiny_codec, tiny_config, tiny_model, write_bundle

TEXT = "[S1] Hello there. [S2] Hi."


def findings(answer) -> dict[str, dict[str, str]]:
    told = json.loads(answer.out)
    assert told["ok"] == (answer.code == 0) and told["problems"] == sum(
        finding["status"] == "problem" for finding in told["findings"]
    )
    return {finding["name"]: finding for finding in told["findings"]}


def test_doctor_finds_everything_that_a_bundle_needs(type_in, bundle):
    answer = type_in("doctor", "--model", bundle)
    assert answer.code == 0, answer.out
    text = answer.out.decode()
    assert "flat dialect, family 0626 (by its dialect), 1.0 M parameters" in text
    assert "44100 Hz, 9 codebooks of 1024" in text
    assert "everything that speech needs is here" in text


def test_doctor_tells_what_is_missing_with_a_cure(type_in, bundle, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(bundle, alone, ignore=shutil.ignore_patterns("codec"))
    found = findings(type_in("doctor", "--model", alone, "--family", "v0_1", "--json"))
    assert found["checkpoint"]["status"] == "ok" and "family v0_1 (by --family)" in found["checkpoint"]["detail"]
    assert found["codec"]["status"] == "problem" and "dia download" in found["codec"]["cure"]
    assert {"python", "packages", "device", "memory", "disk", "formats", "extra server", "hub"} <= set(found)

    (alone / "model.safetensors").write_bytes(b"short")
    found = findings(type_in("doctor", "--model", alone, "--codec", bundle / "codec", "--json"))
    assert found["checkpoint"]["status"] == "problem" and found["checkpoint"]["cure"]
    assert found["codec"]["status"] == "ok"

    found = findings(type_in("doctor", "--model", "nobody/nothing", "--json"))
    assert "not in the local cache" in found["checkpoint"]["detail"]
    found = findings(type_in("doctor", "--model", bundle, "--device", "cuda:99", "--json"))
    assert found["device"]["status"] == "problem"


def test_doctor_knows_a_codec_that_does_not_fit(type_in, bundle, tmp_path):
    other = tmp_path / "codec"
    tiny_codec(books=(12, 1024)).save(other)
    found = findings(type_in("doctor", "--model", bundle, "--codec", other, "--json"))
    assert found["codec"]["status"] == "problem" and "9 channels of 1024" in found["codec"]["detail"]


def test_doctor_finds_a_codec_that_broke_off(type_in, bundle, tmp_path):
    other = tmp_path / "codec"
    shutil.copytree(bundle / "codec", other)
    whole = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    found = findings(type_in("doctor", "--model", bundle, "--codec", other, "--json"))["codec"]
    assert found["status"] == "problem" and "cannot be read" in found["detail"] and "fetch it again" in found["cure"]
    (tmp_path / "codec.pth").write_bytes(whole[:1000])
    found = findings(type_in("doctor", "--model", bundle, "--codec", tmp_path / "codec.pth", "--json"))["codec"]
    assert found["status"] == "problem" and "codec.pth is damaged" in found["detail"]


def test_doctor_says_what_decided_the_family(type_in, tmp_path):
    write_bundle(tmp_path / "flat", "flat", tiny_config("v0_1"))
    found = findings(type_in("doctor", "--model", tmp_path / "flat", "--json"))
    assert "family v0_1 (by dia_family in config.json)" in found["checkpoint"]["detail"]


def test_doctor_cures_what_it_finds_and_nothing_else(type_in, bundle, tmp_path):
    def cure(name, *words):
        finding = findings(type_in("doctor", "--json", *words))[name]
        assert finding["status"] == "problem"
        return finding["cure"]

    model = ("--model", bundle)
    assert cure("codec", *model, "--codec", "nowhere") == "check what --codec names, or leave it out"
    assert "`dia download --codec some/codec`" in cure("codec", *model, "--codec", "some/codec")
    assert "`dia download nari-labs/Dia-1.6B-0626`" in cure("checkpoint", "--model", "nari-labs/Dia-1.6B-0626")
    assert "name a folder that holds config.json" in cure("checkpoint", "--model", tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[:5000])
    assert "fetch the weights again" in cure("checkpoint", "--model", broken)
    save_file({"one": np.zeros(3)}, broken / "model.safetensors")
    assert "from the same checkpoint" in cure("checkpoint", "--model", broken)
    (broken / "config.json").write_text('{"layers": 3}')
    assert "name a checkpoint of Dia" in cure("checkpoint", "--model", broken)


def test_doctor_counts_memory(monkeypatch, type_in, bundle):
    from dia import device

    monkeypatch.setattr(device, "free_memory_bytes", lambda _: 1_000_000)
    found = findings(type_in("doctor", "--model", bundle, "--json"))
    assert found["memory"]["status"] == "problem" and "--compute-dtype bfloat16" in found["memory"]["cure"]
    assert "for model, codec and one passage" in found["memory"]["detail"]
    alone = findings(type_in("doctor", "--model", bundle, "--codec", "nowhere", "--json"))["memory"]["detail"]
    with_codec, without = (int(re.findall(r"about (\d+) MB", text)[0]) for text in (found["memory"]["detail"], alone))
    assert with_codec - without == round((bundle / "codec" / "model.safetensors").stat().st_size / 1e6)


def test_a_requirement_is_met_too_old_or_missing():
    assert checks.check_requirement("numpy>=1.26").status == "ok"
    old = checks.check_requirement("numpy>=99")
    assert old.status == "problem" and ">=99 is needed" in old.detail and old.cure == "pip install 'numpy>=99'"
    missing = checks.check_requirement("no-such-package-at-all>=1")
    assert missing.status == "problem" and "is not installed" in missing.detail


def test_every_core_package_is_a_requirement_of_the_package():
    declared = (Path(__file__).parent.parent.parent / "pyproject.toml").read_text().replace("_", "-")
    assert not [name for name in checks.CORE_PACKAGES if f'"{name}>=' not in declared]


PLAY = "Alice: Good morning, Bob.\nBob: [s1] is \x1b[31mno tag here.\n\nAlice: How did you sleep?\n"


def test_plan_shows_pieces_seconds_and_warnings(type_in, tmp_path, bundle):
    script = tmp_path / "play.txt"
    script.write_text(PLAY.replace("[s1] is ", ""))
    answer = type_in("plan", script)
    assert answer.code == 0 and b"2 speakers (Alice, Bob)" in answer.out and b"\x1b" not in answer.out
    told = json.loads(type_in("plan", script, "--json").out)
    assert told["format"] == "play" and told["pieces"][0]["text"].startswith("[S1] Good morning, Bob. [S2]")
    long = "This sentence is of a middling length, as most are. " * 60
    whole, small = (
        json.loads(type_in("plan", "-", "--json", *m, stdin=long.encode()).out) for m in ((), ("-m", bundle))
    )
    assert len(whole["pieces"]) < len(small["pieces"])
    assert max(piece["num_bytes"] for piece in small["pieces"]) <= 256
    refused(type_in("plan", "-", stdin=b" "), 2, "empty")
    refused(type_in("plan", script, "--format", "opera"), 2, "'opera' is unknown")


@pytest.mark.parametrize("dialect", ["nested", "flat", "transformers"])
def test_convert_keeps_what_the_model_says(type_in, bundle, tmp_path, dia, dialect):
    new = tmp_path / "new"
    answer = type_in("convert", bundle, new, "--to", dialect)
    assert answer.code == 0, answer.err
    assert "float32, with its codec" in answer.err
    loaded = Dia.from_pretrained(new, slots=1)
    options = {"seed": 3, "max_tokens": 30, "temperature": 0.0}
    assert loaded.config.family == dia.config.family
    np.testing.assert_array_equal(loaded.generate(TEXT, **options), dia.generate(TEXT, **options))
    loaded.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_convert_keeps_the_voice(type_in, bundle, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(bundle, source)
    write_voice(source / "voice.safetensors", VoicePrompt(np.ones((12, 9), np.int16), "[S1] One."))
    answer = type_in("convert", source, tmp_path / "new", "--to", "nested")
    assert answer.code == 0 and "with its codec and its voice" in answer.err
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*.*")}
    assert len(modes) == 1, "files that only their owner can read"
    assert read_voice(tmp_path / "new" / "voice.safetensors").transcript == "[S1] One."


@pytest.mark.parametrize(
    ("family", "dialect", "warned"),
    [("v0_1", "transformers", True), ("v0_1", "flat", True), ("v0_1", "nested", False), ("0626", "flat", False)],
)
def test_convert_warns_of_what_other_programs_compute_otherwise(type_in, tmp_path, family, dialect, warned):
    """transformers has the later forward pass only: from files of the earlier family it computes other logits."""
    write_bundle(tmp_path / "source", "nested", tiny_config(family))
    answer = type_in("convert", tmp_path / "source", tmp_path / "new", "--to", dialect)
    assert answer.code == 0
    lines = [line for line in answer.err.splitlines() if "compute without the forward pass of family v0_1" in line]
    assert len(lines) == warned


def test_convert_names_the_pointer_too(type_in, tmp_path):
    config = tiny_config(pointer=PointerConfig(layer=0, heads=1))
    write_bundle(tmp_path / "source", config=config)
    answer = type_in("convert", tmp_path / "source", tmp_path / "new", "--to", "transformers")
    assert "compute without the pointer into the text" in answer.err


def test_convert_writes_no_processor_that_would_straighten_other_delays(type_in, tmp_path):
    folder = write_bundle(tmp_path / "own", "flat", tiny_config(delays=tuple(range(9))))
    answer = type_in("convert", folder, tmp_path / "converted", "--to", "transformers")
    assert answer.code == 0 and "no files for transformers' processor" in answer.err
    assert not (tmp_path / "converted" / "preprocessor_config.json").exists()


def test_convert_names_the_published_codec_where_none_lies_beside(type_in, tmp_path):
    save_model(tiny_model(), tmp_path / "alone", "flat")
    assert type_in("convert", tmp_path / "alone", tmp_path / "converted", "--to", "transformers").code == 0
    named = json.loads((tmp_path / "converted" / "audio_tokenizer_config.json").read_text())
    assert named["audio_tokenizer_name_or_path"] == "descript/dac_44khz"


def test_convert_changes_the_number_type_and_keeps_it_the_next_time(type_in, bundle, tmp_path):
    from safetensors import safe_open

    type_in("convert", bundle, tmp_path / "half", "--to", "flat", "--dtype", "float16")
    type_in("convert", tmp_path / "half", tmp_path / "again", "--to", "nested", "--family", "0626")
    with safe_open(tmp_path / "again" / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  # no mapping


def test_convert_refuses_what_it_cannot_do_and_leaves_nothing(type_in, bundle, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    refused(type_in("convert", bundle, tmp_path / "full", "--to", "flat"), 2, "not an empty folder")
    refused(type_in("convert", bundle, tmp_path / "new", "--to", "onnx"), 2, "nested, flat, transformers")
    refused(type_in("convert", bundle, tmp_path / "new", "--to", "flat", "--dtype", "int4"), 2, "float32")
    refused(type_in("convert", tmp_path, tmp_path / "new", "--to", "flat"), 1, "no config.json")
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:5000])
    refused(type_in("convert", broken, tmp_path / "new", "--to", "flat"), 1, "model.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "full"]


def test_encode_then_decode_gives_the_codec_s_own_version_of_the_sound(type_in, bundle, recording, tmp_path, dia):
    voice = recording(1.0)
    answer = type_in("encode", voice, tmp_path / "a.npy", "--codec", bundle / "codec")
    assert answer.code == 0 and "87 frames, 1.0 s" in answer.err
    codes = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(codes, dia.encode_prompt(voice).codes)
    answer = type_in("decode", tmp_path / "a.npy", "-", "--format", "flac", "--model", bundle)
    heard = read_audio(answer.out, sample_rate_hz=44_100)
    np.testing.assert_allclose(heard, np.clip(dia.codec.decode(codes), -1, 1), rtol=0, atol=2 / 32768)
    refused(type_in("encode", voice, tmp_path / "a.wav", "--model", bundle), 2, ".npy")
    refused(type_in("encode", tmp_path / "none.wav", tmp_path / "b.npy"), 2, "does not exist")


def test_download_without_a_network_says_so(type_in):
    refused(type_in("download", "nobody/nothing"), 1, "nobody/nothing is not in the local cache")
    refused(type_in("download", "nonsense"), 1, "nonsense is neither a folder")


def test_a_file_made_with_its_text_can_be_made_again(type_in, bundle, recording, tmp_path):
    voice = recording(0.8)
    words = ("--model", bundle, "--max-tokens", 110, "--temperature", 0.9, "--quiet", "--save-text", "--retakes", 0)
    type_in("say", TEXT, "-o", tmp_path / "a.wav", "--audio-prompt", voice, "--transcript", "I said.", *words)
    answer = type_in("reproduce", tmp_path / "a.wav", tmp_path / "b.wav", "--audio-prompt", voice, "--model", bundle)
    assert answer.code == 0, answer.err
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()

    again = ("reproduce", tmp_path / "a.wav", tmp_path / "c.mp3", "--model", bundle)
    refused(type_in(*again), 2, "--audio-prompt")
    other = recording(0.9, name="other.wav")
    answer = type_in(*again, "--audio-prompt", other)
    assert answer.code == 0 and "the voice is another one" in answer.err
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    weights = load_file(other / "model.safetensors")
    weights["decoder.logits_dense.weight"][20, 4, 512] += 1
    save_file(weights, other / "model.safetensors")
    answer = type_in(*again[:-1], other, "--audio-prompt", voice)
    assert answer.code == 0 and "the model is another one" in answer.err
    type_in("say", TEXT, "-o", tmp_path / "d.wav", "--model", bundle, "--max-tokens", 30)
    refused(type_in("reproduce", tmp_path / "d.wav", tmp_path / "e.wav", "--model", bundle), 2, "--save-text")


def test_what_the_bundled_model_spoke_is_made_again_with_it_wherever_auto_is_another(type_in, tmp_path):
    words = ("--model", "nano", "--save-text", "--one-pass", "--max-tokens", 30, "--seed", 2)
    answer = type_in("say", "Hello there.", "-o", tmp_path / "a.wav", *words)
    assert answer.code == 0, answer.err
    answer = type_in("reproduce", tmp_path / "a.wav", tmp_path / "b.wav")
    assert answer.code == 0 and "model: nano (" not in answer.err, "auto was asked"
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
