"""Which wall this machine can build, found out by running a program behind it."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from pathlib import Path

from xwhep.common.errors import UsageError
from xwhep.worker.flag import Flag
from xwhep.worker.launch import Launcher, Streams, Wall, make_folders
from xwhep.worker.sandbox import BUBBLEWRAP, CONTAINER, FORMS, PROCESS, Command, Limits
from xwhep.worker.system_files import SystemFiles

log = logging.getLogger(__name__)

PROBE_S = 10.0
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")


def choose(wanted: str, limits: Limits, state: Path) -> Wall:
    """The wall to use: the wanted isolation if it works here; for "auto" the strongest that does.

    Raises:
        UsageError: the wanted one does not work here, or none does.
    """
    if wanted in ("auto", BUBBLEWRAP):
        found, problem = strongest(limits, state)
        if found:
            return found
        if wanted == BUBBLEWRAP:
            raise UsageError(
                f"bubblewrap does not work here: {problem}", "install bubblewrap, or set XWHEP_WORKER_ISOLATION=auto"
            )
        log.info("no bubblewrap: %s", problem)
    choice = wanted if wanted != "auto" else CONTAINER if in_container() else PROCESS
    confined = Wall(choice, confined=True)
    if not (problem := probe(confined, limits, state)):
        return confined
    log.warning("jobs can read what the worker can, its token too, since Landlock does not work here: %s", problem)
    if problem := probe(Wall(choice), limits, state):
        raise UsageError(f"no job can be started here: {problem}", "install the package util-linux (prlimit, setpriv)")
    return Wall(choice)


def strongest(limits: Limits, state: Path) -> tuple[Wall | None, str]:
    """The strongest form of bubblewrap that works here, or none, and what the strongest of all fails at."""
    first = ""
    for form in FORMS:
        wall = Wall(BUBBLEWRAP, form=form)
        problem = probe(wall, limits, state)
        if not problem:
            return wall, first
        first = first or problem
    return None, first


def probe(wall: Wall, limits: Limits, state: Path) -> str:
    """Run /usr/bin/true the way a job would run; empty when that works, else what went wrong."""
    with tempfile.TemporaryDirectory(prefix="probe.", dir=state) as name, tempfile.TemporaryFile() as errors:
        folder = Path(name)
        folder.chmod(0o711)
        make_folders(folder)
        command = Command(argv=("/usr/bin/true",), environment={}, folder=folder)
        launcher = Launcher(wall, limits, grace_s=0, files=SystemFiles(folder / "etc"))
        cancel = Flag()
        timer = threading.Timer(PROBE_S, cancel.set)
        timer.start()
        try:
            with Path(os.devnull).open("r+b") as null, tempfile.TemporaryFile() as status:
                ended = launcher.run(command, Streams(stdin=null, stdout=null, stderr=errors, status=status), cancel)
        except OSError as exc:
            return str(exc)
        finally:
            timer.cancel()
        if ended.exit_code == 0:
            return ""
        text = os.pread(errors.fileno(), 2000, 0).decode("utf-8", "replace").strip()
        return text.replace("\n", "; ") or f"it ended with {ended.exit_code}"


def in_container() -> bool:
    return any(Path(mark).exists() for mark in _CONTAINER_MARKS) or "container" in os.environ
