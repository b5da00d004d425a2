"""One attempt in this process: what becomes of it when this machine fails."""

import errno
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from xwhep.common.errors import DiskFull
from xwhep.worker import execution
from xwhep.worker.assets import Assets
from xwhep.worker.board import Attempt, Board, Status
from xwhep.worker.cache import Cache
from xwhep.worker.execution import HandBack, Refused, Workshop, execute, program_name, safe_path
from xwhep.worker.flag import Flag
from xwhep.worker.identity import stored
from xwhep.worker.launch import Ended, Launcher, Wall
from xwhep.worker.loop import Terms, Worker
from xwhep.worker.machine import Host
from xwhep.worker.sandbox import Limits
from xwhep.worker.spool import Spool

STATUS = Status(pid=1, name="n", worker_id="w", server="s", isolation="process", slots=1, started_at=0, connected=False)


@pytest.fixture
def shop(folder: Path, session, isolation: str) -> Workshop:
    jobs = folder / "jobs"
    jobs.mkdir()
    jobs.chmod(0o711)
    return Workshop(
        jobs=jobs,
        session=session,
        cache=Cache(folder / "cache", 10**9),
        assets=Assets(folder / "shared"),
        launcher=Launcher(Wall(isolation), Limits(processes=512, files=256), 1.0),
        spool=Spool(folder),
        board=Board(folder, STATUS),
    )


@pytest.fixture
def attempt(grid) -> Attempt:
    grid.submit(b"#!/bin/sh\ncat in\nexit 2\n", data={"in": b"input"})
    return Attempt(grid.pending.pop())


def test_a_result_is_stored_and_the_folder_gone(shop: Workshop, attempt: Attempt) -> None:
    parcel = execute(attempt, shop)
    assert parcel is not None
    assert parcel.message.result.exit_code == 2
    assert parcel.contents[parcel.message.result.stdout.sha256] == b"input"
    assert list(shop.jobs.iterdir()) == []
    assert shop.spool.parcels() == [parcel]


def test_no_room_for_its_data_hands_it_back(shop: Workshop, attempt: Attempt, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr(Cache, "place", full)
    with pytest.raises(HandBack, match="no room"):
        execute(attempt, shop)
    assert list(shop.jobs.iterdir()) == []


def test_no_room_for_its_result_hands_it_back(shop: Workshop, attempt: Attempt, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("xwhep.worker.spool.write_private", full)
    with pytest.raises(HandBack, match="No space left"):
        execute(attempt, shop)
    assert shop.spool.parcels() == []


def test_a_nearly_full_disk_costs_the_cache_not_the_result(shop: Workshop, attempt: Attempt, monkeypatch) -> None:
    monkeypatch.setattr(execution, "disk_free", lambda _: 1000)
    parcel = execute(attempt, shop)
    assert parcel is not None
    assert parcel.message.result.reason == "the worker's disk was full when the job ended"
    assert list(shop.jobs.parent.joinpath("cache").iterdir()) == []


def test_a_wall_that_cannot_be_built_hands_it_back(shop: Workshop, attempt: Attempt, monkeypatch) -> None:
    monkeypatch.setattr(Launcher, "run", lambda *_: Ended(exit_code=1, wall_failed=True))
    with pytest.raises(HandBack, match="sandbox"):
        execute(attempt, shop)


def test_no_process_can_be_started(shop: Workshop, attempt: Attempt, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(Launcher, "run", refuse)
    with pytest.raises(HandBack, match="unavailable"):
        execute(attempt, shop)


def test_cancelled_before_it_ran(shop: Workshop, attempt: Attempt) -> None:
    attempt.cancel.set()
    assert execute(attempt, shop) is None
    assert shop.spool.parcels() == []


def test_a_blob_that_the_server_lost_is_told_to_the_owner(grid, shop: Workshop, attempt: Attempt) -> None:
    grid.blobs.clear()
    parcel = execute(attempt, shop)
    assert parcel is not None
    assert parcel.message.result.exit_code == 126
    assert "there is no blob" in parcel.message.result.reason


def test_a_handed_back_job_is_told_to_the_server_and_work_goes_on(grid, folder, shop, monkeypatch) -> None:
    identity = stored(folder)
    assert identity is not None
    monkeypatch.setattr("xwhep.worker.loop.COOL_DOWN_S", 0.05)
    real, calls = Cache.place, []

    def first_full(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise DiskFull("no room")
        real(*arguments)

    monkeypatch.setattr(Cache, "place", first_full)
    stop = Flag()
    thread = threading.Thread(target=Worker(identity, Host(folder, "process"), shop, Terms(1)).run, args=(stop,))
    thread.start()
    first = grid.submit(b"#!/bin/sh\n")
    grid.until(lambda: grid.left)
    assert [(one.job_id, one.attempt) for one in grid.left[0].running] == [first]
    assert grid.result(grid.submit(b"#!/bin/sh\n")).result.exit_code == 0
    assert first not in grid.results
    before = time.monotonic()
    stop.set()
    thread.join(10)
    assert time.monotonic() - before < 2


@pytest.mark.parametrize(
    ("app", "name"), [("hello", "hello"), ("a/../b", "a_.._b"), ("..", "app"), ("ä b", "__b"), ("", "app")]
)
def test_names_of_programs(app: str, name: str) -> None:
    assert program_name(app) == name


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/etc/passwd", "a/../../b", "a\0b"])
def test_names_of_data_that_lead_out(name: str) -> None:
    with pytest.raises(Refused):
        safe_path(name)


def test_folders_may_be_part_of_a_name() -> None:
    assert str(safe_path("a//b/./c")) == "a/b/c"


@pytest.mark.parametrize(("seconds", "reason"), [(0.3, "wall clock limit"), (0.0, "")])
def test_the_wall_clock_is_obeyed(grid, shop: Workshop, seconds: float, reason: str) -> None:
    grid.submit(b"#!/bin/sh\necho begun; sleep 0.6; echo done; sleep 0.1\n", wall_clock_s=seconds)
    before = time.monotonic()
    parcel = execute(Attempt(grid.pending.pop()), shop)
    assert parcel is not None
    result = parcel.message.result
    assert result.reason == reason
    if reason:
        assert 0.3 <= time.monotonic() - before < 5
        assert result.exit_code == 128 + 15
        assert parcel.contents[result.stdout.sha256] == b"begun\n"


def test_a_limit_that_was_passed_is_told_to_the_owner_of_the_job(grid, shop: Workshop, isolation: str) -> None:
    limits = Limits(processes=512, files=256, disk=2**20)
    grid.submit(b"#!/bin/sh\nfor i in 1 2 3; do head -c 500K /dev/zero > $i; done; sleep 60\n")
    small = replace(shop, launcher=Launcher(Wall(isolation), limits, 1.0))
    parcel = execute(Attempt(grid.pending.pop()), small)
    assert parcel is not None
    assert parcel.message.result.reason == f"disk limit: it used more than {2**20} bytes"
    assert parcel.message.result.wall_s < 20
