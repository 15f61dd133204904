"""The container files: what they copy exists, what they start exists, and they keep the promises of the docs."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.service.conftest import make_service, model

__all__ = ["make_service", "model"]  # fixtures from next door

ROOT = Path(__file__).parent.parent
DOCKERFILES = ["docker/Dockerfile.cpu", "docker/Dockerfile.gpu"]


def instructions(name: str) -> list[tuple[str, str]]:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_copied_exists_and_passes_the_ignore_file(name):
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    for keyword, rest in instructions(name):
        if keyword == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in kept, f"{source} is hidden by .dockerignore"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_run_as_a_plain_user_with_a_health_check_and_volumes(name):
    found = dict(instructions(name))
    assert found["USER"] == "1000", "a number, so that a host can tell that it is not root"
    assert "/data" in found["VOLUME"] and "/cache" in found["VOLUME"]
    assert "HEALTHCHECK" in found
    assert found["CMD"] == '["server"]' and found["ENTRYPOINT"] == '["dia-entrypoint"]'
    assert [keyword for keyword, _ in instructions(name)].count("FROM") == 2


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_health_check_passes_for_server_and_page_behind_a_key_and_tells_when_nothing_answers(
    name, make_service, unused_port
):
    """The page's container with a key was never healthy: the check asked for what only a key opens."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install dia-tts")
    from dia.server.app import create_app
    from dia.ui.launch import build_app
    from tests.ui.conftest import serve

    words = dict(instructions(name))["HEALTHCHECK"].split("CMD", 1)[1]
    command = [sys.executable, *json.loads(words.replace("7860", str(unused_port)))[1:]]

    def check() -> int:
        return subprocess.run(command, capture_output=True, timeout=60).returncode

    assert check() != 0
    service = make_service(api_keys="a-key-that-is-long")
    for app in (create_app(service=service), build_app(service, "0.0.0.0")):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", unused_port))
        stop = serve(app, sock)
        assert check() == 0
        stop()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_install_is_held_to_the_locked_versions(name):
    installs = [rest for _, rest in instructions(name) if "pip install" in rest]
    assert installs
    for rest in installs:
        assert "--constraint docker/constraints.txt" in rest


def test_the_lock_holds_every_dependency_at_one_version():
    lines = [line for line in (ROOT / "docker/constraints.txt").read_text().splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; .*)?", line) for line in lines)
    names = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    wanted = {name.lower().replace("_", "-") for name in re.findall(r'^    "([A-Za-z0-9_-]+)', block, re.MULTILINE)}
    assert wanted <= names, wanted - names


def linter(name: str) -> str:
    """Where it is: beside this interpreter or on the path. The extra `dev` brings it."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed; pip install -e '.[dev]' brings it")
    return found


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_nothing_to_say(name):
    done = subprocess.run([linter("hadolint"), "--no-color", ROOT / name], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stdout


def test_shellcheck_has_nothing_to_say():
    scripts = [ROOT / name for name in ("docker/entrypoint.sh", "docker/slim.sh", ".ci/run")]
    done = subprocess.run([linter("shellcheck"), *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_shell_scripts_parse():
    for script in ("docker/entrypoint.sh", "docker/slim.sh", ".ci/run"):
        shell = "bash" if script == ".ci/run" else "sh"
        subprocess.run([shell, "-n", str(ROOT / script)], check=True)


@pytest.fixture
def services() -> dict[str, dict]:
    """What the compose file starts, by name."""
    return yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8"))["services"]


def test_compose_starts_what_the_documents_say_where_they_say(services):
    deploy = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    for name, service in services.items():
        (profile,) = service["profiles"]
        assert f"docker compose -f docker/compose.yaml --profile {profile} up" in deploy, name
        build = service["build"]
        image = (ROOT / "docker" / build["context"] / build["dockerfile"]).resolve().relative_to(ROOT).as_posix()
        assert image in DOCKERFILES
        assert f"docker build -f {image} -t {service['image']} ." in deploy
        found = dict(instructions(image))
        # The one address of all documents, on this machine alone.
        assert service["ports"] == [f"127.0.0.1:7860:{found['EXPOSE']}"], name
        assert {entry.split(":")[1] for entry in service["volumes"]} == set(json.loads(found["VOLUME"]))
        assert service.get("command", ["server"])[0] in ("server", "ui")
        assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_composes_environment_is_settings_that_load(services, monkeypatch, tmp_path):
    from dia.service.settings import load_settings

    monkeypatch.chdir(tmp_path)
    for service in services.values():
        for name, value in service["environment"].items():
            default = re.fullmatch(r"\$\{(\w+):-(.*)\}", value)
            assert default is not None and default[1] == name
            monkeypatch.setenv(name, default[2])
        settings = load_settings()
        assert (settings.model, settings.workers, settings.api_keys) == ("auto", 4, ())
        grace_s = float(service["stop_grace_period"].removesuffix("s"))
        assert grace_s > settings.drain_s, "running requests may finish before the container is killed"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], ["serve", "--host", "0.0.0.0", "--port", "7860"]),
        (["server", "--workers", "2"], ["serve", "--host", "0.0.0.0", "--port", "7860", "--workers", "2"]),
        (["ui", "--device", "cpu"], ["ui", "--device", "cpu"]),
        (["say", "[S1] Hi.", "-o", "x.wav"], ["say", "[S1] Hi.", "-o", "x.wav"]),
    ],
)
def test_the_entry_point_starts_the_server_the_page_or_any_command(tmp_path, arguments, command):
    fake = tmp_path / "dia"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["sh", str(ROOT / "docker/entrypoint.sh"), *arguments],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:-1] == command
