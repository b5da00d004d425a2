import math
import threading
import time
from pathlib import Path

import pytest

from xwhep.common.errors import AuthenticationFailed
from xwhep.common.wire import Lease, Running
from xwhep.worker.board import Attempt, Board, Phase, Status, read_status, sole_worker
from xwhep.worker.flag import Flag
from xwhep.worker.heart import LEAST_S, MOST_S, Heart, Told, bounded

STATUS = Status(pid=1, name="n", worker_id="w", server="s", isolation="process", slots=1, started_at=0, connected=False)


def attempt(job: str = "j") -> Attempt:
    return Attempt(Lease(job_id=job, attempt=1, until=0, heartbeat_s=1, app="a"))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path, STATUS)


@pytest.fixture
def beating(session, board: Board):
    """A heart in its thread."""
    stop = Flag()
    thread = threading.Thread(target=Heart(session, board, 0.2).beat, args=(stop,))
    thread.start()
    yield thread
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("said", "kept"), [(5, 5), (0, LEAST_S), (-3, LEAST_S), (1e9, MOST_S), (math.nan, MOST_S), (math.inf, MOST_S)]
)
def test_intervals_that_cannot_be_kept_are_bounded(said: float, kept: float) -> None:
    assert bounded(said) == kept


@pytest.mark.usefixtures("beating")
def test_it_beats_at_the_interval_of_the_server(grid) -> None:
    grid.until(lambda: len(grid.heartbeats) >= 4)
    gaps = [after[0] - before[0] for before, after in zip(grid.heartbeats, grid.heartbeats[1:], strict=False)]
    assert all(0.1 < gap < 2 for gap in gaps)


@pytest.mark.usefixtures("beating")
def test_it_says_what_is_held_and_stops_what_the_server_says(grid, board: Board) -> None:
    first, second = attempt("a"), attempt("b")
    board.add(first)
    board.add(second)
    both = [Running(job_id="a", attempt=1), Running(job_id="b", attempt=1)]
    grid.until(lambda: grid.heartbeats and grid.heartbeats[-1][1] == both)
    grid.to_stop = both[1:]
    assert second.cancel.wait(10)
    assert not first.cancel.is_set()


@pytest.mark.usefixtures("beating")
def test_a_server_away_is_found_again_within_a_beat_or_so(grid) -> None:
    grid.until(lambda: grid.heartbeats)
    grid.stop()
    time.sleep(0.3)
    count = len(grid.heartbeats)
    grid.start()
    grid.until(lambda: len(grid.heartbeats) > count, 3)


def test_it_says_since_when_the_server_was_silent(grid, session, board: Board, monkeypatch) -> None:
    """The beginning of the first request without an answer: what was opened before may be broken."""
    told: list[float] = []
    connected: list[bool] = []
    monkeypatch.setattr(board, "connected", connected.append)
    stop = Flag()
    heart = Heart(session, board, 0.2, Told(back=told.append))
    thread = threading.Thread(target=heart.beat, args=(stop,))
    thread.start()
    try:
        grid.until(lambda: len(grid.heartbeats) >= 2)
        assert told == []
        earliest = time.monotonic()
        grid.stop()
        grid.until(lambda: not connected[-1])
        latest = time.monotonic()
        grid.start()
        grid.until(lambda: told)
    finally:
        stop.set()
        thread.join(10)
    assert earliest - 0.2 <= told[0] <= latest


def test_a_revoked_token_ends_it(grid, session, board: Board) -> None:
    grid.tokens.clear()
    with pytest.raises(AuthenticationFailed):
        Heart(session, board, 1).beat(Flag())


# The board.


def test_the_status_file_tells_what_is_held(board: Board, tmp_path: Path) -> None:
    held = attempt()
    with sole_worker(tmp_path):
        board.add(held)
        board.enter(held, Phase.RUNNING)
        board.connected(True)
        status = read_status(tmp_path)
        assert status is not None
        assert status.connected
        assert [(each.job_id, each.phase) for each in status.attempts] == [("j", "running")]
        board.delivering(Running(job_id="j", attempt=1), "a")
        status = read_status(tmp_path)
        assert status is not None
        assert [each.phase for each in status.attempts] == ["delivering"]
        assert board.unfinished() == []
        board.delivered("j", 1)
        assert board.held() == []


def test_no_status_without_a_worker(board: Board, tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    with sole_worker(tmp_path):
        board.add(attempt())
    assert read_status(tmp_path) is None
    assert read_status(tmp_path / "nowhere") is None


def test_a_full_disk_does_not_stop_the_board(tmp_path: Path) -> None:
    board = Board(tmp_path / "absent", STATUS)
    held = attempt()
    board.add(held)
    assert board.unfinished() == [held]
    board.remove(held)
    assert board.find(Running(job_id="j", attempt=1)) is None
