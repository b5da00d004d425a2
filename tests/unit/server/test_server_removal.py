"""Apps and data that are removed, and data that go by themselves with the last job that names them."""

from __future__ import annotations

import pytest

from server_kit import HASH
from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import AppSpec, DatumSpec, LeasedDatum
from xwhep.server.store.records import Inputs
from xwhep.server.store.sqlite_database import connect

DAY_S = 86_400.0


def naming(letter):
    return Inputs(data=[LeasedDatum(name="in", sha256=HASH[letter], size=1)])


def for_jobs(letter, only=True):
    return DatumSpec(name=f"content-{letter}", sha256=HASH[letter], size=1, for_jobs=only)


def test_an_app_goes_when_no_job_needs_it_and_its_name_is_free(kit, run):
    async def scenario():
        async with kit() as k:
            assets, job_id = k.store.assets, await k.submit()
            app = await assets.app("tool")
            with pytest.raises(Conflict, match="one job that has not ended needs the app tool"):
                await assets.remove_app(app)
            await k.finish(await k.leased())
            await assets.remove_app(app)
            assert await assets.app("tool") is None
            assert await assets.apps() == []
            assert not await assets.user_names_blob(HASH["a"], "ann")
            with pytest.raises(NotFound):
                await assets.remove_app(app)
            with pytest.raises(NotFound, match="there is no app tool"):
                await k.submit()  # looked up before it was removed
            assert (await k.job(job_id)).app == "tool"
            assert (await assets.app_of_job(job_id)).owner == "ann"
            again = AppSpec(name="tool", binaries=app.binaries)
            k.app_id = (await assets.save_app("bob", again)).id
            assert await k.submit("bob") != job_id
            assert (await assets.app_of_job(job_id)).owner == "ann"  # rights to old jobs stay those of the old app

    run(scenario)


def test_a_datum_goes_when_no_job_names_it(kit, run):
    async def scenario():
        async with kit() as k:
            assets = k.store.assets
            spec = DatumSpec(name="d", sha256=HASH["d"], size=1)
            ann, bob = await assets.add_datum("ann", spec), await assets.add_datum("bob", spec)
            job_id = await k.submit(inputs=naming("d"), data=["d"])
            with pytest.raises(Conflict, match="one job that has not ended needs the datum d"):
                await assets.remove_datum(ann)
            await assets.remove_datum(bob)  # the same content, but another's
            await k.store.jobs.cancel(job_id)
            await assets.remove_datum(ann)
            assert await assets.data("") == []
            with pytest.raises(NotFound):
                await assets.remove_datum(ann)

    run(scenario)


def test_data_for_jobs_go_with_the_last_job_and_not_before(kit, run):
    async def scenario():
        async with kit() as k:
            assets = k.store.assets
            named, unnamed = [await assets.add_datum("ann", for_jobs(letter)) for letter in "de"]
            kept = await assets.add_datum("ann", for_jobs("f", only=False))
            assert await assets.data("ann", for_jobs=False) == [kept]
            assert len(await assets.data("ann")) == 3
            job_id = await k.submit(inputs=naming("d"), files={"in": named.id})
            k.clock.now += DAY_S
            assert await assets.drop_idle_data(k.clock.now - DAY_S, 10) == []
            assert await assets.drop_idle_data(k.clock.now - 1, 10) == [unnamed.id]
            await k.store.jobs.cancel(job_id)
            assert await assets.drop_idle_data(k.clock.now - 1, 10) == []  # its results may still be asked for
            await k.store.jobs.delete(job_id)
            await assets.add_datum("ann", for_jobs("d"))  # for another job, that is about to come
            assert await assets.drop_idle_data(k.clock.now - 1, 10) == []
            assert await assets.drop_idle_data(k.clock.now + 1, 10) == [named.id]
            assert await assets.data("ann") == [kept]

    run(scenario)


def test_a_datum_that_is_registered_for_itself_stays(kit, run):
    async def scenario():
        async with kit() as k:
            await k.store.assets.add_datum("ann", for_jobs("d"))
            assert not (await k.store.assets.add_datum("ann", for_jobs("d", only=False))).for_jobs
            assert not (await k.store.assets.add_datum("ann", for_jobs("d"))).for_jobs

    run(scenario)


def test_idle_data_are_found_by_an_index(fast_folder, kit, run):
    async def scenario():
        async with kit():
            pass

    run(scenario)
    query = "EXPLAIN QUERY PLAN SELECT id FROM data WHERE for_jobs = 1 AND used_at < 5"
    plan = connect(fast_folder / "xwhep.db").execute(query).fetchall()
    assert "data_for_jobs" in plan[0]["detail"]


def test_removal_over_http(live):
    admin, ann = live.admin(), live.user("ann")
    ann.register_app()
    datum = ann.post("/v1/data", {"name": "d", **ann.upload(b"d")}).body
    hidden = ann.post("/v1/data", {"name": "content-1", "for_jobs": True, **ann.upload(b"e")}).body
    assert [one["name"] for one in ann.get("/v1/data").body] == ["d"]
    assert [one["id"] for one in ann.get("/v1/data?all=1").body] == [hidden["id"], datum["id"]]
    job = ann.submit(data=["d"])
    for path in ("/v1/apps/tool", "/v1/data/d"):
        refused = ann.call("DELETE", path)
        assert refused.status == 409
        assert "one job that has not ended needs" in refused.body["message"]
        assert "xw job cancel" in refused.body["next_step"]
    ann.post(f"/v1/jobs/{job['id']}/cancel")
    assert admin.call("DELETE", "/v1/apps/tool").status == 204
    assert admin.call("DELETE", f"/v1/data/{datum['id']}").status == 204
    assert (ann.get("/v1/apps").body, ann.get("/v1/data").body) == ([], [])
    assert ann.call("DELETE", "/v1/apps/tool").status == 404
    assert ann.get(f"/v1/jobs/{job['id']}").body["app"] == "tool"  # the job stays, and is its owner's
    acts = [(entry["act"], entry["subject"]) for entry in admin.get("/v1/audit").body]
    assert acts[:2] == [("datum remove", "d"), ("app remove", "tool")]
