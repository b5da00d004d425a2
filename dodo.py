"""The pipeline's table of contents. `doit list` shows it; `doit build` does it; packaging/xwhep_packaging holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "packaging"))

from xwhep_packaging import tasks

DOIT_CONFIG = tasks.CONFIG


def task_source() -> Iterator[tasks.Task]:
    yield from tasks.stage("source")


def task_packages() -> Iterator[tasks.Task]:
    yield from tasks.stage("packages")


def task_base() -> Iterator[tasks.Task]:
    yield from tasks.stage("base")


def task_debs() -> Iterator[tasks.Task]:
    yield from tasks.stage("debs")


def task_lint() -> Iterator[tasks.Task]:
    yield from tasks.stage("lint")


def task_images() -> Iterator[tasks.Task]:
    yield from tasks.stage("images")


def task_conf() -> Iterator[tasks.Task]:
    yield from tasks.stage("conf")


def task_bound() -> Iterator[tasks.Task]:
    yield from tasks.stage("bound")


def task_network_test() -> tasks.Task:
    return tasks.network_test()


def task_endurance() -> Iterator[tasks.Task]:
    yield from tasks.endurance()


def task_configure() -> tasks.Task:
    return tasks.configuration()


def task_build() -> tasks.Task:
    return tasks.build()


def task_lock() -> tasks.Task:
    return tasks.lock()


def task_cache() -> tasks.Task:
    return tasks.cache_of_packages()


def task_test() -> Iterator[tasks.Task | tasks.DoitTask]:
    yield from tasks.test()


def task_deploy() -> Iterator[tasks.Task | tasks.DoitTask]:
    yield from tasks.deploy()


def task_bench() -> Iterator[tasks.Task]:
    yield from tasks.bench()


def task_verify() -> Iterator[tasks.Task | tasks.DoitTask]:
    yield from tasks.verify()


def task_release() -> Iterator[tasks.Task | tasks.DoitTask]:
    yield from tasks.release()


def task_promote() -> tasks.Task:
    return tasks.promote()


def task_rollback() -> tasks.Task:
    return tasks.rollback()
