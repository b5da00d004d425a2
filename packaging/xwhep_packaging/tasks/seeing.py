"""What a build is, was and takes: figures, and what would run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from doit import get_var
from doit.exceptions import TaskFailed

from xwhep_packaging.tasks.base import Guarded, Task, guarded, pipeline, say

JSON = {"name": "json", "long": "json", "type": bool, "default": False, "help": "for machines"}
BENCH_RUNS = 5  # doit bench runs=1 for a quick look
BENCH_DOCS = {
    "pipeline": "cold, warm and no-op builds, image sizes",
    "platform": "the server alone",
    "worker": "a server and real workers",
    "scale": "a server with very many jobs and workers",
    "release": "one package more in a large apt repository",
    "peers": "what a user would do by hand with the plain tools",
}


def tasks() -> Iterator[Task]:
    """Each task that shows something, by its own name."""
    yield _plan()
    yield _explain()
    yield _doctor()
    yield from _bench()
    yield _report()


def _plan() -> Task:
    return {
        "basename": "plan",
        "doc": "what a build would make, what is up to date, and how long it usually takes (--json)",
        "actions": [(_show_plan,)],
        "params": [JSON],
        "io": {"capture": False},
    }


def _show_plan(json: bool) -> TaskFailed | None:
    def run() -> None:
        from xwhep_packaging import plan

        made = plan.plan(pipeline())
        say(_json(plan.as_json(made)) if json else plan.table(made))

    return guarded(run)


def _explain() -> Task:
    return {
        "basename": "explain",
        "doc": "which input changed, from what to what, and by which chain (explain STEP ...; --json)",
        "actions": [(_show_reasons,)],
        "params": [JSON],
        "pos_arg": "steps",
        "io": {"capture": False},
    }


def _show_reasons(json: bool, steps: list[str]) -> TaskFailed | None:
    def run() -> None:
        from xwhep_packaging import explain

        found = [explain.explain(pipeline(), name) for name in steps or explain.first_to_make(pipeline())]
        plain = "\n".join(explain.text(one) for one in found) or "nothing to do: all steps are up to date"
        say(_json(explain.as_json(found)) if json else plain)

    return guarded(run)


def _doctor() -> Task:
    return {
        "basename": "doctor",
        "doc": "whether this machine can build, and how to mend what it lacks (--json)",
        "actions": [(_show_findings,)],
        "params": [JSON],
        "io": {"capture": False},
    }


def _show_findings(json: bool) -> TaskFailed | None:
    def run() -> None:
        from xwhep_packaging import doctor, machine

        findings = doctor.examine(doctor.Patient(machine=machine.this_machine(), pipeline=pipeline()))
        say(_json(doctor.as_json(findings)) if json else doctor.table(findings))
        doctor.raise_for(findings)

    return guarded(run)


def _json(value: object) -> str:
    import json

    return json.dumps(value, indent=2)


def _bench() -> Iterator[Task]:
    """One task a group of figures; each writes _build/bench/latest.json."""
    yield {"basename": "bench", "name": None, "doc": "measure the figures of docs/benchmarks.md (medians of 5)"}
    for name, doc in BENCH_DOCS.items():
        yield {
            "basename": "bench",
            "name": name,
            "doc": doc,
            "actions": [(guarded, [partial(_measure, name)])],
            "task_dep": ["build"],
            "io": {"capture": False},
        }


def _measure(group: str) -> None:
    from xwhep_packaging import benchmark

    benchmark.measure(pipeline, group, int(get_var("runs") or BENCH_RUNS))


def _report() -> Task:
    """Shows what is there; whoever wants another build to be shown makes it first."""

    def run() -> None:
        from xwhep_packaging.seeing import page

        say(f"report       {page.write(pipeline().store)}")

    return {
        "basename": "report",
        "doc": "one page about the last build: times, graph, sizes, what changed, tests, logs (_build/report.html)",
        "actions": [Guarded(run)],
        "io": {"capture": False},
    }
