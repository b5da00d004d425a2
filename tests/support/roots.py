"""A bare root file system of the base, to install packages in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def in_root(root: Path, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["chroot", str(root), *argv], env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@contextmanager
def bare_root(tarball: Path, folder: Path) -> Iterator[Path]:
    """The base's root file system unpacked, without its /dev: nothing here needs more than /dev/null, a plain file."""
    folder.mkdir()
    subprocess.run(["tar", "-C", str(folder), "-xf", str(tarball), "--exclude=./dev/*"], check=True)
    os.mknod(folder / "dev" / "null", 0o666 | 0o020000, os.makedev(1, 3))
    yield folder
