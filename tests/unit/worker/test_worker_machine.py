import os
import platform
import shutil
from pathlib import Path

import pytest

from xwhep.common.version import VERSION
from xwhep.worker import machine
from xwhep.worker.machine import Host, cpu_count, cpu_model, disk_free, ram_bytes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:       16000 kB\nMemFree: 1 kB\n")
    return tmp_path


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))


def group(root: Path, line: str, folder: str, **files: str) -> None:
    (root / "proc/self/cgroup").write_text(line + "\n")
    inner = root / "sys/fs/cgroup" / folder
    inner.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (inner / name.replace("__", ".")).write_text(text + "\n")


def test_memory_of_the_bare_machine(root: Path) -> None:
    assert ram_bytes(root) == 16000 * 1024


def test_memory_limit_of_version_2(root: Path) -> None:
    group(root, "0::/a/b", "a", memory__max="5000000")
    group(root, "0::/a/b", "a/b", memory__max="max")
    assert ram_bytes(root) == 5000000


def test_memory_limit_of_version_1(root: Path) -> None:
    group(root, "4:cpu,memory:/x", "memory/x", memory__limit_in_bytes="7000000")
    assert ram_bytes(root) == 7000000


def test_no_limit_in_version_1_is_a_huge_number(root: Path) -> None:
    group(root, "4:memory:/", "memory", memory__limit_in_bytes="9223372036854771712")
    assert ram_bytes(root) == 16000 * 1024


def test_memory_limit_inside_a_group_namespace(root: Path) -> None:
    group(root, "0::/", ".", memory__max="1000000")
    assert ram_bytes(root) == 1000000


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(("quota", "count"), [("max 100000", 8), ("150000 100000", 2), ("5000 100000", 1), ("", 8)])
def test_cpus_of_version_2(root: Path, quota: str, count: int) -> None:
    group(root, "0::/a", "a", cpu__max=quota)
    assert cpu_count(root) == count


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(("quota", "count"), [("-1", 8), ("300000", 3)])
def test_cpus_of_version_1(root: Path, quota: str, count: int) -> None:
    group(root, "3:cpu,cpuacct:/a", "cpu/a", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert cpu_count(root) == count


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor : 0\nmodel : 85\nmodel name : Xeon  X\n", "Xeon  X"),
        ("processor : 0\nBogoMIPS : 50\nModel : Raspberry Pi 4\n", "Raspberry Pi 4"),
        ("processor : 0\nCPU part : 0xd0c\n", platform.machine()),
        ("", platform.machine()),
    ],
    ids=["x86", "board", "arm server", "nothing"],
)
def test_cpu_model(root: Path, text: str, model: str) -> None:
    (root / "proc/cpuinfo").write_text(text)
    assert cpu_model(root) == model


def test_announcement_of_this_machine(tmp_path: Path) -> None:
    said = Host(tmp_path, "process", labels=("fast",), signers=("key",)).announce(["blast"])
    assert (said.labels, said.signers) == (["fast"], ["key"])
    assert (said.os, said.arch, said.version) == ("linux", platform.machine(), VERSION)
    assert (said.shared, said.isolation) == (["blast"], "process")
    assert 1 <= said.cpu_count <= (os.cpu_count() or 1)
    assert 0 < said.ram_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 1.1
    assert said.cpu_model


def test_free_disk(tmp_path: Path) -> None:
    assert abs(disk_free(tmp_path) - shutil.disk_usage(tmp_path).free) < 2**30
