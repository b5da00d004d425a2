"""Checks of the repository, and rebuilds that must give the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from doit import get_var
from doit.task import Task as DoitTask

from xwhep_packaging import checks, settings
from xwhep_packaging.tasks.base import EVENTS, Guarded, Task, pipeline, say, under
from xwhep_packaging.verify.variations import VARIATIONS

if TYPE_CHECKING:
    from xwhep_packaging.verify.verdict import Plan


def test() -> Iterator[Task | DoitTask]:
    """Every check as one task, which goes on after a failure, and each alone as test:NAME."""
    apart = "endurance" in pipeline().steps
    every = checks.all_checks(pipeline().store, pipeline().settings.file, endurance=apart)
    yield {"basename": "test", **_check_task(every, "every check that CI runs")}
    for check in every:
        yield under("test", check.name, _check_task([check], check.doc))


def _check_task(some: list[checks.Check], doc: str) -> Task:
    def run() -> None:
        from xwhep_packaging.check_runner import Runner

        logs = pipeline().store.scratch("logs")
        Runner(logs=logs, environment=settings.passed_on(), say=say).run(some)

    return {"doc": doc, "actions": [Guarded(run)], "params": [EVENTS], "io": {"capture": False}}


def verify() -> Iterator[Task | DoitTask]:
    """All variations in pairs as one task, the bounded set and each variation alone as verify:NAME."""
    plans: dict[str, tuple[str, Callable[[], Plan]]] = {
        "ci": ("two rebuilds, each variation on in one of them; no root made again", partial(_plan, "bounded")),
        **{name: (one.doc, partial(_plan, "one", name)) for name, one in VARIATIONS.items()},
    }
    yield {
        "basename": "verify",
        **_verify_task(partial(_plan, "all"), "rebuild under variations, each pair of them met"),
    }
    for name, (doc, plan) in plans.items():
        yield under("verify", name, _verify_task(plan, doc))
    yield under("verify", "bisect", _bisect_task())


def _bisect_task() -> Task:
    def run() -> None:
        from xwhep_packaging.verify import bisect

        bisect.bisect(pipeline(), str(get_var("variation") or ""), str(get_var("good") or ""), say)

    return {
        "doc": "the first commit that gives other bytes (variation=NAME good=COMMIT)",
        "actions": [Guarded(run)],
        "io": {"capture": False},
    }


def _plan(kind: str, *names: str) -> Plan:
    from xwhep_packaging.verify import verdict

    plans: dict[str, Callable[..., Plan]] = {
        "bounded": verdict.plan_bounded,
        "one": verdict.plan_one,
        "all": verdict.plan_all,
    }
    return plans[kind](*names)


def _verify_task(plan: Callable[[], Plan], doc: str) -> Task:
    def run() -> None:

        from dataclasses import replace  # with it come 12 ms, most of them of a module that takes functions apart

        from xwhep_packaging.release.comparable import BESIDE
        from xwhep_packaging.verify import verdict

        verdict.verify(pipeline(), replace(plan(), beside=(BESIDE,)), say)

    needs = [name for name in pipeline().steps if name.startswith(("debs:", "images:"))]
    fields = {"task_dep": needs, "params": [EVENTS], "io": {"capture": False}}
    return {"doc": doc, "actions": [Guarded(run)], **fields}
