"""What goes wrong with workers and jobs: a worker is killed, one leaves, a job is cancelled.

Leases of the fleet are short (conftest.LEASE_S). Every program here runs until it is let go, so that what dies, dies
while it runs.
"""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.needs("proc")  # held jobs are found and let go by it

LOST_LIMIT_S = 10.0  # the lease, the server's next look at leases, and a machine that is busy with other things


@pytest.fixture(autouse=True)
def whole(fleet: Any) -> None:
    """Before a test, not after one: nobody waits for workers that no further test needs."""
    fleet.complete()


def test_a_cancel_reaches_the_running_process(lab: Any, fleet: Any) -> None:
    job = fleet.admin.running(fleet.admin.submit("held", "unwanted"))
    worker, _ = fleet.pair(job)
    worker.job_is("seen", "unwanted")
    with lab.timed("cancel_s"):
        assert fleet.admin.post(f"/v1/jobs/{job['id']}/cancel")["state"] == "cancelled"
        worker.job_is("gone", "unwanted")
    again = fleet.admin.completed(fleet.admin.submit("say", "1", needs={"worker": worker.name}))
    assert again["worker"] == worker.name
    assert fleet.admin.get(f"/v1/jobs/{job['id']}")["state"] == "cancelled"


def test_a_killed_workers_job_runs_elsewhere(lab: Any, fleet: Any) -> None:
    job = fleet.admin.running(fleet.admin.submit("held", "lost"))
    first, other = fleet.pair(job)
    first.job_is("seen", "lost")
    first.box.raw.kill("SIGKILL")
    with lab.timed("lost_worker_s"):
        job = fleet.admin.running(job, attempt=2)
    assert lab.timings["lost_worker_s"] < LOST_LIMIT_S
    assert job["worker"] == other.name
    other.job_is("release", "lost")
    job = fleet.admin.completed(job)
    assert job["attempt"] == 2
    assert fleet.admin.stdout(job) == "released lost\n"


def test_a_worker_that_stops_in_good_order_hands_its_job_back_at_once(lab: Any, fleet: Any) -> None:
    job = fleet.admin.running(fleet.admin.submit("held", "returned"))
    first, other = fleet.pair(job)
    first.job_is("seen", "returned")
    with lab.timed("handed_back_s"):
        first.box.raw.stop(timeout=10)
        job = fleet.admin.running(job, attempt=2)
    assert f"job handed back job={job['id']} attempt=1 worker={first.name}\n" in fleet.server.logs()
    assert job["worker"] == other.name
    other.job_is("release", "returned")
    assert fleet.admin.completed(job)["worker"] == other.name
