"""From a text to a file: what is written, where, in which format, and what is said about it."""

import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dia.cli import speak
from dia.media.read import probe, read_audio, read_metadata

REPOSITORY = Path(__file__).parent.parent.parent
TEXT = "[S1] Hello there. [S2] Hi (laughs) ok."
RATE_HZ = 44_100


def sound(path: Path) -> np.ndarray:
    return read_audio(path, sample_rate_hz=RATE_HZ)


def check_first_file(answer_err: str, out: Path) -> None:
    assert "seed " in answer_err and "read as tagged text: 2 speakers" in answer_err
    assert len(sound(out)) > 0.2 * RATE_HZ
    assert [path.name for path in out.parent.iterdir()] == ["out.wav"]


def test_cli_py_makes_a_sound_file(type_in, bundle, tmp_path, monkeypatch):
    """The script as it stands, run in this process, where torch is loaded already."""

    def run_script(words: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["cli.py", *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / "cli.py"), run_name="__main__")
        return int(ended.value.code or 0)

    out = tmp_path / "new folder" / "out.wav"
    answer = type_in(TEXT, "--output", out, "--repo-id", bundle, "--max-tokens", 40, main=run_script)
    assert answer.code == 0 and answer.out == b"", answer.err
    check_first_file(answer.err, out)


@pytest.mark.slow
def test_the_same_in_a_process_of_its_own(bundle, tmp_path):
    out = tmp_path / "new folder" / "out.wav"
    command = [sys.executable, "cli.py", TEXT, "--output", str(out), "--repo-id", str(bundle), "--max-tokens", "40"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    check_first_file(done.stderr, out)


def test_one_seed_gives_the_same_bytes_and_another_others(say, tmp_path):
    first, again, other = (tmp_path / f"{name}.wav" for name in "abc")
    assert say(TEXT, "-o", first).code == 0
    assert say(TEXT, "-o", again).code == 0
    assert say(TEXT, "-o", other, seed=6).code == 0
    assert first.read_bytes() == again.read_bytes()
    assert not np.array_equal(sound(first), sound(other))


def test_a_drawn_seed_is_shown_and_repeats_the_take(type_in, bundle, tmp_path):
    common = ("--model", bundle, "--max-tokens", 40)
    answer = type_in("say", TEXT, "-o", tmp_path / "a.wav", "--quiet", *common)
    assert answer.err.startswith("seed ") and len(answer.err.splitlines()) == 1
    seed = int(answer.err.split()[1])
    assert read_metadata(tmp_path / "a.wav")["seed"] == str(seed)
    type_in("say", TEXT, "-o", tmp_path / "b.wav", "--seed", seed, *common)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize(
    ("ending", "container", "codec"),
    [
        ("wav", "wav", "pcm_s16le"),
        ("flac", "flac", "flac"),
        ("mp3", "mp3", "mp3"),
        ("opus", "ogg", "opus"),
        ("aac", "aac", "aac"),
        ("m4a", "mp4", "aac"),
    ],
)
def test_a_file_is_what_its_ending_says_and_tells_how_it_was_made(say, tmp_path, dia, ending, container, codec):
    out = tmp_path / f"out.{ending}"
    answer = say(TEXT, "-o", out, "--temperature", "1.1", "--one-pass")
    assert answer.code == 0, answer.err
    info = probe(out)
    assert (info.container, info.codec) == (container, codec)
    assert 0.25 < len(sound(out)) / RATE_HZ < 0.4  # lossy formats may add a frame
    tags = {key.lower(): value for key, value in read_metadata(out).items()}
    assert tags["seed"] == "5" and tags["temperature"] == "1.1" and tags["cfg_scale"] == "3"
    assert tags["model"] == dia.name and tags["model_hash"] == dia.model_hash
    assert "text" not in tags and tags["comment"] == "AI-generated speech"


def test_flac_holds_the_samples_of_wav_and_format_beats_the_ending(say, tmp_path):
    say(TEXT, "-o", tmp_path / "a.wav")
    say(TEXT, "-o", tmp_path / "b.sound", "--format", "flac")
    assert probe(tmp_path / "b.sound").container == "flac"
    np.testing.assert_array_equal(sound(tmp_path / "a.wav"), sound(tmp_path / "b.sound"))


def test_the_text_is_in_the_tags_only_on_request(say, tmp_path):
    say(TEXT, "-o", tmp_path / "a.wav", "--save-text")
    assert read_metadata(tmp_path / "a.wav")["text"] == TEXT


@pytest.mark.parametrize("format", ["wav", "mp3", "pcm"])
def test_stdout_gets_the_sound_and_nothing_else(say, tmp_path, format):
    answer = say(TEXT, "-o", "-", "--format", format, "--one-pass")
    assert answer.code == 0, answer.err
    say(TEXT, "-o", tmp_path / f"a.{format}", "--one-pass")
    if format == "pcm":
        assert answer.out == (tmp_path / "a.pcm").read_bytes()
    elif format == "wav":
        np.testing.assert_array_equal(read_audio(answer.out, sample_rate_hz=RATE_HZ), sound(tmp_path / "a.wav"))
    else:
        assert probe(answer.out).codec == format
    assert "stdout: 0.3 s" in answer.err


def test_text_comes_from_the_line_a_file_or_stdin(say, tmp_path):
    (tmp_path / "script.txt").write_text(TEXT, encoding="utf-8-sig")
    (tmp_path / "notepad.txt").write_text(TEXT, encoding="utf-16")
    ways = [(TEXT,), ("-",), ("--file", tmp_path / "script.txt"), ("-f", tmp_path / "notepad.txt"), ("-f", "-")]
    made = []
    for words in ways:
        assert say(*words, "-o", tmp_path / "out.wav", stdin=TEXT.encode()).code == 0
        made.append((tmp_path / "out.wav").read_bytes())
    assert len(set(made)) == 1


def test_repairs_are_counted_and_what_was_typed_is_shown_not_interpreted(say, tmp_path):
    answer = say(
        "[s1] Red \x1b[31malert [/] [bold]x[/bold] (laffs). [s2] Yes.", "-o", tmp_path / "a.wav", "--one-pass"
    )
    assert answer.code == 0
    warnings = [line for line in answer.err.splitlines() if line.startswith("warning ")]
    assert "[s1] to [S1]" in answer.err
    assert warnings[0].startswith(f"warning 1 of {len(warnings) - 1}")  # the last one is about the full pass
    assert "\x1b" not in answer.err


def test_exact_text_is_not_repaired(say, tmp_path):
    answer = say("[s1] Hello", "-o", tmp_path / "a.wav", "--exact-text", "--json")
    assert json.loads(answer.out)["text_sent"] == "[s1] Hello"
    assert "respelled" not in answer.err


def test_speed_changes_the_length_and_nothing_else(say, tmp_path):
    say(TEXT, "-o", tmp_path / "a.wav", "--one-pass")
    answer = say(TEXT, "-o", tmp_path / "b.wav", "--speed", "1.5", "--one-pass")
    assert len(sound(tmp_path / "b.wav")) == round(len(sound(tmp_path / "a.wav")) / 1.5)
    assert "0.2 s of speech" in answer.err


def test_saved_codes_decode_to_the_same_file_later(say, type_in, bundle, tmp_path):
    codes = tmp_path / "takes" / "one.npy"
    assert say(TEXT, "-o", tmp_path / "a.wav", "--save-codes", codes, "--one-pass").code == 0
    assert np.load(codes).shape == (24, 9) and np.load(codes).dtype == np.int16
    assert type_in("decode", codes, tmp_path / "b.wav", "--model", bundle).code == 0
    # A stream decodes in shorter windows, where sums run in another order: at most the last of 16 bits differs.
    np.testing.assert_allclose(sound(tmp_path / "a.wav"), sound(tmp_path / "b.wav"), rtol=0, atol=1.01 / 32768)
    assert type_in("decode", codes, tmp_path / "c.mp3", "--codec", bundle / "codec", "--speed", 2).code == 0
    assert probe(tmp_path / "c.mp3").codec == "mp3"


def test_a_recording_and_its_codes_are_the_same_voice(say, type_in, bundle, recording, tmp_path):
    voice = recording(0.8)
    type_in("encode", voice, tmp_path / "voice.npy", "--model", bundle)
    words = ("--transcript", "[S1] So I said.", "--json", "--one-pass")
    one = say(TEXT, "-o", tmp_path / "a.wav", "--audio-prompt", voice, *words, max_tokens=120)
    two = say(TEXT, "-o", tmp_path / "b.wav", "--audio-prompt", tmp_path / "voice.npy", *words, max_tokens=120)
    assert one.code == 0, one.err
    assert json.loads(one.out)["text_sent"].startswith("[S1] So I said. Hello there.")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert "prompt_hash" in json.loads(two.out)["parameters"]
    without = say(TEXT, "-o", tmp_path / "c.wav", "--audio-prompt", voice, max_tokens=120)
    assert without.code == 0 and "the text must begin with" in without.err


def test_a_checkpoint_of_two_files_is_taken(type_in, bundle, tmp_path):
    answer = type_in(
        TEXT, "--output", tmp_path / "a.wav", "--local-paths", "--config", bundle / "config.json", "--checkpoint",
        bundle / "model.safetensors", "--seed", 1, "--max-tokens", 30, "--family", "v0_1", "--device", "cpu",
        "--compute-dtype", "float32", main=speak.main,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert read_metadata(tmp_path / "a.wav")["family"] == "v0_1"


def test_quantised_weights_are_used_and_told(say, tmp_path):
    answer = say(TEXT, "-o", tmp_path / "a.wav", "--quantization", "int8", "--device", "cpu")
    assert answer.code == 0, answer.err
    assert read_metadata(tmp_path / "a.wav")["quantization"] == "int8"


def test_json_tells_a_program_what_was_made(say, tmp_path):
    answer = say(TEXT, "-o", tmp_path / "a.flac", "--json", "--quiet", "--one-pass")
    told = json.loads(answer.out)
    assert (told["seed"], told["format"], told["frames"]) == (5, "flac", 24)
    assert told["duration_s"] == pytest.approx(24 * 512 / RATE_HZ, abs=1e-3)
    assert told["parameters"]["top_p"] == "0.9"  # the family's own default, not typed anywhere


def test_progress_is_lines_where_stderr_is_no_terminal(say, tmp_path):
    assert "real-time factor" not in say(TEXT, "-o", tmp_path / "a.wav", "--quiet").err
    answer = say(TEXT, "-o", "-", "--progress", "--one-pass")
    assert "to go" in answer.err and b"to go" not in answer.out


def when_writing_begins(folder: Path, number: signal.Signals) -> threading.Thread:
    """A thread that sends this process a signal as soon as sound has reached the part file."""

    def watch() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and not any(part.stat().st_size > 4096 for part in folder.glob(".*.part")):
            time.sleep(0.002)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_ctrl_c_leaves_nothing_behind(say, tmp_path, request):
    # Workers of a parallel test run ignore the signal of Ctrl-C.
    request.addfinalizer(functools.partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tmp_path / "out"
    folder.mkdir()
    thread = when_writing_begins(folder, signal.SIGINT)
    answer = say(TEXT, "-o", folder / "a.wav", "--save-codes", folder / "a.npy", "--one-pass", max_tokens=256)
    thread.join()
    assert answer.code == 130
    assert "error: stopped" in answer.err and "Traceback" not in answer.err
    assert list(folder.iterdir()) == []


def test_sigterm_leaves_an_older_file_as_it_was(say, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"older")
    thread = when_writing_begins(tmp_path, signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        say(TEXT, "-o", tmp_path / "a.wav", "--one-pass", max_tokens=256)
    thread.join()
    assert ended.value.code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"older"


def test_sounds_that_the_model_has_not_learnt_are_told(type_in, tmp_path):
    from dia.hub import BUNDLED

    common = ("--model", BUNDLED, "--max-tokens", 100, "-o", tmp_path / "x.wav")
    said = type_in("say", "[S1] Hello. (laughs) [S2] Hi. (laughs)", *common)
    assert said.code == 0
    assert "sounds that this model has not learnt" in said.err and ": 2 ((laughs) 2 times)" in said.err
    assert "learnt" not in type_in("say", "[S1] Hello there.", *common).err
