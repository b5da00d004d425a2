"""The pipeline's steps as doit task dicts; the only importer of doit.

doit orders and runs them; whether one is up to date is the store's word alone, so doit's own database stays in memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from doit import get_var
from doit.exceptions import TaskFailed
from doit.task import Task as DoitTask
from doit.task import dict_to_task

from xwhep_packaging import benchmark, checks, configure, deployer, report, settings, upkeep
from xwhep_packaging.errors import PipelineError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.progress import Progress
from xwhep_packaging.release import moving, pushing
from xwhep_packaging.store import Store
from xwhep_packaging.verify import verdict
from xwhep_packaging.verify.variations import VARIATIONS
from xwhep_packaging.verify.verdict import Plan

Task = dict[str, Any]
PIPELINE_FILE = Path("packaging") / "pipeline.toml"
CONFIG = {
    "default_tasks": ["build"],
    "backend": "sqlite3",
    "dep_file": ":memory:",
    "reporter": Progress,
    "num_process": os.cpu_count() or 1,
    "par_type": "thread",
    "verbosity": 2,
}
BENCH_RUNS = 5  # doit bench runs=1 for a quick look
BENCH_DOCS = {
    "pipeline": "cold, warm and no-op builds, image sizes",
    "platform": "the server alone",
    "worker": "a server and real workers",
    "scale": "a server with very many jobs and workers",
    "release": "one package more in a large apt repository",
    "peers": "what a user would do by hand with the plain tools",
}
DEPLOY_DOCS = {
    "compose": "files for Compose, on one machine",
    "swarm": "files for Docker Swarm, on several machines",
    "kubernetes": "files for Kubernetes: a base and two overlays",
}
STAGE_DOCS = {
    "packages": "decide which exact Debian packages each root file system gets, and fetch them",
    "source": "export what ships of each source at its commit",
    "debs": "build each source's packages in a clean chroot without network",
    "lint": "check the packages with the suite's lintian",
    "base": "make the root file systems that builds and images stand on",
    "images": "bake the images from the packages",
    "conf": "make the private packages of the configured deployment",
    "bound": "bake the private images of the configured deployment",
}


@cache
def pipeline() -> Pipeline:
    """The pipeline of this run: of `pipeline=FILE` on the command line, else packaging/pipeline.toml."""
    try:
        loaded = settings.load(Path(get_var("pipeline") or PIPELINE_FILE))
    except PipelineError as error:
        sys.stderr.write(error.report() + "\n")
        sys.exit(error.exit_code)
    return Pipeline(loaded, Store(loaded.store_folder))


def stage(name: str) -> Iterator[Task]:
    """One task a step of that stage, under one group task."""
    yield {"basename": name, "name": None, "doc": STAGE_DOCS[name]}
    steps = [step for step in pipeline().steps.values() if step.name.startswith(f"{name}:")]
    for step in steps:
        yield {"basename": name, "name": step.name.partition(":")[2], **step_task(step.name)}


def step_task(name: str) -> Task:
    """A task that is up to date when the store says so, and otherwise makes the step."""
    step = pipeline().steps[name]
    return {
        "doc": step.doc,
        "actions": [(guarded, [lambda: pipeline().make(name)])],
        "uptodate": [lambda: _is_made(name)],
        "task_dep": list(step.needs),
        "io": {"capture": False},
    }


def network_test() -> Task:
    return step_task("network_test")


def endurance() -> Iterator[Task]:
    """The longer part of the network test, where the pipeline file names one; its verdict joins the last build's."""
    if "endurance" not in pipeline().steps:
        yield {"basename": "endurance", "name": None, "doc": "the network test's longer part: none here"}
        return

    def run() -> None:
        pipeline().make("endurance")
        report.save(pipeline(), report.build_report(pipeline()))

    yield {
        "basename": "endurance",
        "doc": pipeline().steps["endurance"].doc,
        "actions": [(guarded, [run])],
        "task_dep": ["build"],
        "io": {"capture": False},
    }


def configuration() -> Task:
    """Answers become a deployment; every run asks or reads again, and changes nothing that is as it should be."""
    name, values, rotate, demo = (str(get_var(word) or "") for word in ("name", "values", "rotate", "insecure_demo"))
    request = configure.Request(name=name, values=values, rotate=rotate, insecure_demo=demo not in ("", "0", "no"))

    def run() -> None:
        configure.Configure(settings=pipeline().settings, say=_say).run(request)

    return {
        "doc": "make a deployment, or renew a secret of one (name= values= rotate= insecure_demo=1)",
        "actions": [(guarded, [run])],
        "io": {"capture": False},
    }


def build() -> Task:
    """Everything, then the table."""

    def show() -> None:
        made = report.build_report(pipeline())
        report.save(pipeline(), made)
        sys.stdout.write(report.table(made, pipeline().seconds) + report.not_bound(pipeline()) + "\n")

    ends = [name for name in pipeline().steps if name.startswith(("lint:", "bound:"))]
    return {
        "doc": "from a git commit to packages, images and a verdict",
        "actions": [(guarded, [show])],
        "task_dep": [*ends, "network_test"],
        "io": {"capture": False},
    }


def lock() -> Task:
    """Resolve the exact packages again."""
    return {
        "doc": "resolve the exact Debian packages again, show what changes, and write the lock",
        "actions": [(guarded, [lambda: upkeep.write_lock(pipeline(), _say)])],
        "io": {"capture": False},
    }


def cache_of_packages() -> Task:
    """`doit cache prune`, `doit cache export FILE`, `doit cache import FILE`."""
    return {
        "doc": "look after fetched packages: prune, export FILE, import FILE",
        "actions": [(_look_after_cache,)],
        "pos_arg": "words",
        "io": {"capture": False},
    }


def _look_after_cache(words: list[str]) -> TaskFailed | None:
    return guarded(lambda: upkeep.look_after_cache(pipeline(), words, _say))


def test() -> Iterator[Task | DoitTask]:
    """Every check as one task, which goes on after a failure, and each alone as test:NAME."""
    apart = "endurance" in pipeline().steps
    every = checks.all_checks(pipeline().store, pipeline().settings.file, endurance=apart)
    yield {"basename": "test", **_check_task(every, "every check that CI runs")}
    for check in every:
        task = dict_to_task({"name": f"test:{check.name}", **_check_task([check], check.doc)})
        task.subtask_of = "test"  # so that `doit list` shows one line
        yield task


def _check_task(some: list[checks.Check], doc: str) -> Task:
    def run() -> None:
        logs = pipeline().store.scratch("logs")
        checks.Runner(logs=logs, environment=settings.passed_on(), say=_say).run(some)

    return {"doc": doc, "actions": [(guarded, [run])], "io": {"capture": False}}


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def bench() -> Iterator[Task]:
    """One task a group of figures; each writes _build/bench/latest.json."""
    yield {"basename": "bench", "name": None, "doc": "measure the figures of docs/benchmarks.md (medians of 5)"}
    for name, doc in BENCH_DOCS.items():
        yield {
            "basename": "bench",
            "name": name,
            "doc": doc,
            "actions": [(guarded, [partial(benchmark.measure, pipeline, name, int(get_var("runs") or BENCH_RUNS))])],
            "task_dep": ["build"],
            "io": {"capture": False},
        }


def verify() -> Iterator[Task | DoitTask]:
    """All variations in pairs as one task, the bounded set and each variation alone as verify:NAME."""
    plans: dict[str, tuple[str, Callable[[], Plan]]] = {
        "ci": ("two rebuilds, each variation on in one of them; no root made again", verdict.plan_bounded),
        **{name: (one.doc, partial(verdict.plan_one, name)) for name, one in VARIATIONS.items()},
    }
    yield {"basename": "verify", **_verify_task(verdict.plan_all, "rebuild under variations, each pair of them met")}
    for name, (doc, plan) in plans.items():
        task = dict_to_task({"name": f"verify:{name}", **_verify_task(plan, doc)})
        task.subtask_of = "verify"
        yield task


def _verify_task(plan: Callable[[], Plan], doc: str) -> Task:
    def run() -> None:
        verdict.verify(pipeline(), plan(), _say)

    needs = [name for name in pipeline().steps if name.startswith(("debs:", "images:"))]
    return {"doc": doc, "actions": [(guarded, [run])], "task_dep": needs, "io": {"capture": False}}


def release() -> Iterator[Task | DoitTask]:
    """A build that was verified, and what its gates lack done first; a gate is left out by its name alone."""
    yield {
        "basename": "release",
        "doc": "make a signed release of this build (skip=verify,endurance leaves checks out, and says so)",
        "actions": [(guarded, [lambda: moving.make(pipeline(), str(get_var("skip") or ""), _say)])],
        "task_dep": ["build"],
        "io": {"capture": False},
    }
    fields = {
        "doc": "copy a release's images to a registry (registry=HOST[:PORT][/PATH] version=VERSION insecure=1)",
        "actions": [(guarded, [_push])],
        "io": {"capture": False},
    }
    task = dict_to_task({"name": "release:push", **fields})
    task.subtask_of = "release"
    yield task


def _push() -> None:
    insecure = str(get_var("insecure") or "") not in ("", "0", "no")
    registry = pushing.Registry(address=str(get_var("registry") or ""), insecure=insecure)
    moving.push(pipeline(), registry, str(get_var("version") or ""), _say)


def promote() -> Task:
    return {
        "doc": "show a release in a channel (channel=nightly|testing|stable version=VERSION; the newest by default)",
        "actions": [(guarded, [lambda: moving.promote(pipeline(), _channel(), str(get_var("version") or ""), _say)])],
        "io": {"capture": False},
    }


def rollback() -> Task:
    return {
        "doc": "show in a channel again what it showed before (channel=NAME)",
        "actions": [(guarded, [lambda: moving.rollback(pipeline(), _channel(), _say)])],
        "io": {"capture": False},
    }


def _channel() -> str:
    return str(get_var("channel") or "nightly")


def deploy() -> Iterator[Task | DoitTask]:
    """The files of every way as one task, each alone as deploy:WAY, and the composed grid up and down."""
    images = [name for name in pipeline().steps if name.startswith("images:")]
    ways: dict[str, tuple[str, Callable[[], object]]] = {
        way: (doc, partial(_deploy_files, way)) for way, doc in DEPLOY_DOCS.items()
    }
    ways["compose_up"] = ("start the composed grid, and let a test job go through it (workers=N)", _compose_up)
    ways["compose_down"] = ("stop the composed grid; its data stays", lambda: deployer.compose_down(pipeline(), _say))
    yield {
        "basename": "deploy",
        "doc": "files to run a grid by: Compose, Swarm, Kubernetes",
        "actions": [(guarded, [lambda: _deploy_files(*DEPLOY_DOCS)])],
        "task_dep": images,
        "io": {"capture": False},
    }
    for name, (doc, action) in ways.items():
        needs = [] if name == "compose_down" else images
        fields = {"doc": doc, "actions": [(guarded, [action])], "task_dep": needs, "io": {"capture": False}}
        task = dict_to_task({"name": f"deploy:{name}", **fields})
        task.subtask_of = "deploy"
        yield task


def _deploy_files(*ways: str) -> None:
    for way in ways:
        _say(f"{way:<12} {deployer.write(pipeline(), way)}")


def _compose_up() -> None:
    deployer.compose_up(pipeline(), get_var("workers"), _say)


def guarded(action: Callable[[], object]) -> TaskFailed | None:
    """Run an action; a failure that a person can mend is reported as such, without a traceback."""
    try:
        action()
    except PipelineError as error:
        failed = TaskFailed(error.report())
        failed.exit_code = error.exit_code
        return failed
    return None


def _is_made(name: str) -> bool:
    try:
        return pipeline().find(name) is not None
    except PipelineError:
        return False  # the same error comes again from the action, where it is reported
