"""A pipeline with real keys, a lock and a store, whose steps are made by writing a file: no tool runs but git."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from repositories import Repository
from xwhep_packaging import lockfile, settings, toolset
from xwhep_packaging.lockfile import Deb, DebSet, Lock
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.store import Draft, Store

CONTROL = """Source: grid
Maintainer: A <a@b.invalid>
Build-Depends: debhelper, tcc

Package: grid-server
Architecture: all
Description: a server
"""
TOOLS = dict.fromkeys((*toolset.PACKAGES, toolset.PYTHON, toolset.RUNNER), "1.0-1")


@dataclass
class Pretended:
    """`run` is what a new run of doit would see; `versions` are those of this machine's tools."""

    repository: Repository
    store: Store
    versions: dict[str, str] = field(default_factory=lambda: dict(TOOLS))
    debs: dict[str, str] = field(default_factory=lambda: {"chroot": "1.0-1", "rootfs": "1.0-1", "chroot-grid": "1.0-1"})

    @property
    def file(self) -> Path:
        return self.repository.folder / "packaging" / "pipeline.toml"

    @contextmanager
    def with_tools(self) -> Iterator[None]:
        """Has this machine's tools in the versions of `versions`."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(toolset, "versions", lambda memory: dict(self.versions))
            yield

    def run(self) -> Pipeline:
        pipeline = Pipeline(settings.load(self.file, {"XWHEP_ENGINE": "podman"}), self.store)
        for name, step in pipeline.steps.items():
            maker = self._maker(pipeline, name)
            pipeline.steps[name] = replace(step, maker=maker, present=lambda output: True)
        return pipeline

    def build(self) -> Pipeline:
        pipeline = self.run()
        for name in pipeline.steps:
            pipeline.make(name)
        return pipeline

    def lock(self) -> None:
        """Write a lock that has one package for each set, in the version that `debs` says."""
        pipeline = self.run()
        sets = {
            name: DebSet(
                wish=pipeline.supply.wish(name).digest(pipeline.settings), epoch=100, debs=(_deb(name, version),)
            )
            for name, version in self.debs.items()
        }
        path = pipeline.settings.lock_path
        path.parent.mkdir(parents=True, exist_ok=True)
        suite = pipeline.settings.suite
        path.write_text(lockfile.render(Lock(suite=suite.name, architecture=suite.architecture, epoch=100, sets=sets)))

    def replace(self, old: str, new: str) -> None:
        """Change the pipeline file."""
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def _maker(self, pipeline: Pipeline, name: str) -> Callable[[Draft], None]:
        def make(draft: Draft) -> None:
            (draft.folder / "made").write_text(name)
            draft.facts.update({"drifted": "", "digest": "sha256:1", "tags": []})
            if name.startswith("packages:"):
                found = pipeline.supply.foreseen(name.partition(":")[2])
                assert isinstance(found, DebSet)
                lockfile.write_set(draft.folder / "debs.json", found)

        return make


def _deb(name: str, version: str) -> Deb:
    path = f"pool/main/p/package-of-{name}.deb"
    digest = version.encode().hex().ljust(64, "0")
    return Deb(
        name=f"package-of-{name}", version=version, arch="all", archive="main", path=path, size=1000, sha256=digest
    )


def pretend(repository: Repository, store: Store) -> Pretended:
    """With everything committed, locked and made."""
    repository.write("debian/control", CONTROL)
    repository.write("tests/network/test_grid.py", "")
    repository.write("src/more/deep.py", "1\n")
    pretended = Pretended(repository, store)
    pretended.replace('ships = ["src"]', 'ships = ["src", "debian"]')
    repository.commit("all of it")
    with pretended.with_tools():
        pretended.lock()
        pretended.build()
    return pretended


def copied(made: Pretended, folder: Path) -> Pretended:
    """The same once more, elsewhere: nothing that decides a key names a folder."""
    repository, store = folder / "repository", folder / "_build"
    shutil.copytree(made.repository.folder, repository)
    shutil.copytree(made.store.root, store)
    return Pretended(Repository(repository, made.repository.clock), Store(store))
