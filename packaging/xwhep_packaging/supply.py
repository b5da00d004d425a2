"""Which exact packages each root file system gets: the lock's, or what apt resolves where the lock does not do.

    packages:chroot   packages:chroot-SOURCE (beside it)      packages:rootfs   packages:image-NAME (beside it)

The digest of a set is part of the keys of all that stands on it. It is known beforehand from the lock; where the
archive no longer has what is locked, it is known once the set's step is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import msgspec

from xwhep_packaging import lockfile
from xwhep_packaging.artefacts import Output
from xwhep_packaging.errors import PipelineError
from xwhep_packaging.lockfile import DebSet, Lock
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import base, packages
from xwhep_packaging.stages.packages import Wish
from xwhep_packaging.step import Step
from xwhep_packaging.store import Draft, Recipe

CHROOT, ROOTFS = "chroot", "rootfs"
OF_SOURCE, OF_IMAGE = "chroot-", "image-"


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the pipeline: a step's recipe, a recipe's output if it is there, a source's extra packages, and
    a folder for what is kept between runs."""

    recipe: Callable[[str], Recipe]
    find: Callable[[Recipe], Output | None]
    additions: Callable[[str], base.Additions]
    memory: Callable[[], Path]


class Supply:
    """The sets of packages of one pipeline file, by name."""

    def __init__(self, settings: Settings, around: Around) -> None:
        self._settings = settings
        self._around = around

    @cached_property
    def lock(self) -> Lock | None:
        return lockfile.read(self._settings.lock_path, self._around.memory() / "parsed.json")

    def wish(self, name: str) -> Wish:
        """What a set is asked to hold."""
        if name == CHROOT:
            return Wish(name=name, packages=tuple(self._settings.chroot.packages))
        if name == ROOTFS:
            return Wish(name=name, packages=tuple(self._settings.base.packages))
        if name.startswith(OF_SOURCE):
            more = self._around.additions(name.removeprefix(OF_SOURCE))
            return Wish(name=name, packages=more.packages, clauses=more.clauses, beside=CHROOT)
        image = self._settings.images[name.removeprefix(OF_IMAGE)]
        return Wish(name=name, packages=tuple(image.packages), beside=ROOTFS)

    def step(self, name: str, doc: str) -> Step:
        beside = CHROOT if name.startswith(OF_SOURCE) else ROOTFS if name.startswith(OF_IMAGE) else ""

        def recipe() -> Recipe:
            upstream = {f"beside {beside}": self.digest(beside)} if beside else {}
            return packages.recipe(self._settings, self.lock, self.wish(name), upstream)

        def make(draft: Draft) -> None:
            below = self.output(beside) if beside else None
            inputs = packages.Inputs(lock=self.lock, wish=self.wish(name), beside=below)
            packages.make_packages(self._settings, inputs, draft)

        return Step(
            name=f"packages:{name}",
            doc=doc,
            needs=(f"packages:{beside}",) if beside else (),
            recipe=recipe,
            maker=make,
        )

    def output(self, name: str) -> Output:
        """The output of a set's step, which was made before."""
        found = self._around.find(self._around.recipe(f"packages:{name}"))
        if found is None:
            raise PipelineError(
                f"packages:{name} is not made, though it was a moment ago", next_step="scripts/doit build"
            )
        return found

    def full(self, name: str, draft: Draft) -> Output:
        """The same, with every one of its packages in the cache."""
        output = self.output(name)
        packages.refill(self._settings, output, draft.log)
        return output

    def digest(self, name: str) -> str:
        """Of the packages that were resolved; before that, of the locked ones, or why there are none."""
        known = self._known(name)
        return known if isinstance(known, str) else known.digest

    def epoch(self, name: str) -> int:
        """The archive's date of a set, UTC seconds; 0 while nothing is known of it."""
        known = self._known(name)
        return 0 if isinstance(known, str) else known.epoch

    def _known(self, name: str) -> DebSet | str:
        output = self._around.find(self._around.recipe(f"packages:{name}"))
        if output is not None:
            return lockfile.read_set(output.path(packages.DEBS))
        return self.foreseen(name)

    def foreseen(self, name: str) -> DebSet | str:
        """What the lock has for a set, or why it has nothing."""
        found, reason = packages.locked(self._settings, self.lock, self.wish(name))
        return found or reason
