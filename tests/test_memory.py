"""Freed memory: given back when asked for."""

import subprocess
import sys

import pytest

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
