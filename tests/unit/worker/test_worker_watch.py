"""The watch over a running job, with a clock of its own and processes of this test."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xwhep.worker import watch
from xwhep.worker.sandbox import Command, Limits
from xwhep.worker.watch import Watch, disk_of, explained, memory_of

MIB = 2**20


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def limits(memory: int = 0, disk: int = 0) -> Limits:
    return Limits(processes=1, files=1, memory=memory, disk=disk)


def command(folder: Path, wall_clock_s: float = 0.0) -> Command:
    return Command(argv=("x",), environment={}, folder=folder, wall_clock_s=wall_clock_s)


def test_nothing_limited_is_never_looked_at(tmp_path: Path) -> None:
    one = Watch(command(tmp_path), limits(), os.getpid(), Clock())
    assert one.pause_s() is None
    assert one.broken() == ""


def test_the_wall_clock(tmp_path: Path) -> None:
    clock = Clock()
    one = Watch(command(tmp_path, 5), limits(), os.getpid(), clock)
    assert one.pause_s() == 5
    clock.now += 4.9
    assert one.broken() == ""
    clock.now += 0.1
    assert one.pause_s() == 0
    assert one.broken() == "wall clock limit"


def test_memory_of_a_whole_family_counts(tmp_path: Path) -> None:
    script = "import os, sys, time; os.fork(); x = b'y' * (40 * 2**20); os.write(1, b'up\\n'); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as family:
        try:
            assert family.stdout is not None
            assert [family.stdout.readline() for _ in range(2)] == [b"up\n"] * 2
            assert 80 * MIB < memory_of(family.pid, 60 * MIB) < 120 * MIB
            clock = Clock()
            one = Watch(command(tmp_path), limits(memory=60 * MIB), family.pid, clock)
            assert one.broken() == ""  # too early to look
            clock.now += 0.2
            assert one.broken().startswith("memory limit: it used ")
        finally:
            os.killpg(family.pid, 9)


def test_memory_that_a_family_shares_counts_once() -> None:
    script = "import os, time; x = b'y' * 83886080; os.fork() and os.fork(); os.write(1, b'up\\n'); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as family:
        try:
            assert family.stdout is not None
            for _ in range(3):
                family.stdout.readline()
            assert memory_of(family.pid, 100 * MIB) < 130 * MIB
        finally:
            os.killpg(family.pid, 9)


def test_a_process_that_has_gone_uses_nothing() -> None:
    assert memory_of(2**22 + 1, 0) == 0


def test_disk_counts_empty_files_sparse_files_and_hidden_folders(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"empty{number}").touch()
    assert disk_of(tmp_path, MIB) >= 10 * 4096
    (tmp_path / "a/.b").mkdir(parents=True)
    with (tmp_path / "a/.b/sparse").open("wb") as stream:
        stream.truncate(5 * MIB)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 5 * MIB < disk_of(tmp_path, 10 * MIB) < 6 * MIB


def test_counting_ends_when_it_is_enough_and_survives_absence(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(MIB))
    assert disk_of(tmp_path, 10) > 10
    assert disk_of(tmp_path / "absent", 10) == 0


def test_counting_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def slow(*_: object) -> int:
        clock.now += 3
        return 0

    monkeypatch.setattr(watch, "disk_of", slow)
    one = Watch(command(tmp_path), limits(disk=10), os.getpid(), clock)
    clock.now += 1
    assert one.broken() == ""
    assert one.pause_s() == 60


def test_the_disk_limit(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(MIB))
    clock = Clock()
    one = Watch(command(tmp_path), limits(disk=MIB // 2), os.getpid(), clock)
    clock.now += 1
    assert one.broken() == f"disk limit: it used more than {MIB // 2} bytes"


@pytest.mark.parametrize(("code", "said"), [(153, "disk limit: one file grew to 7 bytes"), (0, ""), (137, "")])
def test_what_the_kernel_did_is_explained(code: int, said: str) -> None:
    assert explained(code, limits(disk=7)) == said
    assert explained(code, limits()) == ""


def test_a_look_at_a_small_job_is_cheap(tmp_path: Path) -> None:
    before = time.process_time()
    for _ in range(100):
        memory_of(os.getpid(), 10**12)
        disk_of(tmp_path, 10**9)
    assert (time.process_time() - before) / 100 < 0.005
