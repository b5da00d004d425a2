import threading
import time
from pathlib import Path

import pytest

from xwhep.common.errors import AuthenticationFailed
from xwhep.common.wire import JobResult, ResultFile, Running, WorkResult
from xwhep.worker import retry
from xwhep.worker.board import Board, Status
from xwhep.worker.delivery import Delivery
from xwhep.worker.flag import Flag
from xwhep.worker.retry import Stopped
from xwhep.worker.spool import Parcel, Spool

KEY = ("job", 1)
STATUS = Status(pid=1, name="n", worker_id="w", server="s", isolation="process", slots=1, started_at=0, connected=False)


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch) -> None:
    monkeypatch.setattr(retry, "FIRST_S", 0.01)
    monkeypatch.setattr(retry.Backoff.__init__, "__defaults__", (0.01, 0.05, lambda: 1.0))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path, STATUS)


def stored(spool: Spool, grid, folder: Path, contents: list[bytes], job_id: str = "job") -> Parcel:
    """A finished job, leased by the grid to this worker."""
    grid.submit(b"program", job_id=job_id)
    grid.leased[job_id, 1] = grid.pending.pop()
    paths = [folder / f"{job_id}-{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    names = ("stdout", "stderr", "file")
    files = [
        ResultFile(path=name, sha256=grid.sha(text), size=len(text))
        for name, text in zip(names, contents, strict=False)
    ]
    result = JobResult(exit_code=0, stdout=files[0], stderr=files[1], files=files[2:])
    return spool.put(WorkResult(job_id=job_id, attempt=1, result=result), paths)


@pytest.fixture
def parcel(spool: Spool, grid, tmp_path: Path) -> Parcel:
    return stored(spool, grid, tmp_path, [b"out" * 100_000, b"", b"file"])


@pytest.fixture
def small(spool: Spool, grid, tmp_path: Path) -> list[Parcel]:
    """Five results without large files."""
    return [stored(spool, grid, tmp_path, [b"out %d" % number, b""], f"job{number}") for number in range(5)]


@pytest.fixture
def delivery(session, spool: Spool, board: Board) -> Delivery:
    return Delivery(session, spool, board, Flag())


def puts(grid) -> int:
    return sum(method == "PUT" for method, _, _ in grid.calls)


def test_blobs_then_result_then_nothing_is_left(grid, delivery, parcel, spool) -> None:
    delivery.deliver([parcel])
    assert grid.results[KEY] == parcel.message
    assert grid.blobs[parcel.message.result.stdout.sha256] == b"out" * 100_000
    assert grid.blobs[grid.sha(b"file")] == b"file"
    assert spool.parcels() == []
    assert puts(grid) == 1  # what is small came with the message


def test_what_the_server_has_is_not_sent_again(grid, delivery, parcel) -> None:
    grid.blob(b"out" * 100_000)
    delivery.deliver([parcel])
    assert puts(grid) == 0


def test_all_that_wait_go_in_one_message(grid, delivery, small, spool, board) -> None:
    for each in small:
        delivery.add(each)
    delivery.finish()
    delivery.run()
    assert [len(message.results) for message in grid.messages] == [5]
    assert puts(grid) == 0
    assert {key[0] for key in grid.results} == {f"job{number}" for number in range(5)}
    assert spool.parcels() == board.held() == []


def test_a_stale_one_among_them_harms_no_other(grid, delivery, small, spool, caplog) -> None:
    del grid.leased["job2", 1]
    delivery.deliver(small)
    assert sorted(key[0] for key in grid.results) == ["job0", "job1", "job3", "job4"]
    assert "job job2 attempt 1: dropped" in caplog.text
    assert spool.parcels() == []


def test_one_that_spoils_the_message_is_found_and_set_aside(grid, delivery, small, spool, tmp_path) -> None:
    refusal = b'{"code":"invalid_request","message":"no"}'
    grid.fault("POST", "/v1/worker/results", *[lambda call: call.answer(422, refusal)] * 2)
    delivery.deliver(small)
    assert sorted(key[0] for key in grid.results) == ["job1", "job2", "job3", "job4"]
    assert (tmp_path / "rejected/job0.1/result.json").exists()
    assert spool.parcels() == []


def test_a_message_is_of_bounded_size_and_small_results_wait_for_no_upload(
    grid, delivery, parcel, small, monkeypatch
) -> None:
    monkeypatch.setattr("xwhep.worker.delivery.MESSAGE_RESULTS", 2)
    for each in (small[0], parcel, *small[1:]):
        delivery.add(each)
    assert delivery.waiting() == 6
    delivery.finish()
    delivery.run()
    sent = [[result.job_id for result in message.results] for message in grid.messages]
    assert sent == [["job0"], ["job"], ["job1", "job2"], ["job3", "job4"]]
    assert delivery.waiting() == 0


def test_a_message_has_bounded_contents(grid, delivery, small, monkeypatch) -> None:
    monkeypatch.setattr("xwhep.worker.delivery.MESSAGE_BYTES", 2 * small[0].inline_bytes)
    for each in small:
        delivery.add(each)
    delivery.finish()
    delivery.run()
    assert [len(message.results) for message in grid.messages] == [2, 2, 1]


@pytest.mark.parametrize("call", [("HEAD", "/v1/blobs"), ("PUT", "/v1/blobs"), ("POST", "/v1/worker/results")], ids=str)
def test_a_server_that_vanishes_at_any_step_gets_it_later(grid, delivery, parcel, call) -> None:
    grid.fault(*call, grid.hangs_up, grid.says(503), grid.says(507), grid.says(500))
    delivery.deliver([parcel])
    assert grid.results[KEY] == parcel.message


def test_a_lost_acknowledgement_delivers_once(grid, delivery, parcel, spool) -> None:
    def taken_but_not_told(call) -> None:
        grid.leased.pop(KEY)
        grid.results[KEY] = parcel.message
        call.hang_up()

    grid.fault("POST", "/v1/worker/results", taken_but_not_told)
    delivery.deliver([parcel])
    assert list(grid.results) == [KEY]
    assert spool.parcels() == []


def test_an_answer_that_cannot_be_read_is_no_acknowledgement(grid, delivery, parcel) -> None:
    grid.fault("POST", "/v1/worker/results", lambda call: call.answer(200, b"<html>"))
    delivery.deliver([parcel])
    assert sum(path == "/v1/worker/results" for _, path, _ in grid.calls) == 2


def test_a_stale_attempt_is_dropped_with_a_line(grid, delivery, parcel, caplog) -> None:
    grid.leased.clear()
    delivery.deliver([parcel])
    assert "job job attempt 1: dropped" in caplog.text
    assert not parcel.folder.exists()
    assert grid.results == {}


def test_a_server_that_lost_a_blob_meanwhile_gets_it_again(grid, delivery, parcel) -> None:
    def forget(call) -> None:
        grid.blobs.clear()
        call.answer(404, b"")

    grid.fault("POST", "/v1/worker/results", forget)
    delivery.deliver([parcel])
    assert grid.results[KEY] == parcel.message
    assert puts(grid) == 2


def test_what_the_server_refuses_for_good_is_set_aside(grid, delivery, parcel, tmp_path) -> None:
    grid.fault(
        "POST", "/v1/worker/results", lambda call: call.answer(422, b'{"code":"invalid_request","message":"no"}')
    )
    delivery.deliver([parcel])
    assert Spool(tmp_path).parcels() == []
    assert (tmp_path / "rejected/job.1/result.json").exists()


def test_a_revoked_worker_keeps_its_results(grid, delivery, parcel, spool) -> None:
    grid.tokens.clear()
    with pytest.raises(AuthenticationFailed):
        delivery.deliver([parcel])
    assert spool.parcels() == [parcel]


def test_stopping_keeps_what_is_not_delivered(grid, delivery, parcel, spool) -> None:
    grid.fault("PUT", "/v1/blobs", lambda call: (delivery._stop.set(), call.hang_up()))
    with pytest.raises(Stopped):
        delivery.deliver([parcel])
    assert spool.parcels() == [parcel]


def test_its_lease_goes_on_until_it_is_delivered(grid, delivery, parcel, board) -> None:
    delivery.add(parcel)
    assert board.held() == [Running(job_id="job", attempt=1)]
    delivery.finish()
    delivery.run()
    assert board.held() == []
    assert KEY in grid.results


def test_the_thread_waits_for_results_and_ends_when_told(delivery, parcel, grid) -> None:
    thread = threading.Thread(target=delivery.run)
    thread.start()
    time.sleep(0.02)
    delivery.add(parcel)
    delivery.finish()
    thread.join(10)
    assert not thread.is_alive()
    assert KEY in grid.results
