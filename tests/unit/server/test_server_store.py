"""The conformance suite of the store: whatever implements protocol.Store passes it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from server_kit import HASH, MACHINE, Clock, Kit, open_sqlite, result
from xwhep.common.errors import Conflict, DiskFull, NotFound, ServerFailed
from xwhep.common.wire import (
    AppSpec,
    Binary,
    DatumSpec,
    JobSpec,
    LeasedDatum,
    Needs,
)
from xwhep.server.failures import StateTooNew
from xwhep.server.store.queries import migrations
from xwhep.server.store.records import (
    Account,
    Attempt,
    Change,
    Delivery,
    Inputs,
    JobFilter,
    LossRule,
    NewJob,
    kind_of,
)
from xwhep.server.store.sqlite_database import connect, transaction, translate


@pytest.fixture(params=[open_sqlite], ids=["sqlite"])
def kit(request: pytest.FixtureRequest, fast_folder: Path) -> Callable[[], AsyncIterator[Kit]]:
    """`async with kit() as kit` opens the store of the folder; again opens it again."""
    opener, clock = request.param, Clock()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Kit]:
        store = opener(fast_folder, clock)
        fresh = not (fast_folder / "xwhep.db").exists()
        await store.open()
        made = Kit(store, clock)
        if fresh:
            await made.fill()
        else:
            made.app_id = (await store.assets.apps())[0].id
        try:
            yield made
        finally:
            await store.close()

    return opened


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
            assert (await k.store.tokens.worker("t2")).name == "node2"
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
            kind = kind_of(k.app_id, "ann", Needs()).id
            assert k.changes[-1] == Change(job_id=job_id, pending_kind=kind, avoid=frozenset({"w1"}))
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
            assert [job.id for job in await listed(JobFilter())] == [last, bob, ann]
            assert [job.id for job in await listed(JobFilter(owner="ann"))] == [last, ann]
            assert [job.id for job in await listed(JobFilter(owner="ann", state="running"))] == [ann]
            assert [job.id for job in await listed(JobFilter(limit=1))] == [last]
            assert [job.id for job in await listed(JobFilter(before=bob))] == [ann]

    run(scenario)


def test_rights_to_blobs_follow_what_names_them(kit, run):
    async def scenario():
        async with kit() as k:
            assets = k.store.assets
            stdin = LeasedDatum(name="in", sha256=HASH["e"], size=1)
            job_id = await k.submit("bob", inputs=Inputs(stdin=stdin))
            assert await assets.user_names_blob(HASH["a"], "ann")  # its app
            assert not await assets.user_names_blob(HASH["a"], "bob")
            assert await assets.user_names_blob(HASH["e"], "bob")
            assert not await assets.worker_needs_blob(HASH["e"], "w1")
            attempt = await k.leased()
            assert await assets.worker_needs_blob(HASH["e"], "w1")
            assert await assets.worker_needs_blob(HASH["a"], "w1")
            assert not await assets.worker_needs_blob(HASH["e"], "w2")
            await k.store.jobs.finish(Delivery(attempt=attempt, result=result()))
            assert not await assets.worker_needs_blob(HASH["e"], "w1")
            assert await assets.user_names_blob(HASH["b"], "bob")
            await k.store.jobs.delete(job_id)
            assert not await assets.user_names_blob(HASH["b"], "bob")

    run(scenario)


def test_holding_a_blob_is_each_ones_own(kit, run):
    async def scenario():
        async with kit() as k:
            await k.store.assets.hold_blob(HASH["a"], "user:ann")
            await k.store.assets.hold_blob(HASH["a"], "user:ann")
            assert await k.store.assets.holds_blob(HASH["a"], "user:ann")
            assert not await k.store.assets.holds_blob(HASH["a"], "user:bob")

    run(scenario)


def test_an_app_keeps_its_other_binaries_and_its_owner(kit, run):
    async def scenario():
        async with kit() as k:
            arm = Binary(os="linux", arch="aarch64", sha256=HASH["d"], size=2)
            app = await k.store.assets.save_app("bob", AppSpec(name="tool", binaries=[arm]))
            assert (app.id, app.owner, len(app.binaries)) == (k.app_id, "ann", 2)
            shared = await k.store.assets.save_app("ann", AppSpec(name="tool", shared="python3"))
            assert (shared.shared, shared.binaries) == ("python3", [])
            assert not await k.store.assets.user_names_blob(HASH["d"], "ann")
            assert await k.store.assets.app("tool") == shared

    run(scenario)


def test_a_datum_is_found_by_its_owners_name_or_its_id(kit, run):
    async def scenario():
        async with kit() as k:
            spec = DatumSpec(name="d", sha256=HASH["d"], size=4)
            ann, bob = await k.store.assets.add_datum("ann", spec), await k.store.assets.add_datum("bob", spec)
            assert await k.store.assets.add_datum("ann", spec) == ann
            assert await k.store.assets.datum("bob", "d") == bob
            assert await k.store.assets.datum("bob", ann.id) == ann
            assert await k.store.assets.data("") == sorted([ann, bob], key=lambda datum: datum.id)
            with pytest.raises(Conflict):
                await k.store.assets.add_datum("ann", DatumSpec(name="d", sha256=HASH["e"], size=4))

    run(scenario)


def test_people_logins_sessions_and_workers(kit, run):
    async def scenario():
        async with kit() as k:
            people = k.store.people
            with pytest.raises(Conflict):
                await people.add_user(Account(login="ann", role="admin", password_hash=""))
            assert (await people.account("ann")).role == "user"
            assert await people.account("nobody") is None
            await people.add_session("s", "ann", 1010.0)
            k.clock.now = 1010.0
            assert await people.session("s") is None
            await people.workers_seen([("w1", 1009.0, MACHINE)])
            await people.worker_left("w2", [])
            seen = {worker.id: (worker.last_seen_at, worker.left_at) for worker in await people.workers()}
            assert seen == {"w1": (1009.0, 0), "w2": (1010.0, 1010.0)}
            await people.workers_seen([("w2", 1011.0, MACHINE)])
            assert {worker.left_at for worker in await people.workers()} == {0}

    run(scenario)


def test_a_worker_is_listed_with_its_jobs_and_their_owners(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit("bob")
            await k.lease("w2")
            running = {worker.id: worker.running for worker in await k.store.people.workers()}
            assert running == {"w1": (), "w2": ((job_id, "bob"),)}

    run(scenario)


def test_changes_are_told_after_the_commit_and_not_for_refused_writes(kit, run):
    async def scenario():
        async with kit() as k:
            job_id = await k.submit()
            kind = kind_of(k.app_id, "ann", Needs())
            assert k.changes == [Change(pending_kind=kind.id, new_kind=kind)]
            attempt = await k.leased()
            with pytest.raises(Conflict):
                await k.store.jobs.delete(job_id)
            await k.store.jobs.finish(Delivery(attempt=attempt, result=result()))
            assert k.changes[1:] == [Change(job_id=job_id), Change(job_id=job_id)]
            assert await k.store.jobs.kind_waits(kind.id) is False

    run(scenario)


# What only SQLite has.


def test_one_refused_request_leaves_the_others_of_its_batch_alone(kit, run):
    async def scenario():
        async with kit() as k:
            bob = Account(login="bob", role="user", password_hash="")
            new = Account(login="new", role="user", password_hash="")
            done = await asyncio.gather(
                k.submit(), k.store.people.add_user(bob), k.store.people.add_user(new), return_exceptions=True
            )
            assert isinstance(done[1], Conflict)
            assert await k.state(done[0]) == "pending"
            assert await k.store.people.account("new")

    run(scenario)


def test_waiting_requests_share_one_transaction(fast_folder, run):
    async def scenario():
        store = open_sqlite(fast_folder, Clock())
        await store.open()
        commits = []
        store._database._writer.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        await asyncio.gather(*(store.assets.hold_blob(HASH["a"], f"user:{number}") for number in range(50)))
        assert len(commits) == 1
        await store.close()

    run(scenario)


def test_a_fault_inside_one_request_is_raised_there_and_rolled_back(fast_folder, run):
    async def scenario():
        store = open_sqlite(fast_folder, Clock())
        await store.open()

        def faulty(tx):
            tx.run("blob_hold", sha256=HASH["a"], holder="user:x", now=tx.now)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store._database.write(faulty)
        assert not await store.assets.holds_blob(HASH["a"], "user:x")
        await store.close()

    run(scenario)


def test_a_full_disk_fails_the_write_and_keeps_what_was_there(fast_folder, run):
    async def scenario():
        store = open_sqlite(fast_folder, Clock())
        await store.open()
        await store.assets.hold_blob(HASH["a"], "user:before")
        (pages,) = store._database._writer.execute("PRAGMA page_count").fetchone()
        store._database._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull):
            await asyncio.gather(*(store.assets.hold_blob(HASH["a"], "user:" + "x" * 3000 + str(n)) for n in range(9)))
        store._database._writer.execute("PRAGMA max_page_count = 100000")
        await store.assets.hold_blob(HASH["a"], "user:after")
        assert await store.assets.holds_blob(HASH["a"], "user:before")
        assert await store.assets.holds_blob(HASH["a"], "user:after")
        await store.close()

    run(scenario)


def test_a_write_waits_for_another_process_without_stopping_the_loop(fast_folder, run):
    async def scenario():
        store = open_sqlite(fast_folder, Clock())
        await store.open()
        with closing(connect(fast_folder / "xwhep.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            write = asyncio.create_task(store.assets.hold_blob(HASH["a"], "user:x"))
            turns, until = 0, time.monotonic() + 0.1
            while time.monotonic() < until:
                await asyncio.sleep(0.001)
                turns += 1
            assert turns > 20
            assert not write.done()
            other.execute("COMMIT")
        await write
        assert await store.assets.holds_blob(HASH["a"], "user:x")
        await store.close()

    run(scenario)


def test_commands_write_beside_the_server_and_roll_back_on_errors(fast_folder):
    path = fast_folder / "xwhep.db"
    with transaction(path) as tx:
        tx.run("blob_hold", sha256=HASH["a"], holder="user:kept", now=tx.now)
    with pytest.raises(ZeroDivisionError), transaction(path) as tx:
        tx.run("blob_hold", sha256=HASH["a"], holder="user:dropped", now=tx.now)
        raise ZeroDivisionError
    with transaction(path) as tx:
        assert tx.one("blob_held", sha256=HASH["a"], holder="user:kept")
        assert not tx.one("blob_held", sha256=HASH["a"], holder="user:dropped")


def test_a_database_of_a_newer_server_is_refused(fast_folder):
    path = fast_folder / "xwhep.db"
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(StateTooNew), transaction(path):
        pass


def test_a_migration_of_a_joined_branch_is_applied_though_a_later_one_was(fast_folder, monkeypatch):
    path, known = fast_folder / "xwhep.db", migrations()
    module = "xwhep.server.store.sqlite_database.migrations"
    first, last = [*known, (997, "CREATE TABLE c (x);")], [*known, (996, "CREATE TABLE b (x);"), (997, "nonsense")]
    for found in (first, last, last):
        monkeypatch.setattr(module, lambda found=found: found)
        with transaction(path):
            pass
    with closing(connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM b").fetchone()[0] == 0
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 997


def test_the_database_is_as_durable_as_promised(fast_folder):
    with closing(connect(fast_folder / "xwhep.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_other_faults_of_sqlite_are_the_servers():
    assert isinstance(translate(sqlite3.OperationalError("odd")), ServerFailed)
