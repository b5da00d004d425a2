"""Every .deb of the pipeline file, built in this very root file system: for a container that is thrown away.

images/server-master: git ──> packages of [chroot] ──> source ──> builder, as an ordinary user ──> FOLDER/*.deb

The pipeline's own builds run behind namespaces and mounts, which a build inside a container is not given. Here the
container is the wall; the builders, versions and times are the pipeline's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from xwhep_packaging import command, settings
from xwhep_packaging.artefacts import Output
from xwhep_packaging.command import Command, Result
from xwhep_packaging.definitions import DebianSource, StdebSource, own_packages
from xwhep_packaging.errors import BuildError, PipelineError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.stages import source as source_stage
from xwhep_packaging.stages.debs import build
from xwhep_packaging.stages.debs.chroot import BUILD_USER, Chroot
from xwhep_packaging.stages.debs.job import Job
from xwhep_packaging.store import Store, remove_tree

PIPELINE_FILE = Path("packaging") / "pipeline.toml"
WORK = Path("/build")  # where the builders' commands expect it
UNNEEDED = frozenset({"lintian"})  # it checks what was built, and is large
WORDS = "usage: in_container --needs | FOLDER\n"


class Here(Chroot, frozen=True, kw_only=True):
    """No other root file system: an ordinary user and a clean environment in this one."""

    def command(self, argv: Sequence[str], cwd: str) -> list[str]:
        user = ["setpriv", f"--reuid={BUILD_USER}", f"--regid={BUILD_USER}", "--clear-groups", "--no-new-privs", "--"]
        variables = [f"{name}={value}" for name, value in self._environment().items()]
        clean = ["env", "--ignore-environment", f"--chdir={cwd}", *variables]
        umask = ["sh", "-c", f'umask {self.surroundings.umask} && exec "$@"', "sh"]
        return [*user, *clean, *umask, *argv]

    def run(self, argv: Sequence[str], cwd: str, log: Path) -> Result:
        """Give the work folder to the ordinary user, then run to the end."""
        owned = ["chown", "--recursive", f"{BUILD_USER}:{BUILD_USER}", str(self.work)]
        command.run(Command(argv=owned, error=BuildError))
        return super().run(argv, cwd, log)


def main(words: Sequence[str]) -> int:
    if len(words) != 1:
        sys.stderr.write(WORDS)
        return 2
    try:
        loaded = settings.load(PIPELINE_FILE)
        if words[0] == "--needs":
            sys.stdout.write(" ".join(needs(loaded)) + "\n")
            return 0
        for deb in make_all(Pipeline(loaded, Store(loaded.store_folder)), Path(words[0])):
            sys.stdout.write(f"{deb}\n")
    except PipelineError as error:
        sys.stderr.write(error.report() + "\n")
        return error.exit_code
    return 0


def needs(loaded: settings.Settings) -> list[str]:
    """The Debian packages that the sources of the pipeline file need to be built."""
    own = [package for source in loaded.sources.values() for package in own_packages(source)]
    return sorted({*loaded.chroot.packages, *own, "dpkg-dev"} - UNNEEDED)


def make_all(pipeline: Pipeline, target: Path) -> list[Path]:
    """Build every source of the pipeline file; what it made, in `target`.

    Raises:
        PipelineError: a commit cannot be read, or a package does not build.
    """
    target.mkdir(parents=True, exist_ok=True)
    made = []
    for name in pipeline.settings.sources:
        _build(pipeline, name, pipeline.make(f"source:{name}"))
        for path in sorted(WORK.glob("*.deb")):
            made.append(Path(shutil.copy(path, target)))
        remove_tree(WORK)
    return made


def _build(pipeline: Pipeline, name: str, exported: Output) -> None:
    """As the stage debs does it, with this root file system for the chroot."""
    definition, commit = pipeline.settings.sources[name], pipeline.commit(name)
    debian = definition if isinstance(definition, DebianSource) else DebianSource()
    scratch = pipeline.store.scratch("tmp")
    overlay, overlay_epoch = _overlay(pipeline, name, scratch)
    remove_tree(WORK)
    WORK.mkdir()
    here = Here(
        tarball=Path(os.devnull),
        mountpoint=scratch / "none",
        work=WORK,
        epoch=max(commit.epoch, overlay_epoch),
        packages=_installed(),
        profiles=tuple(debian.profiles),
        check=debian.check,
    )
    job = Job(
        name=name,
        settings=pipeline.settings,
        commit=commit,
        archive=exported.path("source.tar"),
        overlay=overlay,
        overlay_epoch=overlay_epoch,
        chroot=here,
        log=pipeline.store.log("debs", name),
    )
    build.run_builder(job, definition)


def _overlay(pipeline: Pipeline, name: str, scratch: Path) -> tuple[Path | None, int]:
    """A tar of the source's overlay folder at its own commit, and that commit's time; (None, 0) without one."""
    definition = pipeline.settings.sources[name]
    if not isinstance(definition, StdebSource) or not definition.overlay:
        return None, 0
    commit = source_stage.resolve_folder(pipeline.settings, definition.overlay)
    tarball = scratch / f"overlay-{name}.tar"
    source_stage.export(commit, [definition.overlay], tarball)
    return tarball, commit.epoch


def _installed() -> frozenset[str]:
    listing = command.run(Command(argv=["dpkg-query", "--show", "--showformat=${Package}\\n"]))
    return frozenset(listing.stdout.split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
