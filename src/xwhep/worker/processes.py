"""Finding and ending all that a job started, also what ran away from its group. Nothing is started here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from xwhep.worker.flag import wait_any

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


def guard_this_process() -> None:
    """Adopt what jobs leave behind (instead of init), and hide this process's memory and environment from them.

    Jobs may run as the same user. Not being dumpable, /proc/PID/environ and mem of the worker belong to root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_CHILD_SUBREAPER, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def children(pid: int) -> list[int]:
    """Process ids of the children of every thread of `pid`; none when it has gone."""
    found: list[int] = []
    for file in _PROC.joinpath(str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, parents first."""
    found = children(pid)
    for child in found:  # grows while it is walked
        found += children(child)
    return found


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def send_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def environment_of(pid: int) -> dict[bytes, bytes]:
    """The environment a process was started with; empty when it has gone or hides it."""
    try:
        content = _PROC.joinpath(str(pid), "environ").read_bytes()
    except OSError:
        return {}
    return {name: value for name, _, value in (item.partition(b"=") for item in content.split(b"\0") if item)}


def strays(jobs: Path) -> list[int]:
    """Processes whose home is below the folder of running jobs. Before the first job: those of an earlier life."""
    prefix = os.fsencode(jobs) + b"/"
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid() and environment_of(pid).get(b"HOME", b"").startswith(prefix)]


def orphans(known: set[int]) -> list[int]:
    """Children of this process that it did not start itself: their parents ended before them."""
    return [pid for pid in children(os.getpid()) if pid not in known]


def end(pid: int, seconds: float = 2.0) -> bool:
    """Kill and reap one adopted process. False when it does not end in time (stuck in the kernel)."""
    send(pid, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            return True
        time.sleep(0.002)
    return False


def sweep(known: set[int], is_ours: Callable[[int], bool]) -> list[int]:
    """End the orphans for which `is_ours` holds, and theirs, until none is left; the ids of those ended.

    Killing a parent hands its children to this process, so the walk repeats until it finds nothing more.
    """
    ended: list[int] = []
    for _ in range(1000):
        found = [pid for pid in orphans(known) if pid not in ended and is_ours(pid)]
        if not found:
            break
        for pid in found:
            end(pid)
        ended += found
    return ended


def wait_for(pidfd: int, flag_fd: int, seconds: float | None = None) -> bool:
    """Wait until the process ended (True), or the flag was set or time passed (False)."""
    return pidfd in wait_any([pidfd, flag_fd], seconds)
