"""The only module that starts processes.

argv ──> look the tool up ──> own process group, clean environment, stdin closed ──> log file ──> Result
                │                               │
          MissingTool              a dying parent takes its child along
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from xwhep_packaging.errors import CommandError, MissingTool, PipelineError, StoreError

# Not the caller's PATH: a Python from elsewhere at its front would be picked by Debian's build tools (seen with pyenv).
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEBIAN_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_VARIABLES = (
    "HOME",
    "XDG_DATA_HOME",  # where an ordinary user's images lie
    "XDG_RUNTIME_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "CONTAINERS_CONF",
)
STOP_GRACE_S = 5.0
LOG_TAIL_LINES = 12


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool.

    With `log`, the argv and both output streams are appended to that file while the tool runs; without, standard output
    is returned alone and standard error is kept for the error message. Told to stop, it has `grace_s` to clean up.
    """

    argv: Sequence[str | Path]
    cwd: Path = Path("/")
    env: Mapping[str, str] = {}
    log: Path | None = None
    input: str | None = None
    timeout_s: float | None = None
    grace_s: float = STOP_GRACE_S
    error: type[PipelineError] = CommandError
    what: str = ""
    next_step: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a call of a tool ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str = ""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A fixed small environment; only proxy, home and certificate variables of the caller are kept."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", **kept, **(extra or {})}


def find_tool(name: str) -> str:
    """Absolute path of a system tool.

    Raises:
        MissingTool: it is not installed; the next step installs all that the pipeline needs.
    """
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise MissingTool(
            f"the tool {name!r} is not installed",
            cause="it is on the list packaging/system-packages.txt, by the name of its Debian package",
            next_step="scripts/doit --install",
        )
    return path


def run(command: Command, *, check: bool = True) -> Result:
    """Run to the end. With `check`, a status other than 0 raises `command.error` with the output's last lines."""
    argv = [str(part) for part in command.argv]
    resolved = [argv[0] if "/" in argv[0] else find_tool(argv[0]), *argv[1:]]
    result = _run_logged(command, command.log, resolved) if command.log else _run_captured(command, resolved)
    if check and result.returncode != 0:
        ended = _ended(result.returncode)
        said = last_lines(result.stderr or result.stdout) or f"{shlex.join(argv)} printed nothing"
        raise command.error(
            command.what or f"{argv[0]} {ended}",
            cause=said if result.returncode > 0 or command.timeout_s else f"{said}\n{argv[0]} {ended}",
            next_step=command.next_step,
            log=command.log,
        )
    return result


def _ended(status: int) -> str:
    """How a tool came to its end; a negative status is the signal that killed it."""
    if status > 0:
        return f"failed with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-status, f'signal {-status}')}"


def _run_captured(command: Command, argv: list[str]) -> Result:
    with _started(command, argv, subprocess.PIPE, subprocess.PIPE) as process:
        out, err = _finish(command, process)
    return Result(returncode=process.returncode, stdout=out or "", stderr=err or "")


def _run_logged(command: Command, log: Path, argv: list[str]) -> Result:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a+", encoding="utf-8", errors="replace") as stream:
            stream.write(f"$ {shlex.join(argv)}\n")
            stream.flush()
            start = stream.tell()
            with _started(command, argv, stream, subprocess.STDOUT) as process:
                _, stopped = _finish(command, process)
            stream.write(stopped or "")
            stream.seek(start)
            return Result(returncode=process.returncode, stdout=stream.read())
    except OSError as exc:
        raise StoreError(
            f"cannot write the log {log}", cause=str(exc), next_step="free disk space, then type it again"
        ) from exc


def _finish(command: Command, process: subprocess.Popen[str]) -> tuple[str | None, str | None]:
    try:
        return process.communicate(command.input, timeout=command.timeout_s)
    except subprocess.TimeoutExpired:
        stop_group(process, command.grace_s)
        out, err = process.communicate()
        return out, f"{err or ''}\nstopped after {command.timeout_s} s\n"


@contextmanager
def _started(command: Command, argv: list[str], out: IO[str] | int, err: int) -> Iterator[subprocess.Popen[str]]:
    _refuse_when_stopping(argv)
    try:
        process = subprocess.Popen(
            with_parent_death(argv),
            cwd=command.cwd,
            env=clean_environment(command.env),
            stdin=subprocess.PIPE if command.input is not None else subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as exc:
        raise CommandError(f"cannot start {argv[0]}", cause=str(exc)) from exc
    with process, _tracked(process, command.grace_s):
        try:
            _refuse_when_stopping(argv)  # again: `stop_all` may have looked while the tool was being started
            yield process
        except BaseException:
            stop_group(process, command.grace_s)
            raise


def _refuse_when_stopping(argv: list[str]) -> None:
    if _running.stopping:
        raise CommandError(f"{argv[0]} is not started: the run is being stopped")


@contextmanager
def background(command: Command) -> Iterator[subprocess.Popen[str]]:
    """A service that runs as long as the `with` block; its output goes to `command.log`."""
    argv = [str(part) for part in command.argv]
    log = command.log or Path(os.devnull)
    log.parent.mkdir(parents=True, exist_ok=True)
    resolved = [find_tool(argv[0]), *argv[1:]]
    with (
        log.open("a", encoding="utf-8") as stream,
        _started(command, resolved, stream, subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            stop_group(process, command.grace_s)


def with_parent_death(argv: list[str]) -> list[str]:
    """So that a killed pipeline leaves no tool running: the kernel kills it when the thread that started it is gone."""
    setpriv = shutil.which("setpriv", path=SYSTEM_PATH)
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else argv


def stop_group(process: subprocess.Popen[str], grace_s: float = STOP_GRACE_S) -> None:
    """SIGTERM to the whole process group, SIGKILL after a grace."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(grace_s)
            return
        except subprocess.TimeoutExpired:
            continue


class _Running:
    """The tools that run now, oldest first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.processes: list[tuple[subprocess.Popen[str], float]] = []  # and the grace of each
        self.stopping = False


_running = _Running()


@contextmanager
def _tracked(process: subprocess.Popen[str], grace_s: float) -> Iterator[None]:
    one = (process, grace_s)
    with _running.lock:
        _running.processes.append(one)
    try:
        yield
    finally:
        with _running.lock:
            _running.processes.remove(one)


def stop_all() -> None:
    """Stop every tool still running and start no more; called once when the pipeline is interrupted.

    Newest first: a test that still needs its service to clean up was started after it. Who starts a tool lists it and
    then looks whether to stop, here it is the other way round: one of them sees the other.
    """
    _running.stopping = True
    for process, grace_s in reversed(list(_running.processes)):
        stop_group(process, grace_s)


def is_stopping() -> bool:
    """Whether `stop_all` was called: who waits for something else than a tool must look."""
    return _running.stopping


def last_lines(text: str, count: int = LOG_TAIL_LINES) -> str:
    """The last `count` lines that say something."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])
