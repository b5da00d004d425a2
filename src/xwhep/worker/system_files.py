"""The little of /etc that jobs see, as one folder: a wall of one mount is built faster than one of eight.

    STATE/etc/1, 2 ..   copies, of which the last is shown; a job keeps the one it started with

A new copy is made when something has changed, so an update of the machine reaches the next job.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

# What programs need to start, to print dates and names. No /etc as a whole: host keys, passwords and such live there.
NAMES = ("alternatives", "group", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "nsswitch.conf", "passwd")


class SystemFiles:
    """Copies below `folder`, which is this worker's alone. Threads may share it."""

    def __init__(self, folder: Path, source: Path = Path("/etc")) -> None:
        self._folder, self._source = folder, source
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)  # the umask may have cut it, and jobs may run as another user
        self._lock = threading.Lock()
        self._seen: list[tuple[str, int]] = []
        self._number = 0

    def current(self) -> Path:
        """A copy of what is there now.

        Raises:
            OSError: the disk is full, or something of it cannot be read.
        """
        with self._lock:
            seen = [(name, found.stat().st_mtime_ns) for name in NAMES if (found := self._source / name).exists()]
            if seen != self._seen:
                self._copy(self._folder / str(self._number + 1), [name for name, _ in seen])
                self._number, self._seen = self._number + 1, seen
            return self._folder / str(self._number)

    def _copy(self, target: Path, names: list[str]) -> None:
        shutil.rmtree(target, ignore_errors=True)  # a copy that was cut short
        target.mkdir()
        for name in names:
            found, copy = self._source / name, target / name
            if found.is_dir():
                shutil.copytree(found, copy, symlinks=True)
                continue
            shutil.copyfile(found, copy)
            copy.chmod(0o644)
        target.chmod(0o755)
