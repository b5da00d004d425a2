"""Walls that stand before their job comes, and jobs that take their place in them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from msgspec import structs

from worker_command import Command as WorkerCommand
from worker_command import until
from worker_grid import LIMITS
from xwhep.common.wire import Binary, Lease, LeasedDatum
from xwhep.worker import processes, sandbox
from xwhep.worker.flag import Flag
from xwhep.worker.launch import Ended, Launcher, Wall, open_streams
from xwhep.worker.sandbox import Command
from xwhep.worker.spares import Spares, make_job_folder
from xwhep.worker.system_files import SystemFiles
from xwhep.worker.walls import probe

MARKS = {"XWHEP_JOB_ID": "job", "XWHEP_ATTEMPT": "1"}
PROGRAM = Binary(os="any", arch="any", sha256="0" * 64, size=1)
INPUT = LeasedDatum(name="in", sha256="0" * 64, size=1)
LEASE = Lease(job_id="job", attempt=1, until=0, heartbeat_s=1, app="an-app", binary=PROGRAM)


@pytest.fixture(autouse=True)
def _adopts_orphans() -> None:
    processes.guard_this_process()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """As much of /etc as jobs see, which a test may change."""
    shutil.copy("/etc/passwd", tmp_path / "passwd")
    return tmp_path


@pytest.fixture
def isolation(folder: Path) -> str:
    if problem := probe(Wall("bubblewrap"), LIMITS, folder):
        pytest.skip(f"bubblewrap does not work here: {problem}")
    return "bubblewrap"


@pytest.fixture
def launcher(folder: Path, isolation: str, etc: Path) -> Launcher:
    return Launcher(Wall(isolation), LIMITS, 0.2, SystemFiles(folder / "etc", etc))


@pytest.fixture
def spares(launcher: Launcher, folder: Path) -> Iterator[Spares]:
    with closing(Spares(launcher, folder / "slot-1")) as made:
        made.renew()
        yield made


def command(launcher: Launcher, folder: Path, *argv: str, **variables: str) -> Command:
    environment = sandbox.environment(sandbox.view(launcher.isolation, folder), variables, MARKS)
    return Command(argv=argv, environment=environment, folder=folder)


def is_alive(pid: int) -> bool:
    """Not gone, and no zombie, whose command line is empty."""
    file = Path(f"/proc/{pid}/cmdline")
    return file.exists() and bool(file.read_bytes())


def run(
    launcher: Launcher, spares: Spares, *argv: str, cancel: Flag | None = None, **variables: str
) -> tuple[Ended, str]:
    """A program that takes the spare's place: how it ended, and what it wrote."""
    spare = spares.take(LEASE)
    assert spare is not None
    try:
        told = command(launcher, spare.folder, *argv, **variables)
        ended = launcher.run(told, spare.streams, cancel or Flag(), spare)
        return ended, (spare.folder / "stdout").read_text()
    finally:
        launcher.drop(spare)


def run_without(launcher: Launcher, folder: Path, *argv: str, **variables: str) -> str:
    """The same program behind a wall that is built for it."""
    make_job_folder(folder)
    with ExitStack() as stack:
        streams = open_streams(folder, Path(os.devnull), stack)
        launcher.run(command(launcher, folder, *argv, **variables), streams, Flag())
    return (folder / "stdout").read_text()


def test_the_environment_is_that_of_a_job_with_a_wall_of_its_own(
    launcher: Launcher, spares: Spares, folder: Path
) -> None:
    own = {"PATH": "/usr/bin", "IFS": "x", "QUOTED": 'it\'s $HOME `id` \\ \n"end" é', "PS1": "", "ENV": "/etc/passwd"}
    ended, told = run(launcher, spares, "/usr/bin/env", "-0", **own)
    assert ended == Ended(exit_code=0)
    shutil.rmtree(folder / "slot-1")
    apart = run_without(launcher, folder / "slot-1", "/usr/bin/env", "-0", **own)
    assert sorted(told.split("\0")) == sorted(apart.split("\0"))
    assert f"QUOTED={own['QUOTED']}" in told.split("\0")


def test_arguments_arrive_as_they_are(launcher: Launcher, spares: Spares) -> None:
    words = ["a b", "it's", "$(id)", "", "-n", "new\nline", "é", "*", "\\", "x" * 100_000]
    assert run(launcher, spares, "/usr/bin/printf", "%s\\0", *words)[1] == "".join(f"{word}\0" for word in words)


def test_it_has_three_files_an_empty_input_and_starts_at_home(launcher: Launcher, spares: Spares) -> None:
    script = '[ "$(pwd)" = "$HOME" ] && cat && echo made > made && ls /proc/self/fd && readlink /proc/self/fd/0'
    ended, told = run(launcher, spares, "/bin/sh", "-c", script)
    assert (ended.exit_code, told.split()) == (0, ["0", "1", "2", "3", "/dev/null"])


@pytest.mark.parametrize(("argv", "code"), [(("/bin/sh", "-c", "exit 3"), 3), (("/bin/sh", "-c", "kill -TERM $$"), 143),
                                            (("/usr/bin/not-there",), 127), (("/etc/passwd",), 126)])  # fmt: skip
def test_exit_codes(launcher: Launcher, spares: Spares, argv: tuple[str, ...], code: int) -> None:
    assert run(launcher, spares, *argv)[0] == Ended(exit_code=code)


def test_limits_hold(launcher: Launcher, spares: Spares) -> None:
    told = run(launcher, spares, "/bin/sh", "-c", "ulimit -c; ulimit -n; grep processes /proc/self/limits")[1].split()
    assert told[:2] == ["0", str(LIMITS.files)]
    assert str(LIMITS.processes) in told


def test_it_can_be_cancelled_before_it_starts(launcher: Launcher, spares: Spares) -> None:
    cancel = Flag()
    cancel.set()
    assert run(launcher, spares, "/bin/sleep", "65.25", cancel=cancel)[0].cancelled


def test_orders_that_come_before_the_wall_stands_are_followed(launcher: Launcher, folder: Path) -> None:
    make_job_folder(folder / "early")
    spare = launcher.spare(folder / "early")
    assert spare is not None
    try:
        told = command(launcher, spare.folder, "/bin/echo", "early")
        assert launcher.run(told, spare.streams, Flag(), spare) == Ended(exit_code=0)
    finally:
        launcher.drop(spare)
    assert (spare.folder / "stdout").read_text() == "early\n"


def test_one_that_fell_is_not_taken_and_is_built_again(launcher: Launcher, spares: Spares) -> None:
    for pid in processes.children(os.getpid()):
        processes.send(pid, 9)
    until(lambda: spares.take(LEASE) is None)
    spares.renew()
    assert run(launcher, spares, "/bin/echo", "up") == (Ended(exit_code=0), "up\n")


def test_one_that_shows_an_older_system_is_not_taken(spares: Spares, etc: Path) -> None:
    os.utime(etc / "passwd", (1, 1))
    assert spares.take(LEASE) is None
    spares.renew()
    assert spares.take(LEASE) is not None


def test_a_shared_asset_or_an_input_has_a_wall_built_for_it(spares: Spares) -> None:
    assert spares.take(structs.replace(LEASE, binary=None, shared="asset")) is None
    assert spares.take(structs.replace(LEASE, stdin=INPUT)) is None
    assert spares.take(LEASE) is not None


def test_none_is_built_after_the_end(launcher: Launcher, spares: Spares, folder: Path) -> None:
    launcher.kill_all()
    until(lambda: spares.take(LEASE) is None)
    spares.renew()
    assert spares.take(LEASE) is None
    make_job_folder(folder / "late")
    assert launcher.spare(folder / "late") is None


def test_without_bubblewrap_there_is_none(folder: Path) -> None:
    make_job_folder(folder / "open")
    for confined in (False, True):
        assert Launcher(Wall("process", confined=confined), LIMITS, 0.2).spare(folder / "open") is None


def test_a_machine_without_the_shell_has_none(launcher: Launcher, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sandbox, "SHELL", folder / "absent")
    with closing(Spares(launcher, folder / "slot-2")) as spares:
        spares.renew()
        assert spares.take(LEASE) is None
    assert not (folder / "slot-2").exists()


def test_orphans_of_another_job_go_and_a_spare_stays(launcher: Launcher, spares: Spares, folder: Path) -> None:
    run_without(launcher, folder / "other", "/bin/sh", "-c", "(setsid sleep 66.25 &)")
    assert run(launcher, spares, "/bin/echo", "here") == (Ended(exit_code=0), "here\n")


def test_a_worker_keeps_one_for_each_slot_and_leaves_none(grid, command: WorkerCommand) -> None:
    worker = command.start(XWHEP_JOIN=str(grid.join_line))
    until(lambda: len(processes.children(worker.pid)) == 2)
    key = grid.submit(b"#!/bin/sh\npwd -P; cat ../app/* | head -1\n")
    assert grid.result(key).result.exit_code == 0
    until(lambda: len(processes.children(worker.pid)) == 2)
    waiting = processes.descendants(worker.pid)
    worker.terminate()
    assert worker.wait(10) == 0, command.logged()
    until(lambda: not any(map(is_alive, waiting)))
    assert list((command.state / "jobs").iterdir()) == []
