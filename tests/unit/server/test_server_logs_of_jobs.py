"""What running jobs write, relayed to those who follow it."""

from __future__ import annotations

import base64
import time

import pytest

from xwhep.server.outputs import KEPT_BYTES, MAX_WATCHED, WATCHED_S, OutputBoard, Tail
from xwhep.server.store.records import Attempt


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def attempt(number: int = 1, job_id: str = "j") -> Attempt:
    return Attempt(job_id=job_id, number=number, worker_id="w")


@pytest.mark.parametrize(
    ("pieces", "start", "data"),
    [
        ([(0, b"abc"), (3, b"de")], 0, b"abcde"),
        ([(0, b"abc"), (0, b"abc"), (1, b"bcd")], 0, b"abcd"),
        ([(0, b"abc"), (10, b"k")], 10, b"k"),
        ([(0, b"x" * KEPT_BYTES), (KEPT_BYTES, b"yz")], 2, b"x" * (KEPT_BYTES - 2) + b"yz"),
    ],
    ids=["in order", "twice", "with a gap", "too much"],
)
def test_a_tail_keeps_the_end_of_what_came(pieces, start, data):
    tail = Tail()
    for offset, piece in pieces:
        tail.add(offset, piece)
    assert (tail.start, bytes(tail.data)) == (start, data)


def test_a_piece_that_brings_nothing_new_wakes_nobody():
    tail = Tail()
    assert tail.add(0, b"abc")
    assert not tail.add(1, b"bc")
    assert not tail.add(3, b"")


def test_readers_get_what_they_have_not_seen():
    board = OutputBoard(Clock())
    board.watch("j")
    board.add(attempt(), "stdout", (0, b"hello"))
    assert board.since("j", "stdout", (0, 2)).data == b"llo"
    assert board.since("j", "stdout", (0, 5)).data == b""
    assert board.since("j", "stdout", (0, 99)).offset == 99
    assert board.since("j", "stderr", (0, 0)).data == b""
    assert board.since("other", "stdout", (0, 7)).offset == 7


def test_the_next_attempt_begins_anew():
    board = OutputBoard(Clock())
    board.watch("j")
    board.add(attempt(1), "stdout", (0, b"old"))
    board.add(attempt(2), "stdout", (0, b"n"))
    assert board.since("j", "stdout", (0, 0)).data == b"n"
    seen = board.since("j", "stdout", (1, 3))
    assert (seen.data, seen.offset, seen.attempt) == (b"n", 0, 2)
    assert board.since("j", "stdout", (2, 1)).data == b""


def test_what_nobody_watches_is_neither_kept_nor_asked_for():
    clock = Clock()
    board = OutputBoard(clock)
    assert not board.add(attempt(), "stdout", (0, b"x"))
    board.watch("j")
    assert board.is_watched("j")
    clock.now += WATCHED_S + 1
    assert not board.is_watched("j")
    board.sweep()
    assert board._watched == {}


def test_so_many_are_watched_and_no_more():
    board = OutputBoard(Clock())
    for number in range(MAX_WATCHED + 5):
        board.watch(f"j{number}")
        board.watch("first")
    assert len(board._watched) == MAX_WATCHED
    assert board.is_watched("first")
    assert not board.is_watched("j0")


def piece(lease: dict, offset: int, data: bytes, stream: str = "stdout") -> dict:
    encoded = base64.b64encode(data).decode()
    return {"job_id": lease["job_id"], "attempt": lease["attempt"], "stream": stream, "offset": offset, "data": encoded}


def text(reply) -> bytes:
    return base64.b64decode(reply.body.get("data", ""))


def test_output_is_followed_while_the_job_runs_and_read_after(live, in_background):
    admin, worker, eve = live.admin(), live.worker(), live.user("eve")
    admin.register_app()
    job = admin.submit()
    lease = worker.ask().body
    log = f"/v1/jobs/{job['id']}/logs"
    mine = {"job_id": job["id"], "attempt": 1}
    assert "watched" not in worker.post("/v1/worker/heartbeat", {"running": [mine]}).body
    following = in_background(lambda: admin.get(f"{log}?wait=20"))
    until = time.monotonic() + 10
    while "watched" not in (beat := worker.post("/v1/worker/heartbeat", {"running": [mine]}).body):
        assert time.monotonic() < until
    assert beat["watched"] == [mine]

    assert worker.post("/v1/worker/output", piece(lease, 0, b"out")).status == 200
    assert text(following()) == b"out"
    assert worker.post("/v1/worker/output", piece(lease, 0, b"oops", "stderr")).status == 200
    assert text(admin.get(f"{log}?stream=stderr&offset=1")) == b"ops"
    assert eve.get(log).status == 404

    waiting = in_background(lambda: admin.get(f"{log}?offset=3&wait=20"))
    assert worker.deliver(lease, stdout=b"out!").status == 200
    last = waiting()
    assert last.body["attempt"] == 1
    assert text(admin.get(f"{log}?offset=3&attempt=7")) == b"out!"  # of another attempt than was read
    assert (text(last), last.body["final"]) == (b"!", True)
    assert admin.get(f"{log}?offset=4&wait=20").body["final"] is True
    assert worker.post("/v1/worker/output", piece(lease, 3, b"late")).status == 409


def test_outputs_of_replicas_are_never_mixed(live):
    admin, workers, eve = live.admin(), [live.worker(f"w{number}") for number in range(2)], live.user("eve")
    admin.register_app()
    job = admin.submit(replicas=2, quorum=1)
    leases = [worker.ask().body for worker in workers]
    log = f"/v1/jobs/{job['id']}/logs"
    runs = {run["worker"]: run["number"] for run in admin.get(f"/v1/jobs/{job['id']}").body["runs"]}
    assert runs == {"w0": 1, "w1": 2}
    refused = admin.get(log)
    assert (refused.status, refused.body["message"]) == (409, f"job {job['id']} has 2 replicas")
    assert "--replica 1" in refused.body["next_step"]
    for number in (1, 2):
        assert text(admin.get(f"{log}?replica={number}")) == b""  # asked for, so kept from now on
    for worker, lease, said in zip(workers, leases, (b"one", b"two"), strict=True):
        assert worker.post("/v1/worker/output", piece(lease, 0, said)).status == 200
    assert [text(admin.get(f"{log}?replica={number}")) for number in (1, 2)] == [b"one", b"two"]
    assert [admin.get(f"{log}?replica={number}").status for number in (3, -1)] == [404, 422]
    assert eve.get(f"{log}?replica=1").status == 404
    assert workers[1].deliver(leases[1], stdout=b"two!").status == 200
    ended = admin.get(f"{log}?replica=2&offset=3&wait=20")
    assert (text(ended), ended.body["final"]) == (b"!", True)
    assert text(admin.get(log)) == b"two!"  # what the quorum says
    assert text(admin.get(f"{log}?replica=1")) == b""  # it was stopped, and left nothing


def test_only_the_holder_of_the_job_sends_its_output(live):
    admin, worker, thief = live.admin(), live.worker(), live.worker("thief")
    admin.register_app()
    job = admin.submit()
    lease = worker.ask().body
    admin.get(f"/v1/jobs/{job['id']}/logs")
    assert thief.post("/v1/worker/output", piece(lease, 0, b"forged")).status == 409
    assert worker.post("/v1/worker/output", {**piece(lease, 0, b"x"), "stream": "other"}).status == 422
    assert worker.post("/v1/worker/output", {**piece(lease, 0, b"x"), "offset": -1}).status == 422
    assert worker.post("/v1/worker/output", piece(lease, 0, b"z" * KEPT_BYTES)).status == 200
    assert worker.post("/v1/worker/output", piece(lease, 0, b"z" * 2 * KEPT_BYTES)).status == 422
    assert admin.get(f"/v1/jobs/{job['id']}/logs?stream=no").status == 422
    assert len(text(admin.get(f"/v1/jobs/{job['id']}/logs"))) == KEPT_BYTES


def test_the_log_of_a_cancelled_job_ends(live):
    admin = live.admin()
    admin.register_app()
    job = admin.submit()
    admin.post(f"/v1/jobs/{job['id']}/cancel")
    assert admin.get(f"/v1/jobs/{job['id']}/logs?wait=20").body == {"offset": 0, "data": "", "final": True}
