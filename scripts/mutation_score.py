"""How many small faults the tests notice: each is put into a copy of the package and its tests are run (promise P01).

    python scripts/mutation_score.py                  # all modules of MODULES, half an hour of two cores
    python scripts/mutation_score.py --sample 40      # that many faults, drawn by a seed

Prints each fault that no test noticed; the last line is one JSON document. Exit code 1 below 85 %.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).parent.parent
WANTED = 0.85
# Queue, cancelling, keys, limits, ids, and which tests are theirs.
MODULES: Mapping[str, tuple[str, ...]] = {
    "dia/service/admission.py": ("tests/service/test_admission.py",),
    "dia/service/jobs.py": ("tests/service/test_jobs.py", "tests/server/test_jobs_http.py"),
    "dia/server/guards.py": ("tests/server/test_guards.py",),
    "dia/server/limits.py": ("tests/server/test_wire.py",),
    "dia/door.py": ("tests/test_door.py", "tests/server/test_guards.py"),
    "dia/service/storage.py": ("tests/service/test_storage.py", "tests/server/test_hostile_http.py"),
}
_COMPARED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_COMPUTED: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}


@dataclass(frozen=True)
class Fault:
    """One change: where, what, and the module's text with it."""

    module: str
    line: int
    change: str
    source: str


def changes_of(node: ast.AST) -> Iterator[ast.AST]:
    """The node with one thing wrong, in each way there is."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
        yield ast.Compare(node.left, [_COMPARED[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED and not isinstance(node.left, ast.JoinedStr):
        yield ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Raise):
        yield ast.Pass()


def faults_in(module: str) -> Iterator[Fault]:
    """All faults of a module."""
    tree = ast.parse((ROOT / module).read_text())
    # What a decorator is given (`frozen`, `slots`) guards against mistakes in the program; no request can tell.
    decorators = [part for node in ast.walk(tree) for part in getattr(node, "decorator_list", ())]
    spared = {id(node) for part in decorators for node in ast.walk(part)}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in spared:
            continue
        for change in changes_of(node):
            changed = deepcopy(tree)
            place = next(found for number, found in enumerate(ast.walk(changed)) if number == index)
            was = ast.unparse(node)
            for parent in ast.walk(changed):
                for field, value in ast.iter_fields(parent):
                    if value is place:
                        setattr(parent, field, change)
                    elif isinstance(value, list) and any(item is place for item in value):
                        value[next(n for n, item in enumerate(value) if item is place)] = change
            source = ast.unparse(ast.fix_missing_locations(changed))
            yield Fault(module, getattr(node, "lineno", 0), f"{was} -> {ast.unparse(change)}", source)


def copy_of_repository(folder: Path) -> Path:
    """A copy of what the tests need, in a new folder of `folder`."""
    copy = Path(tempfile.mkdtemp(dir=folder)) / "dia"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "training"))
    return copy


def passes(module: str, copy: Path, timeout: float) -> bool:
    """Whether the module's tests pass in the copy within so many seconds."""
    options = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, *MODULES[module]]
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def seconds_untouched(module: str, copy: Path) -> float:
    """How long the module's tests take without a fault. Raises SystemExit where they fail: nothing could be learned."""
    begun = time.monotonic()
    if not passes(module, copy, timeout=600):
        raise SystemExit(f"The tests of {module} fail without a fault: " + " ".join(MODULES[module]))
    return time.monotonic() - begun


def is_noticed(fault: Fault, copy: Path, timeout: float) -> bool:
    """Whether the module's tests fail with the fault in the copy; hanging is noticed too."""
    path = copy / fault.module
    right = path.read_text()
    path.write_text(fault.source)
    try:
        return not passes(fault.module, copy, timeout)
    finally:
        path.write_text(right)


def main() -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many faults instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many at once (one for each core)")
    parser.add_argument(
        "--module", choices=MODULES, action="append", help="only this one; may be given more than once"
    )
    args = parser.parse_args()
    modules = args.module or list(MODULES)
    faults = [fault for module in modules for fault in faults_in(module)]
    if args.sample is not None:
        faults = random.Random(args.seed).sample(faults, min(args.sample, len(faults)))
    noticed: Counter[str] = Counter()
    own = threading.local()  # each thread's copy of the repository

    def begin() -> None:
        own.copy = copy_of_repository(Path(folder))

    def untouched(module: str) -> float:
        return seconds_untouched(module, own.copy)

    def judge(fault: Fault) -> bool:
        return is_noticed(fault, own.copy, 30 + 3 * usual_s[fault.module])

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs, initializer=begin) as pool:
        # Measured beside each other, as the faults are.
        usual_s = dict(zip(modules, pool.map(untouched, modules), strict=True))
        judged = track(pool.map(judge, faults), "Faults", len(faults), console=Console(stderr=True))
        for fault, was_noticed in zip(faults, judged, strict=True):
            noticed[fault.module] += was_noticed
            if not was_noticed:
                print(f"{fault.module}:{fault.line}: {fault.change}", flush=True)
    total = Counter(fault.module for fault in faults)
    share = noticed.total() / max(len(faults), 1)
    per_module = {module: f"{noticed[module]}/{total[module]}" for module in modules}
    print(json.dumps({"faults": len(faults), "noticed": noticed.total(), "share": round(share, 3), **per_module}))
    return 0 if share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
