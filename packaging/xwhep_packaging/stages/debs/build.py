"""Stage debs: a source becomes .debs in a clean chroot with the network off.

source.tar ──> builder: debian, stdeb or command ── chroot ──> .deb .dsc .buildinfo .changes
                                                                 └──> lintian ──> lint.txt (a task of its own)
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xwhep_packaging.artefacts import Commit, Output, digests_below, digests_of
from xwhep_packaging.definitions import CommandSource, DebianSource, Source, StdebSource
from xwhep_packaging.errors import BuildError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, remove_tree

if TYPE_CHECKING:
    from xwhep_packaging.stages.debs.job import Built, Job

STAGE = "debs"
NO_DECISION = ("location", "ref", "ships", "lint")  # the commit says them, or they decide no byte


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """`overlay` is a tar of the overlay folder at its own commit."""

    source: Output
    chroot: Output
    overlay: Path | None = None
    overlay_epoch: int = 0


def recipe(name: str, source: Source, maintainer: str, upstream: dict[str, str]) -> Recipe:
    """What decides the .debs: the source, its settings, the chroot and this code."""
    chosen = {key: value for key, value in msgspec.to_builtins(source).items() if key not in NO_DECISION}
    own = {"settings": msgspec.json.encode(chosen).decode(), "maintainer": maintainer}
    return Recipe(stage=STAGE, name=name, inputs={**own, **upstream}, files={"code": code()})


@cache  # once a run
def code() -> dict[str, str]:
    """All that builds and checks packages."""
    return {**digests_below(Path(__file__).parent), **digests_of(Path(__file__).parents[2] / "in-chroot")}


def make_debs(settings: Settings, commit: Commit, inputs: Inputs, draft: Draft) -> None:
    """Build every binary package of the source.

    Raises:
        BuildError: the tree is wrong for its builder, a build dependency is missing, or the build fails.
    """
    from xwhep_packaging.stages.debs import plain
    from xwhep_packaging.stages.debs.job import Job

    name = inputs.source.manifest.name
    source = settings.sources[name]
    work = draft.folder / "work"
    work.mkdir()
    debian = source if isinstance(source, DebianSource) else DebianSource()
    job = Job(
        name=name,
        settings=settings,
        commit=commit,
        archive=inputs.source.path("source.tar"),
        overlay=inputs.overlay,
        overlay_epoch=inputs.overlay_epoch,
        chroot=plain.kind()(
            tarball=inputs.chroot.path("root.tar"),
            mountpoint=draft.folder / "root",
            work=work,
            epoch=max(commit.epoch, inputs.overlay_epoch),
            packages=_installed(inputs.chroot),
            profiles=tuple(debian.profiles),
            check=debian.check,
            surroundings=settings.surroundings,
        ),
        log=draft.log,
    )
    built = run_builder(job, source)
    job.chroot.close()
    _collect(name, work, draft)
    own = {"package": built.package, "version": built.version, "epoch": job.chroot.epoch, "commit": commit.shipped_sha}
    draft.facts.update({**built.facts, **own})


def _installed(chroot: Output) -> frozenset[str]:
    rows = chroot.path("packages.tsv").read_text(encoding="utf-8").splitlines()
    return frozenset(row.split("\t", 1)[0] for row in rows)


def run_builder(job: Job, source: Source) -> Built:
    from xwhep_packaging.stages.debs import by_command, by_debian, by_stdeb

    match source:
        case DebianSource():
            return by_debian.build(job, source)
        case StdebSource():
            return by_stdeb.build(job, source)
        case CommandSource():
            return by_command.build(job, source)
        case _:
            raise BuildError(f"source {job.name!r} has no builder")


def _collect(name: str, work: Path, draft: Draft) -> None:
    for path in sorted(work.iterdir()):
        if path.is_file():
            path.rename(draft.folder / path.name)
    remove_tree(work)
    if not list(draft.folder.glob("*.deb")):
        raise BuildError(f"source {name!r} built no package", next_step="read the log", log=draft.log)
