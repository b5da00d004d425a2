"""What this machine is, as it is announced to the server. Limits of a control group count, not the bare machine."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xwhep.common.version import VERSION
from xwhep.common.wire import Machine

_ROOT = Path("/")
_UNLIMITED = 2**60  # version 1 of control groups writes "no limit" as a number close to 2**63


@dataclass(frozen=True)
class Host:
    """The fixed part of a machine, read once; `announce` adds what changes."""

    state: Path
    isolation: str
    labels: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()
    root: Path = _ROOT

    @cached_property
    def _fixed(self) -> tuple[int, str, int]:
        return cpu_count(self.root), cpu_model(self.root), ram_bytes(self.root)

    def announce(self, shared: list[str]) -> Machine:
        """The message of this moment: free disk is that of the state folder, in bytes."""
        count, model, ram = self._fixed
        return Machine(
            os=platform.system().lower(),
            arch=platform.machine(),
            cpu_count=count,
            cpu_model=model,
            ram_bytes=ram,
            disk_free_bytes=disk_free(self.state),
            version=VERSION,
            shared=shared,
            isolation=self.isolation,
            labels=list(self.labels),
            signers=list(self.signers),
        )


def disk_free(folder: Path) -> int:
    """Bytes that an unprivileged user may still write below `folder`."""
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize


def cpu_count(root: Path = _ROOT) -> int:
    """CPUs this process may use: its affinity, cut by the quota of its control groups (rounded up)."""
    count = float(len(os.sched_getaffinity(0)))
    for folder in _group_folders("cpu", root):
        quota, _, period = (_text(folder / "cpu.max") or _version_1_quota(folder)).partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            count = min(count, int(quota) / int(period))
    return max(1, math.ceil(count))


def _version_1_quota(folder: Path) -> str:
    return f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}"


def ram_bytes(root: Path = _ROOT) -> int:
    """Memory in bytes: the machine's, or the smallest limit of the control groups around this process."""
    amounts = [_total_memory(root)]
    for folder in _group_folders("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            if text.isdecimal() and int(text) < _UNLIMITED:
                amounts.append(int(text))
    return min(amounts)


def _total_memory(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_folders(controller: str, root: Path) -> list[Path]:
    """Control group folders around this process that may limit `controller`, innermost first, versions 1 and 2."""
    folders = []
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or controller in controllers.split(","):
            base = mounts if number == "0" else mounts / controller
            parts = Path(path.lstrip("/"))
            folders += [base / inner for inner in (parts, *parts.parents)]
    return folders


def cpu_model(root: Path = _ROOT) -> str:
    """The processor's name for people, as the kernel tells it; the architecture where it tells none (arm64)."""
    names: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        names.setdefault(name.strip().lower(), value.strip())
    for name in ("model name", "model", "hardware", "cpu model", "cpu"):
        if names.get(name) and not names[name].isdecimal():
            return names[name]
    return platform.machine()


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
