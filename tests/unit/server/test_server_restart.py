"""What survives: a killed server, a lost worker, an attempt that is no longer current, results delivered twice."""

from __future__ import annotations

import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

SHORT = ("--lease-seconds", "0.6", "--restart-grace-seconds", "0.6")


def await_state(api, job_id: str, state: str, *, seen: int = 0) -> dict:
    """Follow a job by long-poll until it is in `state`."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        job = api.get(f"/v1/jobs/{job_id}?seen={seen}&wait=5").body
        if job["state"] == state:
            return job
        seen = job["revision"]
    raise AssertionError(f"job {job_id} did not become {state}: {job}")


def ask_again(worker, wait_s: float = 10) -> dict:
    """As a worker does: a request that ends without a job is followed by another."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if (lease := worker.ask(wait_s=1).body) is not None:
            return lease
    raise AssertionError("no job came")


def test_a_killed_server_loses_nothing_and_the_running_job_goes_on(live):
    user, worker = live.user("ann"), live.worker()
    user.register_app()
    waiting, running, ended = user.submit(), user.submit(), user.submit()
    leases = {lease["job_id"]: lease for lease in (worker.ask().body for _ in range(3))}
    worker.deliver(leases[ended["id"]], stdout=b"before")
    worker.post("/v1/worker/leave", {"running": [{"job_id": waiting["id"], "attempt": 1}]})

    live.kill()
    live.start()
    user.port = worker.port = live.port

    states = {job["id"]: job["state"] for job in user.get("/v1/jobs").body}
    assert states == {waiting["id"]: "pending", running["id"]: "running", ended["id"]: "completed"}
    mine = {"job_id": running["id"], "attempt": 1}
    assert "stop" not in worker.post("/v1/worker/heartbeat", {"running": [mine]}).body
    assert worker.deliver(leases[running["id"]], stdout=b"after").status == 200
    done = user.get(f"/v1/jobs/{running['id']}").body
    assert (done["state"], done["attempt"]) == ("completed", 1)
    assert user.get(f"/v1/blobs/{done['result']['stdout']['sha256']}").raw == b"after"
    assert worker.ask().body["job_id"] == waiting["id"]


def test_a_result_uploaded_before_the_kill_can_be_delivered_after_it(live):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    admin.submit()
    delivery = worker.result(worker.ask().body, stdout=b"spooled")
    live.kill()
    live.start()
    worker.port = live.port
    assert worker.post("/v1/worker/result", delivery).status == 200


def test_a_server_that_was_away_longer_than_a_lease_still_waits_for_its_workers(stopped):
    flags = ("--lease-seconds", "0.5", "--restart-grace-seconds", "30")
    stopped.start(*flags)
    admin, worker = stopped.admin(), stopped.worker()
    admin.register_app()
    job = admin.submit()
    lease = worker.ask().body
    stopped.kill()
    time.sleep(0.6)  # the lease is over
    stopped.start(*flags)
    admin.port = worker.port = stopped.port
    time.sleep(0.2)  # several looks of the reaper
    assert admin.get(f"/v1/jobs/{job['id']}").body["state"] == "running"
    assert worker.deliver(lease).status == 200


def test_a_job_whose_worker_never_comes_back_after_the_restart_runs_elsewhere(stopped):
    stopped.start(*SHORT)
    admin, worker = stopped.admin(), stopped.worker()
    admin.register_app()
    job = admin.submit()
    worker.ask()
    stopped.stop()
    stopped.start(*SHORT)
    admin.port = stopped.port
    again = await_state(admin, job["id"], "pending")
    assert again["reason"] == "worker node1 was lost"


def test_a_stopped_server_exits_0_in_time_with_long_polls_open(live, in_background):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    job = admin.submit()
    worker.ask()
    idle = live.api()
    idle.get("/healthz")  # an open connection without a request
    asking = in_background(lambda: worker.ask(wait_s=30).status)
    watching = in_background(lambda: admin.get(f"/v1/jobs/{job['id']}?seen=2&wait=30").body["state"])
    time.sleep(0.2)  # nothing tells from outside that both wait; earlier would only make the test easier
    began = time.monotonic()
    live.process.terminate()
    assert live.process.wait(10) == 0
    assert time.monotonic() - began < 2
    assert asking() == 204
    assert watching() == "running"


def test_a_lost_workers_job_runs_on_another_one_and_its_late_result_changes_nothing(stopped):
    stopped.start(*SHORT)
    admin, first, second = stopped.admin(), stopped.worker("first"), stopped.worker("second")
    admin.register_app()
    job = admin.submit()
    old = first.ask().body
    second.ask()  # announces that there is another that fits
    lease = ask_again(second)
    assert (lease["job_id"], lease["attempt"]) == (job["id"], 2)

    late = first.deliver(old, stdout=b"late")
    assert (late.status, late.code) == (409, "conflict")
    mine = {"job_id": job["id"], "attempt": 1}
    assert first.post("/v1/worker/heartbeat", {"running": [mine]}).body["stop"] == [mine]
    assert admin.get(f"/v1/jobs/{job['id']}").body["state"] == "running"
    assert second.deliver(lease, stdout=b"good").status == 200
    assert await_state(admin, job["id"], "completed")["worker"] == "second"


def test_no_job_is_lent_into_a_cut_line(stopped):
    """A worker's open request outlives it when its network is cut: silent for longer than a lease, it gets nothing."""
    stopped.start(*SHORT)
    admin, cut, there = stopped.admin(), stopped.worker("cut"), stopped.worker("there")
    admin.register_app()
    with ThreadPoolExecutor(1) as pool:
        parked = pool.submit(cut.ask, wait_s=10)
        await_worker(admin, "cut", "lost")
        job = admin.submit()
        lease = ask_again(there)
        assert (lease["job_id"], lease["attempt"]) == (job["id"], 1)
        assert parked.result().status == 204


def await_worker(api, name: str, state: str) -> None:
    deadline = time.monotonic() + 10
    while {worker["name"]: worker["state"] for worker in api.get("/v1/workers").body}.get(name) != state:
        assert time.monotonic() < deadline


def test_a_heartbeat_keeps_a_job_longer_than_its_lease(stopped):
    stopped.start(*SHORT)
    admin, worker = stopped.admin(), stopped.worker()
    admin.register_app()
    job = admin.submit()
    lease = worker.ask().body
    assert lease["heartbeat_s"] == 0.6 / 3
    until = time.monotonic() + 1.8  # three leases
    while time.monotonic() < until:
        beat = worker.post("/v1/worker/heartbeat", {"running": [{"job_id": job["id"], "attempt": 1}]})
        assert "stop" not in beat.body
        time.sleep(beat.body["heartbeat_s"])
    assert worker.deliver(lease).status == 200


def test_a_job_that_loses_every_worker_fails_after_the_limit(stopped):
    stopped.start(*SHORT, "--lost-limit", "2")
    admin, worker = stopped.admin(), stopped.worker()
    admin.register_app()
    job = admin.submit()
    assert worker.ask().body["attempt"] == 1
    assert ask_again(worker)["attempt"] == 2
    failed = await_state(admin, job["id"], "failed")
    assert failed["reason"] == "lost 2 times, last with worker node1 was lost"


def test_a_result_delivered_twice_is_fine_and_a_different_one_is_not(live):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    job = admin.submit()
    lease = worker.ask().body
    delivery = worker.result(lease)
    assert worker.post("/v1/worker/result", delivery).status == 200
    revision = admin.get(f"/v1/jobs/{job['id']}").body["revision"]
    assert worker.post("/v1/worker/result", delivery).status == 200
    assert admin.get(f"/v1/jobs/{job['id']}").body["revision"] == revision
    assert worker.deliver(lease, stdout=b"another").status == 409


def test_another_worker_cannot_deliver_for_the_one_that_has_the_lease(live):
    admin, worker, thief = live.admin(), live.worker(), live.worker("thief")
    admin.register_app()
    admin.submit()
    lease = worker.ask().body
    assert thief.deliver(lease).status == 409
    assert worker.deliver(lease).status == 200


def test_a_client_that_hangs_up_while_it_waits_takes_no_job_with_it(live):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    connection = worker.connection()
    connection.connect()
    head = f"POST /v1/worker/request HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {worker.token}\r\n"
    body = b'{"wait_s": 30, "machine": {"os": "linux", "arch": "x", "cpu_count": 1, "cpu_model": "", "ram_bytes": 1,'
    body += b' "disk_free_bytes": 1, "version": ""}}'
    connection.sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    time.sleep(0.2)  # so that it waits; earlier would only make the test easier
    raw = connection.sock.detach()
    socket.socket(fileno=raw).close()
    worker._connection = None
    time.sleep(0.2)
    job = admin.submit()
    time.sleep(0.1)
    assert admin.get(f"/v1/jobs/{job['id']}").body["state"] == "pending"
    assert worker.ask().body["attempt"] == 1


def test_the_certificate_is_issued_anew_for_another_name_by_the_same_authority(stopped):
    stopped.start()
    authority = (stopped.state / "ca.pem").read_bytes()
    first = (stopped.state / "server.pem").read_bytes()
    stopped.stop()
    stopped.start()
    assert (stopped.state / "server.pem").read_bytes() == first
    stopped.stop()
    stopped.start("--name", "grid.example.org")
    assert (stopped.state / "ca.pem").read_bytes() == authority
    assert (stopped.state / "server.pem").read_bytes() != first
    assert stopped.api().get("/healthz").status == 200


def test_the_database_is_durable_and_sound_after_a_kill(live):
    admin = live.admin()
    admin.register_app()
    ids = {admin.submit()["id"] for _ in range(20)}
    live.kill()
    database = sqlite3.connect(live.state / "xwhep.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {row[0] for row in database.execute("SELECT id FROM jobs")} == ids
    database.close()
