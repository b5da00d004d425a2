"""Temporary folders outside _build/ that a killed run leaves to the next one to remove."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xwhep_packaging.alive import is_alive

PREFIX = "xwhep-"
REMOVAL_S = 20.0  # unpacked root file systems are many files, and what wrote them may be ending still


@contextmanager
def temporary_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """A private folder in `parent` (default: the system's), named by this process; gone afterwards."""
    place = parent or _place()
    remove_orphans(place, purpose)
    folder = place / f"{PREFIX}{purpose}-{os.getpid()}-{os.urandom(4).hex()}"
    folder.mkdir(mode=0o700)
    _open.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _open.remove(folder)


class _Open:
    """The folders that are there now, and which thread removes each."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.owners: dict[Path, int] = {}

    def add(self, folder: Path) -> None:
        with self.changed:
            self.owners[folder] = threading.get_ident()

    def remove(self, folder: Path) -> None:
        with self.changed:
            del self.owners[folder]
            self.changed.notify_all()

    def is_mine(self) -> bool:
        return set(self.owners.values()) <= {threading.get_ident()}


_open = _Open()


def wait_for_other_threads(limit_s: float = REMOVAL_S) -> None:
    """Until they have removed theirs. At the end of a process threads are cut off in the midst of that."""
    with _open.changed:
        _open.changed.wait_for(_open.is_mine, limit_s)


def _place() -> Path:
    import tempfile  # with it come random numbers, which a build that makes nothing has no need of

    return Path(tempfile.gettempdir())


def remove_orphans(place: Path, purpose: str) -> None:
    """Remove our folders for this purpose whose process is gone."""
    for folder in place.glob(f"{PREFIX}{purpose}-*-*"):
        pid = folder.name.removeprefix(f"{PREFIX}{purpose}-").partition("-")[0]
        if pid.isdigit() and not is_alive(pid) and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
