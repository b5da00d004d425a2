"""The server or the network is away for a while: no job is lost, and none is run again without need."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.endurance, pytest.mark.needs("network", "proc")]


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_jobs_outlive_the_server(lab: Any, fleet: Any, signal: str) -> None:
    """One job runs through the server's absence; another ends in it, and its result waits in the worker's spool."""
    marks = [f"{name}-{signal}" for name in ("kept", "spooled")]
    kept, spooled = [fleet.admin.running(fleet.admin.submit("held", mark)) for mark in marks]
    fleet.pair(kept)[0].job_is("seen", marks[0])
    fleet.server.raw.kill(signal)
    fleet.server.raw.wait()
    fleet.pair(spooled)[0].job_is("release", marks[1])
    fleet.pair(spooled)[0].job_is("gone", marks[1])
    fleet.server.start_again()
    fleet.wait_for_server()
    with lab.timed(f"delivered_after_{signal.lower()}_s"):
        spooled = fleet.admin.completed(spooled)
    fleet.pair(kept)[0].job_is("release", marks[0])
    kept = fleet.admin.completed(kept)
    for job, mark in ((kept, marks[0]), (spooled, marks[1])):
        assert job["attempt"] == 1, "it was run again"
        assert fleet.admin.stdout(job) == f"released {mark}\n"


def test_a_worker_whose_network_was_cut_comes_back(lab: Any, fleet: Any) -> None:
    """Meanwhile its job runs elsewhere; what it holds itself is stale, and it stops that when it hears so."""
    for name in fleet.workers:
        fleet.admin.completed(fleet.admin.submit("say", "0", needs={"worker": name}))
    job = fleet.admin.running(fleet.admin.submit("held", "cut"))
    alone, other = fleet.pair(job)
    alone.job_is("seen", "cut")
    fleet.network.disconnect(alone.box.raw)
    # The server may lend it once more to the worker that is cut off, whose request for work still seems to stand.
    job = fleet.admin.when(job, lambda now: now["state"] == "running" and now["worker"] == other.name)
    attempt = job["attempt"]
    alone.job_is("seen", "cut")
    fleet.network.connect(alone.box.raw)
    with lab.timed("healed_s"):
        alone.job_is("gone", "cut")
        useful = fleet.admin.completed(fleet.admin.submit("say", "2", needs={"worker": alone.name}))
    assert useful["worker"] == alone.name
    other.job_is("release", "cut")
    job = fleet.admin.completed(job)
    assert (job["attempt"], job["worker"]) == (attempt, other.name)
