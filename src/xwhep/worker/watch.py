"""Keeping a running job within its wall clock, memory and disk, where the kernel limits only each process.

Short jobs pay nothing: the first look comes after FIRST_LOOK_S. What a job allocates between two looks is beyond its
limit; should that be more than the machine has, the kernel ends the job before anything else (see launch.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from xwhep.worker import processes
from xwhep.worker.sandbox import Command, Limits

WALL_CLOCK = "wall clock limit"
FIRST_LOOK_S = 0.1
_MEMORY_EVERY_S, _DISK_EVERY_S = 0.25, 0.5
_DISK_SHARE = 20  # counting files may take one part in so many of the time
_ENTRY_BYTES = 4096  # the least that a file or folder counts: empty ones fill a disk too
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")
TOO_LARGE_FILE = 128 + signal.SIGXFSZ


class Watch:
    """One running job, whose first process is `pid`."""

    def __init__(self, command: Command, limits: Limits, pid: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._limits, self._pid, self._clock = command.folder, limits, pid, clock
        now = clock()
        self._ends = now + command.wall_clock_s if command.wall_clock_s > 0 else float("inf")
        self._memory_at = now + FIRST_LOOK_S if limits.memory else float("inf")
        self._disk_at = now + FIRST_LOOK_S if limits.disk else float("inf")

    def pause_s(self) -> float | None:
        """Seconds until the next look; None when nothing is limited."""
        at = min(self._ends, self._memory_at, self._disk_at)
        return None if at == float("inf") else max(0.0, at - self._clock())

    def broken(self) -> str:
        """The limit that the job is beyond, in words for its owner; empty when there is none."""
        now = self._clock()
        if now >= self._ends:
            return WALL_CLOCK
        if now >= self._memory_at:
            self._memory_at = now + _MEMORY_EVERY_S
            if (used := memory_of(self._pid, self._limits.memory)) > self._limits.memory:
                return f"memory limit: it used {used} bytes of {self._limits.memory}"
        if now >= self._disk_at:
            used = disk_of(self._folder, self._limits.disk)
            self._disk_at = self._clock() + max(_DISK_EVERY_S, _DISK_SHARE * (self._clock() - now))
            if used > self._limits.disk:
                return f"disk limit: it used more than {self._limits.disk} bytes"
        return ""


def explained(exit_code: int, limits: Limits) -> str:
    """Why a job ended that the kernel kept within its limits; empty when it was not that."""
    if exit_code == TOO_LARGE_FILE and limits.disk:
        return f"disk limit: one file grew to {limits.disk} bytes"
    return ""


def memory_of(pid: int, enough: int) -> int:
    """Bytes of memory of a process and all below it. Shared memory is counted once, when it matters."""
    everybody = [pid, *processes.descendants(pid)]
    resident = sum(map(_resident, everybody))
    return resident if resident <= enough else sum(map(_proportional, everybody))


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(pid)


def disk_of(folder: Path, enough: int) -> int:
    """Bytes of what a job keeps on the disk; stops counting once it is more than `enough`."""
    used, pending = 0, [str(folder)]
    while pending and used <= enough:
        # What vanishes under the eye, or cannot be opened by this user, is not counted.
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                figures = entry.stat(follow_symlinks=False)
                used += max(figures.st_blocks * 512, figures.st_size, _ENTRY_BYTES)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return used
