"""A build where nothing can be mounted: the root file system unpacked in the draft, entered by chroot.

root.tar ──> draft/root ── chroot, an ordinary user, fixed names, zone, locale ──> argv
work folder ──moved──> draft/root/build ──moved back──> work folder

The machine's network stays reachable, and there is no /proc: powers.py has the words for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from xwhep_packaging import command, plain_root, powers
from xwhep_packaging.command import Command, Result
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs.chroot import BUILD_USER, Chroot
from xwhep_packaging.store import remove_tree

USER = f"{BUILD_USER}:{BUILD_USER}"
NAMES = {"passwd": f"build:x:{USER}:build:/nonexistent:/bin/sh\n", "group": f"build:x:{BUILD_USER}:\n"}


def kind() -> type[Chroot]:
    """The strongest that this machine gives."""
    return PlainChroot if powers.weaker("debs") else Chroot


class PlainChroot(Chroot, frozen=True, kw_only=True):
    """Unpacked at the first call, removed by `close`: the build's user cannot change what root has unpacked."""

    def command(self, argv: Sequence[str], cwd: str) -> list[str]:
        umask = ["sh", "-c", f'umask {self.surroundings.umask} && cd "$0" && exec "$@"', cwd]
        return plain_root.entered(self.mountpoint, USER, self._environment(), [*umask, *argv])

    def run(self, argv: Sequence[str], cwd: str, log: Path) -> Result:
        self._unpack(log)
        inside = self.mountpoint / "build"
        own = self.work.is_relative_to(self.mountpoint.parent)  # else it is published, and stays where it is
        remove_tree(inside)
        if own:
            self.work.rename(inside)
        else:
            shutil.copytree(self.work, inside, symlinks=True)
        try:
            self._own(inside, USER, log)
            return command.run(Command(argv=self.command(argv, cwd), log=log), check=False)
        finally:
            self._own(inside, "0:0", log)
            if own:
                inside.rename(self.work)

    def close(self) -> None:
        remove_tree(self.mountpoint)

    def _unpack(self, log: Path) -> None:
        root = self.mountpoint
        if not root.exists():
            root.mkdir(mode=0o755)
            argv: list[str | Path] = ["tar", "-C", root, "-xf", self.tarball, "--exclude=./dev/*"]
            command.run(Command(argv=argv, error=BuildError, log=log))
            for file, line in NAMES.items():
                with (root / "etc" / file).open("a") as stream:
                    stream.write(line)
        for name in ("tmp", "run", "var/tmp", "dev"):
            plain_root.emptied(root / name)
        plain_root.emptied(root / "dev" / "shm")
        plain_root.furnish(root)

    @staticmethod
    def _own(folder: Path, owner: str, log: Path) -> None:
        argv: list[str | Path] = ["chown", "--recursive", "--no-dereference", owner, folder]
        command.run(Command(argv=argv, error=BuildError, log=log))
