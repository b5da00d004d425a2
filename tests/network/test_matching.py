"""A job goes where what it needs is; while nobody has it, it waits, and the grid says why."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
from grid import HandMadeWorker, Job, join_token

SAMPLES = 21
ONE_WORKER = {
    "label": ({"labels": ["gpu"]}, "anna"),
    "several labels": ({"labels": ["site=lab7", "gpu"]}, "anna"),
    "worker by name": ({"worker": "ben"}, "ben"),
}
NOBODY = {
    "cpu_count": {"cpu_count": 4096},
    "ram_bytes": {"ram_bytes": 2**50},
    "disk_bytes": {"disk_bytes": 2**55},
    "os": {"os": "plan9"},
    "arch": {"arch": "vax"},
    "shared": {"shared": ["an-asset-of-nobody"]},
    "worker_group": {"worker_group": "a-group-of-nobody"},
    "worker": {"worker": "carl"},
}


def finished(grid: Any, needs: dict[str, Any], count: int) -> list[Job]:
    jobs = [grid.admin.submit("say", str(number), needs=needs) for number in range(count)]
    return [grid.admin.completed(job) for job in jobs]


@pytest.mark.parametrize(("needs", "name"), ONE_WORKER.values(), ids=ONE_WORKER)
def test_jobs_run_where_what_they_need_is(fleet: Any, needs: dict[str, Any], name: str) -> None:
    assert [job["worker"] for job in finished(fleet, needs, 4)] == [name] * 4


@pytest.mark.needs("proc")  # held jobs are let go by it
def test_a_need_that_all_have_keeps_nobody_away(fleet: Any) -> None:
    machine = fleet.view("anna")["machine"]
    needs = {key: machine[key] for key in ("os", "arch", "cpu_count")} | {"ram_bytes": machine["ram_bytes"] // 2}
    marks = [f"fits-{number}" for number in range(4)]
    jobs = [fleet.admin.running(fleet.admin.submit("held", mark, needs=needs)) for mark in marks]
    assert sorted(job["worker"] for job in jobs) == ["anna", "anna", "ben", "ben"]
    for job, mark in zip(jobs, marks, strict=True):
        fleet.workers[job["worker"]].job_is("release", mark)
        fleet.admin.completed(job)


@pytest.mark.parametrize("need", NOBODY)
def test_a_job_that_nobody_can_run_waits_and_says_why(fleet: Any, need: str) -> None:
    job = fleet.admin.submit("say", "never", needs=NOBODY[need])
    told = fleet.admin.get(f"/v1/jobs/{job['id']}/explain")
    assert told["state"] == "pending"
    assert (told["workers"], told.get("fitting", 0)) == (2, 0)
    assert [(failing["need"], failing["workers"]) for failing in told["failing"]] == [(need, 2)]
    assert told["text"].startswith("no worker fits; 2 workers are there: 2 ")
    assert fleet.admin.post(f"/v1/jobs/{job['id']}/cancel")["state"] == "cancelled"


def test_a_worker_that_comes_later_gets_the_job_that_waited_for_it(fleet: Any) -> None:
    job = fleet.admin.submit("say", "7", needs={"labels": ["telescope"]})
    assert fleet.admin.get(f"/v1/jobs/{job['id']}")["state"] == "pending"
    late = HandMadeWorker.enrol(fleet, "late", join_token(fleet), labels=["telescope"])
    lease = late.take()
    assert lease["job_id"] == job["id"]
    late.deliver(lease, "number 7\n")
    job = fleet.admin.completed(job)
    assert job["worker"] == "late"
    assert fleet.admin.stdout(job) == "number 7\n"
    late.leave()


def test_from_submission_to_the_programs_first_line(lab: Any, fleet: Any) -> None:
    """On idle workers, program and sandbox included; the containers share this machine's clock."""
    fleet.admin.add_app("clock", "#!/bin/bash\necho $EPOCHREALTIME\n")
    taken = []
    for _ in range(SAMPLES):
        submitted = time.time()
        job = fleet.admin.completed(fleet.admin.submit("clock"))
        taken.append(1000 * (float(fleet.admin.stdout(job)) - submitted))
    lab.timings["submit_start_p50_ms"] = round(statistics.median(taken), 1)
    assert 0 < lab.timings["submit_start_p50_ms"] < 1000
