"""Many jobs in one request: leases for every free slot, results with their small files, each with its own outcome."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from xwhep.common.wire_bulk import INLINE_BYTES, MAX_LEASES, MAX_RESULTS

MISSING = "f" * 64


@pytest.fixture
def user(live):
    made = live.user("ann")
    made.register_app()
    return made


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def result(lease: dict[str, Any], stdout: bytes = b"", **fields: Any) -> dict[str, Any]:
    """A WorkResult whose output was not uploaded."""
    out = {"path": "stdout", "sha256": sha(stdout), "size": len(stdout)}
    error = {"path": "stderr", "sha256": sha(b""), "size": 0}
    body = {"exit_code": 0, "stdout": out, "stderr": error, **fields}
    return {"job_id": lease["job_id"], "attempt": lease["attempt"], "result": body}


def deliver(api, results: list[dict[str, Any]], *contents: bytes):
    encoded = [base64.b64encode(content).decode() for content in contents]
    return api.post("/v1/worker/results", {"results": results, "contents": encoded})


def codes(reply) -> list[str]:
    assert reply.status == 200, reply
    return [outcome.get("code", "") for outcome in reply.body["outcomes"]]


def states(user) -> dict[str, str]:
    return {job["id"]: job["state"] for job in user.get("/v1/jobs").body}


def test_a_worker_gets_a_job_for_each_free_slot_and_no_more(live, user):
    worker = live.worker()
    jobs = [user.submit()["id"] for _ in range(5)]
    first = worker.ask_many(slots=3)
    assert [lease["job_id"] for lease in first] == jobs[:3]
    assert {lease["attempt"] for lease in first} == {1}
    assert [lease["job_id"] for lease in worker.ask_many(slots=8)] == jobs[3:]
    assert worker.ask_many(slots=8) == worker.ask_many(slots=0) == []
    assert set(states(user).values()) == {"running"}
    assert all(f"job leased job={job} attempt=1 worker=node1" in live.log() for job in jobs)


def test_nobody_gets_more_at_once_than_the_server_allows(live, user):
    user.post("/v1/jobs/bulk", {"jobs": [{"app": "tool"}] * (MAX_LEASES + 5)})
    assert len(live.worker().ask_many(slots=10**6)) == MAX_LEASES


def test_a_worker_that_waits_gets_what_is_submitted_together(live, user, in_background):
    worker = live.worker()
    waiting = in_background(lambda: worker.ask_many(slots=4, wait_s=20))
    live.admin()  # takes longer than the request needs to be parked; when it does not, the result is the same
    ids = user.post("/v1/jobs/bulk", {"jobs": [{"app": "tool"}] * 3}).body["ids"]
    assert [lease["job_id"] for lease in waiting()] == ids


def test_replicas_of_a_job_never_go_to_one_worker(live, user):
    user.submit(replicas=3)
    assert len(live.worker("one").ask_many(slots=8)) == 1
    assert len(live.worker("two").ask_many(slots=8)) == 1


def test_results_and_their_small_files_come_in_one_message(live, user):
    worker = live.worker()
    jobs = [user.submit()["id"] for _ in range(3)]
    texts = [f"out {number}\n".encode() for number in range(3)]
    made = {"path": "made", "sha256": sha(b"made"), "size": 4, "mode": 0o600}
    results = [result(lease, text, files=[made]) for lease, text in zip(worker.ask_many(8), texts, strict=True)]
    assert codes(deliver(worker, results, *texts, b"made")) == ["", "", ""]
    assert set(states(user).values()) == {"completed"}
    for job, text in zip(jobs, texts, strict=True):
        assert user.get(f"/v1/blobs/{sha(text)}").raw == text
        assert user.get(f"/v1/jobs/{job}/logs").body["data"] == base64.b64encode(text).decode()
        assert f"job ended job={job} attempt=1 state=completed worker=node1" in live.log()
    assert user.get(f"/v1/blobs/{sha(b'made')}").raw == b"made"


def test_a_small_file_is_read_whole_in_part_or_not_at_all(live, user):
    worker, other = live.worker(), live.user("bob")
    user.submit()
    deliver(worker, [result(worker.ask_many(8)[0], b"0123456789")], b"0123456789")
    path = f"/v1/blobs/{sha(b'0123456789')}"
    part = user.get(path, Range="bytes=2-4")
    assert (part.status, part.raw, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    head = user.call("HEAD", path)
    assert (head.status, head.headers["content-length"]) == (200, "10")
    assert user.get(path, Range="bytes=10-").status == 416
    assert other.get(path).status == 404


def test_each_result_has_its_own_outcome(live, user):
    worker, other = live.worker(), live.worker("other")
    for _ in range(6):
        user.submit()
    good, stale, wrong, missing, refused, last = worker.ask_many(8)
    user.post(f"/v1/jobs/{stale['job_id']}/cancel")
    (foreign,) = [{**good, "attempt": 9}]
    results = [
        result(good, b"good"),
        result(stale, b"stale"),
        result(foreign, b"good"),
        result(wrong, b"good", exit_code=-1000),
        result(missing, b"never sent"),
        result(refused, b"good", files=[{"path": "../x", "sha256": sha(b""), "size": 0}]),
        result(last, b"last", exit_code=3),
    ]
    reply = deliver(worker, results, b"good", b"stale", b"last")
    assert codes(reply) == ["", "conflict", "conflict", "invalid_request", "not_found", "invalid_request", ""]
    assert sha(b"never sent") in reply.body["outcomes"][4]["message"]
    known = states(user)
    assert [known[lease["job_id"]] for lease in (good, stale, wrong, missing, refused, last)] == [
        "completed",
        "cancelled",
        "running",
        "running",
        "running",
        "failed",
    ]
    # What a refused result brought is not kept.
    with closing(sqlite3.connect(live.state / "xwhep.db")) as database:
        kept = {row[0] for row in database.execute("SELECT content FROM small_blobs")}
    assert {b"good", b"last"} <= kept
    assert b"stale" not in kept
    assert codes(deliver(other, [result(missing, b"good")], b"good")) == ["conflict"]
    assert codes(deliver(worker, results[:1], b"good")) == [""]  # delivered again: fine, and nothing changes
    assert codes(deliver(worker, [result(good, b"other")], b"other")) == ["conflict"]


def test_a_hash_that_was_not_sent_opens_no_file_of_another(live, user):
    """A worker may not name what it only knows the hash of: its accomplice could read it as a result."""
    secret = live.user("bob").upload(b"a secret of bob")
    worker = live.worker()
    user.submit()
    (lease,) = worker.ask_many(8)
    reply = deliver(worker, [result(lease, b"a secret of bob")])
    assert codes(reply) == ["not_found"]
    assert user.get(f"/v1/blobs/{secret['sha256']}").status == 404


@pytest.mark.parametrize(
    ("count", "content"), [(MAX_RESULTS + 1, b""), (1, b"x" * (INLINE_BYTES + 1))], ids=["results", "content"]
)
def test_what_is_too_much_is_refused_as_a_whole(live, user, count, content):
    worker = live.worker()
    user.submit()
    (lease,) = worker.ask_many(8)
    reply = deliver(worker, [result(lease)] * count, content)
    assert (reply.status, reply.code) == (422, "invalid_request")
    assert set(states(user).values()) == {"running"}


def test_a_wrong_size_is_refused(live, user):
    worker = live.worker()
    user.submit()
    message = result(worker.ask_many(8)[0], b"four")
    message["result"]["stdout"]["size"] = 5
    assert codes(deliver(worker, [message], b"four")) == ["invalid_request"]


def test_a_full_disk_refuses_contents_and_the_worker_tries_again(stopped):
    stopped.start()
    user, worker = stopped.user("ann"), stopped.worker()
    user.register_app()
    user.submit()
    (lease,) = worker.ask_many(8)
    stopped.stop()
    stopped.start("--disk-reserve-mb", "1000000000")
    assert deliver(worker, [result(lease, b"out")], b"out").status == 507
    assert deliver(worker, [result(lease)]).status == 200  # which asks for no room


def test_what_was_acknowledged_survives_a_kill(live, user):
    worker = live.worker()
    jobs = [user.submit()["id"] for _ in range(8)]
    assert codes(deliver(worker, [result(lease, b"kept") for lease in worker.ask_many(8)], b"kept")) == [""] * 8
    live.kill()
    live.start()
    user.port = live.port
    assert states(user) == dict.fromkeys(jobs, "completed")
    assert user.get(f"/v1/blobs/{sha(b'kept')}").raw == b"kept"


def test_small_uploads_are_kept_in_the_database_large_ones_as_files(live, user):
    small, large = b"s" * INLINE_BYTES, b"l" * (INLINE_BYTES + 1)
    for content in (small, large):
        user.upload(content)
        assert user.get(f"/v1/blobs/{sha(content)}").raw == content
    files = {path.parent.name + path.name for path in (live.state / "blobs").glob("*/*")}
    assert sha(large) in files
    assert sha(small) not in files


def test_a_small_upload_is_compared_with_its_name(live, user):
    reply = user.call("PUT", f"/v1/blobs/{MISSING}", b"something else")
    assert (reply.status, reply.code) == (422, "invalid_request")
    assert user.call("HEAD", f"/v1/blobs/{MISSING}").status == 404


def test_a_small_file_of_an_earlier_version_is_still_read(live, user):
    """It kept every content as a file."""
    blob = user.upload(b"old")
    live.stop()
    path = live.state / "blobs" / blob["sha256"][:2] / blob["sha256"][2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"old")
    with closing(sqlite3.connect(live.state / "xwhep.db")) as database, database:
        database.execute("DELETE FROM small_blobs")
    live.start()
    assert user.get(f"/v1/blobs/{blob['sha256']}").raw == b"old"
    assert user.call("PUT", f"/v1/blobs/{blob['sha256']}", b"old").status == 200
    assert user.post("/v1/data", {"name": "old", **blob}).status == 200


def test_the_worker_routes_answer_nothing_but_post(live, user):
    worker = live.worker()
    assert (worker.get("/v1/worker/leases").status, worker.get("/v1/worker/leasesx").status) == (405, 404)
    assert user.post("/v1/worker/leases", {}).status == 403
    assert worker.post("/v1/worker/results", {"results": 1}).status == 422
