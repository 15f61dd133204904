"""What a container engine would do with a Dockerfile, as far as that goes without one: its steps in a root of its own.

Needs to be root, and a folder that stands for the image of FROM, such as debootstrap makes, with Python in /usr/local:

    python scripts/run_dockerfile.py docker/Dockerfile.gpu --base base/ --out image/
    python scripts/run_dockerfile.py docker/Dockerfile.gpu --out image/ --run say "[S1] Hello." --output /data/hello.wav

The second form starts the finished image's entry point as its user, with its environment. Nothing is isolated but the
root folder: the network and the processes are this machine's.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

CONTEXT = Path(__file__).parent.parent


def instructions(file: Path) -> list[tuple[str, str]]:
    lines = file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip() and line[0] != "#"]


def enter(root: Path, command: list[str], environ: dict[str, str], folder: str, user: str | None = None) -> int:
    """Run a command inside a root folder, with its own /proc and the host's devices."""
    given = [f"{name}={value}" for name, value in environ.items()]
    as_user = ["--userspec", f"{user}:{user}"] if user else []
    inside = ["env", "-i", *given, "sh", "-c", f"cd {shlex.quote(folder)} && exec " + shlex.join(command)]
    mounts = f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev && exec chroot"
    words = ["unshare", "--mount", "sh", "-c", f'{mounts} "$@"', "sh", *as_user, str(root), *inside]
    return subprocess.run(words, check=False).returncode


def copy(source: Path, target: Path, *, into: bool) -> None:
    place = target / source.name if into else target
    place.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "-T", source, place], check=True)


def build(file: Path, base: Path, out: Path) -> None:
    """Execute every step; the last stage is left in `out`, those before it are deleted."""
    stages: dict[str, Path] = {}
    stage, environ, folder, user = out, {}, "/", None
    for keyword, rest in instructions(file):
        words = shlex.split(rest)
        print(f"+ {keyword} {rest}", flush=True)
        if keyword == "FROM":
            name = words[2] if len(words) == 3 else ""
            stage = out.with_name(f"{out.name}.{name}") if name else out
            stages[name] = stage
            subprocess.run(["cp", "-a", "-T", base, stage], check=True)
            for found in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
                shutil.copy(found, stage / found[1:])
            environ, folder, user = (
                {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"},
                "/",
                None,
            )
            environ |= {name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_CERT") if name in os.environ}
        elif keyword == "ENV":
            for pair in words:
                name, value = pair.split("=", 1)
                environ[name] = value.replace("$PATH", environ["PATH"])
        elif keyword == "WORKDIR":
            folder = rest
            (stage / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif keyword == "USER":
            user = rest
        elif keyword == "COPY":
            origin = stages[words.pop(0).split("=")[1]] if words[0].startswith("--from") else CONTEXT
            target = stage / os.path.join(folder, words[-1]).lstrip("/")
            for source in words[:-1]:
                copy(origin / source.lstrip("/"), target, into=words[-1].endswith("/"))
        elif keyword == "RUN":
            code = enter(stage, ["sh", "-c", rest], environ, folder, user)
            if code:
                sys.exit(f"step failed with {code}: {rest}")
    for name, path in stages.items():
        if name:
            shutil.rmtree(path)


def run(file: Path, root: Path, words: list[str]) -> int:
    """Start the entry point."""
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/dia", "OMP_NUM_THREADS": "1"}
    found = instructions(file)
    last = max(index for index, (keyword, _) in enumerate(found) if keyword == "FROM")
    settled = dict(found[last:])
    for pair in shlex.split(settled["ENV"]):
        name, value = pair.split("=", 1)
        environ[name] = value.replace("$PATH", environ["PATH"])
    environ |= {name: value for name, value in os.environ.items() if name.startswith("DIA_")}
    command = json.loads(settled["ENTRYPOINT"]) + (words or json.loads(settled["CMD"]))
    return enter(root, command, environ, settled["WORKDIR"], settled["USER"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--base", type=Path, help="the root folder that stands for FROM")
    parser.add_argument("--out", type=Path, required=True, help="the root folder of the image")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help="start the entry point with these words")
    flags = parser.parse_args()
    if flags.run is not None:
        return run(flags.file, flags.out.absolute(), flags.run)
    build(flags.file, flags.base.absolute(), flags.out.absolute())
    size = subprocess.run(["du", "-sm", flags.out], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"{flags.out}: {size} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
