"""What doit's run looks like: one line when a step starts and ends, one report per failure, a distinct exit code.

On a terminal, a few lines at the bottom say what runs (live.py); with events=FILE or --json, a program is told too
(events.py).
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from xwhep_packaging import command, temporary
from xwhep_packaging.errors import PipelineError
from xwhep_packaging.events import Events, tell, told

if TYPE_CHECKING:
    from xwhep_packaging.live import Forecast, Running, View

INTERRUPTED = 130
WAKE_S = 0.5
DONE, FAILED = "✓", "✗"
SPEAK_FOR_THEMSELVES = (
    "build",
    "test",
    "deploy",
    "lock",
    "cache",
    "prune",
    "configure",
    "plan",
    "explain",
    "doctor",
    "report",
)


class Progress:
    """A reporter as doit wants it. Group tasks and tasks that are up to date are silent."""

    desc = "one line per step"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        self.stream = outstream
        self.started: dict[str, float] = {}
        self.failed_codes: list[int] = []
        self.messages: list[str] = []
        self.steps: list[str] = []  # of the pipeline, that this run looks at
        self.good: set[str] = set()  # tasks that are made, now or before
        self.failures: list[tuple[str, float, Any]] = []  # task, its seconds, what doit says
        self.events = Events()
        self.view = _view(outstream, self.forecast) if outstream.isatty() else None

    def initialize(self, tasks: dict[str, Any], selected: list[str]) -> None:
        """Called once, in the main thread, before anything runs."""
        stop_on_signals()
        try:
            self.events.begin()
        except PipelineError as error:
            self._say(error.report())
            sys.exit(error.exit_code)
        self.steps = steps_of(tasks, selected)
        if self.view:
            self.view.begin(self.steps)

    def tell_on_stdout(self) -> None:
        """Standard output is for events alone; whatever else would be written there goes to standard error."""
        self.events.streams.append(self.stream)
        self.stream = sys.stdout = sys.stderr
        self.view = None

    def forecast(self) -> Forecast:
        """How long what is still to be made will take."""
        return lambda done, spent: None

    def get_status(self, task: Any) -> None:
        """Called when a task is looked at."""

    def execute_task(self, task: Any) -> None:
        self.started[task.name] = time.monotonic()
        if _is_announced(task):
            self._say(f"·  {task.name:<24} {task.doc}")
        if task.actions:
            self.events.write("started", task=task.name)
        if self.view and task.actions:
            self.view.add(task.name, _running(task))

    def add_success(self, task: Any) -> None:
        seconds = self._ended(task)
        self.good.add(task.name)
        if task.actions:
            self.events.write("ended", task=task.name, seconds=seconds)
        if _is_announced(task):
            self._say(f"{DONE}  {task.name:<24} {seconds:.1f} s")

    def add_failure(self, task: Any, fail: Any) -> None:
        if type(fail).__name__ == "UnmetDependency":
            return
        code = getattr(fail, "exit_code", 2)
        self.failed_codes.append(code)
        seconds = self._ended(task, FAILED)
        self.failures.append((task.name, seconds, fail))
        self.events.write(
            "failed", task=task.name, seconds=seconds, exit_code=code, **told(getattr(fail, "error", None))
        )
        self._say(f"{FAILED}  {task.name}")
        self.messages.append(fail.get_msg().rstrip())

    def skip_uptodate(self, task: Any) -> None:
        """An up-to-date task says nothing: the table at the end does."""
        self.good.add(task.name)
        if task.actions:
            self._ended(task)
            self.events.write("up-to-date", task=task.name)

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
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self.view:
            self.view.end()
        code = INTERRUPTED if interrupted else next(iter(self.failed_codes), 0)
        self.events.write("done", exit_code=code)
        for message in self.messages:
            self._say(f"\n{message}")
        if self.failures and self.steps:
            kept = sum(name in self.good for name in self.steps)
            self._say(
                f"\n{kept} of {len(self.steps)} steps are finished and kept; scripts/doit report shows the failure"
            )
        if interrupted:
            self._say("\nstopped; what was finished is kept: type it again to go on")
        if code:
            sys.exit(code)

    def _ended(self, task: Any, state: str = DONE) -> float:
        """How long it ran."""
        if self.view:
            self.view.remove(task.name, state)
        return round(time.monotonic() - self.started.get(task.name, time.monotonic()), 3)

    def _say(self, line: str) -> None:
        if self.view:
            self.view.say(line)
        else:
            tell(self.stream, line + "\n")


def _view(stream: TextIO, forecast: Callable[[], Forecast]) -> View | None:
    """None where the terminal is too simple. Loaded only where there is a terminal: most runs make nothing."""
    from xwhep_packaging import live

    return live.view(stream, forecast)


def steps_of(tasks: Mapping[str, Any], selected: Iterable[str]) -> list[str]:
    """The pipeline's steps among all tasks that a run will look at, in the order of the list of tasks."""
    wanted: set[str] = set()
    waiting = list(selected)
    while waiting:
        name = waiting.pop()
        if name in tasks and name not in wanted:
            wanted.add(name)
            waiting += [*tasks[name].task_dep, *tasks[name].setup_tasks]
    return [name for name, task in tasks.items() if name in wanted and (task.meta or {}).get("step")]


def _running(task: Any) -> Running | None:
    """A step of the pipeline writes to its log alone, and says which that is; whatever else runs may write here."""
    about = (task.meta or {}).get("step")
    return about() if about else None


def _is_announced(task: Any) -> bool:
    return bool(task.actions) and task.name.partition(":")[0] not in SPEAK_FOR_THEMSELVES


def stop_on_signals() -> None:
    """SIGTERM and SIGINT stop every running tool, newest first, then end the run as Ctrl-C does.

    Python calls these in the main thread once that runs Python again. doit's waits there for the steps without an end;
    a signal that comes just before it waits, or to another thread, would be lost: so it is woken now and then.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        command.stop_all()
        temporary.wait_for_other_threads()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, WAKE_S, WAKE_S)
