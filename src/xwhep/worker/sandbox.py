"""The walls around a job, as argv. Nothing here starts a process or keeps state.

    bubblewrap   prlimit -> bwrap -> job       own user, pid, network (none), ipc, uts and mount namespaces
    container    prlimit -> setpriv -> confine -> env -> job     the container around the worker is the wall
    process      prlimit -> setpriv -> confine -> env -> job     no wall but the user: say so aloud

confine.py (Landlock) is left out where the kernel cannot do it; the worker then says so.

In bubblewrap a job sees: /job (its folder, writable), /tmp (its own, on disk), /app (its program), /usr and little
of /etc, read-only. The options of bwrap travel through a file descriptor: an argv could be read by every user of
the machine.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xwhep.worker import confine

BUBBLEWRAP, CONTAINER, PROCESS = "bubblewrap", "container", "process"
# What programs need to start, to print dates and names. No /etc as a whole: host keys, passwords and such live there.
_ETC = ("alternatives", "group", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "nsswitch.conf", "passwd")
_SYSTEM = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")  # noqa: S108
_PATH = "/usr/local/bin:/usr/bin:/bin"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# They turn a program into another before its first line runs, also a shared asset whose command the owner chose.
_REFUSED = re.compile(r"LD_.*|GLIBC_TUNABLES|GCONV_PATH|XWHEP_.*")
WRAPPER_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`processes`: of the job's user; `files`: open in one process. Core files are always off."""

    processes: int
    files: int


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a job finds its own folder, its temporary one and its program."""

    home: Path
    tmp: Path
    app: Path


@dataclass(frozen=True, kw_only=True)
class Command:
    """One job's process: `folder` holds work/, tmp/ and app/; `shown` are more paths it may read."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    shown: tuple[Path, ...] = ()


def view(isolation: str, folder: Path) -> View:
    """The paths as the job sees them."""
    if isolation == BUBBLEWRAP:
        return View(home=Path("/job"), tmp=Path("/tmp"), app=Path("/app"))  # noqa: S108 - the job's own /tmp
    return View(home=folder / "work", tmp=folder / "tmp", app=folder / "app")


def environment(view: View, own: Mapping[str, str], marks: Mapping[str, str]) -> dict[str, str]:
    """A job's whole environment: a minimal one, what the job asks for, and `marks` that it cannot change.

    Raises:
        ValueError: the job asks for a name that is none, or that is refused.
    """
    for name, value in own.items():
        if not _NAME.fullmatch(name) or "\0" in value:
            raise ValueError(f"the environment variable {name!r} has no usable name or value")
        if _REFUSED.fullmatch(name):
            raise ValueError(f"the environment variable {name} is not for jobs to set")
    base = {"PATH": _PATH, "HOME": str(view.home), "TMPDIR": str(view.tmp), "LANG": "C.UTF-8"}
    return {**base, **own, **marks}


def limits_argv(limits: Limits) -> list[str]:
    return ["prlimit", "--core=0:0", f"--nproc={limits.processes}", f"--nofile={limits.files}", "--"]


def plain_argv(command: Command, limits: Limits, confined: bool) -> list[str]:
    """Container and process: dies with the worker's thread, gains no privilege, starts with exactly its environment."""
    confinement = [sys.executable, "-I", "-S", confine.__file__, confinement_of(command)] if confined else []
    variables = [f"{name}={value}" for name, value in command.environment.items()]
    return [
        *limits_argv(limits),
        *("setpriv", "--no-new-privs", "--pdeathsig", "KILL", "--"),
        *confinement,
        *("env", "-i", *variables, *command.argv),
    ]


def confinement_of(command: Command) -> str:
    """What confine.py is told: the system and the program to read, the job's own folders to write."""
    system = ["/usr", "/opt", "/etc", "/proc", "/sys", *(f"/{name}" for name in _SYSTEM)]
    read = [*system, str(command.folder / "app"), *map(str, command.shown)]
    write = [*_DEVICES, str(command.folder / "work"), str(command.folder / "tmp")]
    return json.dumps({"read": read, "write": write})


def bubblewrap_argv(command: Command, limits: Limits, options_fd: int) -> list[str]:
    return [*limits_argv(limits), "bwrap", "--args", str(options_fd), "--", *command.argv]


def bubblewrap_options(command: Command, system: Sequence[str], status_fd: int) -> list[str]:
    """Everything bwrap is told but the command. `system` comes from `system_options`."""
    options = [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--disable-userns", "--cap-drop", "ALL", "--die-with-parent", "--hostname", "xwhep-job"),
        *("--json-status-fd", str(status_fd), "--clearenv"),
    ]
    for name, value in command.environment.items():
        options += ["--setenv", name, value]
    options += [*system, "--proc", "/proc", "--dev", "/dev"]
    options += ["--ro-bind", str(command.folder / "app"), "/app"]
    options += ["--bind", str(command.folder / "tmp"), "/tmp", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]  # noqa: S108
    for path in command.shown:  # after /tmp, which would hide what is below it
        options += ["--ro-bind", str(path), str(path)]
    options += ["--bind", str(command.folder / "work"), "/job", "--remount-ro", "/", "--chdir", "/job"]
    return options


def system_options(root: Path = Path("/")) -> list[str]:
    """The read-only system as options of bwrap: /usr, /opt, the links or folders beside them, a few files of /etc."""
    options = ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/opt", "/opt"]
    for name in _SYSTEM:
        path = root / name
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            options += ["--ro-bind", f"/{name}", f"/{name}"]
    for name in _ETC:
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return options


def packed(options: Sequence[str]) -> bytes:
    """Options as bwrap --args reads them."""
    return b"".join(option.encode("utf-8", "surrogateescape") + b"\0" for option in options)
