"""The conformance suite of the store, people and assets: whatever implements protocol.Store passes it."""

from __future__ import annotations

import pytest

from xwhep.common.errors import Conflict
from xwhep.common.wire import AppSpec, Binary, DatumSpec, JobResult, LeasedDatum, Machine, ResultFile
from xwhep.server.store.records import Account, Delivery, Inputs

HASH = {letter: letter * 64 for letter in "abcdef"}
MACHINE = Machine(os="linux", arch="x86_64", cpu_count=1, cpu_model="", ram_bytes=1, disk_free_bytes=1, version="")


def result() -> JobResult:
    out = ResultFile(path="stdout", sha256=HASH["b"], size=1)
    return JobResult(exit_code=0, stdout=out, stderr=ResultFile(path="stderr", sha256=HASH["c"], size=0))


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
