"""What leaves the machine: releases, channels, and the files that other tools run a grid by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from doit import get_var
from doit.task import Task as DoitTask

from xwhep_packaging.tasks.base import EVENTS, Guarded, Task, guarded, pipeline, say, under

DEPLOY_DOCS = {
    "compose": "files for Compose, on one machine",
    "swarm": "files for Docker Swarm, on several machines",
    "kubernetes": "files for Kubernetes: a base and two overlays",
}


GATE_DOCS = {
    "structure": "what a release makes sure of in the images: user, ports, labels, modes, shells, size",
    "purge": "install, upgrade, remove and purge the packages of each image, and name what is left",
    "autopkgtest": "debian/tests of each source, every test in a root of what it depends on",
}


def release() -> Iterator[Task | DoitTask]:
    """A build that was verified, and what its gates lack done first; a gate is left out by its name alone."""
    yield {
        "basename": "release",
        "doc": "make a signed release of this build (skip=verify,endurance ... leaves checks out, and says so)",
        "actions": [Guarded(_release)],
        "params": [EVENTS],
        "task_dep": ["build"],
        "io": {"capture": False},
    }
    fields = {
        "doc": "copy a release's images to a registry (registry=HOST[:PORT][/PATH] version=VERSION insecure=1)",
        "actions": [Guarded(_push)],
        "io": {"capture": False},
    }
    yield under("release", "push", fields)
    fields = {
        "doc": "remove releases that are not tagged, and not shown now or lately (keep=N of a channel, dry=1 says it)",
        "actions": [Guarded(_prune)],
        "io": {"capture": False},
    }
    yield under("release", "prune", fields)
    fields = {
        "doc": "apt's indexes and the bills of materials of this build alone, signed by a key that nobody trusts",
        "actions": [Guarded(_papers)],
        "task_dep": [name for name in pipeline().steps if name.startswith(("debs:", "images:"))],
        "io": {"capture": False},
    }
    yield under("release", "papers", fields)
    for name, doc in GATE_DOCS.items():
        built = ["build"] if name == "structure" else fields["task_dep"]
        gate = {"doc": doc, "actions": [(guarded, [partial(_gate, name)])], "task_dep": built, "io": {"capture": False}}
        yield under("release", name, gate)


def _gate(name: str) -> None:
    from xwhep_packaging.release import moving

    moving.try_gate(pipeline(), name, say)


def _release() -> None:
    from xwhep_packaging.release import moving

    moving.make(pipeline(), str(get_var("skip") or ""), say)


def _prune() -> None:
    from xwhep_packaging.errors import ReleaseError
    from xwhep_packaging.release import moving
    from xwhep_packaging.release.retention import KEPT

    keep, dry = str(get_var("keep") or KEPT), str(get_var("dry") or "")
    if not keep.isdecimal():
        raise ReleaseError(f"keep={keep} is no number", next_step=f"keep={KEPT} is the default")
    moving.prune(pipeline(), int(keep), dry=dry not in ("", "0", "no"), say=say)


def _papers() -> None:
    from xwhep_packaging.release import comparable

    say(f"papers   {comparable.make(pipeline()).folder}")


def nightly() -> Task:
    """No task before it: a build that fails belongs into the history too."""
    return {
        "doc": "build, verify and release HEAD, and write the history (channel=NAME|none bounded=1 skip=GATES)",
        "actions": [Guarded(_nightly)],
        "params": [EVENTS],
        "io": {"capture": False},
    }


def _nightly() -> None:
    from xwhep_packaging.nightly.night import Run, Wanted

    channel, bounded = str(get_var("channel") or "nightly"), str(get_var("bounded") or "")
    wanted = Wanted(
        channel="" if channel == "none" else channel,
        bounded=bounded not in ("", "0", "no"),
        skip=str(get_var("skip") or ""),
    )
    Run(pipeline=pipeline(), wanted=wanted, say=say).night()


def _push() -> None:
    from xwhep_packaging.release import moving, pushing

    insecure = str(get_var("insecure") or "") not in ("", "0", "no")
    registry = pushing.Registry(address=str(get_var("registry") or ""), insecure=insecure)
    moving.push(pipeline(), registry, str(get_var("version") or ""), say)


def promote() -> Task:
    return {
        "doc": "show a release in a channel (channel=nightly|testing|stable version=VERSION; the newest by default)",
        "actions": [Guarded(_promote)],
        "io": {"capture": False},
    }


def _promote() -> None:
    from xwhep_packaging.release import moving

    moving.promote(pipeline(), _channel(), str(get_var("version") or ""), say)


def rollback() -> Task:
    return {
        "doc": "show in a channel again what it showed before (channel=NAME)",
        "actions": [Guarded(_rollback)],
        "io": {"capture": False},
    }


def _rollback() -> None:
    from xwhep_packaging.release import moving

    moving.rollback(pipeline(), _channel(), say)


def _channel() -> str:
    return str(get_var("channel") or "nightly")


def deploy() -> Iterator[Task | DoitTask]:
    """The files of every way as one task, each alone as deploy:WAY, and the composed grid up and down."""
    images = [name for name in pipeline().steps if name.startswith("images:")]
    ways: dict[str, tuple[str, Callable[[], object]]] = {
        way: (doc, partial(_deploy_files, way)) for way, doc in DEPLOY_DOCS.items()
    }
    ways["compose_up"] = ("start the composed grid, and let a test job go through it (workers=N)", _compose_up)
    ways["compose_down"] = ("stop the composed grid; its data stays", _compose_down)
    yield {
        "basename": "deploy",
        "doc": "files to run a grid by: Compose, Swarm, Kubernetes",
        "actions": [Guarded(lambda: _deploy_files(*DEPLOY_DOCS))],
        "task_dep": images,
        "io": {"capture": False},
    }
    for name, (doc, action) in ways.items():
        needs = [] if name == "compose_down" else images
        fields = {"doc": doc, "actions": [Guarded(action)], "task_dep": needs, "io": {"capture": False}}
        yield under("deploy", name, fields)


def _deploy_files(*ways: str) -> None:
    from xwhep_packaging import deployer

    for way in ways:
        say(f"{way:<12} {deployer.write(pipeline(), way)}")


def _compose_up() -> None:
    from xwhep_packaging import deployer

    deployer.compose_up(pipeline(), get_var("workers"), say)


def _compose_down() -> None:
    from xwhep_packaging import deployer

    deployer.compose_down(pipeline(), say)
