"""The whole way of a job, over HTTP and TLS, against the real program."""

from __future__ import annotations

import ssl
import time

import pytest


def test_a_job_runs_from_submission_to_its_result_bytes(live):
    user, worker = live.user("ann"), live.worker()
    user.register_app()
    blob = user.upload(b"some data")
    datum = user.post("/v1/data", {"name": "set.txt", **blob}).body
    job = user.submit(args=["-n", "3"], env={"A": "b"}, stdin="set.txt", data=[datum["id"]], label="first")
    assert (job["state"], job["revision"], job["owner"]) == ("pending", 1, "ann")

    lease = worker.ask().body
    assert lease["job_id"] == job["id"]
    assert lease["attempt"] == 1
    assert lease["args"] == ["-n", "3"]
    assert lease["env"] == {"A": "b"}
    assert lease["stdin"] == {"name": "set.txt", **blob}
    assert lease["data"] == [{"name": "set.txt", **blob}]
    assert worker.get(f"/v1/blobs/{lease['binary']['sha256']}").raw == b"#!/bin/sh\n"
    assert worker.get(f"/v1/blobs/{blob['sha256']}").raw == b"some data"
    running = user.get(f"/v1/jobs/{job['id']}").body
    assert (running["state"], running["worker"], running["attempt"]) == ("running", "node1", 1)

    made = {"path": "sub/made.bin", "mode": 0o755, **worker.upload(b"made")}
    assert worker.deliver(lease, stdout=b"hello", files=[made]).body == {}
    done = user.get(f"/v1/jobs/{job['id']}").body
    assert done["state"] == "completed"
    assert done["result"]["files"] == [made]
    assert user.get(f"/v1/blobs/{done['result']['stdout']['sha256']}").raw == b"hello"
    assert user.get(f"/v1/blobs/{made['sha256']}").raw == b"made"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"exit_code": 3}, "exit code 3"), ({"exit_code": 0, "reason": "wall clock limit"}, "wall clock limit")],
    ids=["exit code", "reason"],
)
def test_a_job_that_ends_badly_has_failed_and_says_why(live, fields, reason):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    job = admin.submit()
    worker.deliver(worker.ask().body, **fields)
    ended = admin.get(f"/v1/jobs/{job['id']}").body
    assert (ended["state"], ended["reason"]) == ("failed", reason)


def test_a_waiting_worker_gets_a_submitted_job_at_once(live, in_background):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    waiting = in_background(lambda: (worker.ask(wait_s=20), time.monotonic()))
    _until_idle(admin)
    submitted = time.monotonic()
    job = admin.submit()
    reply, leased_at = waiting()
    assert reply.body["job_id"] == job["id"]
    assert leased_at - submitted < 1.0  # far below any interval of polling


def test_a_worker_that_waits_in_vain_gets_204_after_its_time(live):
    worker = live.worker()
    began = time.monotonic()
    assert worker.ask(wait_s=0.3).status == 204
    assert 0.3 <= time.monotonic() - began < 5


def test_a_watching_client_sees_each_change(live, in_background):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    job = admin.submit()
    watching = in_background(lambda: admin.get(f"/v1/jobs/{job['id']}?seen=1&wait=20"))
    lease = worker.ask().body
    running = watching().body
    assert (running["state"], running["revision"]) == ("running", 2)
    watching = in_background(lambda: admin.get(f"/v1/jobs/{job['id']}?seen=2&wait=20"))
    worker.deliver(lease)
    assert watching().body["state"] == "completed"


def test_watching_an_ended_job_answers_at_once(live):
    admin = live.admin()
    admin.register_app()
    job = admin.submit()
    ended = admin.post(f"/v1/jobs/{job['id']}/cancel").body
    began = time.monotonic()
    assert admin.get(f"/v1/jobs/{job['id']}?seen={ended['revision']}&wait=30").body["state"] == "cancelled"
    assert time.monotonic() - began < 5


def test_only_a_worker_that_fits_gets_the_job(live):
    admin, worker = live.admin(), live.worker()
    admin.register_app(os="linux", arch="riscv64")
    job = admin.submit()
    assert worker.ask().status == 204
    assert worker.ask(arch="riscv64").body["job_id"] == job["id"]


def test_a_job_of_a_shared_app_goes_to_a_worker_that_has_it(live):
    admin, worker = live.admin(), live.worker("holder")
    app = admin.post("/v1/apps", {"name": "py", "shared": "python3"}).body
    assert "binaries" not in app
    admin.submit("py")
    assert worker.ask(shared=["perl"]).status == 204
    assert "workers" not in admin.get("/v1/apps/py").body
    lease = worker.ask().body
    assert (lease["shared"], lease.get("binary")) == ("python3", None)
    assert admin.get("/v1/apps/py").body["workers"] == ["holder"]


def test_a_cancelled_job_is_stopped_by_the_next_heartbeat_and_its_result_refused(live):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    job = admin.submit()
    lease = worker.ask().body
    mine = {"job_id": job["id"], "attempt": 1}
    assert "stop" not in worker.post("/v1/worker/heartbeat", {"running": [mine]}).body
    admin.post(f"/v1/jobs/{job['id']}/cancel")
    assert worker.post("/v1/worker/heartbeat", {"running": [mine]}).body["stop"] == [mine]
    refused = worker.deliver(lease)
    assert (refused.status, refused.code) == (409, "conflict")
    assert admin.get(f"/v1/jobs/{job['id']}").body["state"] == "cancelled"


def test_a_worker_that_leaves_hands_its_job_to_another_at_once(live, in_background):
    admin, first, second = live.admin(), live.worker("first"), live.worker("second")
    admin.register_app()
    job = admin.submit()
    first.ask()
    waiting = in_background(lambda: second.ask(wait_s=20))
    _until_idle(admin)
    assert first.post("/v1/worker/leave", {"running": [{"job_id": job["id"], "attempt": 1}]}).status == 200
    lease = waiting().body
    assert (lease["job_id"], lease["attempt"]) == (job["id"], 2)
    states = {worker["name"]: worker["state"] for worker in admin.get("/v1/workers").body}
    assert states == {"first": "left", "second": "busy"}


def test_an_ended_job_can_be_deleted_and_a_live_one_not(live):
    admin = live.admin()
    admin.register_app()
    job = admin.submit()
    path = f"/v1/jobs/{job['id']}"
    assert admin.call("DELETE", path).status == 409
    admin.post(f"{path}/cancel")
    assert admin.call("DELETE", path).status == 204
    assert admin.get(path).status == 404


def test_a_job_of_an_unknown_app_is_not_found(live):
    reply = live.admin().post("/v1/jobs", {"app": "nothing"})
    assert (reply.status, reply.code, reply.body["message"]) == (404, "not_found", "there is no app nothing")


def test_jobs_are_listed_newest_first_by_state_and_limit(live):
    admin = live.admin()
    admin.register_app()
    ids = [admin.submit()["id"] for _ in range(3)]
    admin.post(f"/v1/jobs/{ids[1]}/cancel")
    assert [job["id"] for job in admin.get("/v1/jobs").body] == ids[::-1]
    assert [job["id"] for job in admin.get("/v1/jobs?limit=1").body] == [ids[2]]
    assert [job["id"] for job in admin.get("/v1/jobs?state=cancelled").body] == [ids[1]]
    assert admin.get("/v1/jobs?state=odd").code == "invalid_request"


def test_older_tls_is_refused(live):
    context = ssl.create_default_context(cafile=str(live.state / "ca.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    api = live.api()
    api._connection = __import__("http.client").client.HTTPSConnection("localhost", live.port, context=context)
    with pytest.raises(ssl.SSLError):
        api.get("/healthz")


def test_health_and_authority_need_no_login(live):
    assert live.api().get("/healthz").body["status"] == "ok"
    assert live.api().get("/v1/ca").raw == (live.state / "ca.pem").read_bytes()


def _until_idle(admin) -> None:
    """Until some worker's request is parked at the server, seen from outside."""
    for _ in range(200):
        if any(worker["state"] == "idle" for worker in admin.get("/v1/workers").body):
            return
        time.sleep(0.01)
    pytest.fail("no worker became idle")
