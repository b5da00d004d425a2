"""A clean root file system on tmpfs for one call.

root.tar ──> tmpfs, read-only ── no_network.py: loopback alone ── bwrap: no root, fixed names, zone, locale ──> argv
work folder ────> /build ───────────────────────────────────────────┘
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from xwhep_packaging import command
from xwhep_packaging.command import Command, Result
from xwhep_packaging.definitions import Surroundings
from xwhep_packaging.errors import MissingTool

ENTER = Path(__file__).parents[2] / "in-chroot"
NO_NETWORK = Path(__file__).with_name("no_network.py")
# An ordinary user is root in a namespace of his own, with the numbers of /etc/subuid for all other users.
AS_ROOT = ("--user", "--map-root-user", "--map-auto")
KERNEL_SETTINGS = ("/proc/sys", "/proc/mtrr", "/proc/sysrq-trigger")
BUILD_USER = "1000"
CLOCK = "/run/clock.so"
CLOCK_LIBRARIES = "*/faketime/libfaketime.so.1"

USUAL = Surroundings()
# For a second build that is to give the same bytes. The time differs by itself.
ELSEWHERE = Surroundings(host="elsewhere", timezone="Etc/GMT-14", locale="C", user="other", umask="0002")


class Chroot(msgspec.Struct, frozen=True, kw_only=True):
    """`work` is bound at /build, everything else is read-only; `epoch` is SOURCE_DATE_EPOCH (UTC seconds), `packages`
    the names of what is installed."""

    tarball: Path
    mountpoint: Path
    work: Path
    epoch: int
    packages: frozenset[str] = frozenset()
    profiles: tuple[str, ...] = ()
    check: bool = False
    surroundings: Surroundings = USUAL

    def command(self, argv: Sequence[str], cwd: str) -> list[str]:
        """`argv` as an unprivileged user, without network, with fixed host name and environment."""
        unshare = [
            "unshare",
            *(() if os.geteuid() == 0 else AS_ROOT),
            "--mount",
            "--propagation",
            "private",
            "--net",
            "--",
            sys.executable,
            "-I",
            str(NO_NETWORK),
        ]
        enter = [str(ENTER), str(self.tarball), str(self.mountpoint)]
        umask = ["sh", "-c", f'umask {self.surroundings.umask} && exec "$@"', "sh"]
        return [*unshare, *enter, *self._bwrap(cwd), *umask, *argv]

    def _environment(self) -> dict[str, str]:
        options = [f"parallel={self.surroundings.parallel}", *([] if self.check else ["nocheck"])]
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
            **self._clock(),
        }

    def _clock(self) -> dict[str, str]:
        """Another date for every program that asks the C library; times of files stay what they are."""
        days = self.surroundings.clock_days
        return {"LD_PRELOAD": CLOCK, "FAKETIME": f"{days:+}d", "NO_FAKE_STAT": "1"} if days else {}

    def _bwrap(self, cwd: str) -> list[str]:
        variables = [part for name, value in self._environment().items() for part in ("--setenv", name, value)]
        mounts = ["--ro-bind", str(self.mountpoint), "/", "--bind", str(self.work), "/build"]
        kernel = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"]  # noqa: S108 - inside the chroot
        # A builder that root started owns the settings there; bwrap takes the mode of the folder for an answer.
        kernel += [word for name in KERNEL_SETTINGS for word in ("--ro-bind-try", name, name)]
        clock = ["--ro-bind", str(clock_library()), CLOCK] if self.surroundings.clock_days else []
        user = ["--unshare-all", "--share-net", "--unshare-user", "--uid", BUILD_USER, "--gid", BUILD_USER]
        names = ["--hostname", self.surroundings.host, "--die-with-parent", "--clearenv", *variables]
        return ["bwrap", *mounts, *kernel, *clock, *user, *names, "--chdir", cwd, "--"]

    def run(self, argv: Sequence[str], cwd: str, log: Path) -> Result:
        """Run to the end; the caller looks at the status."""
        self.mountpoint.mkdir(exist_ok=True)
        result = command.run(Command(argv=self.command(argv, cwd), log=log), check=False)
        self.mountpoint.rmdir()
        return result

    def close(self) -> None:
        """Nothing is left to remove: each call's root goes with its last process."""

    def shell(self, script: str, cwd: str, log: Path) -> Result:
        """Run a shell script that stops at the first failure."""
        return self.run(["sh", "-euc", script], cwd, log)

    def elsewhere(self, work: Path) -> Chroot:
        """The same root file system with other surroundings and another work folder."""
        return msgspec.structs.replace(self, work=work, surroundings=ELSEWHERE)


def clock_library() -> Path:
    """The library that shifts a program's clock.

    Raises:
        MissingTool: this machine has none.
    """
    found = sorted(Path("/usr/lib").glob(CLOCK_LIBRARIES))
    if not found:
        raise MissingTool("the library faketime is not installed", next_step="apt-get install faketime")
    return found[0]
