"""Partial output: only what is watched, only news, at most once a second."""

import itertools
import os
import time
from pathlib import Path

import pytest

from xwhep.common.wire import Lease, Running
from xwhep.worker import follow
from xwhep.worker.board import Attempt, Board, Phase, Status
from xwhep.worker.flag import Flag
from xwhep.worker.follow import Follower, piece

STATUS = Status(pid=1, name="n", worker_id="w", server="s", isolation="process", slots=1, started_at=0, connected=False)
LEASE = Lease(job_id="j", attempt=1, until=0, heartbeat_s=1, app="a")


class Job:
    """A job of a board that writes when told."""

    def __init__(self, folder: Path, grid, session) -> None:
        self.attempt, self.board = Attempt(LEASE), Board(folder, STATUS)
        self.board.add(self.attempt)
        self.board.enter(self.attempt, Phase.RUNNING)
        grid.leased["j", 1] = LEASE
        self.folder = folder / "jobs/j.1"
        self.folder.mkdir(parents=True)
        self.follower = Follower(session, self.board, folder / "jobs")

    def writes(self, content: bytes, stream: str = "stdout") -> None:
        with (self.folder / stream).open("ab") as file:
            file.write(content)


@pytest.fixture
def job(folder: Path, grid, session) -> Job:
    return Job(folder, grid, session)


def sent(grid) -> list[tuple[str, int, bytes]]:
    return [(each.stream, each.offset, each.data) for _, each in grid.outputs]


def test_nothing_is_sent_unless_somebody_watches(grid, job: Job) -> None:
    job.writes(b"secret")
    job.follower.send_news()
    assert grid.outputs == []
    job.board.watch([Running(job_id="j", attempt=2)])
    job.follower.send_news()
    assert grid.outputs == []


def test_news_of_both_streams_are_sent_once(grid, job: Job) -> None:
    job.board.watch([Running(job_id="j", attempt=1)])
    job.follower.send_news()
    job.writes(b"one ")
    job.writes(b"oh", "stderr")
    job.follower.send_news()
    job.follower.send_news()
    job.writes(b"two")
    job.follower.send_news()
    assert sent(grid) == [("stdout", 0, b"one "), ("stderr", 0, b"oh"), ("stdout", 4, b"two")]


def test_one_that_is_no_longer_watched_is_left_alone(grid, job: Job) -> None:
    job.board.watch([Running(job_id="j", attempt=1)])
    job.writes(b"one")
    job.follower.send_news()
    job.board.watch([])
    job.writes(b"two")
    job.follower.send_news()
    assert sent(grid) == [("stdout", 0, b"one")]


def test_a_server_away_gets_it_later(grid, job: Job) -> None:
    job.board.watch([Running(job_id="j", attempt=1)])
    job.writes(b"one")
    grid.fault("POST", "/v1/worker/output", grid.says(503))
    job.follower.send_news()
    assert grid.outputs == []
    job.follower.send_news()
    assert sent(grid) == [("stdout", 0, b"one")]


def test_a_stale_attempt_is_not_sent_again(grid, job: Job) -> None:
    job.board.watch([Running(job_id="j", attempt=1)])
    job.writes(b"one")
    grid.leased.clear()
    job.follower.send_news()
    asked = len(grid.calls)
    job.follower.send_news()
    assert len(grid.calls) == asked
    assert not job.attempt.watched


def test_large_news_go_in_pieces_and_only_what_is_kept_goes(grid, job: Job, monkeypatch) -> None:
    monkeypatch.setattr(follow, "PIECE_BYTES", 10)
    monkeypatch.setattr(follow, "KEPT_BYTES", 25)
    job.board.watch([Running(job_id="j", attempt=1)])
    content = os.urandom(100)
    job.writes(content)
    job.follower.send_news()
    assert [offset for _, offset, _ in sent(grid)] == [75, 85, 95]
    assert b"".join(data for _, _, data in sent(grid)) == content[75:]


def test_a_stream_that_is_cut_starts_again_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"abc")
    assert piece(tmp_path / "stdout", 10) == (0, b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "stdout")
    assert piece(tmp_path / "link", 0) == (0, b"")
    assert piece(tmp_path / "absent", 3) == (3, b"")


def test_a_round_comes_at_most_once_a_second(grid, job: Job) -> None:
    times: list[float] = []

    class Counted(Follower):
        def send_news(self) -> None:
            times.append(time.monotonic())
            if len(times) == 3:
                stop.set()

    stop = Flag()
    Counted(job.follower._session, job.board, job.folder).run(stop)
    assert all(after - before >= 0.99 for before, after in itertools.pairwise(times))


def test_what_comes_while_news_are_sent_waits_for_the_next_round(grid, job: Job, monkeypatch) -> None:
    job.board.watch([Running(job_id="j", attempt=1)])
    real = follow.piece

    def busy(file: Path, sent: int) -> tuple[int, bytes]:
        found = real(file, sent)
        job.writes(b"more")
        return found

    monkeypatch.setattr(follow, "piece", busy)
    job.writes(b"one")
    job.follower.send_news()
    assert sent(grid) == [("stdout", 0, b"one")]
    job.follower.send_news()
    assert len(sent(grid)) == 2
