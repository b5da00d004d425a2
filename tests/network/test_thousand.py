"""A thousand jobs in one request, a worker and the server killed meanwhile: a thousand right results."""

from __future__ import annotations

from typing import Any

import pytest
from grid import FINAL, sha256_of

pytestmark = pytest.mark.endurance
JOBS = 1000
LIMIT_S = 300.0
OPEN = ("waiting", "pending", "running", "lost")


def wait_for_all(fleet: Any, group: str) -> None:
    """One long poll after another, each for a job that has not ended."""
    while left := [job for state in OPEN for job in fleet.admin.get(f"/v1/jobs?group={group}&state={state}&limit=1")]:
        fleet.admin.when(left[0], lambda job: job["state"] in FINAL, LIMIT_S)


def test_no_result_of_a_thousand_jobs_is_lost(lab: Any, fleet: Any) -> None:
    jobs = [{"app": "say", "args": [str(number)], "group": "thousand"} for number in range(JOBS)]
    ben = fleet.workers["ben"]
    with lab.timed("jobs1000_s"):
        ids = fleet.admin.post("/v1/jobs/bulk", jobs=jobs)["ids"]
        fleet.admin.when({"id": ids[JOBS // 4]}, lambda job: job["state"] in FINAL, LIMIT_S)
        ben.box.raw.kill("SIGKILL")
        fleet.admin.when({"id": ids[JOBS // 2]}, lambda job: job["state"] in FINAL, LIMIT_S)
        fleet.server.raw.kill("SIGKILL")
        fleet.server.raw.wait()
        fleet.server.start_again()
        fleet.wait_for_server()
        ben.box.start_again()
        wait_for_all(fleet, "thousand")
    found = {job["id"]: job for job in fleet.admin.get(f"/v1/jobs?group=thousand&limit={JOBS}")}
    assert sorted(found) == sorted(ids)
    texts = [f"number {number}\n" for number in range(JOBS)]
    assert [found[one]["result"]["stdout"]["sha256"] for one in ids] == [sha256_of(text) for text in texts]
    assert fleet.admin.get_all([f"/v1/blobs/{sha256_of(text)}" for text in texts]) == texts
