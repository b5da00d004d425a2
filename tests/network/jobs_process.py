"""Runs in a worker's container, as: MARK seen|gone|release. Waits for a held job's process, or lets it end.

A held job (grid.HELD) has a child called MARK from the moment on that it can be let go.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

LIMIT_S = 15.0


def parents(mark: str) -> list[int]:
    """The processes that have a child of that name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().split(b"\0")[0].decode() == mark:
                found.append(int((folder / "stat").read_text().rpartition(")")[2].split()[1]))
        except (OSError, UnicodeDecodeError):
            continue  # it ended meanwhile
    return found


def main(mark: str, wish: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while bool(found := parents(mark)) == (wish == "gone"):
        if time.monotonic() > deadline:
            sys.exit(f"{mark} is not {wish} after {LIMIT_S} s")
        time.sleep(0.01)
    for pid in found if wish == "release" else []:
        os.kill(pid, signal.SIGUSR1)


main(*sys.argv[1:])
