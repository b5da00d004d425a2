"""The last failure of a step: kept when it happens, shown on the page, forgotten once the step is made.

a failed step ──> _build/failure.json ──> with the log's end and what the step left in _build/failed/ ──> the page
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from xwhep_packaging import command
from xwhep_packaging.errors import PipelineError, StoreError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.seeing import tested, words
from xwhep_packaging.seeing.places import JUNIT
from xwhep_packaging.store import Store, write_durably

LOG_BYTES = 24_000
CONTAINER_LOG_BYTES = 8_000
MOST_LOGS = 12
TESTS = ("network_test", "endurance")
DEFECT = 2  # doit's own exit code of a task with a traceback


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a failed step said. `next_steps` are commands to type, the likeliest first; `at` is in Unix seconds."""

    step: str
    code: str
    exit_code: int
    what: str
    at: float
    seconds: float = 0
    cause: str = ""
    known: str = ""
    next_steps: tuple[str, ...] = ()
    log: str = ""
    left: str = ""  # the folder of what the step had made
    finished: tuple[str, ...] = ()  # steps that the same run made or found
    waiting: tuple[str, ...] = ()  # steps that it did not come to


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A task that failed in this run: by an error that a person can mend, or else by a defect with this message."""

    task: str
    seconds: float
    error: PipelineError | None
    message: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that is over: all steps that it was to look at, those that are made, and what failed."""

    steps: Sequence[str]
    good: Collection[str]
    failed: Sequence[Failed]


def settle(pipeline: Pipeline, run: Ended) -> None:
    """Keep the run's first failure of a step; without one, forget that of a step which is made now."""
    first = next((one for one in run.failed if one.task in pipeline.steps), None)
    if first is None:
        _forget(pipeline.store, run.good)
        return
    known = _of_error(first.error) if first.error else _of_defect(first.message)
    left = _left(pipeline, first.task)
    waiting = tuple(step for step in run.steps if step not in run.good and step != first.task)
    finished = tuple(step for step in run.steps if step in run.good)
    record = {**known, "step": first.task, "seconds": first.seconds, "left": str(left or ""), "at": time.time()}
    _remember(pipeline.store, Failure(**record, finished=finished, waiting=waiting))


def _of_error(error: PipelineError) -> dict[str, Any]:
    known = error.known()
    return {
        "code": error.code,
        "exit_code": error.exit_code,
        "what": error.what,
        "cause": error.cause,
        "known": f"{known.name}: {known.cause}" if known else "",
        "next_steps": tuple(step for step in (known.next_step if known else "", error.next_step) if step),
        "log": str(error.log or ""),
    }


def _of_defect(message: str) -> dict[str, Any]:
    lines = command.last_lines(message)
    return {"code": "defect", "exit_code": DEFECT, "what": "a defect of the pipeline itself", "cause": lines}


def _left(pipeline: Pipeline, step: str) -> Path | None:
    """The folder of a failed test of containers. That of another step is no log, and may hold what is private."""
    if step not in TESTS:
        return None
    recipe = pipeline.recipe(step)
    return pipeline.store.failed(recipe.stage, recipe.name)


def _remember(store: Store, failure: Failure) -> None:
    """A full disk, or one that may not be written, is what failed as likely as not: then there is no record."""
    with contextlib.suppress(OSError, StoreError):
        write_durably(store.failure, msgspec.json.encode(failure))


def _forget(store: Store, good: Collection[str]) -> None:
    known = read(store)
    if known and known.step in good:
        with contextlib.suppress(OSError):
            store.failure.unlink(missing_ok=True)


def read(store: Store) -> Failure | None:
    """The last failure that no later run mended."""
    try:
        return msgspec.json.decode(store.failure.read_bytes(), type=Failure)
    except (OSError, msgspec.DecodeError):
        return None


def section(store: Store) -> dict[str, Any]:
    """What the page shows of it, by the names that the template uses."""
    known = read(store)
    if known is None:
        return {"failure": None}
    log = Path(known.log) if known.log else None
    left = Path(known.left) if known.left else None
    logs = sorted(left.glob("**/*.log"))[:MOST_LOGS] if left else []
    return {
        "failure": known,
        "failure_log": words.excerpt(log, LOG_BYTES) if log and log.is_file() else None,
        "failure_tests": [group for path in _junits(left) for group in tested.groups(path) if group.failed],
        "failure_logs": [words.excerpt(path, CONTAINER_LOG_BYTES) for path in logs if path.stat().st_size],
    }


def _junits(left: Path | None) -> list[Path]:
    return sorted(left.glob(f"**/{JUNIT}")) if left else []
