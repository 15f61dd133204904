"""`start_server.py`: the check, the presets, and never a question."""

from pathlib import Path
from typing import Any

import pytest

from dia.server import launch, main
from dia.service.settings import load_settings

FOUR = ("debug_mode", "save_outputs", "show_prompts")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    monkeypatch.setattr(os, "environ", dict(os.environ, DIA_DATA_DIR=str(tmp_path), DIA_PORT="0"))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], bool]]:
    """What would have been served: settings and whether with reload."""
    seen: list[tuple[dict[str, Any], bool]] = []

    def note(*, reload: bool = False, app: str = "") -> int:
        seen.append((load_settings().model_dump(), reload))
        return 0

    monkeypatch.setattr(launch, "serve", note)
    monkeypatch.setattr(main, "serve", note)
    return seen


def test_the_check_has_exit_codes_and_names_each_cure(bundle: Path, capsys: pytest.CaptureFixture[str]):
    assert launch.main(["--check-only", "--model", str(bundle)]) == 0
    assert "everything needed is here" in capsys.readouterr().out
    assert launch.main(["--check-only", "--model", "/nowhere/at/all"]) == 1
    assert "FAULT" in capsys.readouterr().out


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
    import os

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


def test_settings_out_of_range_are_told_by_name(capsys: pytest.CaptureFixture[str]):
    assert launch.main(["--workers", "100"]) == 2
    assert "WORKERS" in capsys.readouterr().err
