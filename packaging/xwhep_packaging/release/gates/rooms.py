"""A root file system for one trial: on a tmpfs, with the loopback alone, gone with its last process.

root.tar ──> tmpfs ── /proc, some devices, /tmp, /run, the work folder at /build ──> argv, as root of that room
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command, Result
from xwhep_packaging.stages.debs.chroot import AS_ROOT, ENTER, NO_NETWORK

LIMIT_S = 300.0
FURNISH = """
root=$1 work=$2
shift 2
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
for name in null zero full random urandom tty; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -sfn /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --bind "$work" "$root/build"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Room:
    """`work` is bound at /build and outlives the room; `mountpoint` is an empty folder."""

    tarball: Path
    mountpoint: Path
    work: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, argv: Sequence[str], cwd: str) -> list[str]:
        apart = ["unshare", *(() if os.geteuid() == 0 else AS_ROOT), "--mount", "--propagation=private"]
        apart += ["--net", "--ipc", "--pid", "--fork", "--kill-child", "--"]
        enter = [sys.executable, "-I", str(NO_NETWORK), str(ENTER), str(self.tarball), str(self.mountpoint)]
        furnish = ["sh", "-euc", FURNISH, "sh", str(self.mountpoint), str(self.work)]
        known = {"PATH": command.DEBIAN_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        variables = [f"{name}={value}" for name, value in {**known, **self.variables}.items()]
        return [*apart, *enter, *furnish, "env", "-i", f"--chdir={cwd}", *variables, *argv]

    def run(self, argv: Sequence[str], cwd: str, log: Path) -> Result:
        """To the end; the caller looks at the status."""
        self.mountpoint.mkdir(exist_ok=True)
        result = command.run(Command(argv=self.command(argv, cwd), log=log, timeout_s=LIMIT_S), check=False)
        self.mountpoint.rmdir()
        return result
