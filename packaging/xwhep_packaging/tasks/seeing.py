"""What a build is, was and takes: figures, and what would run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from doit import get_var

from xwhep_packaging import benchmark
from xwhep_packaging.tasks.base import Task, guarded, pipeline

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
    yield from _bench()


def _bench() -> Iterator[Task]:
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
