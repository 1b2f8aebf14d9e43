"""How much memory this process has needed, and may use."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa

_M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def peak_mb() -> float:
    """The most resident memory that this process ever had, in MB (2**20 bytes)."""
    # The kernel counts in bytes on macOS, elsewhere in kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0**2 if sys.platform == "darwin" else 1024.0)


def keep_few_arenas() -> None:
    """Have the threads of this process share two heaps: with a heap for each of many threads, what one has freed is of
    no use to the others."""
    with suppress(OSError, AttributeError):  # other systems have no such function
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Give what was freed, but is held for later, back to the system: long work has the peak of its largest part."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # other systems have no such function
        ctypes.CDLL(None).malloc_trim(0)


def limit_mb() -> tuple[float, str]:
    """The most memory that this process may use, in MB, and who says so: machine, container or the user's limit."""
    limits = [(psutil.virtual_memory().total, "the machine"), *((limit, "the cgroup") for limit in _cgroup_limits())]
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own != resource.RLIM_INFINITY:
        limits.append((own, "ulimit -v"))
    least, who = min(limits)
    return least / 1024.0**2, who


def _cgroup_limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Bytes that the groups of this process allow: its own and those above it; both versions of the interface."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            folder, name = root / path.lstrip("/"), "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
        else:
            continue
        for place in (folder, *folder.parents):
            if place.is_relative_to(root):
                with suppress(OSError, ValueError):  # "max": no limit
                    yield int((place / name).read_text())
