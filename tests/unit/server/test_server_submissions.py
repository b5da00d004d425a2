"""Submissions that come twice, what jobs name under other names, and how many jobs of a group stand where."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from xwhep.common.errors import Conflict
from xwhep.common.wire import JobSpec, JobState
from xwhep.server.routes.summaries import PAUSE_S
from xwhep.server.store.identity_records import ModeChange
from xwhep.server.store.records import Inputs, JobFilter, NewJob
from xwhep.server.store.sqlite_database import connect


def new(k, key="", owner="ann", **spec):
    return NewJob(owner=owner, app_id=k.app_id, spec=JobSpec(app="tool", **spec), inputs=Inputs(), key=key)


def test_the_same_key_again_is_the_same_job(kit, run):
    async def body():
        async with kit() as k:
            first = await k.store.jobs.submit(new(k, "k1"))
            assert (await k.store.jobs.submit(new(k, "k1"))).id == first.id
            others = [await k.store.jobs.submit(job) for job in (new(k, "k2"), new(k, "k1", "bob"), new(k), new(k))]
            assert len({first.id, *(job.id for job in others)}) == 5
            await k.store.jobs.cancel(first.id)
            assert (await k.store.jobs.submit(new(k, "k1"))).state is JobState.CANCELLED
            await k.store.jobs.delete(first.id)
            assert (await k.store.jobs.submit(new(k, "k1"))).id not in {first.id, *(job.id for job in others)}

    run(body)


def test_a_batch_with_a_key_is_made_once_in_its_order_and_over_a_restart(kit, run):
    async def body():
        async with kit() as k:
            batch = [new(k, "kb", replicas=2), new(k, "kb", after=["#0"]), new(k, "kb")]
            ids = await k.store.jobs.submit_many(batch)
            assert len(set(ids)) == 3
        async with kit() as k:
            assert await k.store.jobs.submit_many(batch) == ids
            assert [job.id for job in reversed(await k.store.jobs.jobs(JobFilter()))] == ids

    run(body)


def test_a_key_whose_mode_was_changed_since_is_still_the_same(kit, run):
    async def body():
        async with kit() as k:
            first = await k.store.jobs.submit(new(k, "k"))
            change = ModeChange(kind="job", id=first.id, mode=0o777, group="")
            await k.store.identity.set_mode(change, None)
            assert (await k.store.jobs.submit(new(k, "k"))).id == first.id
            with pytest.raises(Conflict):
                await k.store.jobs.submit(new(k, "k", args=["other"]))

    run(body)


def test_jobs_are_counted_by_group_session_and_owner(kit, run):
    async def body():
        async with kit() as k:
            jobs = [new(k, group="g"), new(k, group="g", session="s", replicas=2), new(k, "", "bob", group="g"), new(k)]
            ids = await k.store.jobs.submit_many(jobs)
            await k.store.jobs.cancel(ids[0])
            count = k.store.jobs.count
            assert await count(JobFilter(owner="ann", group="g")) == {"cancelled": 1, "pending": 1}
            assert await count(JobFilter(group="g")) == {"cancelled": 1, "pending": 2}
            assert await count(JobFilter(owner="ann", session="s")) == {"pending": 1}
            assert await count(JobFilter(owner="ann", session="none")) == {}

    run(body)


def test_keys_are_found_by_an_index(fast_folder, kit, run):
    async def body():
        async with kit():
            pass

    run(body)
    query = "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE owner = 'a' AND submit_key = 'k' AND submit_key <> ''"
    plan = connect(fast_folder / "xwhep.db").execute(query).fetchall()
    assert "jobs_by_key" in plan[0]["detail"]


# Over HTTP


def test_a_submission_that_comes_twice_makes_one_job(live):
    admin, ann = live.admin(), live.user("ann")
    admin.register_app()
    first = admin.submit(key="k")
    assert admin.submit(key="k")["id"] == first["id"]
    refused = admin.post("/v1/jobs", {"app": "tool", "key": "k", "args": ["other"]})
    assert (refused.status, refused.body["message"]) == (409, "the key k was that of another submission")
    assert ann.submit(key="k")["id"] != first["id"]
    batch = {"key": "kb", "jobs": [{"app": "tool"}, {"app": "tool", "after": ["#0"]}]}
    ids = admin.post("/v1/jobs/bulk", batch).body["ids"]
    assert admin.post("/v1/jobs/bulk", batch).body["ids"] == ids
    for jobs in (batch["jobs"][:1], [*batch["jobs"], {"app": "tool"}], batch["jobs"][::-1][1:]):
        assert admin.post("/v1/jobs/bulk", {"key": "kb", "jobs": jobs}).status == 409
    assert len(admin.get("/v1/jobs").body) == 4
    for wrong in ({"app": "tool", "key": "x" * 129}, {"app": "tool", "key": "\t"}):
        assert admin.post("/v1/jobs", wrong).status == 422
    own = admin.post("/v1/jobs/bulk", {"jobs": [{"app": "tool", "key": "k"}]})
    assert (own.status, own.body["message"]) == (422, "job 0 of the batch: a job of a batch has no key of its own")


def test_data_come_under_the_names_that_the_job_gives_them(live):
    admin, worker = live.admin(), live.worker()
    admin.register_app()
    ids = [admin.post("/v1/data", {"name": name, **admin.upload(name.encode())}).body["id"] for name in ("a", "b")]
    admin.submit(data=["a"], files={"in/b.csv": ids[1], "copy": "a"})
    names = {datum["name"]: datum["size"] for datum in worker.ask().body["data"]}
    assert names == {"a": 1, "in/b.csv": 1, "copy": 1}
    for files, status in (
        ({"a": "b"}, 422),
        ({"../x": "a"}, 422),
        ({"/x": "a"}, 422),
        ({"": "a"}, 422),
        ({"x": "c"}, 404),
    ):
        assert admin.post("/v1/jobs", {"app": "tool", "data": ["a"], "files": files}).status == status
    batch = {"jobs": [{"app": "tool", "files": {"x": one}} for one in ids]}
    assert admin.post("/v1/jobs/bulk", batch).status == 200
    leased = [worker.ask().body["data"][0]["sha256"] for _ in ids]
    assert len(set(leased)) == 2


def test_a_job_can_be_born_open(live):
    admin, ann, eve = live.admin(), live.user("ann"), live.user("eve")
    admin.register_app()
    admin.post("/v1/groups", {"name": "bio", "members": ["ann", "eve"]})
    job = ann.submit(mode=0o750, owner_group="bio")
    assert (job["mode"], job["owner_group"]) == (0o750, "bio")
    assert eve.get(f"/v1/jobs/{job['id']}").body["mode"] == 0o750
    closed = ann.submit()
    assert eve.get(f"/v1/jobs/{closed['id']}").status == 404
    for wrong, status in (({"mode": 0o1777}, 422), ({"owner_group": "physics"}, 403), ({"owner_group": "a b"}, 422)):
        assert ann.post("/v1/jobs", {"app": "tool", **wrong}).status == status
        assert ann.post("/v1/jobs/bulk", {"jobs": [{"app": "tool", **wrong}]}).status == status


def test_a_summary_waits_for_news_and_tells_its_own_jobs_only(live, in_background):
    admin, ann, worker = live.admin(), live.user("ann"), live.worker()
    admin.register_app()
    ids = [ann.submit(group="g g")["id"] for _ in range(2)]
    admin.submit(group="g g")
    path = f"/v1/jobs/summary?group={quote('g g')}"
    first = ann.get(path).body
    assert first["counts"] == {"pending": 2}
    assert admin.get(path).body["counts"] == {"pending": 3}
    began = time.monotonic()
    assert ann.get(f"{path}&seen={first['version']}&wait=0.3").body == first
    assert time.monotonic() - began >= 0.3
    waiting = in_background(lambda: ann.get(f"{path}&seen={first['version']}&wait=20"))
    lease = worker.ask(wait_s=5).body
    assert lease["job_id"] == ids[0]
    assert waiting().body["counts"] == {"pending": 1, "running": 1}
    assert ann.get("/v1/jobs/summary?group=other&wait=20").body == {"counts": {}, "version": ""}
    ann.post("/v1/jobs/cancel", {"group": "g g"})
    ended = ann.get(path).body
    assert ann.get(f"{path}&seen={ended['version']}&wait=20").body["counts"] == {"cancelled": 2}  # at once


@pytest.mark.parametrize("query", ["", "group=a&session=b", "group=a&wait=x"])
def test_a_summary_is_of_one_thing(live, query):
    assert live.admin().get(f"/v1/jobs/summary?{query}").status == 422
    assert live.api().get(f"/v1/jobs/summary?{query}").status == 401


def test_who_comes_back_for_news_is_not_answered_for_every_job(live, in_background):
    admin = live.admin()
    admin.register_app()
    ids = admin.post("/v1/jobs/bulk", {"jobs": [{"app": "tool", "group": "g"}] * 60}).body["ids"]
    again = live.api(admin.token)

    def look_on():
        seen, answers, began = "", 0, time.monotonic()
        while seen != "cancelled60":
            seen = again.get(f"/v1/jobs/summary?group=g&seen={seen}&wait=20").body["version"]
            answers += 1
        return answers, time.monotonic() - began

    looking = in_background(look_on)
    for one in ids:
        assert admin.post(f"/v1/jobs/{one}/cancel").status == 200
    answers, took_s = looking()
    assert answers <= 2 + took_s / PAUSE_S
