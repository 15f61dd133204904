"""The README's first command, exactly as printed, in a fresh clone: the installed package speaks from its own files.

Only the packages that it needs are not fetched again: those of this environment are shown to the new one. The whole
command, with everything fetched, is run by .ci/run.
"""

import re
import site
import subprocess
import sys
from pathlib import Path

import pytest

from dia.media.read import read_audio

ROOT = Path(__file__).parent.parent


def printed(name: str) -> str:
    """The command that the README prints under that name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- command: {name} -->\n```bash\n(.+)\n```", text)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_the_first_command_installs_and_speaks(tmp_path: Path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    clone = tmp_path / "dia"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(clone / ".venv")], check=True)
    (packages,) = (clone / ".venv").glob("lib/python*/site-packages")
    (packages / "shown.pth").write_text("\n".join(site.getsitepackages()))
    python = Path(sys.base_exec_prefix) / "bin"
    environ = {"PATH": f"{python}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", printed("speak")], cwd=clone, env=environ, capture_output=True, text=True, timeout=280
    )
    if "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("the build backend cannot be fetched here")
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    assert 2 < len(read_audio(clone / "hello.wav", sample_rate_hz=16_000)) / 16_000 < 20
    asked = "import dia; print(dia.__file__)"
    where = subprocess.run(
        [clone / ".venv/bin/python", "-c", asked], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert where.stdout.strip() == str(packages / "dia" / "__init__.py"), where.stderr
