"""What `doit doctor` asks of this machine. Each answer is a field, so that a test can give another one."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.archive import HELPER
from xwhep_packaging.command import Command
from xwhep_packaging.errors import MissingTool, PipelineError
from xwhep_packaging.temporary import temporary_folder

PROBE_S = 15.0
MIRROR_S = 5
BYTES_A_KIB = 1024


def _installed(packages: Sequence[str]) -> set[str]:
    """Those of the Debian packages that dpkg knows as installed."""
    argv = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages]
    rows = command.run(Command(argv=argv), check=False).stdout.splitlines()
    return {row.split()[0] for row in rows if row.endswith(" installed")}


def _succeeds(argv: Sequence[str]) -> bool:
    try:
        return command.run(Command(argv=argv, timeout_s=PROBE_S), check=False).returncode == 0
    except (PipelineError, MissingTool):
        return False


def _free(folder: Path) -> int:
    """Bytes free where `folder` is or will be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _read(path: Path) -> str:
    """A file's text, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _written_at(folder: Path) -> float:
    """The time that the file system gives to what is written now.

    Raises:
        OSError: nothing can be written there.
    """
    probe = folder / f".doctor-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _release_of(address: str) -> str:
    """The text of an archive's InRelease, by apt, hence by the machine's proxies and certificates; empty: no answer."""
    with temporary_folder("doctor") as folder:
        target = folder / "InRelease"
        limits = [f"-oAcquire::{way}::Timeout={MIRROR_S}" for way in ("http", "https")]
        argv = [HELPER, *limits, "-oAcquire::Retries=0", "download-file", address, str(target)]
        return _read(target) if _succeeds(argv) else ""


def _memory() -> int:
    """Bytes that programs can still take."""
    rows = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines() if ":" in line)
    return int(rows.get("MemAvailable", "0 kB").split()[0]) * BYTES_A_KIB


def _umask() -> int:
    """The mode bits that new files of this process lack. (os.umask would change them, for all threads.)"""
    rows = dict(line.split(":", 1) for line in _read(Path("/proc/self/status")).splitlines() if ":" in line)
    return int(rows.get("Umask", "0022"), 8)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Times are in Unix seconds, sizes in bytes."""

    user: str
    uid: int
    installed: Callable[[Sequence[str]], set[str]] = _installed
    succeeds: Callable[[Sequence[str]], bool] = _succeeds
    free: Callable[[Path], int] = _free
    read: Callable[[Path], str] = _read
    written_at: Callable[[Path], float] = _written_at
    release_of: Callable[[str], str] = _release_of
    memory: Callable[[], int] = _memory
    umask: Callable[[], int] = _umask
    now: Callable[[], float] = time.time


def this_machine() -> Machine:
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # as in a container that was given a number
        user = str(uid)
    return Machine(user=user, uid=uid)
