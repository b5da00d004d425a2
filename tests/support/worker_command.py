"""The command xwhep-worker as its own process, for tests."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from xwhep.common.wire import Running

NAP_S = f"71.{os.getpid()}"  # so that no other tests on this machine have such sleepers at the same time
SLEEPER = f"#!/bin/sh\nsleep {NAP_S} & echo up > up; sleep {NAP_S}; wait\n".encode()
SOURCES = Path(__file__).parents[2] / "src"


class Command:
    """Runs xwhep-worker with one state folder."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.shared = folder / "shared"
        self.log = folder / "log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCES),
            "XWHEP_WORKER_STATE": str(self.state),
            "XWHEP_WORKER_SHARED_DIR": str(self.shared),
            "XWHEP_WORKER_SLOTS": "2",
            "XWHEP_WORKER_NAME": "tester",
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """To its end."""
        return subprocess.run(
            [sys.executable, "-m", "xwhep.worker.main", *arguments],
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """`run`, in the background."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "xwhep.worker.main", "run", *arguments],
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        self.running.append(process)
        return process

    def logged(self) -> str:
        return self.log.read_text()


def sleepers() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (entry / "cmdline").read_bytes() == f"sleep\0{NAP_S}\0".encode():
                found.append(int(entry.name))
    return found


def no_sleepers() -> bool:
    return not sleepers()


def until(holds, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def running_sleeper(grid, command: Command, **more) -> Running:
    """A job that runs until it is killed."""
    job, attempt = grid.submit(SLEEPER, **more)
    until((command.state / f"jobs/{job}.{attempt}" / "work/up").exists)
    return Running(job_id=job, attempt=attempt)
