"""Working containers of bakes that were killed: buildah keeps them and their mounts until somebody removes them.

bake ──> --cgroup-parent=xwhep-bake-PID ──> buildah.json of its container ──> is PID gone? ──> buildah rm

No control group is made of that: a bake in a chroot has none, so it is a place for a name that no image gets to see.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.alive import is_alive
from xwhep_packaging.command import Command
from xwhep_packaging.engines import storage_root

MARK = "xwhep-bake-"
OWNER = re.compile(rb'"' + MARK.encode() + rb'(\d+)"')


def owner_option() -> str:
    """For buildah's calls that make a working container."""
    return f"--cgroup-parent={MARK}{os.getpid()}"


def remove_leftovers(log: Path) -> list[str]:
    """Remove those whose process is gone, never those of a bake that still runs; returns their ids."""
    dead = [name for name, pid in working_containers().items() if not is_alive(pid)]
    if dead:
        # Another run may do the same just now.
        command.run(Command(argv=["buildah", "rm", *dead], log=log), check=False)
    return dead


def working_containers() -> dict[str, int]:
    """Id of each working container of ours, and the process that made it."""
    found = {}
    for path in storage_root().glob("*-containers/*/userdata/buildah.json"):
        with contextlib.suppress(OSError):
            if owner := OWNER.search(path.read_bytes()):
                found[path.parents[1].name] = int(owner[1])
    return found
