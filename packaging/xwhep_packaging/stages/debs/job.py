"""What a builder is given and what it gives back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xwhep_packaging import command
from xwhep_packaging.artefacts import Commit
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BuildError
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages.debs.chroot import Chroot


@dataclass(frozen=True, kw_only=True)
class Job:
    """One source to build: `archive` is its export, `overlay` a tar of its overlay folder, `work` an empty folder.

    Whatever files a builder leaves at the top of `work` are its product.
    """

    name: str
    settings: Settings
    commit: Commit
    archive: Path
    chroot: Chroot
    log: Path
    overlay: Path | None = None
    overlay_epoch: int = 0

    @property
    def work(self) -> Path:
        return self.chroot.work

    def unpack(self, subfolder: str, to: Path) -> Path:
        """The exported tree, where its `subfolder` is, as the folder `to`.

        Raises:
            BuildError: the export has no such folder.
        """
        export = self.work / ".export"
        extract(self.archive, export, self.log)
        tree = export / subfolder
        refuse_links_out(export, [tree, *sorted(tree.glob("*")), *sorted(tree.glob("debian/**/*"))], self.name)
        if not tree.is_dir():
            raise BuildError(
                f"source {self.name!r} has no folder {subfolder!r}",
                next_step="correct `subfolder` in the pipeline file",
            )
        tree.rename(to)
        return to


@dataclass(frozen=True, kw_only=True)
class Built:
    """The source package's name and full version, and what else the manifest should say."""

    package: str
    version: str
    facts: dict[str, Any] = field(default_factory=dict)


def refuse_links_out(export: Path, paths: Iterable[Path], name: str) -> None:
    """Where the pipeline itself reads and writes, nothing may lead out of the export: it would be a file of this
    machine. What else a tree holds is only met in the chroot.

    Raises:
        BuildError: a path does.
    """
    for path in paths:
        if not path.resolve().is_relative_to(export.resolve()):
            raise BuildError(
                f"source {name!r} has a symbolic link out of its tree: {path.relative_to(export)}",
                cause=f"it leads to {path.resolve()}",
                next_step="commit the file itself",
            )


def extract(archive: Path, folder: Path, log: Path, strip: int = 0) -> None:
    """Unpack a tar into a new folder."""
    folder.mkdir(parents=True)
    argv = ["tar", "-C", str(folder), f"--strip-components={strip}", "-xf", str(archive)]
    command.run(Command(argv=argv, error=BuildError, log=log))
