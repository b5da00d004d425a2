"""What the worker is doing, in one place: the attempts it holds, and a small file that `xwhep-worker status` reads."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from xwhep.common.errors import Conflict
from xwhep.common.wire import Lease, Running
from xwhep.worker.flag import Flag
from xwhep.worker.spool import key_of

STATUS_FILE = "status.json"
LOCK_FILE = "lock"


class Phase(enum.StrEnum):
    """Where an attempt is."""

    PREPARING = "preparing"  # its program and data come from the cache or the server
    RUNNING = "running"  # its process runs
    DELIVERING = "delivering"  # it ended; its result is stored here and on its way


class ShownAttempt(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str
    attempt: int
    app: str
    phase: str
    since: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What status.json holds. Times are UTC seconds since 1970."""

    pid: int
    name: str
    worker_id: str
    server: str
    isolation: str
    slots: int
    started_at: float
    connected: bool
    mode: str = "working"
    refusal: str = ""  # why it takes no job at this moment, in words; empty when it does
    attempts: list[ShownAttempt] = []


@dataclass(eq=False)
class Attempt:
    """One job that this worker holds. `cancel` ends it, whatever it does; `handed_back`: nobody wants its result;
    `watched`: somebody follows what it writes."""

    lease: Lease
    cancel: Flag = field(default_factory=Flag)
    phase: Phase = Phase.PREPARING
    since: float = field(default_factory=time.time)
    handed_back: bool = False
    watched: bool = False

    @property
    def key(self) -> str:
        return key_of(self.lease.job_id, self.lease.attempt)

    def __str__(self) -> str:
        return f"job {self.lease.job_id} attempt {self.lease.attempt}"


class Board:
    """Thread-safe. Every change is written to the status file, atomically and without waiting for the disk."""

    def __init__(self, state: Path, status: Status) -> None:
        self._file = state / STATUS_FILE
        self._status = status
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._delivering: dict[tuple[str, int], ShownAttempt] = {}
        self._lock = threading.Lock()
        self._write()

    def add(self, attempt: Attempt) -> None:
        with self._lock:
            self._attempts[_id(attempt)] = attempt
            self._write()

    def enter(self, attempt: Attempt, phase: Phase) -> None:
        with self._lock:
            attempt.phase, attempt.since = phase, time.time()
            self._write()

    def remove(self, attempt: Attempt) -> None:
        with self._lock:
            self._attempts.pop(_id(attempt), None)
            self._write()

    def delivering(self, running: Running, app: str = "") -> None:
        """A stored result: its lease must go on until the server has it."""
        key = (running.job_id, running.attempt)
        with self._lock:
            self._attempts.pop(key, None)
            self._delivering[key] = ShownAttempt(
                job_id=key[0], attempt=key[1], app=app, phase=Phase.DELIVERING, since=time.time()
            )
            self._write()

    def delivered(self, job_id: str, attempt: int) -> None:
        with self._lock:
            self._delivering.pop((job_id, attempt), None)
            self._write()

    def connected(self, yes: bool) -> None:
        with self._lock:
            if self._status.connected != yes:
                self._status = msgspec.structs.replace(self._status, connected=yes)
                self._write()

    def show(self, mode: str, refusal: str) -> None:
        """What was asked of this worker, and why it takes no jobs now."""
        with self._lock:
            if (self._status.mode, self._status.refusal) != (mode, refusal):
                self._status = msgspec.structs.replace(self._status, mode=mode, refusal=refusal)
                self._write()

    def held(self) -> list[Running]:
        """Every attempt whose lease must go on."""
        with self._lock:
            return [Running(job_id=job, attempt=number) for job, number in (*self._attempts, *self._delivering)]

    def unfinished(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts.values())

    def watch(self, watched: list[Running]) -> None:
        """Exactly these are followed by somebody."""
        with self._lock:
            for key, attempt in self._attempts.items():
                attempt.watched = Running(job_id=key[0], attempt=key[1]) in watched

    def find(self, running: Running) -> Attempt | None:
        with self._lock:
            return self._attempts.get((running.job_id, running.attempt))

    def _write(self) -> None:
        shown = [
            ShownAttempt(job_id=key[0], attempt=key[1], app=each.lease.app, phase=each.phase, since=each.since)
            for key, each in self._attempts.items()
        ]
        status = msgspec.structs.replace(self._status, attempts=[*shown, *self._delivering.values()])
        temporary = self._file.with_suffix(".new")
        # A full disk must not stop the work that would empty it; the status is then a moment old.
        with contextlib.suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(status))
            temporary.replace(self._file)


def _id(attempt: Attempt) -> tuple[str, int]:
    return attempt.lease.job_id, attempt.lease.attempt


@contextlib.contextmanager
def sole_worker(state: Path) -> Iterator[None]:
    """Hold the state folder: two workers in one would remove each other's jobs.

    Raises:
        Conflict: another worker holds it.
    """
    with (state / LOCK_FILE).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Conflict(
                f"another worker already runs with the state folder {state}", "give this one its own --state"
            ) from exc
        yield


def read_status(state: Path) -> Status | None:
    """What the worker of this state folder is doing; None when none runs.

    Raises:
        OSError: the folder cannot be read by this user.
    """
    try:
        with (state / LOCK_FILE).open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None  # nobody holds it
    except BlockingIOError:
        return msgspec.json.decode((state / STATUS_FILE).read_bytes(), type=Status)
    except FileNotFoundError:
        return None
