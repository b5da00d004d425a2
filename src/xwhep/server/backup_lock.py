"""While a backup copies the blobs, the server removes none: the copy of the database may name it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nothing_removed(state: Path) -> Iterator[None]:
    """While this lasts, `backup_running` is true."""
    descriptor = _opened(state)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def backup_running(state: Path) -> bool:
    try:
        descriptor = _opened(state)
    except FileNotFoundError:  # no blobs, nothing to copy
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _opened(state: Path) -> int:
    # The folder is its own lock: a file for it, made by root, could be closed to the server.
    return os.open(state / "blobs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
