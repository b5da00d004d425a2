"""From a commit to packages, images and a verdict: the steps, and what a build stands on (lock, cache, deployments)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from doit import get_var
from doit.exceptions import TaskFailed

from xwhep_packaging.errors import PipelineError
from xwhep_packaging.tasks.base import EVENTS, Guarded, Task, guarded, pipeline, say

if TYPE_CHECKING:
    from xwhep_packaging.live import Running

STARTED_FIELD = 19  # of /proc/PID/stat, behind the name: starttime
STAGE_DOCS = {
    "source": "export what ships of each source at its commit",
    "packages": "decide which exact Debian packages each root file system gets, and fetch them",
    "base": "make the root file systems that builds and images stand on",
    "debs": "build each source's packages in a clean chroot without network",
    "lint": "check the packages with the suite's lintian",
    "pedantic": "the same, all of lintian's checks and tags; a release has it done",
    "images": "bake the images from the packages",
    "conf": "make the private packages of the configured deployment",
    "bound": "bake the private images of the configured deployment",
}


def stages() -> Iterator[Task]:
    """One group task a stage, and one task for each step of it."""
    for name in STAGE_DOCS:
        yield from _stage(name)


def _stage(name: str) -> Iterator[Task]:
    yield {"basename": name, "name": None, "doc": STAGE_DOCS[name]}
    steps = [step for step in pipeline().steps.values() if step.name.startswith(f"{name}:")]
    for step in steps:
        yield {"basename": name, "name": step.name.partition(":")[2], **step_task(step.name)}


def step_task(name: str) -> Task:
    """A task that is up to date when the store says so, and otherwise makes the step."""
    step = pipeline().steps[name]
    return {
        "doc": step.doc,
        "actions": [Guarded(lambda: pipeline().make(name))],
        "uptodate": [lambda: _is_made(name)],
        "task_dep": list(step.needs),
        "io": {"capture": False},
        "meta": {"step": lambda: _running(name)},
    }


def _running(name: str) -> Running:
    """For the lines at the bottom of a terminal."""
    from xwhep_packaging.live import Running

    recipe = pipeline().recipe(name)
    seconds = [entry.seconds for entry in pipeline().store.history() if entry.step == name]
    return Running(
        started=time.monotonic(),
        expected=seconds[-1] if seconds else 0,
        log=pipeline().store.log(recipe.stage, recipe.name),
    )


def network_test() -> Task:
    return {**step_task("network_test"), "params": [EVENTS]}


def endurance() -> Iterator[Task]:
    """The longer part of the network test, where the pipeline file names one; its verdict joins the last build's."""
    if "endurance" not in pipeline().steps:
        yield {"basename": "endurance", "name": None, "doc": "the network test's longer part: none here"}
        return

    def run() -> None:
        from xwhep_packaging import report

        pipeline().make("endurance")
        report.save(pipeline(), report.build_report(pipeline()))

    yield {
        "basename": "endurance",
        "doc": pipeline().steps["endurance"].doc,
        "actions": [Guarded(run)],
        "task_dep": ["build"],
        "params": [EVENTS],
        "io": {"capture": False},
    }


def configuration() -> Task:
    """Answers become a deployment; every run asks or reads again, and changes nothing that is as it should be."""
    name, values, rotate, demo = (str(get_var(word) or "") for word in ("name", "values", "rotate", "insecure_demo"))

    def run() -> None:
        from xwhep_packaging import configure

        request = configure.Request(name=name, values=values, rotate=rotate, insecure_demo=demo not in ("", "0", "no"))
        configure.Configure(settings=pipeline().settings, say=say).run(request)

    return {
        "doc": "make a deployment, or renew a secret of one (name= values= rotate= insecure_demo=1)",
        "actions": [Guarded(run)],
        "io": {"capture": False},
    }


def build() -> Task:
    """Everything, then the table."""

    def show() -> None:
        from xwhep_packaging import report

        made = report.build_report(pipeline())
        report.save(pipeline(), made)
        table = report.table(made, pipeline().seconds, _since_start_s())
        sys.stdout.write(table + report.not_bound(pipeline()) + "\n")
        if pipeline().seconds:
            _prune(dry_run=False)

    return {
        "doc": "from a git commit to packages, images and a verdict (--json)",
        "params": [EVENTS],
        "actions": [Guarded(show)],
        "task_dep": pipeline().ends(),
        "io": {"capture": False},
    }


def _since_start_s() -> float:
    """How long this process has run, what it loaded included. scripts/doit becomes it."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[STARTED_FIELD])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def lock() -> Task:
    """Resolve the exact packages again."""

    def run() -> None:
        from xwhep_packaging import upkeep

        upkeep.write_lock(pipeline(), say)

    return {
        "doc": "resolve the exact Debian packages again, show what changes, and write the lock",
        "actions": [Guarded(run)],
        "io": {"capture": False},
    }


def prune() -> Task:
    """`doit prune`, `doit prune --dry-run`; a build that made something does it at its end."""
    dry_run = {"name": "dry_run", "long": "dry-run", "type": bool, "default": False, "help": "only tell what would go"}
    return {
        "doc": "remove outputs that no build refers to and none used for [store] keep_days (--dry-run)",
        "actions": [(_pruned,)],
        "params": [dry_run],
        "io": {"capture": False},
    }


def _pruned(dry_run: bool) -> TaskFailed | None:
    def run() -> None:
        if not _prune(dry_run):
            say("nothing to prune")

    return guarded(run)


def _prune(dry_run: bool) -> int:
    from xwhep_packaging import pruning

    return pruning.prune(pipeline(), say, dry=dry_run)


def cache_of_packages() -> Task:
    """`doit cache prune`, `doit cache export FILE`, `doit cache import FILE`."""
    return {
        "doc": "look after fetched packages: prune, export FILE, import FILE",
        "actions": [(_look_after_cache,)],
        "pos_arg": "words",
        "io": {"capture": False},
    }


def _look_after_cache(words: list[str]) -> TaskFailed | None:
    from xwhep_packaging import upkeep

    return guarded(lambda: upkeep.look_after_cache(pipeline(), words, say))


def _is_made(name: str) -> bool:
    try:
        return pipeline().find(name) is not None
    except (PipelineError, OSError):
        return False  # the same error comes again from the action, where it is reported
