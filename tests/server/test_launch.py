"""`start_server.py`: the check, the presets, and never a question."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dia.server import checks, launch, main
from dia.service.settings import load_settings

ROOT = Path(__file__).parent.parent.parent

FOUR = ("debug_mode", "save_outputs", "show_prompts")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ, DIA_DATA_DIR=str(tmp_path), DIA_PORT="0"))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], bool]]:
    """What would have been served: settings and whether with reload."""
    seen: list[tuple[dict[str, Any], bool]] = []

    def note(*, reload: bool = False, app: str = "") -> int:
        seen.append((load_settings().model_dump(), reload))
        return 0

    monkeypatch.setattr(main, "serve", note)
    return seen


def test_the_check_has_exit_codes_and_names_each_cure(bundle: Path, capsys: pytest.CaptureFixture[str]):
    assert launch.main(["--check-only", "--model", str(bundle)]) == 0
    assert "everything needed is here" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["/nowhere/at/all", "/nope", "./models", "~/nope", "folder/empty", "nope"])
def test_a_model_folder_that_is_not_there_is_a_fault(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Whatever had one slash in it passed for the name of a repository that would be fetched."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    assert launch.main(["--check-only", "--model", model]) == 1
    said = capsys.readouterr().out
    assert "[FAULT]" in said and "--model FOLDER" in said and "\n1 fault\n" in said


def test_a_repository_that_is_not_here_yet_is_none(capsys: pytest.CaptureFixture[str]):
    assert launch.main(["--check-only", "--model", "someone/else-1.5"]) == 0
    assert "it is fetched at the first start" in capsys.readouterr().out
    assert launch.main(["--check-only", "--model", "someone/else-1.5", "--offline"]) == 1


HIDE = """
import os
from importlib.machinery import PathFinder

found = PathFinder.find_spec
hidden = os.environ["HIDDEN"].split(",")
PathFinder.find_spec = lambda name, path=None, target=None: None if name in hidden else found(name, path, target)
"""


@pytest.mark.parametrize("hidden", [checks.PACKAGES, ("pydantic",), ("huggingface_hub",), ("av",), ("typer",)])
def test_every_missing_package_is_named_with_its_cure(hidden: tuple[str, ...], tmp_path: Path):
    """Without pydantic or huggingface_hub there was a traceback; of others nothing was said."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "HIDDEN": ",".join(hidden)}
    for flags, last in ((["--check-only"], "fault"), ([], "not started")):
        done = subprocess.run(
            [sys.executable, "start_server.py", *flags], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert last in done.stdout + done.stderr
        for name in hidden:
            assert f"package {name} is missing -> pip install '" in done.stdout, name


@pytest.mark.parametrize("script", ["app.py", "fastapi_server.py"])
@pytest.mark.parametrize("hidden", ["pydantic", "starlette"])
def test_the_other_doors_say_in_one_line_what_is_missing(script: str, hidden: str, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "HIDDEN": hidden}
    done = subprocess.run([sys.executable, script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the package {hidden} is not installed; install it with: pip install '")
    assert len(done.stderr.splitlines()) == 1


def test_the_check_knows_everything_that_a_plain_install_brings():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    wanted = {name.replace("-", "_") for name in re.findall(r'^    "([A-Za-z0-9_-]+)', block, re.MULTILINE)}
    assert wanted <= set(checks.PACKAGES), wanted - set(checks.PACKAGES)


def test_a_port_in_use_stops_the_start(bundle: Path, capsys: pytest.CaptureFixture[str], served: list):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert launch.main(["--model", str(bundle), "--port", str(taken.getsockname()[1])]) == 1
    assert "choose another --port" in capsys.readouterr().out
    assert served == []


@pytest.mark.parametrize(
    ("line", "expected", "reloads"),
    [
        ("", {}, False),
        ("--dev", dict.fromkeys(FOUR, True), True),
        ("--production", dict.fromkeys(FOUR, False), False),
        ("--debug --save-outputs --workers 8 --retention-hours 48",
         {"debug_mode": True, "save_outputs": True, "show_prompts": False, "workers": 8, "output_retention_hours": 48}, False),
        ("--debug --save-outputs --workers 6", {"workers": 6}, False),
        ("--debug --save-outputs --show-prompts --workers 8", {**dict.fromkeys(FOUR, True), "workers": 8}, False),
        ("--workers 6 --no-torch-compile --retention-hours 48", {"disable_torch_compile": True, "workers": 6}, False),
        ("--host 0.0.0.0", {"host": "0.0.0.0"}, False),
        ("--gpus 0 --device cuda:0 --check-only", None, False),
    ],
)  # fmt: skip
def test_every_command_line_of_the_seed_has_its_effect(
    bundle: Path, served: list, line: str, expected: dict | None, reloads: bool
):
    code = launch.main([*line.split(), "--model", str(bundle)])
    if expected is None:
        assert (code, served) == (1, [])  # no such device on this machine
        return
    settings, reload = served[0]
    assert (code, reload) == (0, reloads)
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    "line",
    [
        "--debug --save-outputs --port 7860",
        "--debug --save-outputs --show-prompts",
        "--save-outputs --retention-hours 48",
    ],
)
def test_the_direct_command_takes_the_same_flags(served: list, line: str):
    assert main.main(line.split()) == 0
    settings, reload = served[0]
    assert settings["save_outputs"] is True
    assert reload is False


def test_production_wins_over_the_environment(bundle: Path, served: list):
    os.environ["DIA_SHOW_PROMPTS"] = "true"
    launch.main(["--production", "--model", str(bundle)])
    assert served[0][0]["show_prompts"] is False


@pytest.mark.parametrize(
    "line",
    [
        "--dev --production",
        "--production --debug",
        "--gpu-mode multi",
        "--gpus 0,2",
        "--gpus 1 --device cpu",
        "--port x",
    ],
)
def test_flags_that_contradict_each_other_are_an_error(line: str):
    with pytest.raises(SystemExit) as stop:
        launch.main(line.split())
    assert stop.value.code == 2


def test_the_gpu_of_the_environment_is_taken(bundle: Path, capsys: pytest.CaptureFixture[str], served: list):
    os.environ["DIA_GPU_IDS"] = "3"
    assert launch.main(["--check-only", "--model", str(bundle)]) == 1
    assert "cuda:3" in capsys.readouterr().out
    os.environ["DIA_GPU_IDS"] = "0,2"
    with pytest.raises(SystemExit):
        launch.main(["--check-only", "--model", str(bundle)])


def test_settings_out_of_range_are_told_by_name(capsys: pytest.CaptureFixture[str]):
    assert launch.main(["--workers", "100"]) == 2
    assert "WORKERS" in capsys.readouterr().err
