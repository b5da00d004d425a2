"""What doit's run looks like: one line when a step starts and ends, one report per failure, a distinct exit code."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import Any, TextIO

from xwhep_packaging import command

INTERRUPTED = 130
SPEAK_FOR_THEMSELVES = ("build", "test", "deploy", "lock", "cache", "configure", "plan", "explain", "doctor")


class Progress:
    """A reporter as doit wants it. Group tasks and tasks that are up to date are silent."""

    desc = "one line per step"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        self.stream = outstream
        self.started: dict[str, float] = {}
        self.failed_codes: list[int] = []
        self.messages: list[str] = []

    def initialize(self, tasks: dict[str, Any], selected: list[str]) -> None:
        """Called once, in the main thread, before anything runs."""
        stop_on_signals()

    def get_status(self, task: Any) -> None:
        """Called when a task is looked at."""

    def execute_task(self, task: Any) -> None:
        self.started[task.name] = time.monotonic()
        if _is_announced(task):
            self._say(f"·  {task.name:<24} {task.doc}")

    def add_success(self, task: Any) -> None:
        if _is_announced(task):
            self._say(f"✓  {task.name:<24} {time.monotonic() - self.started.get(task.name, 0):.1f} s")

    def add_failure(self, task: Any, fail: Any) -> None:
        if type(fail).__name__ == "UnmetDependency":
            return
        self.failed_codes.append(getattr(fail, "exit_code", 2))
        self._say(f"✗  {task.name}")
        self.messages.append(fail.get_msg().rstrip())

    def skip_uptodate(self, task: Any) -> None:
        """An up-to-date task says nothing: the table at the end does."""

    def skip_ignore(self, task: Any) -> None:
        self._say(f"!  {task.name} is ignored")

    def cleanup_error(self, exception: Any) -> None:
        self.messages.append(exception.get_msg())

    def runtime_error(self, msg: str) -> None:
        self.messages.append(msg)
        self.failed_codes.append(2)

    def teardown_task(self, task: Any) -> None:
        """Called before a task's teardown."""

    def complete_run(self) -> None:
        """Print what failed. SystemExit because doit knows only the statuses 1 and 2, and ours say more."""
        interrupted = sys.exc_info()[0] is KeyboardInterrupt
        for message in self.messages:
            self._say(f"\n{message}")
        if interrupted:
            self._say("\nstopped; what was finished is kept: type it again to go on")
            sys.exit(INTERRUPTED)
        if self.failed_codes:
            sys.exit(self.failed_codes[0])

    def _say(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


def _is_announced(task: Any) -> bool:
    return bool(task.actions) and task.name.partition(":")[0] not in SPEAK_FOR_THEMSELVES


def stop_on_signals() -> None:
    """SIGTERM and SIGINT stop every running tool, newest first, then end the run as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        command.stop_all()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
