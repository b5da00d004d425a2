"""Temporary folders outside _build/ that a killed run leaves to the next one to remove."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "xwhep-"


@contextmanager
def temporary_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """A private folder in `parent` (default: the system's), named by this process; gone afterwards."""
    place = parent or _place()
    remove_orphans(place, purpose)
    folder = place / f"{PREFIX}{purpose}-{os.getpid()}-{os.urandom(4).hex()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path:
    import tempfile  # with it come random numbers, which a build that makes nothing has no need of

    return Path(tempfile.gettempdir())


def remove_orphans(place: Path, purpose: str) -> None:
    """Remove our folders for this purpose whose process is gone."""
    for folder in place.glob(f"{PREFIX}{purpose}-*-*"):
        pid = folder.name.removeprefix(f"{PREFIX}{purpose}-").partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists() and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
