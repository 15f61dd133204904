"""Freed memory: given back when asked for, and kept in few places by a process that lives long."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dia import memory

HOLES = """
import os, resource
from dia.memory import give_back_freed_memory
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
buffers = [bytearray(b"x" * 60_000) for _ in range(1500)]
kept = buffers[::50]
del buffers
before = held()
give_back_freed_memory()
print(before - held())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_holes_between_buffers_in_use_go_back_to_the_system():
    run = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 40_000_000


ARENAS = """
import ctypes, sys, threading
from dia.memory import bound_kept_memory
if sys.argv[1] == "bound":
    bound_kept_memory()
gate = threading.Barrier(9)
def work():
    kept = [bytearray(5_000) for _ in range(100)]
    gate.wait()
    gate.wait()
for _ in range(8):
    threading.Thread(target=work).start()
gate.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
gate.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_threads_share_few_arenas(tmp_path: Path):
    found = {}
    for kind in ("bound", "free"):
        report = tmp_path / kind
        subprocess.run([sys.executable, "-c", ARENAS, kind, str(report)], check=True)
        found[kind] = report.read_text().count("<heap nr=")
    assert found["bound"] == memory.ARENAS < found["free"]


def test_what_the_environment_says_of_kernels_counts_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1")  # so that it is put back
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    memory.bound_kept_memory()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == str(memory.KERNELS)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    memory.bound_kept_memory()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
