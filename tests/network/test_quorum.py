"""Three workers run a job independently; one of them lies."""

from __future__ import annotations

from typing import Any

import pytest
from grid import HandMadeWorker, join_token

LIE = "released truth, and nothing but the truth\n"


@pytest.mark.needs("proc")  # held jobs are let go by it
def test_a_lying_worker_is_outvoted_and_marked(fleet: Any) -> None:
    liar = HandMadeWorker.enrol(fleet, "liar", join_token(fleet))
    job = fleet.admin.submit("held", "truth", replicas=3, quorum=2)
    honest = list(fleet.workers.values())
    for worker in honest:
        worker.job_is("seen", "truth")
    lease = liar.take()
    assert lease, "the third replica is for a third worker"
    liar.deliver(lease, LIE)
    assert fleet.admin.get(f"/v1/jobs/{job['id']}")["state"] == "running"
    for worker in honest:
        worker.job_is("release", "truth")
    job = fleet.admin.completed(job)
    assert fleet.admin.stdout(job) == "released truth\n"
    assert {run["worker"]: run["agreed"] for run in job["runs"]} == {"anna": True, "ben": True, "liar": False}
    assert {name: fleet.view(name).get("outvoted", 0) for name in ("anna", "ben", "liar")} == {
        "anna": 0,
        "ben": 0,
        "liar": 1,
    }
    liar.leave()


def test_one_worker_runs_only_one_replica(fleet: Any) -> None:
    """Two workers are there, so the third replica waits; with two equal results it is no longer needed."""
    job = fleet.admin.submit("say", "11", replicas=3, quorum=2)
    job = fleet.admin.completed(job)
    runs = [run for run in job["runs"] if run["state"] == "completed"]
    assert sorted(run["worker"] for run in runs) == ["anna", "ben"]
    assert fleet.admin.stdout(job) == "number 11\n"
