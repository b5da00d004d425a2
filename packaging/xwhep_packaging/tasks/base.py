"""What every task stands on: the run's pipeline, and failures that are reported."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit import get_var
from doit.action import PythonAction
from doit.exceptions import TaskFailed
from doit.task import Task as DoitTask
from doit.task import dict_to_task

from xwhep_packaging import command, powers, settings
from xwhep_packaging.at_once import at_once
from xwhep_packaging.errors import PipelineError, StoreError
from xwhep_packaging.events import tell
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.progress import Progress
from xwhep_packaging.store import Store

if TYPE_CHECKING:
    from xwhep_packaging.live import Forecast

Task = dict[str, Any]
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # nobody's mistake, wherever it comes up
CLEAN_UP_S = 10.0  # for the actions of an interrupted run, whose tools have ended
EVENTS: dict[str, Any] = {"name": "events", "long": "json", "type": bool, "default": False, "help": "events, as lines"}
PIPELINE_FILE = Path("packaging") / "pipeline.toml"


class Reporter(Progress):
    """With what the command line says: events=FILE, --json."""

    def initialize(self, tasks: dict[str, Any], selected: list[str]) -> None:
        self.events.path = str(get_var("events") or "")
        if any((tasks[name].options or {}).get(EVENTS["name"]) for name in selected):
            self.tell_on_stdout()
        super().initialize(tasks, selected)
        if self.steps:
            powers.ahead()

    def forecast(self) -> Forecast:
        """From the usual times of the steps; an error in a step's inputs is told by the step itself."""
        from xwhep_packaging.plan import plan

        try:
            return plan(pipeline()).left_s
        except PipelineError:
            return super().forecast()

    def complete_run(self) -> None:
        if command.is_stopping():
            _actions.wait(CLEAN_UP_S)
        if pipeline.cache_info().currsize and (self.failures or pipeline().store.failure.exists()):
            from xwhep_packaging.seeing.failed import Ended, Failed, settle

            failed = [
                Failed(task=name, seconds=seconds, error=getattr(fail, "error", None), message=fail.get_msg())
                for name, seconds, fail in self.failures
            ]
            settle(pipeline(), Ended(steps=self.steps, good=self.good, failed=failed))
        super().complete_run()


CONFIG = {
    "default_tasks": ["build"],
    "backend": "sqlite3",
    "dep_file": ":memory:",
    "reporter": Reporter,
    "num_process": at_once(),
    "par_type": "thread",
    "verbosity": 2,
    "sort": "definition",  # of `list`: the order of the stages, not of the alphabet
}


@cache
def pipeline() -> Pipeline:
    """The pipeline of this run: of `pipeline=FILE` on the command line, else packaging/pipeline.toml."""
    try:
        if given := get_var("set"):
            settings.give(str(given))
        loaded = settings.load(Path(get_var("pipeline") or PIPELINE_FILE))
    except PipelineError as error:
        sys.stderr.write(error.report() + "\n")
        sys.exit(error.exit_code)
    return Pipeline(loaded, Store(loaded.store_folder))


def guarded(action: Callable[[], object]) -> TaskFailed | None:
    """Run an action; a failure that a person can mend is reported as such, without a traceback."""
    try:
        with _actions.one():
            action()
    except PipelineError as error:
        return _failed(error)
    except OSError as exc:
        if exc.errno not in DISK:
            raise
        step = "free disk space, or look at the folder's rights, then type it again"
        return _failed(StoreError(f"cannot write {exc.filename or 'a file'}", cause=str(exc), next_step=step))
    return None


class Guarded(PythonAction):  # type: ignore[misc] # doit has no types
    """The same as an action of doit's that takes nothing of its task: doit need not look for what it could take, which
    is the only thing in a build without work that wants `inspect` (6 ms)."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__(guarded, [action])

    def _prepare_kwargs(self) -> dict[str, Any]:
        return {}


class _Actions:
    """How many actions run now. doit leaves its threads alone when it is interrupted: what they clean up at their end
    has to be waited for."""

    def __init__(self) -> None:
        self.count, self.changed = 0, threading.Condition()

    @contextmanager
    def one(self) -> Iterator[None]:
        with self.changed:
            self.count += 1
        try:
            yield
        finally:
            with self.changed:
                self.count -= 1
                self.changed.notify_all()

    def wait(self, limit_s: float) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.count == 0, limit_s)


_actions = _Actions()


def _failed(error: PipelineError) -> TaskFailed:
    failed = TaskFailed(error.report())
    failed.exit_code, failed.error = error.exit_code, error
    return failed


def say(line: str) -> None:
    tell(sys.stdout, line + "\n")


def under(group: str, name: str, fields: Task) -> DoitTask:
    """A task group:name that `doit list` does not show: its group's one line is enough."""
    task = dict_to_task({"name": f"{group}:{name}", **fields})
    task.subtask_of = group
    return task
