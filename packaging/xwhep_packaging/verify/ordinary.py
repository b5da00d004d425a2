"""An ordinary user for one rebuild: known in its mount namespace alone, and gone with it.

root ── unshare --mount ── /etc/passwd, group, subuid, subgid of the rebuild's folder ── what is shared, as mounts ──┐
                                                                            doit, as that user <── setpriv <──┘

The machine gets no account: another process sees neither the user nor the mounts.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command

NAME = "somebody"
FIRST_ID, LAST_ID = 60000, 64999  # no system gives these to anybody by itself
COUNT = 65536  # subordinate numbers, as adduser gives them
SYSTEM_PYTHON = Path("/usr/bin/python3")
OLDEST = (3, 11)
FILES = ("passwd", "group", "subuid", "subgid")


@dataclass(frozen=True, kw_only=True)
class Ordinary:
    """The user of a rebuild in the folder `place`. `mounts`: what it sees elsewhere, by the place where it sees it."""

    place: Path
    uid: int
    first: int
    mounts: Mapping[Path, Path]

    def around(self) -> tuple[str, ...]:
        """The mounts, still as root."""
        etc = {self.place / "etc" / name: Path("/etc") / name for name in FILES}
        shown = [*((there, here) for here, there in self.mounts.items()), *etc.items()]
        binds = "".join(f"mount --bind {shlex.quote(str(a))} {shlex.quote(str(b))} && " for a, b in shown)
        return ("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", f'{binds}exec "$@"', "sh")

    def inside(self) -> tuple[str, ...]:
        """From here on the command is the user's."""
        return ("setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--")

    def furnish(self, home: Path, *own: Path) -> None:
        """The files that name the user, the mount points, and the folders that are the user's."""
        etc = self.place / "etc"
        etc.mkdir()
        numbers = f"{NAME}:{self.first}:{COUNT}\n"
        lines = {
            "passwd": f"{NAME}:x:{self.uid}:{self.uid}::{home}:/bin/sh\n",
            "group": f"{NAME}:x:{self.uid}:\n",
            "subuid": numbers,
            "subgid": numbers,
        }
        for name, line in lines.items():
            known = Path("/etc", name)
            (etc / name).write_text((known.read_text(encoding="utf-8") if known.is_file() else "") + line)
            (etc / name).chmod(0o644)
        for place in self.mounts:
            place.mkdir(parents=True, exist_ok=True)
        for folder in (home, *own):
            command.run(command.Command(argv=["chown", "--recursive", f"{self.uid}:{self.uid}", folder]))

    def sweep(self) -> None:
        """What its tools left among the system's temporary files: the number is nobody else's."""
        import tempfile  # with it come random numbers: not for a list of tasks

        for path in Path(tempfile.gettempdir()).iterdir():
            if path.lstat().st_uid == self.uid:
                shutil.rmtree(path, ignore_errors=True)


def ordinary(place: Path, mounts: Mapping[Path, Path]) -> Ordinary:
    """A user with numbers that nobody has, not even another rebuild."""
    import secrets  # as above

    taken = {one.pw_uid for one in pwd.getpwall()} | {one.gr_gid for one in grp.getgrall()}
    uid = secrets.choice([number for number in range(FIRST_ID, LAST_ID) if number not in taken])
    first = max((start + count for name in ("subuid", "subgid") for start, count in _ranges(name)), default=100_000)
    return Ordinary(place=place, uid=uid, first=first, mounts=mounts)


def _ranges(name: str) -> Iterator[tuple[int, int]]:
    known = Path("/etc", name)
    text = known.read_text(encoding="utf-8") if known.is_file() else ""
    yield from ((int(start), int(count)) for start, count in re.findall(r"^[^:]+:(\d+):(\d+)$", text, re.M))


def hinders() -> str:
    """Why this machine cannot do it."""
    if os.geteuid() != 0:
        return "the first build was an ordinary user's already"
    missing = [tool for tool in ("newuidmap", "setpriv") if shutil.which(tool, path=command.SYSTEM_PATH) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    return "" if readable_python() else "no Python that every user may run is installed"


def readable_python() -> Path | None:
    """One that every user may run: the pipeline's own, else the system's."""
    if is_readable(Path(sys.executable).resolve()):
        return Path(sys.executable).resolve()
    version = re.match(r"python(\d+)\.(\d+)", SYSTEM_PYTHON.resolve().name)
    fits = version and (int(version[1]), int(version[2])) >= OLDEST
    return SYSTEM_PYTHON if fits else None


def is_readable(file: Path) -> bool:
    """By everybody, through all folders above it."""
    return all(folder.stat().st_mode & 0o001 for folder in file.parents) and bool(file.stat().st_mode & 0o005)
