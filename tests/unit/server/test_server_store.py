"""The conformance suite of the store, jobs: whatever implements protocol.Store passes it."""

from __future__ import annotations

import asyncio

import pytest

from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import AppSpec, DatumSpec, JobResult, JobSpec, JobState, ResultFile
from xwhep.server.store.records import Attempt, Change, Delivery, Inputs, LossRule, NewJob

HASH = {letter: letter * 64 for letter in "abcdef"}


def result(code: int = 0, stdout: str = "b", reason: str = "") -> JobResult:
    out = ResultFile(path="stdout", sha256=HASH[stdout], size=1)
    return JobResult(
        exit_code=code, stdout=out, stderr=ResultFile(path="stderr", sha256=HASH["c"], size=0), reason=reason
    )


def test_a_job_is_submitted_leased_and_finished(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit(args=["-v"], label="first")
            lease = await k.lease()
            assert (lease.id, lease.attempt, lease.spec.args, lease.until) == (job_id, 1, ["-v"], 1015.0)
            attempt = Attempt(job_id=job_id, number=1, worker_id="w1")
            job = await k.store.jobs.finish(Delivery(attempt=attempt, result=result()))
            assert (job.state, job.revision, job.result, job.worker) == ("completed", 3, result(), "w1")
            assert await k.lease() is None

    run(scenario)


def test_everything_is_there_after_opening_again(kit, run):
    async def scenario():
        async with kit() as k:
            done, waiting = await k.submit(), await k.submit()
            await k.store.jobs.finish(Delivery(attempt=await k.leased(), result=result()))
            await k.store.assets.add_datum("ann", DatumSpec(name="d", sha256=HASH["d"], size=4))
            await k.store.people.add_session("hash", "ann", 9999.0)
        async with kit() as k:
            assert (await k.state(done), await k.state(waiting)) == ("completed", "pending")
            assert (await k.store.assets.datum("ann", "d")).size == 4
            assert (await k.store.people.session("hash")).login == "ann"
            assert (await k.store.people.worker_name("t2")) == ("w2", "node2")
            assert [user.login for user in await k.store.people.users()] == ["ann", "bob"]

    run(scenario)


def test_jobs_are_leased_in_the_order_of_submission_each_once(kit, run):
    async def scenario():
        async with kit() as k:
            ids = [await k.submit() for _ in range(20)]
            leases = await asyncio.gather(*(k.lease(f"w{1 + number % 2}") for number in range(25)))
            got = [lease.id for lease in leases if lease is not None]
            assert sorted(got) == sorted(ids)
            assert len(set(got)) == 20

    run(scenario)


def test_only_jobs_of_the_wished_apps_are_leased_oldest_of_all_first(kit, run):
    async def scenario():
        async with kit() as k:
            other = await k.store.assets.save_app("ann", AppSpec(name="other", shared="python3"))
            spec = JobSpec(app="other")
            second = await k.store.jobs.submit(NewJob(owner="ann", app_id=other.id, spec=spec, inputs=Inputs()))
            first = await k.submit()
            assert (await k.lease(apps=(k.app_id,))).id == first
            assert await k.lease(apps=("nothing",)) is None
            third = await k.submit()
            assert (await k.lease(apps=(k.app_id, other.id))).id == second.id
            assert (await k.lease(apps=(k.app_id, other.id))).id == third

    run(scenario)


STALE = [
    pytest.param(Attempt(job_id="?", number=2, worker_id="w1"), id="attempt"),
    pytest.param(Attempt(job_id="?", number=1, worker_id="w2"), id="worker"),
    pytest.param(Attempt(job_id="gone", number=1, worker_id="w1"), id="job"),
]


@pytest.mark.parametrize("stale", STALE)
def test_a_stale_attempt_changes_nothing(kit, run, stale):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit()
            await k.lease()
            attempt = Attempt(job_id=stale.job_id.replace("?", job_id), number=stale.number, worker_id=stale.worker_id)
            before = await k.store.jobs.job(job_id)
            with pytest.raises(Conflict):
                await k.store.jobs.finish(Delivery(attempt=attempt, result=result()))
            assert await k.store.jobs.renew([attempt], 99999.0) == [attempt]
            assert await k.store.people.worker_left(attempt.worker_id, [attempt]) == []
            assert await k.store.jobs.job(job_id) == before

    run(scenario)


def test_the_same_result_again_is_fine_another_is_not(kit, run):
    async def scenario():
        async with kit() as k:
            await k.submit()
            attempt = await k.leased()
            first = await k.store.jobs.finish(Delivery(attempt=attempt, result=result()))
            assert await k.store.jobs.finish(Delivery(attempt=attempt, result=result())) == first
            with pytest.raises(Conflict):
                await k.store.jobs.finish(Delivery(attempt=attempt, result=result(stdout="d")))

    run(scenario)


@pytest.mark.parametrize(
    ("given", "reason"),
    [(result(code=2), "exit code 2"), (result(reason="too long"), "too long")],
    ids=["code", "reason"],
)
def test_a_bad_result_fails_the_job(kit, run, given, reason):
    async def scenario():
        async with kit() as k:
            await k.submit()
            job = await k.store.jobs.finish(Delivery(attempt=await k.leased(), result=given))
            assert (job.state, job.reason) == ("failed", reason)

    run(scenario)


def test_a_renewed_lease_does_not_expire_and_never_gets_shorter(kit, run):
    async def scenario():
        async with kit() as k:
            await k.submit()
            attempt = await k.leased()
            assert await k.store.jobs.renew([attempt], 1030.0) == []
            assert await k.store.jobs.renew([attempt], 1001.0) == []
            k.clock.now = 1029.0
            assert await k.store.jobs.expired(10) == []
            k.clock.now = 1030.0
            assert [expired.attempt for expired in await k.store.jobs.expired(10)] == [attempt]

    run(scenario)


def test_a_lost_job_comes_back_and_avoids_its_worker_for_a_while(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit()
            await k.lease("w1")
            job = await k.store.jobs.lose(await k.expire(), LossRule(limit=3, avoid_until=k.clock.now + 10))
            assert (job.state, job.reason, job.revision) == ("pending", "worker w1 was lost", 4)
            assert k.changes[-1] == Change(job_id=job_id, pending_app_id=k.app_id, avoid_worker="w1")
            assert await k.lease("w1") is None
            k.clock.now += 10
            assert (await k.lease("w1")).attempt == 2

    run(scenario)


def test_another_worker_takes_a_lost_job_at_once(kit, run):
    async def scenario():
        async with kit() as k:
            await k.submit()
            await k.lease("w1")
            await k.store.jobs.lose(await k.expire(), LossRule(limit=3, avoid_until=k.clock.now + 10))
            assert (await k.lease("w2")).attempt == 2

    run(scenario)


def test_a_job_fails_when_it_lost_too_many_workers(kit, run):
    async def scenario():
        async with kit() as k:
            await k.submit()
            for loss in (1, 2):
                await k.lease()
                job = await k.store.jobs.lose(await k.expire(), LossRule(limit=2, avoid_until=0))
                assert job.state == ("pending" if loss == 1 else "failed")
            assert job.reason == "lost 2 times, last with worker w1 was lost"

    run(scenario)


def test_a_lease_renewed_meanwhile_is_not_lost(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit()
            attempt = await k.leased()
            expired = await k.expire()
            await k.store.jobs.renew([attempt], k.clock.now + 15)
            assert await k.store.jobs.lose(expired, LossRule(limit=3, avoid_until=0)) is None
            assert await k.state(job_id) == "running"

    run(scenario)


def test_a_job_handed_back_is_pending_and_no_loss(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit()
            for _ in range(3):
                attempt = await k.leased()
                assert await k.store.people.worker_left("w1", [attempt]) == [attempt]
                assert await k.state(job_id) == "pending"
            await k.lease()
            job = await k.store.jobs.lose(await k.expire(), LossRule(limit=2, avoid_until=0))
            assert job.state == "pending"

    run(scenario)


def test_leases_are_extended_only_where_they_are_shorter(kit, run):
    async def scenario():
        async with kit() as k:
            await k.submit()
            await k.submit()
            await k.leased()
            long = await k.leased()
            await k.store.jobs.renew([long], 5000.0)
            assert await k.store.jobs.extend_leases(2000.0) == 1
            k.clock.now = 2000.0
            assert len(await k.store.jobs.expired(10)) == 1

    run(scenario)


def test_cancel_and_delete_follow_the_states(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit()
            attempt = await k.leased()
            with pytest.raises(Conflict):
                await k.store.jobs.delete(job_id)
            first = await k.store.jobs.cancel(job_id)
            assert first.state == "cancelled"
            assert await k.store.jobs.cancel(job_id) == first
            assert await k.store.jobs.renew([attempt], 9999.0) == [attempt]
            await k.store.jobs.delete(job_id)
            assert await k.store.jobs.job(job_id) is None
            for missing in (k.store.jobs.delete, k.store.jobs.cancel):
                with pytest.raises(NotFound):
                    await missing(job_id)

    run(scenario)


def test_jobs_are_listed_by_owner_state_and_limit(kit, run):
    async def scenario():
        async with kit() as k:
            ann, bob, last = await k.submit(), await k.submit("bob"), await k.submit()
            await k.lease()
            listed = k.store.jobs.jobs
            assert [job.id for job in await listed("", None, 9)] == [last, bob, ann]
            assert [job.id for job in await listed("ann", None, 9)] == [last, ann]
            assert [job.id for job in await listed("ann", JobState.RUNNING, 9)] == [ann]
            assert [job.id for job in await listed("", None, 1)] == [last]

    run(scenario)


def test_changes_are_told_after_the_commit_and_not_for_refused_writes(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit()
            assert k.changes == [Change(job_id=job_id, pending_app_id=k.app_id)]
            attempt = await k.leased()
            with pytest.raises(Conflict):
                await k.store.jobs.delete(job_id)
            await k.store.jobs.finish(Delivery(attempt=attempt, result=result()))
            assert k.changes[1:] == [Change(job_id=job_id), Change(job_id=job_id)]
            assert await k.store.jobs.app_waits(k.app_id) is False

    run(scenario)
