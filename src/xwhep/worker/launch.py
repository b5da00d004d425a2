"""Starting a job behind the wall this machine can build, waiting for it, and leaving nothing of it behind.

This is the only module of the worker that starts processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from xwhep.worker import processes, sandbox, seccomp
from xwhep.worker.flag import Flag
from xwhep.worker.sandbox import BUBBLEWRAP, Command, Form, Limits, Wiring
from xwhep.worker.system_files import SystemFiles
from xwhep.worker.watch import Watch, explained

log = logging.getLogger(__name__)

JOB_USER = 65534  # nobody: who jobs run as when the worker is root
SIGNAL_BASE = 128  # shells report death by signal n as 128 + n


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Open files of a job: `status` takes what bwrap reports."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    status: IO[bytes]


@dataclass(kw_only=True)
class Spare:
    """A wall that stands, or is being built, around `folder` before its job comes.

    `shown`: what of the system may be seen behind it.
    Whoever has it calls `Launcher.run` with it or not, and `Launcher.drop` in the end.
    """

    folder: Path
    streams: Streams
    process: subprocess.Popen[bytes]
    shown: list[str]
    files: contextlib.ExitStack

    def tell(self, orders: bytes) -> None:
        """Start the program, now or once the wall stands. After its end nobody reads them: how it ended will tell."""
        stdin = self.process.stdin
        if stdin and not stdin.closed:
            with contextlib.suppress(BrokenPipeError), stdin:
                stdin.write(orders)

    def close(self) -> None:
        self.tell(b"")
        self.files.close()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended. `cancelled`: killed since its flag was set; `wall_failed`: its wall could not be built.

    `reason`: the limit for which it was killed, in words.
    """

    exit_code: int
    reason: str = ""
    cancelled: bool = False
    wall_failed: bool = False


@dataclass(frozen=True)
class Wall:
    """How jobs are kept apart: the isolation, for container and process whether Landlock confines them too, and for
    bubblewrap how much of it works."""

    isolation: str
    confined: bool = False
    form: Form = field(default_factory=Form)


class _Status(msgspec.Struct, rename="kebab"):
    child_pid: int = 0
    exit_code: int | None = None


class Launcher:
    """Starts jobs behind one wall. Slots share it."""

    def __init__(self, wall: Wall, limits: Limits, grace_s: float, files: SystemFiles | None = None) -> None:
        self.isolation, self._wall = wall.isolation, wall
        self._limits, self._grace_s = limits, grace_s
        self._files = files  # without them each of those is a mount of its own
        self._system = sandbox.system_options() if wall.isolation == BUBBLEWRAP else []
        self._lock = threading.Lock()
        self._started: dict[int, Mapping[str, str]] = {}  # pid of each running job and its environment
        self._waiting: set[int] = set()  # pids of spares
        self.is_over = False

    def run(self, command: Command, streams: Streams, cancel: Flag, spare: Spare | None = None) -> Ended:
        """Run to the end, or until `cancel` is set or a limit is passed: then SIGTERM, and SIGKILL after the grace.

        `spare`: the wall around the command's folder that stands already; its streams are `streams` then.

        Raises:
            OSError: no process can be started (limits of the machine).
        """
        with self._start(command, streams, spare) as process:
            pidfd = os.pidfd_open(process.pid)
            try:
                if spare:
                    spare.tell(sandbox.orders(command))
                reason = self._attend(command, process, pidfd, cancel)
                cancelled = cancel.is_set()  # also when both happened: nobody wants the result then
            finally:
                os.close(pidfd)
                processes.send_group(process.pid, signal.SIGKILL)
                code = process.wait()
        self._sweep()
        exit_code = _as_shells_do(code)
        if cancelled or reason:
            return Ended(exit_code=exit_code, cancelled=cancelled, reason="" if cancelled else reason)
        reason = explained(exit_code, self._limits)
        return Ended(exit_code=exit_code, wall_failed=self._wall_failed(code, streams.status), reason=reason)

    def _attend(self, command: Command, process: subprocess.Popen[bytes], pidfd: int, cancel: Flag) -> str:
        """Wait for its end, or end it; the limit it was ended for, if any."""
        watch = Watch(command, self._limits, process.pid)
        while not (processes.wait_for(pidfd, cancel.fileno(), watch.pause_s()) or cancel.is_set()):
            if reason := watch.broken():
                self._terminate(process, pidfd)
                return reason
        if cancel.is_set():
            self._terminate(process, pidfd)
        return ""

    @contextlib.contextmanager
    def _start(self, command: Command, streams: Streams, spare: Spare | None) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:  # a child that is not known yet would be taken for an orphan
            process = spare.process if spare else self._spawn(command, streams, streams.stdin)
            self._waiting.discard(process.pid)
            self._started[process.pid] = command.environment
        try:
            yield process
        finally:
            with self._lock:
                del self._started[process.pid]

    def _spawn(self, command: Command, streams: Streams, stdin: IO[bytes] | int) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            argv, passed = self._argv(command, streams.status, stack)
            process = subprocess.Popen(
                [*as_job_user(), *argv],
                stdin=stdin,
                stdout=streams.stdout,
                stderr=streams.stderr,
                cwd=command.folder / "work",
                env=sandbox.WRAPPER_ENVIRONMENT,
                pass_fds=passed,
                start_new_session=True,
                umask=0o022,
            )
        _prefer_for_killing(process.pid)
        return process

    def spare(self, folder: Path) -> Spare | None:
        """Build the wall of a job to come around `folder`, which `make_folders` made; None: not here, or not any more.

        It belongs to the calling thread, as every process that it starts.

        Raises:
            OSError: no process can be started.
        """
        # Without namespaces a job of the same user might reach the pipe, and leave orders for the next.
        if self.isolation != BUBBLEWRAP or not sandbox.SHELL.exists():
            return None
        command, shown = sandbox.waiting(folder), self._shown()
        with contextlib.ExitStack() as files:
            streams = open_streams(folder, Path(os.devnull), files)
            with self._lock:
                if self.is_over:
                    return None
                process = self._spawn(command, streams, subprocess.PIPE)
                self._waiting.add(process.pid)
            return Spare(folder=folder, streams=streams, process=process, shown=shown, files=files.pop_all())

    def is_good(self, spare: Spare) -> bool:
        """Whether it still stands, and shows the system as it is now."""
        return spare.process.poll() is None and spare.shown == self._shown()

    def drop(self, spare: Spare) -> None:
        """End one that no job has used."""
        if spare.process.poll() is None:
            for pid in [*processes.descendants(spare.process.pid), spare.process.pid]:
                processes.send(pid, signal.SIGKILL)
            spare.process.wait()
        with self._lock:
            self._waiting.discard(spare.process.pid)
        spare.close()

    def _shown(self) -> list[str]:
        return sandbox.shown_options(self._files.current() if self._files else None)

    def _argv(
        self, command: Command, status: IO[bytes], stack: contextlib.ExitStack
    ) -> tuple[list[str], tuple[int, ...]]:
        if self.isolation != BUBBLEWRAP:
            return sandbox.plain_argv(command, self._limits, self._wall.confined), ()
        passed = [status.fileno()]
        filtered = None if self._wall.form.sealed else seccomp.program()
        if filtered is not None:
            passed.append(_readable(filtered, stack))
        wiring = Wiring(status=status.fileno(), seccomp=passed[1] if filtered is not None else None)
        system = [*self._system, *self._shown()]
        told = sandbox.bubblewrap_options(command, system, self._wall.form, wiring)
        passed.append(_readable(sandbox.packed(told), stack))
        return sandbox.bubblewrap_argv(command, self._limits, passed[-1]), tuple(passed)

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
            ended = processes.sweep({*self._started, *self._waiting}, lambda pid: not _belongs(pid, running))
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
            self._grace_s, self.is_over = 0.0, True
            for pid in [*self._started, *self._waiting]:
                for each in [*processes.descendants(pid), pid]:
                    processes.send(each, signal.SIGKILL)


def _prefer_for_killing(pid: int) -> None:
    """Out of memory, the kernel ends jobs before the worker and its owner's programs. Children inherit it."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def _readable(content: bytes, stack: contextlib.ExitStack) -> int:
    """A file descriptor from which a child reads `content`; it lives as long as `stack`."""
    stream = stack.enter_context(os.fdopen(os.memfd_create("told"), "wb", buffering=0))
    stream.write(content)
    stream.seek(0)
    return stream.fileno()


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


def as_job_user() -> list[str]:
    """What goes before a command so that `job_user` runs it. Popen's own user= would copy the worker's memory map."""
    user = job_user()
    return [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]


def make_folders(folder: Path) -> None:
    """work/, tmp/ and app/ of a job, owned by who will run it."""
    for name in ("work", "tmp", "app"):
        inner = folder / name
        inner.mkdir(mode=0o700)
        give_to_job(inner)


def open_streams(folder: Path, stdin: Path, stack: contextlib.ExitStack) -> Streams:
    """stdout and stderr of a job in its folder, where they are not yet; they live as long as `stack`."""
    return Streams(
        stdin=stack.enter_context(stdin.open("rb")),
        stdout=stack.enter_context((folder / "stdout").open("xb")),
        stderr=stack.enter_context((folder / "stderr").open("xb")),
        status=stack.enter_context(os.fdopen(os.memfd_create("status"), "w+b", buffering=0)),
    )


def give_to_job(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, JOB_USER, JOB_USER)
