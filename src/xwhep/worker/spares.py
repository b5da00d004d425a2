"""One spare wall for each slot, built while the slot waits: a short job waits longer for its wall than it runs.

    jobs/slot-1: wall, a shell in it that waits ──orders──> wall, the job's program in it
    jobs/JOB.ATTEMPT ──link──> jobs/slot-1

A shared asset, which a wall must show, and a standard input have their wall built when they come.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from xwhep.common.wire import Lease
from xwhep.worker.launch import Launcher, Spare, make_folders
from xwhep.worker.trees import remove_tree

log = logging.getLogger(__name__)


class Spares:
    """The spare of one slot, used by its thread only, around `folder`."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self._launcher, self._folder = launcher, folder
        self._spare: Spare | None = None

    def renew(self) -> None:
        """Have one that is good, if this machine can build one now and jobs may still come."""
        if self._launcher.is_over:
            return
        try:
            if self._spare and self._launcher.is_good(self._spare):
                return
            self.close()
            make_job_folder(self._folder)
            self._spare = self._launcher.spare(self._folder)
        except OSError as exc:
            log.debug("no spare wall: %s", exc)  # a full disk, say; a job that needs one will tell
        if self._spare is None:
            self.close()

    def take(self, lease: Lease) -> Spare | None:
        """The spare, if there is a good one that fits the job."""
        spare = self._spare
        if spare is None or not lease.binary or lease.stdin or not self._launcher.is_good(spare):
            return None
        self._spare = None
        return spare

    def close(self) -> None:
        if self._spare:
            self._launcher.drop(self._spare)
            self._spare = None
        with contextlib.suppress(OSError):
            remove_tree(self._folder)


def make_job_folder(folder: Path) -> None:
    """A new, empty one. Its user must get through; what is inside belongs to that user alone."""
    remove_tree(folder)
    folder.mkdir(mode=0o711)
    make_folders(folder)
