"""The pipeline's table of contents. `doit list` shows it; `doit build` does it; packaging/xwhep_packaging holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "packaging"))

from xwhep_packaging.tasks import base, building, checking, seeing, shipping

DOIT_CONFIG = base.CONFIG


def task_stages() -> Iterator[base.Task]:
    yield from building.stages()  # source, packages, base, debs, lint, pedantic, images, conf, bound


def task_network_test() -> base.Task:
    return building.network_test()


def task_endurance() -> Iterator[base.Task]:
    yield from building.endurance()


def task_configure() -> base.Task:
    return building.configuration()


def task_build() -> base.Task:
    return building.build()


def task_lock() -> base.Task:
    return building.lock()


def task_prune() -> base.Task:
    return building.prune()


def task_cache() -> base.Task:
    return building.cache_of_packages()


def task_test() -> Iterator[base.Task | base.DoitTask]:
    yield from checking.test()


def task_verify() -> Iterator[base.Task | base.DoitTask]:
    yield from checking.verify()


def task_seeing() -> Iterator[base.Task]:
    yield from seeing.tasks()  # plan, explain, doctor, bench, report


def task_deploy() -> Iterator[base.Task | base.DoitTask]:
    yield from shipping.deploy()


def task_release() -> Iterator[base.Task | base.DoitTask]:
    yield from shipping.release()


def task_nightly() -> base.Task:
    return shipping.nightly()


def task_promote() -> base.Task:
    return shipping.promote()


def task_rollback() -> base.Task:
    return shipping.rollback()
