"""The walls around a job, as argv. Nothing here starts a process or keeps state.

    bubblewrap   bwrap -> prlimit -> job       own user, pid, network (none), ipc, uts and mount namespaces
    container    prlimit -> setpriv -> confine -> env -> job     the container around the worker is the wall
    process      prlimit -> setpriv -> confine -> env -> job     no wall but the user: say so aloud

confine.py (Landlock) is left out where the kernel cannot do it; the worker then says so. Containers allow less of
bubblewrap than machines do: FORMS, strongest first, are tried until one works.

In bubblewrap a job sees: /job (its folder, writable), /tmp (its own, on disk), /app (its program), /usr and little
of /etc, read-only. The options of bwrap travel through a file descriptor: an argv could be read by every user of
the machine.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xwhep.worker import confine
from xwhep.worker.system_files import NAMES

BUBBLEWRAP, CONTAINER, PROCESS = "bubblewrap", "container", "process"
_SYSTEM = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")  # noqa: S108
SHELL = Path("/usr/bin/dash")  # other shells leave variables of their own in the environment
_PATH = "/usr/local/bin:/usr/bin:/bin"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# They turn a program into another before its first line runs, also a shared asset whose command the owner chose.
_REFUSED = re.compile(r"LD_.*|GLIBC_TUNABLES|GCONV_PATH|XWHEP_.*")
SHARED_MEMORY_BYTES = 256 * 2**20
WRAPPER_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`processes`: of the job's user; `files`: open in one process; `memory` and `disk`: bytes of a whole job.

    0 bytes: no limit. The kernel keeps each process, and each file, below them at once; watch.py keeps their sum.
    Core files are always off.
    """

    processes: int
    files: int
    memory: int = 0
    disk: int = 0


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much of bubblewrap works here.

    `own_proc`: a /proc of its own processes; else that of the machine around it, read-only: a job sees the ids and the
    arguments of others there, but can neither signal nor trace them, being in other namespaces. `sealed`: the kernel
    refuses more user namespaces; else a filter of system calls does. `named`: a host name of its own.
    """

    own_proc: bool = True
    sealed: bool = True
    named: bool = True

    def lacks(self) -> str:
        """What of it does not work here, for a person."""
        words = {
            "a /proc of its own": self.own_proc,
            "the kernel's bar to more namespaces": self.sealed,
            "a host name of its own": self.named,
        }
        return ", ".join(word for word, works in words.items() if not works)


FORMS = (
    Form(),
    Form(named=False),
    Form(named=False, sealed=False),
    Form(named=False, sealed=False, own_proc=False),
)


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a job finds its own folder, its temporary one and its program."""

    home: Path
    tmp: Path
    app: Path


@dataclass(frozen=True, kw_only=True)
class Command:
    """One job's process: `folder` holds work/, tmp/ and app/; `shown` are more paths it may read.

    After `wall_clock_s` it is killed; 0: never.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    shown: tuple[Path, ...] = ()
    wall_clock_s: float = 0.0


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


def waiting(folder: Path) -> Command:
    """A shell behind the wall of a job that has not come yet: it reads `orders`, and becomes the job's program."""
    return Command(argv=(str(SHELL),), environment=environment(view(BUBBLEWRAP, folder), {}, {}), folder=folder)


def orders(command: Command) -> bytes:
    """What the shell of `waiting` is told. The program finds what it would find without the shell.

    The shell's environment has no variable that `environment` does not set again, but for PWD, which bwrap sets.
    """
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in command.environment.items())
    text = f"export {variables}\nexec {shlex.join(command.argv)} </dev/null\n"
    return text.encode("utf-8", "surrogateescape")


def limits_argv(limits: Limits) -> list[str]:
    # Not --as: the address space that Java, Go, Haskell or JavaScript reserve, and never use, would count.
    sizes = [f"--data={limits.memory}"] if limits.memory else []
    sizes += [f"--fsize={limits.disk}"] if limits.disk else []
    return ["/usr/bin/prlimit", "--core=0:0", f"--nproc={limits.processes}", f"--nofile={limits.files}", *sizes, "--"]


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
    """Limits are set behind the wall: there the processes of one job are counted, not those of all jobs of its user."""
    return ["bwrap", "--args", str(options_fd), "--", *limits_argv(limits), *command.argv]


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """File descriptors that bwrap inherits: it writes its report to `status`, and reads a filter from `seccomp`."""

    status: int
    seccomp: int | None = None


def bubblewrap_options(command: Command, system: Sequence[str], form: Form, wiring: Wiring) -> list[str]:
    """Everything bwrap is told but the command. `system` comes from `system_options` and `shown_options`."""
    options = [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--cap-drop", "ALL", "--die-with-parent", "--json-status-fd", str(wiring.status), "--clearenv"),
    ]
    options += ["--disable-userns"] if form.sealed else []
    options += ["--hostname", "xwhep-job"] if form.named else []
    options += ["--seccomp", str(wiring.seccomp)] if wiring.seccomp is not None else []
    for name, value in command.environment.items():
        options += ["--setenv", name, value]
    options += [*system, *(["--proc", "/proc"] if form.own_proc else ["--ro-bind", "/proc", "/proc"])]
    # What is written to a tmpfs is memory that no process has: only /dev/shm takes some, and not much.
    options += ["--dev", "/dev", "--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    options += ["--ro-bind", str(command.folder / "app"), "/app"]
    options += ["--bind", str(command.folder / "tmp"), "/tmp", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]  # noqa: S108
    for path in command.shown:  # after /tmp, which would hide what is below it
        options += ["--ro-bind", str(path), str(path)]
    options += ["--bind", str(command.folder / "work"), "/job", "--remount-ro", "/", "--chdir", "/job"]
    return options


def system_options(root: Path = Path("/")) -> list[str]:
    """The read-only system as options of bwrap: /usr, and the links or folders beside it."""
    options = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = root / name
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            options += ["--ro-bind", f"/{name}", f"/{name}"]
    return options


def shown_options(etc: Path | None, opt: Path = Path("/opt")) -> list[str]:
    """What of the system may change between two jobs: /opt, and the little that they see of /etc; `etc` is its copy."""
    if etc is not None:
        options = ["--ro-bind", str(etc), "/etc"]
    else:
        options = [word for name in NAMES for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
    return [*options, "--ro-bind", str(opt), "/opt"] if opt.is_dir() and any(opt.iterdir()) else options


def packed(options: Sequence[str]) -> bytes:
    """Options as bwrap --args reads them."""
    return b"".join(option.encode("utf-8", "surrogateescape") + b"\0" for option in options)
