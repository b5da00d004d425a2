"""How many steps run beside each other: one for each processor, and no more than memory holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

# The largest steps unpack a root file system of 340 MB into memory (tmpfs), and run compilers or lintian beside it.
STEP_BYTES = 1_000_000_000
MEMORY = Path("/proc/meminfo")
# What a container may take; the second is of the older kind of control groups.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
BYTES_A_KIB = 1024


def at_once(memory: Path = MEMORY, limits: Sequence[Path] = LIMITS) -> int:
    """At least one, whatever is free. A machine that does not tell its memory is taken to have enough."""
    sizes = [size for size in (_available(memory), *map(_limit, limits)) if size is not None]
    processors = len(os.sched_getaffinity(0))
    return max(1, min([processors, *(size // STEP_BYTES for size in sizes)]))


def _available(memory: Path) -> int | None:
    """Bytes that programs can still take."""
    for line in _read(memory).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * BYTES_A_KIB
    return None


def _limit(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdigit() else None  # "max": there is none


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
