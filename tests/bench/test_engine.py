"""The benchmark runs on a tiny size from end to end, and its arithmetic is right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dia.bench.commands import app
from dia.bench.engine import plan, ratios
from dia.bench.load import Heard, conclude, requests
from dia.bench.report import table
from dia.bench.sides import SIDES, Task, weights_of_a_step


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIA_BENCH_CACHE", str(tmp_path_factory.mktemp("bench")))
        yield


def test_the_comparison_ends_with_a_table_and_one_line_of_json(tmp_path):
    out = tmp_path / "results" / "tiny.json"
    arguments = ["engine", "--size", "tiny", "--steps", "3", "--rounds", "1", "--streams", "2"]
    done = CliRunner().invoke(app, [*arguments, "--no-int8", "--alone", "--together", "--out", str(out)])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(record["sides"]) == {"ours", "ours x2"}
    assert record["machine"]["torch"]
    assert record["sides"]["ours"]["steps_per_s"] > 0
    assert 0 < record["sides"]["ours"]["share_of_limit"]
    assert "ours x2" in done.stdout
    assert json.loads(out.read_text()) == record


@pytest.mark.slow
def test_transformers_is_measured_the_same_way():
    result = SIDES["transformers"](Task("transformers", size="tiny", steps=2, threads=1))
    assert {"load_s", "encode_s", "step_ms", "peak_gb"} <= set(result)


def test_listeners_hear_everything_and_the_record_says_how_soon():
    done = CliRunner().invoke(app, ["load", "--size", "tiny", "--listeners", "2", "--seconds", "0.2,0.4"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.strip().splitlines()[-1])
    (closed,) = record["closed"]
    assert (closed["requests"], closed["failed"]) == (2, 0)
    assert 0.4 <= closed["sound_s"] <= 0.8
    assert closed["first_sound_ms"]["p50"] > 0
    assert record["cold_start_s"] > 0


def test_sides_run_forth_and_back():
    runs = plan(Task("ours"), rounds=2, opponents=["transformers", "original"], int8=True, streams=[1, 4])
    assert [name for name, _ in runs] == [
        "limit",
        *("ours", "ours int8", "transformers", "original"),
        *("original", "transformers", "ours int8", "ours"),
        *("ours x4", "ours int8 x4"),
        *("codec", "codec whole", "codec whole", "codec"),
    ]


@pytest.mark.parametrize(("device", "kind"), [("cpu", "int8"), ("cuda", "int8-weights")])
def test_8_bits_are_of_the_kind_that_the_device_has(device: str, kind: str):
    runs = dict(plan(Task("ours", device=device), rounds=1, opponents=[], int8=True, streams=[4]))
    assert (runs["ours int8"].quantization, runs["ours int8 x4"].quantization) == (kind, kind)


def test_ratios_count_the_steps_of_all_streams():
    ours = {"steps_per_s": 10.0, "step_cpu_ms": 50.0, "streams": 4, "encode_s": 0.5}
    theirs = {"steps_per_s": 4.0, "step_cpu_ms": 100.0, "streams": 1, "encode_s": 5.0}
    found = ratios({"ours x4": ours, "ours": {**ours, "streams": 1}, "original": theirs})
    assert found["ours x4 / original: steps"] == 2.5
    assert found["ours x4 / original: steps, processor time"] == 8.0
    assert found["ours / original: text encoder"] == 10.0


def test_a_full_size_step_reads_as_many_weights_as_published():
    assert weights_of_a_step("full") == pytest.approx(1.2647e9, rel=1e-3)


def test_a_listener_who_waits_for_a_late_chunk_has_an_underrun():
    heard = Heard(asked=0.0)
    heard.take(1.0, now=0.5)  # plays until 1.5
    heard.take(1.0, now=1.0)  # in time: until 2.5
    heard.take(1.0, now=3.0)  # half a second late
    assert heard.first_s == 0.5
    assert heard.underrun_s == pytest.approx(0.5)
    happy = Heard(asked=0.0)
    happy.take(2.0, now=0.1)
    total = conclude([heard, happy], wall_s=5.0)
    assert total["times_real_time"] == 1.0
    assert total["goodput_times_real_time"] == 0.4
    assert total["without_underrun"] == 1


def test_the_trace_of_requests_is_the_same_every_time_and_within_its_bounds():
    trace = requests(50, (2.0, 30.0))
    assert trace == requests(50, (2.0, 30.0))
    assert all(40 <= len(text) <= 900 and 2 <= seconds <= 30 for text, seconds in trace)


def test_the_table_names_every_side():
    side = {"step_ms": 1.0, "step_ms_min": 1.0, "step_cpu_ms": 1.0, "steps_per_s": 1.0, "times_real_time": 0.1}
    machine = {
        name: "x" for name in ("processor", "threads", "instructions", "device", "load_average", "torch", "commit")
    }
    codec = {"windows_s_per_s": 1.0, "whole_s_per_s": 2.0, "sound_s": 4.0, "ratio": 2.0}
    record = {
        "machine": machine,
        "read_gbs": 1.0,
        "gflops": 1.0,
        "size": "tiny",
        "sides": {"ours": side, "other": side},
    }
    shown = table({**record, "ratios": {"ours / other: steps": 1.0}, "codec": codec})
    assert "ours" in shown
    assert "other" in shown
    assert "2.00 times faster" in shown


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's peak is handed on there")
def test_the_peak_of_memory_is_the_processes_own_and_not_its_parents():
    own = "import torch; from dia.bench.machine import peak_memory_gb; print(peak_memory_gb(torch.device('cpu')))"
    parent = f"import subprocess, sys; x = bytearray(2_000_000_000); subprocess.run([sys.executable, '-c', {own!r}])"
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 0.05 < float(done.stdout) < 1.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["load", "--listeners", "1,x"], "no list of whole numbers from 1 up"),
        (["load", "--listeners", "0"], "no list of whole numbers from 1 up"),
        (["load", "--listeners", ""], "no number of listeners is given"),
        (["load", "--seconds", "2"], "the shortest and the longest in seconds"),
        (["load", "--seconds", "9,2"], "the shortest and the longest in seconds"),
        (["engine", "--streams", "4;16"], "no list of whole numbers from 1 up"),
        (["engine", "--steps", "0"], "--steps"),
        (["engine", "--original", "/nowhere"], "holds no checkout"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_built(words, said, tmp_path, monkeypatch):
    monkeypatch.setenv("DIA_BENCH_CACHE", str(tmp_path / "bench"))
    done = CliRunner().invoke(app, [*words, "--size", "tiny"])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "bench").exists()


def test_a_part_of_the_gpu_script_that_fails_is_named_and_the_others_are_made(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
    environ = {**os.environ, "DEVICE": "cpu", "SIZE": "tiny", "OUT": str(tmp_path), "PYTHON": "false"}
    done = subprocess.run(["bash", str(script)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"dia bench {name}: failed with exit code 1" for name in ("engine", "load")]
