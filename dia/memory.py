"""What the libraries below Python keep of memory: freed buffers, and kernels made for one shape."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)

KERNELS = 16
"""oneDNN keeps a kernel for each shape that it has met, 1,024 by default. A codec window of a new length brings 39, and
a server meets every length. Sounds of 20 to 200 random frames through a small 44.1 kHz codec: 148 MB in use with 16 kernels
kept, from the 150th on; 205 with 128, still moving by 8 after 1,200; 390 with 1,024. None was quicker than another (35 to
37 ms a sound): a kernel is made in less time than it takes to compute one window."""
ARENAS = 2
"""glibc gives each thread an arena of its own, up to eight for each core, and each keeps holes of its own."""


def bound_kept_memory() -> None:
    """Have a process that lives long keep few kernels and few arenas. To be called before there are threads, and before
    torch computes; `ONEDNN_PRIMITIVE_CACHE_CAPACITY` in the environment counts more. Arenas: glibc only."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    mallopt = _find("mallopt")
    if mallopt is not None:
        mallopt(_ARENA_MAX, ARENAS)


def keep_freed_memory() -> None:
    """Have this process keep what it frees for its next step (glibc; elsewhere nothing happens).

    Large tensors are else given back to the system and faulted in anew in every step: 12 to 17 % of a training step on
    two cores.
    """
    mallopt = _find("mallopt")
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Return to the system what lies free between what is in use (glibc; elsewhere nothing happens).

    Buffers of many sizes from many threads leave holes: a server that has answered 400 requests holds 100 MB of them.
    """
    malloc_trim = _find("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _find(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
