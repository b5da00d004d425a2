"""A root file system in an ordinary folder, entered by chroot(2): what is left where nothing can be mounted.

No /proc, and a /dev of the few devices that programs cannot do without.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from xwhep_packaging.errors import MachineError

# Name -> the kernel's numbers of it.
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
OPEN_TO_ALL = 0o1777


def furnish(root: Path) -> None:
    """Give it devices.

    Raises:
        MachineError: this machine lets nobody make them.
    """
    folder = root / "dev"
    folder.mkdir(exist_ok=True)
    try:
        for name, numbers in DEVICES.items():
            if not (folder / name).exists():
                os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(*numbers))
                (folder / name).chmod(0o666)
    except OSError as exc:
        raise MachineError(
            "this machine gives neither mounts nor device files",
            cause=str(exc),
            next_step="give the container the capability MKNOD, which docker does by default; or use another machine",
        ) from exc


def unfurnish(root: Path) -> None:
    """Take the devices away again."""
    for name in DEVICES:
        (root / "dev" / name).unlink(missing_ok=True)


def emptied(folder: Path) -> None:
    """A folder that everybody may write to, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(OPEN_TO_ALL)


def entered(root: Path, user: str, variables: Mapping[str, str], argv: Sequence[str]) -> list[str]:
    """`argv` in the root as `user` (UID:GID), with these variables and no others, and no way to more rights."""
    enter = ["chroot", f"--userspec={user}", "--groups=", str(root)]
    clean = ["env", "--ignore-environment", *(f"{name}={value}" for name, value in variables.items())]
    return ["setpriv", "--no-new-privs", "--", *enter, *clean, *argv]
