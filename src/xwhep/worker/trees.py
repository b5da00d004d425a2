"""Removing what a job left, however it left it: without permissions, or nested deeper than any path can say."""

from __future__ import annotations

import os
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Remove a job's folder; nothing when it is not there. No link is followed.

    A folder in a folder is moved up before it is looked into, so that no path grows long and nothing here recurses.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    folder.chmod(0o700)
    number = 0
    while inner := _without_files(folder):
        for child in inner:
            for grandchild in _without_files(child):
                while os.path.lexists(target := folder / f".{number}"):
                    number += 1
                grandchild.rename(target)
            child.rmdir()
    folder.rmdir()


def _without_files(folder: Path) -> list[Path]:
    """Remove everything in a folder but folders; those."""
    with os.scandir(folder) as entries:
        found = list(entries)
    inner = []
    for entry in found:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            path.chmod(0o700)
            inner.append(path)
        else:
            path.unlink()
    return inner
