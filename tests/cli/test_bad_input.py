"""What cannot be done is said in one line, with value, limit and cure; exit code 2 for the request, 1 for the machine."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import refused

TEXT = "[S1] Hello there."


@pytest.fixture
def out(tmp_path):
    """An output path in a folder that must stay empty."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "a.wav"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("text", ["", "   \n\t ", "[S1]", "[S1] ... [S2] !"])
def test_a_text_without_words(say, out, text):
    refused(say(text, "-o", out), 2, "empty", "give at least one word")


def test_no_text_or_two(say, out, tmp_path):
    refused(say("-o", out), 2, "no text is given")
    (tmp_path / "a.txt").write_text(TEXT)
    refused(say(TEXT, "--file", tmp_path / "a.txt", "-o", out), 2, "both a text and --file")
    refused(say("-", "-o", out, stdin=b" \n"), 2, "empty")


def test_a_text_over_the_limit_is_never_cut(say, out):
    refused(say("word " * 60, "--one-pass", "-o", out), 2, "one pass takes at most 256", "shorten it by")
    refused(say("x" * 257, "-o", out, "--exact-text"), 2, "257 bytes", "256")


def test_a_text_file_that_is_no_text(say, out, tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"Hello \xff\xfe\xfa")
    refused(say("--file", tmp_path / "bytes.txt", "-o", out), 2, "bytes.txt is not UTF-8", "0xff")
    refused(say("--file", tmp_path / "none.txt", "-o", out), 2, "none.txt cannot be read")
    refused(say("--file", tmp_path, "-o", out), 2, "cannot be read")


@pytest.mark.parametrize(
    ("flag", "value", "limit"),
    [
        ("--temperature", "-1", "between 0 and 5"),
        ("--temperature", "nan", "0 to 5"),
        ("--temperature", "inf", "0 to 5"),
        ("--temperature", "warm", "'--temperature'"),
        ("--cfg-scale", "11", "between 0 and 10"),
        ("--top-p", "1.1", "between 0 and 1"),
        ("--top-p", "nan", "0 to 1"),
        ("--cfg-filter-top-k", "0", "between 1 and 1028"),
        ("--guidance", "harder", "'filter' or 'combined'"),
        ("--speed", "0.2", "0.25 to 4"),
        ("--speed", "nan", "0.25 to 4"),
        ("--device", "quantum", "cpu, cuda"),
        ("--compute-dtype", "int3", "float32, float16, bfloat16"),
        ("--quantization", "int3", "int8"),
        ("--family", "0815", "v0_1"),
        ("--format", "ogre", "wav"),
        ("--seeed", "5", "No such option"),
    ],
)
def test_a_value_out_of_range(say, out, flag, value, limit):
    answer = say(TEXT, "-o", out, flag, value)
    refused(answer, 1 if flag == "--device" else 2, limit)


@pytest.mark.parametrize(("value", "limit"), [(0, "at least 1; leave it out"), (99999, "256"), (10, "at least 17")])
def test_max_tokens_that_do_not_fit(say, out, value, limit):
    refused(say(TEXT, "-o", out, max_tokens=value), 2, f"max_tokens is {value}", limit)


@pytest.mark.parametrize(("value", "limit"), [(-1, "between 0 and"), (2**63, "9223372036854775807")])
def test_a_seed_out_of_range(say, out, value, limit):
    refused(say(TEXT, "-o", out, seed=value), 2, f"seed is {value}", limit)


@pytest.mark.parametrize(
    ("seconds", "level", "part"),
    [(0, 0.3, "0 s"), (0.3, 0.3, "0.5"), (61, 0.3, "60 s"), (1, 0.0, "silent")],
    ids=["0 s", "0.3 s", "61 s", "silence"],
)
def test_a_prompt_of_a_wrong_length_or_without_sound(say, out, recording, seconds, level, part):
    voice = recording(seconds, level)
    refused(say(TEXT, "-o", out, "--audio-prompt", voice), 2, f"{voice.name}: ", part)


def test_a_prompt_that_fills_the_pass(say, out, recording):
    refused(say(TEXT, "-o", out, "--audio-prompt", recording(4), max_tokens=256), 2, "4.0 s", "at most 2.8 s")


def test_a_prompt_that_is_no_recording(say, out, tmp_path):
    (tmp_path / "text.wav").write_text("ffconcat version 1.0\nfile other.wav\n")
    refused(say(TEXT, "-o", out, "--audio-prompt", tmp_path / "text.wav"), 2, "text.wav: the file is not audio")
    (tmp_path / "codes.npy").write_bytes(b"\x93NUMPY no")
    refused(say(TEXT, "-o", out, "--audio-prompt", tmp_path / "codes.npy"), 2, "not a .npy file")
    refused(say(TEXT, "-o", out, "--audio-prompt", tmp_path / "none.wav"), 2, "none.wav is not a file")


def test_codes_out_of_range_are_never_made_zeros(say, type_in, bundle, out, tmp_path):
    np.save(tmp_path / "codes.npy", np.full((50, 9), 1024, np.int16))
    refused(say(TEXT, "-o", out, "--audio-prompt", tmp_path / "codes.npy"), 2, "1024", "0 … 1023")
    refused(type_in("decode", tmp_path / "codes.npy", out, "--model", bundle), 2, "1024", "frame 0, channel 0")
    np.save(tmp_path / "flat.npy", np.zeros(9, np.int16))
    refused(type_in("decode", tmp_path / "flat.npy", out, "--model", bundle), 2, "[frames, 9]")
    np.save(tmp_path / "none.npy", np.zeros((0, 9), np.int16))
    refused(type_in("decode", tmp_path / "none.npy", out, "--model", bundle), 2, "no frames")


def test_codes_that_would_run_code_are_refused(type_in, bundle, out, tmp_path):
    np.save(tmp_path / "evil.npy", np.array([Touch(tmp_path / "touched")], dtype=object), allow_pickle=True)
    refused(type_in("decode", tmp_path / "evil.npy", out, "--model", bundle), 2, "not a .npy file")
    assert not (tmp_path / "touched").exists()


def test_a_transcript_without_its_recording_and_the_other_way_round(say, out, recording, tmp_path):
    refused(say(TEXT, "-o", out, "--transcript", "Hi."), 2, "without --audio-prompt")
    voice = ("--audio-prompt", recording(1))
    refused(say(TEXT, "-o", out, *voice, "--transcript", " "), 2, "transcript is empty")
    refused(say(TEXT, "-o", out, *voice, "--transcript", "Hi.", "--exact-text"), 2, "--exact-text")
    (tmp_path / "a.txt").write_text("Hi.")
    refused(say(TEXT, "-o", out, *voice, "--transcript", "x", "--transcript-file", tmp_path / "a.txt"), 2, "both")


def test_output_that_cannot_be_written_is_known_before_the_model_is_loaded(type_in, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "a.wav").mkdir()
    no_model = ("--model", "/nowhere/at/all")
    refused(type_in("say", TEXT, "-o", tmp_path / "file" / "a.wav", *no_model), 1, "not a folder")
    refused(type_in("say", TEXT, "-o", tmp_path / "a.wav", *no_model), 1, "name a file")
    refused(type_in("say", TEXT, "-o", "/proc/dia/a.wav", *no_model), 1, "cannot write /proc/dia/a.wav")
    refused(type_in("say", TEXT, "-o", tmp_path / "a", *no_model), 2, "'a' has no ending", ".wav, .mp3")
    refused(type_in("say", TEXT, "-o", f"{tmp_path}/new/", *no_model), 1, "is a folder", "new/speech.wav")
    refused(type_in("say", TEXT, "-o", tmp_path, *no_model), 1, "is a folder; name a file in it")
    refused(type_in("say", TEXT, "-o", tmp_path / "a.xyz", *no_model), 2, "'.xyz' is not known", "wav")
    refused(type_in("say", TEXT, *no_model), 2, "--output")
    refused(type_in("say", TEXT, "-o", tmp_path / "new" / ".wav", *no_model), 2, "without a name", "new/speech.wav")
    assert not (tmp_path / "new").exists()
    codes = ("--save-codes", tmp_path / "file" / "a.npy")
    refused(type_in("say", TEXT, "-o", tmp_path / "b.wav", *codes, *no_model), 1, "cannot write")
    refused(type_in("say", TEXT, "-o", tmp_path / "b.wav", "--save-codes", "a.txt", *no_model), 2, ".npy")
    refused(type_in("say", TEXT, "-o", "-", "--json", *no_model), 2, "stdout")


def test_a_model_that_is_not_there(type_in, out, tmp_path, bundle):
    said = ("say", TEXT, "-o", out)
    refused(type_in(*said, "--model", tmp_path), 1, "no config.json")
    refused(type_in(*said, "--model", "/nowhere"), 1, "/nowhere is neither a folder")
    refused(type_in(*said, "--repo-id", "nobody/nothing"), 1, "not in the local cache")
    config, weights = bundle / "config.json", bundle / "model.safetensors"
    none = tmp_path / "none.pth"
    refused(type_in(*said, "--config", config, "--checkpoint", none), 2, "none.pth cannot be found")
    refused(type_in(*said, "--config", none, "--checkpoint", weights), 2, "none.pth cannot be found")
    refused(type_in(*said, "--local-paths", "--config", config), 2, "needs both")
    refused(type_in(*said, "--config", config, "--checkpoint", weights, "--model", bundle), 2, "several models")
    refused(type_in(*said, "--repo-id", "a/b", "--model", bundle), 2, "several models")


def test_a_machine_without_any_model_is_told_what_to_fetch_or_name(type_in, out, monkeypatch, tmp_path):
    from dia import hub

    monkeypatch.setattr(hub.choose_default, "__kwdefaults__", {"offline": False, "bundled": tmp_path})
    refused(type_in("say", TEXT, "-o", out), 1, "no model is on this machine", "dia download", "--model")


def test_an_unknown_dialect_and_truncated_weights(type_in, bundle, out, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(type_in("say", TEXT, "-o", out, "--model", broken), 1, "model.safetensors is not a readable")
    (broken / "config.json").write_text('{"layers": 3}')
    refused(type_in("say", TEXT, "-o", out, "--model", broken), 1, "no known dialect", "layers")
    (broken / "config.json").write_text("{")
    refused(type_in("say", TEXT, "-o", out, "--model", broken), 1, "config.json is not readable JSON")


class Touch:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(type_in, bundle, out, tmp_path):
    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps({"weight": Touch(tmp_path / "touched")}))
    answer = type_in("say", TEXT, "-o", out, "--config", bundle / "config.json", "--checkpoint", evil)
    refused(answer, 1, "evil.pth", "holds more than tensors", ".safetensors")
    assert "weights_only" not in answer.err, "torch advises to run the code after all"
    assert not (tmp_path / "touched").exists()


def test_debug_shows_where_an_error_came_from(bundle, out):
    code = "import sys; from dia.cli.root import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "say", " ", "-o", str(out), "--debug"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" in done.stderr and "BadScript" in done.stderr
