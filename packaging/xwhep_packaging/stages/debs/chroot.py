"""A clean root file system on tmpfs for one call.

root.tar ──> tmpfs, read-only ── bwrap: loopback alone, no root, fixed names, time zone and locale ──> argv
work folder ────> /build ──────────┘
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command, Result

ENTER = Path(__file__).parents[2] / "in-chroot"
BUILD_USER = "1000"
PARALLEL = 2


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a build may see of the machine it runs on, and should not put into a package."""

    host: str = "build"
    timezone: str = "UTC"
    locale: str = "C.UTF-8"
    user: str = "build"
    umask: str = "0022"


# For a second build that is to give the same bytes. The time differs by itself.
ELSEWHERE = Surroundings(host="elsewhere", timezone="Etc/GMT-14", locale="C", user="other", umask="0002")


@dataclass(frozen=True, kw_only=True)
class Chroot:
    """`work` is bound at /build, everything else is read-only; `epoch` is SOURCE_DATE_EPOCH (UTC seconds), `packages`
    the names of what is installed."""

    tarball: Path
    mountpoint: Path
    work: Path
    epoch: int
    packages: frozenset[str] = frozenset()
    profiles: tuple[str, ...] = ()
    check: bool = False
    surroundings: Surroundings = Surroundings()

    def command(self, argv: Sequence[str], cwd: str) -> list[str]:
        """`argv` as an unprivileged user, without network, with fixed host name and environment."""
        unshare = ["unshare", "--mount", "--propagation", "private", "--"]
        enter = [str(ENTER), str(self.tarball), str(self.mountpoint)]
        umask = ["sh", "-c", f'umask {self.surroundings.umask} && exec "$@"', "sh"]
        return [*unshare, *enter, *self._bwrap(cwd), *umask, *argv]

    def _environment(self) -> dict[str, str]:
        options = [f"parallel={PARALLEL}", *([] if self.check else ["nocheck"])]
        return {
            "PATH": command.DEBIAN_PATH,
            "LC_ALL": self.surroundings.locale,
            "TZ": self.surroundings.timezone,
            "HOME": "/nonexistent",
            "USER": self.surroundings.user,
            "LOGNAME": self.surroundings.user,
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "DEB_BUILD_OPTIONS": " ".join([*options, *(profile for profile in self.profiles if profile == "nodoc")]),
            "DEB_BUILD_PROFILES": " ".join(self.profiles),
        }

    def _bwrap(self, cwd: str) -> list[str]:
        variables = [part for name, value in self._environment().items() for part in ("--setenv", name, value)]
        mounts = ["--ro-bind", str(self.mountpoint), "/", "--bind", str(self.work), "/build"]
        kernel = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"]  # noqa: S108 - inside the chroot
        user = ["--unshare-all", "--unshare-user", "--uid", BUILD_USER, "--gid", BUILD_USER]
        names = ["--hostname", self.surroundings.host, "--die-with-parent", "--clearenv", *variables]
        return ["bwrap", *mounts, *kernel, *user, *names, "--chdir", cwd, "--"]

    def run(self, argv: Sequence[str], cwd: str, log: Path) -> Result:
        """Run to the end; the caller looks at the status."""
        self.mountpoint.mkdir(exist_ok=True)
        result = command.run(Command(argv=self.command(argv, cwd), log=log), check=False)
        self.mountpoint.rmdir()
        return result

    def shell(self, script: str, cwd: str, log: Path) -> Result:
        """Run a shell script that stops at the first failure."""
        return self.run(["sh", "-euc", script], cwd, log)

    def elsewhere(self, work: Path) -> Chroot:
        """The same root file system with other surroundings and another work folder."""
        return dataclasses.replace(self, work=work, surroundings=ELSEWHERE)
