"""Judges come from installed packages, whole and unchanged, or not at all."""

import hashlib
import sys
from pathlib import Path

import pytest

from dia.errors import CheckpointMismatch, MissingExtra
from dia.evals.packages import INSTALL, PackageFile, check_installed, join_parts, locate, verified


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two data files, on the path."""
    folder = tmp_path / "site" / "weights_carrier" / "data"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (folder / "a").write_bytes(b"first ")
    (folder / "b").write_bytes(b"second")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    return folder


def part(name: str, content: bytes) -> PackageFile:
    return PackageFile("weights_carrier", f"data/{name}", hashlib.sha256(content).hexdigest())


def test_missing_packages_are_named_with_the_command_that_installs_them():
    with pytest.raises(MissingExtra) as caught:
        check_installed(["json", "no_such_judge", "nor_this_one"])
    assert "no_such_judge, nor_this_one" in str(caught.value)
    assert INSTALL in str(caught.value) and "json" not in str(caught.value)


def test_a_file_is_found_without_importing_its_package(carrier: Path):
    assert locate(part("a", b"first ")) == carrier / "a"
    assert verified(part("a", b"first ")) == carrier / "a"


def test_other_bytes_than_expected_are_refused(carrier: Path):
    with pytest.raises(CheckpointMismatch, match="sha256"):
        verified(part("a", b"something else"))
    with pytest.raises(CheckpointMismatch, match="holds no data/c"):
        locate(part("c", b""))


def test_parts_are_joined_once_and_repaired_when_damaged(carrier: Path, tmp_path: Path):
    target = tmp_path / "cache" / "model.bin"
    whole = hashlib.sha256(b"first second").hexdigest()
    parts = [part("a", b"first "), part("b", b"second")]
    assert join_parts(parts, target, whole).read_bytes() == b"first second"
    target.write_bytes(b"damaged")
    assert join_parts(parts, target, whole).read_bytes() == b"first second"
    assert [path.name for path in target.parent.iterdir()] == ["model.bin"]
    (carrier / "b").write_bytes(b"other")
    target.unlink()
    with pytest.raises(CheckpointMismatch, match="model.bin has sha256"):
        join_parts(parts, target, whole)
    assert not target.exists()
