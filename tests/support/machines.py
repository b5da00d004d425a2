"""A bare Debian machine of our own: its systemd runs in namespaces, its network is a loopback and nothing else."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clones import REPOSITORY
from xwhep_packaging import archive, settings

BOOT_S = 60.0
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
DEVICES = "null zero full random urandom tty"
# systemd wants a cgroup tree for itself, in version 2 whatever the host has beside it; and the root of the mounts.
BOOT = f"""
set -e
cd "$1"
ip link set lo up
mount --bind . .
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for name in {DEVICES}; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
pivot_root . mnt
umount -l /mnt
exec env -i container=test {PATH} /sbin/init
"""
_CGROUP2 = re.compile(r"^\S+ (\S+) cgroup2 ", re.M)
NAMESPACES = ("mount", "pid", "uts", "ipc", "net", "cgroup")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """`init` is the process id of its systemd, as this machine counts."""

    root: Path
    init: int

    def run(self, *argv: str, check: bool = True, text: str = "") -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", f"--target={self.init}", "--all", "--wdns=/root", "env", "-i", PATH, "HOME=/root"]
        inside += ["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *argv]
        done = subprocess.run(inside, input=text, capture_output=True, text=True, check=False, cwd="/")
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}{self.journal()}"
        return done

    def journal(self) -> str:
        inside = ["nsenter", f"--target={self.init}", "--all", "journalctl", "--no-pager", "--lines=60"]
        return subprocess.run(inside, capture_output=True, text=True, check=False, cwd="/").stdout


def make_root(folder: Path) -> None:
    """The suite's smallest system with apt and systemd, from the mirror that builds use too."""
    ours = settings.load(REPOSITORY / "packaging" / "pipeline.toml")
    argv = ["mmdebstrap", "--quiet", "--variant=apt", "--include=systemd-sysv,dbus"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    argv += ["--dpkgopt=force-unsafe-io", ours.suite.name, str(folder), *archive.apt_lines(ours)]
    subprocess.run(argv, check=True, capture_output=True)
    # The kernel and its modules are the host's.
    (folder / "etc" / "systemd" / "system" / "systemd-modules-load.service").symlink_to("/dev/null")


def why_not() -> str:
    """Why this machine cannot boot another one in namespaces; empty when it can."""
    if not _CGROUP2.search(Path("/proc/self/mounts").read_text()):
        return "it has no cgroups of version 2"
    script = 'mount -t cgroup2 cgroup2 /mnt && mkdir "$1/xwhep-probe-$$" && rmdir "$1/xwhep-probe-$$"'
    argv = ["unshare", *(f"--{kind}" for kind in NAMESPACES), "--propagation=private", "--fork", "--kill-child"]
    done = subprocess.run([*argv, "sh", "-c", script, "sh", _cgroups()], capture_output=True, text=True, check=False)
    return done.stderr.strip()


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Its systemd has started all that starts at boot. At the end it is cut off, as by a power failure."""
    group = _cgroups() / f"xwhep-test-{secrets.token_hex(4)}"
    group.mkdir()
    enter = ["unshare", *(f"--{kind}" for kind in NAMESPACES), "--propagation=private", "--fork", "--kill-child"]
    script = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
    argv = ["sh", "-c", script, "sh", *enter, "sh", "-c", BOOT, "sh", str(root)]
    with (root.parent / "boot.log").open("w") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        machine = Machine(root=root, init=_child(process))
        _wait_until_booted(machine, root.parent / "boot.log")
        yield machine
    finally:
        for child in _children(process) or [process.pid]:  # unshare ends after its child, and leaves no zombie
            os.kill(child, signal.SIGKILL)
        process.wait()
        _remove(group)


def _cgroups() -> Path:
    """Where this machine has its cgroups of version 2."""
    found = _CGROUP2.search(Path("/proc/self/mounts").read_text())
    assert found, "this machine has no cgroups of version 2"
    return Path(found[1])


def _child(process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended before systemd started"
        children = _children(process)
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
            return children[0]
        time.sleep(0.05)
    raise AssertionError("systemd did not start")


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def _wait_until_booted(machine: Machine, log: Path) -> None:
    deadline = time.monotonic() + BOOT_S
    while (said := machine.run("systemctl", "is-system-running", check=False).stdout.strip()) != "running":
        assert said != "degraded", machine.run("systemctl", "--failed", check=False).stdout
        assert time.monotonic() < deadline, said + log.read_text()
        time.sleep(0.2)


def _remove(group: Path) -> None:
    deadline = time.monotonic() + BOOT_S
    for folder, _, _ in os.walk(group, topdown=False):
        while True:
            try:
                Path(folder).rmdir()
                break
            except OSError:  # its last process is still ending
                assert time.monotonic() < deadline, f"{folder} is still in use"
                time.sleep(0.05)
