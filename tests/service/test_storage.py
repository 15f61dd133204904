"""Ids that never become foreign paths, files that are whole or absent, one server per folder."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dia.errors import BadParameter, DataFolderInUse, DiskFull, OutputUnwritable, StoreUnavailable
from dia.service import storage
from dia.service.storage import DataFolder, check_id, disk_errors, replace_folder, restore_replaced, write_file

BAD_IDS = [
    "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "....//", "a..b", "%2e%2e/x", "..%2f", "a b", "a\n", "a\x00b",
    "x" * 65, "CON", "con.txt", "lpt1", "upload", "metadata", "discover", "~", "-a", ".hidden", "trailing.", "ä", "a:b",
    "．．", "a\u2028b", "$HOME", "a*", "a?", "\ud800",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path):
    folder = DataFolder(tmp_path / "data")
    yield folder
    folder.close()


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_that_could_lead_elsewhere_are_refused(folder: DataFolder, bad: str):
    with pytest.raises(BadParameter):
        folder.place("prompts", bad)


@pytest.mark.parametrize("fine", ["a", "A1", "my_voice", "x.y-z_0", "x" * 64, "0", "console"])
def test_plain_ids_are_taken(folder: DataFolder, fine: str):
    assert folder.place("prompts", fine, "audio.wav") == folder.root / "prompts" / fine / "audio.wav"
    assert check_id("voice", fine) == fine


def test_a_link_planted_in_the_folder_leads_nowhere(folder: DataFolder, tmp_path: Path):
    (tmp_path / "outside").mkdir()
    (folder.room("prompts") / "planted").symlink_to(tmp_path / "outside")
    with pytest.raises(BadParameter, match="outside"):
        folder.place("prompts", "planted", "audio.wav")


def test_a_second_server_is_refused_the_folder_until_the_first_is_gone(folder: DataFolder):
    code = "import sys; from dia.service.storage import DataFolder; DataFolder(sys.argv[1])"
    second = [sys.executable, "-c", code, str(folder.root)]
    refused = subprocess.run(second, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "DataFolderInUse" in refused.stderr
    with pytest.raises(DataFolderInUse, match="DIA_DATA_DIR"):
        DataFolder(folder.root)
    folder.close()
    DataFolder(folder.root).close()


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable, match="DIA_DATA_DIR"):
        DataFolder(tmp_path / "file" / "data")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    path = tmp_path / "x"
    write_file(path, b"old")
    real = getattr(os, call)

    def full(*args: Any) -> None:
        monkeypatch.setattr(storage.os, call, real)  # the second time there is room again
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, call, full)
    with pytest.raises(DiskFull):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_a_folder_is_made_with_those_above_it(tmp_path: Path):
    for _ in range(2):
        folder = DataFolder(tmp_path / "a" / "b" / "data")
        assert folder.room("results").is_dir()
        folder.close()


def test_writes_are_on_the_disk_before_they_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file, then the folder that holds its name; of a folder its files, itself and what holds it."""
    synced: list[int] = []
    real = os.fsync

    def noting(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        real(handle)

    def are(*paths: Path) -> bool:
        wanted = [path.stat().st_ino for path in paths]
        return [synced.pop(0) for _ in wanted] == wanted and synced == []

    monkeypatch.setattr(storage.os, "fsync", noting)
    write_file(tmp_path / "x", b"data")
    assert are(tmp_path / "x", tmp_path)
    new, target = tmp_path / ".unfinished-1", tmp_path / "p"
    new.mkdir()
    (new / "f").write_text("new")
    replace_folder(new, target)
    assert are(target / "f", target, tmp_path)


def test_only_a_full_disk_is_called_full():
    with pytest.raises(OutputUnwritable, match="Permission denied"), disk_errors():
        raise PermissionError(errno.EACCES, "Permission denied")
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(DiskFull), disk_errors():
            raise OSError(number, "x")


def test_the_lock_is_its_owners_alone_and_closing_twice_does_nothing(folder: DataFolder):
    assert stat.S_IMODE((folder.root / "lock").stat().st_mode) == 0o600
    folder.close()
    first_free = os.open(folder.root / "lock", os.O_RDONLY)  # the number that was the lock's
    folder.close()
    os.close(first_free)


def test_a_long_id_is_shown_in_part():
    with pytest.raises(BadParameter, match=f"'{'x' * 39}!' is not"):
        check_id("voice", "x" * 39 + "!")
    for long in ("x" * 40 + "!", "x" * 65):
        with pytest.raises(BadParameter, match=f"'{'x' * 40}…' is not"):
            check_id("voice", long)


def test_device_names_are_reserved_to_the_last():
    for device in ("com", "lpt"):
        for number in range(1, 10):
            with pytest.raises(BadParameter):
                check_id("voice", f"{device}{number}.txt")
        assert check_id("voice", f"{device}0") == f"{device}0"
        assert check_id("voice", f"{device}10") == f"{device}10"


def test_a_missing_parent_is_an_error_of_ours(tmp_path: Path):
    with pytest.raises(OutputUnwritable):
        write_file(tmp_path / "none" / "x", b"data")


def test_half_written_things_are_swept(folder: DataFolder):
    (folder.room("results") / "job").mkdir()
    (folder.room("results") / "job" / ".unfinished-1").write_bytes(b"x")
    (folder.room("prompts") / ".unfinished-2").mkdir()
    (folder.room("outputs") / "kept.wav").write_bytes(b"x")
    assert folder.sweep_unfinished() == 2
    assert (folder.room("outputs") / "kept.wav").exists()
    assert folder.used_bytes() == 1


def test_a_replaced_folder_comes_back_after_a_kill_between_the_renames(tmp_path: Path):
    new, target = tmp_path / ".unfinished-1", tmp_path / "p"
    for path, text in ((new, "new"), (target, "old")):
        path.mkdir()
        (path / "f").write_text(text)
    target.rename(tmp_path / ".replaced-p")  # killed here
    restore_replaced(tmp_path)
    assert (target / "f").read_text() == "old"
    replace_folder(new, target)
    assert (target / "f").read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["p"]
