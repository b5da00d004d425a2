"""Starting a job behind the wall this machine can build, waiting for it, and leaving nothing of it behind.

This is the only module of the worker that starts processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from xwhep.common.errors import UsageError
from xwhep.worker import processes, sandbox
from xwhep.worker.flag import Flag
from xwhep.worker.sandbox import BUBBLEWRAP, CONTAINER, PROCESS, Command, Limits

log = logging.getLogger(__name__)

JOB_USER = 65534  # nobody: who jobs run as when the worker is root
PROBE_S = 10.0
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
SIGNAL_BASE = 128  # shells report death by signal n as 128 + n


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Open files of a job: `status` takes what bwrap reports."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    status: IO[bytes]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended. `cancelled`: killed since its flag was set; `wall_failed`: its wall could not be built."""

    exit_code: int
    cancelled: bool = False
    wall_failed: bool = False


@dataclass(frozen=True)
class Wall:
    """How jobs are kept apart: the isolation, and for container and process whether Landlock confines them too."""

    isolation: str
    confined: bool = False


class _Status(msgspec.Struct, rename="kebab"):
    child_pid: int = 0
    exit_code: int | None = None


class Launcher:
    """Starts jobs behind one wall. Slots share it."""

    def __init__(self, wall: Wall, limits: Limits, grace_s: float) -> None:
        self.isolation, self._confined = wall.isolation, wall.confined
        self._limits, self._grace_s = limits, grace_s
        self._system = sandbox.system_options() if wall.isolation == BUBBLEWRAP else []
        self._lock = threading.Lock()
        self._started: dict[int, Mapping[str, str]] = {}  # pid of each running job and its environment

    def run(self, command: Command, streams: Streams, cancel: Flag) -> Ended:
        """Run to the end, or until `cancel` is set: then SIGTERM, and SIGKILL after the grace.

        Raises:
            OSError: no process can be started (limits of the machine).
        """
        with self._start(command, streams) as process:
            pidfd = os.pidfd_open(process.pid)
            try:
                processes.wait_for(pidfd, cancel.fileno())
                cancelled = cancel.is_set()  # also when both happened: nobody wants the result then
                if cancelled:
                    self._terminate(process, pidfd)
            finally:
                os.close(pidfd)
                processes.send_group(process.pid, signal.SIGKILL)
                code = process.wait()
        self._sweep()
        if cancelled:
            return Ended(exit_code=_as_shells_do(code), cancelled=True)
        return Ended(exit_code=_as_shells_do(code), wall_failed=self._wall_failed(code, streams.status))

    @contextlib.contextmanager
    def _start(self, command: Command, streams: Streams) -> Iterator[subprocess.Popen[bytes]]:
        with contextlib.ExitStack() as stack:
            argv, passed = self._argv(command, streams.status, stack)
            with self._lock:  # a child not yet in _started would be taken for an orphan
                process = subprocess.Popen(
                    argv,
                    stdin=streams.stdin,
                    stdout=streams.stdout,
                    stderr=streams.stderr,
                    cwd=command.folder / "work",
                    env=sandbox.WRAPPER_ENVIRONMENT,
                    pass_fds=passed,
                    start_new_session=True,
                    umask=0o022,
                    user=job_user(),
                    group=job_user(),
                    extra_groups=None if job_user() is None else [],
                )
                self._started[process.pid] = command.environment
        try:
            yield process
        finally:
            with self._lock:
                del self._started[process.pid]

    def _argv(
        self, command: Command, status: IO[bytes], stack: contextlib.ExitStack
    ) -> tuple[list[str], tuple[int, ...]]:
        if self.isolation != BUBBLEWRAP:
            return sandbox.plain_argv(command, self._limits, self._confined), ()
        options = stack.enter_context(os.fdopen(os.memfd_create("options"), "wb"))
        options.write(sandbox.packed(sandbox.bubblewrap_options(command, self._system, status.fileno())))
        options.seek(0)
        return sandbox.bubblewrap_argv(command, self._limits, options.fileno()), (options.fileno(), status.fileno())

    def _terminate(self, process: subprocess.Popen[bytes], pidfd: int) -> None:
        """Ask, then order. bwrap itself is not asked: it would end at once and take the job with it."""
        below = processes.descendants(process.pid)
        asked = below[1:] if self.isolation == BUBBLEWRAP else [process.pid, *below]
        if self._grace_s > 0:
            for pid in asked:
                processes.send(pid, signal.SIGTERM)
            if processes.wait_for(pidfd, pidfd, self._grace_s):
                return
        for pid in [*processes.descendants(process.pid), process.pid]:
            processes.send(pid, signal.SIGKILL)

    def _sweep(self) -> None:
        """End what is left of jobs that ended: every orphan that does not belong to a job still running."""
        with self._lock:
            running = [dict(_marks(each)) for each in self._started.values()]
            ended = processes.sweep(set(self._started), lambda pid: not _belongs(pid, running))
        if (
            ended and self.isolation != BUBBLEWRAP
        ):  # there it is the init of the job's pid namespace, ending as it should
            log.info("ended %d processes that jobs had left behind", len(ended))

    def _wall_failed(self, code: int, status: IO[bytes]) -> bool:
        """bwrap reports the job's exit code only when the job was started."""
        return self.isolation == BUBBLEWRAP and code > 0 and _reported(status).exit_code is None

    def kill_all(self) -> None:
        """At once, without grace; the slots then see their jobs end."""
        with self._lock:
            self._grace_s = 0.0
            for pid in self._started:
                for each in [*processes.descendants(pid), pid]:
                    processes.send(each, signal.SIGKILL)


def _marks(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, environment.get(name, "")) for name in ("XWHEP_JOB_ID", "XWHEP_ATTEMPT")]


def _belongs(pid: int, running: list[dict[str, str]]) -> bool:
    """Does an orphan carry the marks of a running job? One that wiped its environment belongs to nobody, and ends."""
    found = processes.environment_of(pid)
    marks = {
        name: found.get(name.encode(), b"").decode("utf-8", "replace") for name in ("XWHEP_JOB_ID", "XWHEP_ATTEMPT")
    }
    return marks in running


def _reported(status: IO[bytes]) -> _Status:
    merged = _Status()
    for line in os.pread(status.fileno(), 65536, 0).splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            part = msgspec.json.decode(line, type=_Status)
            merged = _Status(
                part.child_pid or merged.child_pid, part.exit_code if part.exit_code is not None else merged.exit_code
            )
    return merged


def _as_shells_do(code: int) -> int:
    return SIGNAL_BASE - code if code < 0 else code


def job_user() -> int | None:
    """Whom jobs run as: nobody when the worker is root; None, which is the worker's own user, otherwise."""
    return JOB_USER if os.geteuid() == 0 else None


def choose(wanted: str, limits: Limits, state: Path) -> Wall:
    """The wall to use: the wanted isolation if it works here; for "auto" the strongest that does.

    Raises:
        UsageError: the wanted one does not work here, or none does.
    """
    if wanted in ("auto", BUBBLEWRAP):
        problem = probe(Wall(BUBBLEWRAP), limits, state)
        if not problem:
            return Wall(BUBBLEWRAP)
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


def probe(wall: Wall, limits: Limits, state: Path) -> str:
    """Run /usr/bin/true the way a job would run; empty when that works, else what went wrong."""
    with tempfile.TemporaryDirectory(prefix="probe.", dir=state) as name, tempfile.TemporaryFile() as errors:
        folder = Path(name)
        folder.chmod(0o711)
        make_folders(folder)
        command = Command(argv=("/usr/bin/true",), environment={}, folder=folder)
        launcher = Launcher(wall, limits, grace_s=0)
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


def make_folders(folder: Path) -> None:
    """work/, tmp/ and app/ of a job, owned by who will run it."""
    for name in ("work", "tmp", "app"):
        inner = folder / name
        inner.mkdir(mode=0o700)
        give_to_job(inner)


def give_to_job(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, JOB_USER, JOB_USER)


def in_container() -> bool:
    return any(Path(mark).exists() for mark in _CONTAINER_MARKS) or "container" in os.environ
