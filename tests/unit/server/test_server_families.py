"""Jobs that depend on each other: after one another, in groups, and as replicas of one job."""

from __future__ import annotations

import pytest

from server_kit import HASH, Kit, opened_kit, result
from xwhep.common.errors import Conflict, InvalidRequest, NotFound
from xwhep.common.wire import FINAL_STATES, Job, JobSpec, LeasedDatum
from xwhep.server.store.records import Inputs, JobFilter, LossRule, NewJob
from xwhep.server.store.sqlite_endings import digest_of


@pytest.fixture
def scenario(fast_folder, run):
    """Run a coroutine function that takes a kit with five workers."""

    def start(function):
        async def main():
            async with opened_kit(fast_folder, 5) as kit:
                await function(kit)

        run(main)

    return start


def test_a_job_runs_after_all_that_it_comes_after(scenario):
    async def check(k: Kit):
        first, second = await k.submit(), await k.submit()
        last = await k.submit(after=[first, second, first])
        waiting = await k.job(last)
        assert (waiting.state, waiting.waits) == ("waiting", "for 2 jobs that must be completed first")
        await k.finish(await k.leased())
        assert (await k.job(last)).waits == "for 1 job that must be completed first"
        running = await k.leased()
        assert await k.lease() is None
        await k.finish(running)
        assert (await k.lease()).id == last

    scenario(check)


def test_a_whole_chain_fails_with_its_first(scenario):
    async def check(k: Kit):
        ids = [await k.submit()]
        for _ in range(50):
            ids.append(await k.submit(after=[ids[-1]]))
        await k.finish(await k.leased(), result(code=3))
        assert {await k.state(job_id) for job_id in ids} == {"failed"}
        assert (await k.job(ids[1])).reason == f"the job {ids[0]}, which it comes after, is failed"

    scenario(check)


def test_one_that_comes_after_two_of_those_that_fail_fails_once(scenario):
    async def check(k: Kit):
        first = await k.submit()
        second = await k.submit(after=[first])
        last = await k.submit(after=[first, second])
        await k.store.jobs.cancel(first)
        assert [await k.state(job_id) for job_id in (second, last)] == ["failed", "failed"]

    scenario(check)


def test_a_cancelled_job_takes_those_after_it_along(scenario):
    async def check(k: Kit):
        first = await k.submit()
        second = await k.submit(after=[first])
        await k.store.jobs.cancel(first)
        assert (await k.job(second)).reason == f"the job {first}, which it comes after, is cancelled"

    scenario(check)


def test_what_is_completed_already_is_not_waited_for_and_what_failed_is_refused(scenario):
    async def check(k: Kit):
        done, bad = await k.submit(), await k.submit()
        await k.finish(await k.leased())
        await k.finish(await k.leased(), result(code=1))
        assert await k.state(await k.submit(after=[done])) == "pending"
        with pytest.raises(InvalidRequest):
            await k.submit(after=[bad])
        with pytest.raises(NotFound):
            await k.submit(after=["nothing"])
        bobs = await k.submit("bob")
        with pytest.raises(NotFound):
            await k.submit(after=[bobs])

    scenario(check)


def new(k: Kit, **spec: object) -> NewJob:
    return NewJob(owner="ann", app_id=k.app_id, spec=JobSpec(app="tool", **spec), inputs=Inputs())


def test_a_batch_is_all_or_nothing_and_its_jobs_may_name_each_other(scenario):
    async def check(k: Kit):
        first, second = await k.store.jobs.submit_many([new(k), new(k, after=["#0"])])
        assert [await k.state(first), await k.state(second)] == ["pending", "waiting"]
        for wrong in (["#1"], ["#x"], ["#-1"], ["#99999999999"], ["unknown"]):
            with pytest.raises((InvalidRequest, NotFound)):
                await k.store.jobs.submit_many([new(k), new(k, after=wrong)])
        assert [job.id for job in await k.store.jobs.jobs(JobFilter())] == [second, first]
        k.changes.clear()
        many = await k.store.jobs.submit_many([new(k) for _ in range(300)])
        assert [change.count for change in k.changes] == [300]
        assert [job.id for job in reversed(await k.store.jobs.jobs(JobFilter(limit=300)))] == many

    scenario(check)


def test_a_long_batch_that_is_refused_leaves_nothing_and_the_store_works_on(scenario):
    async def check(k: Kit):
        with pytest.raises(NotFound):
            await k.store.jobs.submit_many([*[new(k) for _ in range(200)], new(k, after=["unknown"])])
        assert await k.store.jobs.jobs(JobFilter()) == []
        assert await k.state(await k.submit()) == "pending"

    scenario(check)


def test_jobs_are_listed_and_cancelled_by_what_they_share(scenario):
    async def check(k: Kit):
        red, blue = await k.submit(group="red", session="s", label="x"), await k.submit(group="blue", session="s")
        bobs, done = await k.submit("bob", group="red"), await k.submit(group="red", priority=1)
        await k.finish(await k.leased())

        async def listed(**wanted: str) -> set[str]:
            return {job.id for job in await k.store.jobs.jobs(JobFilter(owner="ann", **wanted))}

        assert await listed(group="red") == {red, done}
        assert await listed(session="s") == {red, blue}
        assert await listed(label="x") == {red}
        assert await k.store.jobs.open_ids(JobFilter(owner="ann", group="red")) == [red]
        assert await k.store.jobs.open_ids(JobFilter(group="red")) == [red, bobs]
        assert await k.store.jobs.open_ids(JobFilter(owner="ann", session="s")) == [red, blue]
        assert await k.store.jobs.open_ids(JobFilter(owner="ann")) == []
        assert await k.store.jobs.cancel_many([red, done, "unknown"]) == [red]
        assert [await k.state(job_id) for job_id in (red, blue, bobs, done)] == [
            "cancelled",
            "pending",
            "pending",
            "completed",
        ]

    scenario(check)


# Replicas.


def runs(job: Job) -> list[tuple[str, str, bool | None]]:
    return [(run.worker, run.state, run.agreed) for run in job.runs]


def test_a_liar_is_outvoted_and_marked(scenario):
    async def check(k: Kit):
        job_id = await k.submit(replicas=3, quorum=2)
        attempts = [await k.leased(worker) for worker in ("w1", "w2", "w3")]
        assert (await k.job(job_id)).state == "running"
        await k.finish(attempts[0], result(stdout="d"))
        await k.finish(attempts[1])
        assert (await k.job(job_id)).result is None
        await k.finish(attempts[2])
        job = await k.job(job_id)
        assert (job.state, job.result, job.worker) == ("completed", result(), "w2")
        assert runs(job) == [("w1", "completed", False), ("w2", "completed", True), ("w3", "completed", True)]
        assert {record.id: record.outvoted for record in await k.store.people.workers()}["w1"] == 1
        assert await k.store.assets.user_names_blob(HASH["b"], "ann")

    scenario(check)


def test_replicas_go_to_different_workers_and_users_and_are_no_jobs_of_their_own(scenario):
    async def check(k: Kit):
        job_id = await k.submit(replicas=3)
        replica = await k.lease("w1", user="eve")
        assert await k.lease("w1", user="eve") is None
        assert await k.lease("w2", user="eve") is None
        assert await k.lease("w3", user="bob")
        assert await k.lease("w4")
        assert [job.id for job in await k.store.jobs.jobs(JobFilter())] == [job_id]
        assert await k.store.jobs.job(replica.id) is None
        for act in (k.store.jobs.cancel, k.store.jobs.delete):
            with pytest.raises(NotFound):
                await act(replica.id)

    scenario(check)


def test_a_quorum_stops_the_replicas_that_still_run(scenario):
    async def check(k: Kit):
        job_id = await k.submit(replicas=3)
        attempts = [await k.leased(worker) for worker in ("w1", "w2", "w3")]
        await k.finish(attempts[0])
        await k.finish(attempts[1])
        assert await k.state(job_id) == "completed"
        assert await k.store.jobs.renew([attempts[2]], 9999.0) == [attempts[2]]
        with pytest.raises(Conflict):
            await k.finish(attempts[2])

    scenario(check)


def test_without_a_quorum_others_are_asked_and_at_last_it_fails(scenario):
    async def check(k: Kit):
        job_id = await k.submit(replicas=2)
        for number, worker in enumerate(("w1", "w2", "w3", "w4")):
            assert await k.state(job_id) in ("pending", "running")
            await k.finish(await k.leased(worker), result(stdout="abcdef"[number]))
            assert await k.lease(worker) is None  # none of them gets it again
        job = await k.job(job_id)
        assert (job.state, job.reason) == ("failed", "no 2 of its 4 replicas agree: 4 different results")

    scenario(check)


def test_replicas_agree_on_a_failure_too(scenario):
    async def check(k: Kit):
        job_id = await k.submit(replicas=2)
        for worker in ("w1", "w2"):
            await k.finish(await k.leased(worker), result(code=4))
        job = await k.job(job_id)
        assert (job.state, job.reason, job.result.exit_code) == ("failed", "exit code 4", 4)

    scenario(check)


def test_a_lost_replica_runs_elsewhere_and_one_lost_for_good_is_replaced(scenario):
    async def check(k: Kit):
        job_id = await k.submit(replicas=2, max_attempts=1)
        await k.finish(await k.leased("w1"))
        await k.lease("w2")
        await k.store.jobs.lose(await k.expire(), LossRule())
        assert await k.state(job_id) == "running"
        assert await k.lease("w1") is None
        await k.finish(await k.leased("w3"))
        assert runs(await k.job(job_id)) == [
            ("w1", "completed", True),
            ("w2", "failed", None),
            ("w3", "completed", True),
        ]

    scenario(check)


def test_replicas_start_when_what_they_come_after_is_completed(scenario):
    async def check(k: Kit):
        first = await k.submit()
        job_id = await k.submit(replicas=2, after=[first])
        assert runs(await k.job(job_id)) == []
        await k.finish(await k.leased())
        for worker in ("w1", "w2"):
            await k.finish(await k.leased(worker))
        assert await k.state(job_id) == "completed"

    scenario(check)


def test_cancel_delete_and_deadline_reach_the_replicas(scenario):
    async def check(k: Kit):
        cancelled, late = await k.submit(replicas=2), await k.submit(replicas=2, deadline_at=1001.0)
        attempt = await k.leased("w1")
        await k.store.jobs.cancel(cancelled)
        assert await k.store.jobs.renew([attempt], 9999.0) == [attempt]
        k.clock.now = 1002.0
        await k.store.jobs.time_passes(LossRule())
        assert await k.state(late) == "failed"
        assert await k.lease("w2") is None
        for job_id in (cancelled, late):
            await k.store.jobs.delete(job_id)
        assert k.store._database.read(lambda tx: tx.all("job_family", family=cancelled)) == []

    scenario(check)


def test_a_worker_reads_the_input_of_the_replica_it_runs(scenario):
    async def check(k: Kit):
        stdin = LeasedDatum(name="in", sha256=HASH["e"], size=1)
        await k.submit(inputs=Inputs(stdin=stdin), replicas=2)
        await k.lease("w1")
        assert await k.store.assets.worker_needs_blob(HASH["e"], "w1")
        assert not await k.store.assets.worker_needs_blob(HASH["e"], "w2")

    scenario(check)


def test_results_are_compared_by_content_only():
    same = result()
    assert digest_of(same) == digest_of(type(same)(**{**_fields(same), "wall_s": 9.0, "note": "other"}))
    assert digest_of(same) != digest_of(result(stdout="d"))
    assert digest_of(same) != digest_of(result(code=1))
    assert digest_of(result(reason="wall clock limit")) == ""


def _fields(given: object) -> dict[str, object]:
    return {name: getattr(given, name) for name in given.__struct_fields__}


def test_old_jobs_are_deleted_with_their_replicas_and_running_ones_kept(scenario):
    async def check(k: Kit):
        old, running = await k.submit(replicas=2), await k.submit(priority=-1)
        for worker in ("w1", "w2"):
            await k.finish(await k.leased(worker))
        await k.leased()
        k.clock.now += 100
        recent = await k.submit()
        await k.finish(await k.leased())
        assert await k.store.jobs.delete_old(k.clock.now - 50, 10) == [old]
        assert await k.store.jobs.delete_old(k.clock.now - 50, 10) == []
        assert {job.id for job in await k.store.jobs.jobs(JobFilter())} == {running, recent}
        assert (await k.state(running)) not in FINAL_STATES

    scenario(check)
