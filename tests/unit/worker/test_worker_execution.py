"""One attempt in this process: what becomes of it when this machine fails."""

import errno
import threading
import time
from pathlib import Path

import pytest

from xwhep.common.errors import DiskFull
from xwhep.worker import execution
from xwhep.worker.assets import Assets
from xwhep.worker.board import Attempt, Board, Status
from xwhep.worker.cache import Cache
from xwhep.worker.execution import HandBack, Refused, Workshop, execute, program_name, remove_tree, safe_path
from xwhep.worker.flag import Flag
from xwhep.worker.identity import stored
from xwhep.worker.launch import Ended, Launcher, Wall
from xwhep.worker.loop import Worker
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
    assert parcel.files()[0][1].read_bytes() == b"input"
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

    monkeypatch.setattr("xwhep.worker.spool.write_atomically", full)
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
    thread = threading.Thread(target=Worker(identity, Host(folder, "process"), shop, 1).run, args=(stop,))
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


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    outside.chmod(0o500)
    tree = tmp_path / "tree"
    (tree / "closed/inner").mkdir(parents=True)
    (tree / "closed/link").symlink_to(outside)
    (tree / "closed").chmod(0)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o500
    remove_tree(tree)
