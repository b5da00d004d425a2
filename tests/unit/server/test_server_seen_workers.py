"""Who knows of which worker: public ones are everyone's to see, others their users'."""

from __future__ import annotations

import json

import pytest

from live_server import MACHINE
from xwhep.common.wire import Job, JobState
from xwhep.server import discretion
from xwhep.server.store.identity_records import Service

ASSET = {**MACHINE, "shared": ["python3"]}


@pytest.mark.parametrize(
    ("service", "seen_by"),
    [
        (Service(), {"ann", "bob"}),
        (Service(owner="ann"), {"ann", "bob"}),
        (Service(visibility="private", owner="ann"), {"ann"}),
        (Service(visibility="group", group="lab"), {"bob"}),
        (Service(visibility="group", group="lab", owner="ann"), {"ann", "bob"}),
        (Service(visibility="group", group="other"), set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_who_may_know_of_a_worker(service, seen_by):
    groups = {"ann": frozenset(), "bob": frozenset({"lab"})}
    assert {login for login, own in groups.items() if service.shows_to(login, own)} == seen_by


@pytest.fixture
def people(live):
    """Four workers with an asset of their own, in a grid of an administrator and two users, of whom bob is in lab."""
    people = {"boss": live.admin(), "ann": live.user("ann"), "bob": live.user("bob")}
    people["boss"].post("/v1/groups", {"name": "lab", "members": ["bob"]})
    for name, spec in {
        "open": {},
        "of-lab": {"visibility": "group", "group": "lab"},
        "of-ann": {"visibility": "private", "owner": "ann"},
        "of-bob": {"visibility": "private", "owner": "bob"},
    }.items():
        token = people["boss"].post("/v1/tokens/join", spec).body["token"]
        enrolled = live.api().post("/v1/enrol", {"join_token": token, "name": name, "machine": ASSET}).body
        assert live.api(enrolled["token"]).ask().status == 204
    return people


def test_workers_that_are_not_for_a_user_are_nowhere_named(people):
    seen = {
        "boss": {"open", "of-lab", "of-ann", "of-bob"},
        "ann": {"open", "of-ann"},
        "bob": {"open", "of-lab", "of-bob"},
    }
    people["boss"].post("/v1/apps", {"name": "tool", "shared": "python3"})
    for name, caller in people.items():
        listed = {worker["name"] for worker in caller.get("/v1/workers").body}
        (app,) = caller.get("/v1/apps").body
        assert (listed, set(app["workers"])) == (seen[name], seen[name]), name
        assert caller.get("/v1/apps/tool").body["workers"] == app["workers"]


def test_a_user_cannot_ask_whether_there_is_a_private_worker_of_a_name(people):
    bob = people["bob"]
    people["boss"].post("/v1/apps", {"name": "tool", "shared": "python3"})

    def explained(name):
        job = bob.submit(needs={"worker": name, "cpu_count": 99})
        told = bob.get(f"/v1/jobs/{job['id']}/explain").body
        return json.dumps(told).replace(name, "NAME").replace(job["id"], "ID")

    assert explained("of-ann") == explained("of-nobody")
    (theirs,) = [one["id"] for one in people["ann"].get("/v1/workers").body if one["name"] == "of-ann"]
    for path in ("", "/rotate"):
        hidden, none = [bob.post(f"/v1/workers/{one}{path}", {}) for one in (theirs, "f" * len(theirs))]
        assert hidden.status == none.status == 404
        assert hidden.body["message"].replace(theirs, "") == none.body["message"].replace("f" * len(theirs), "")


def test_a_job_that_others_may_read_does_not_name_its_private_worker(people, live):
    ann, bob, boss = people["ann"], people["bob"], people["boss"]
    token = boss.post("/v1/tokens/join", {"visibility": "private", "owner": "ann"}).body["token"]
    worker = live.api(
        live.api().post("/v1/enrol", {"join_token": token, "name": "hers", "machine": ASSET}).body["token"]
    )
    boss.post("/v1/apps", {"name": "tool", "shared": "python3"})
    job = ann.submit(mode=0o755, needs={"worker": "hers"})
    assert job["id"] in json.dumps(worker.ask().body)
    for caller, name in ((ann, "hers"), (boss, "hers"), (bob, "")):
        shown = caller.get(f"/v1/jobs/{job['id']}").body
        assert shown["id"] == job["id"]
        assert (shown.get("worker", ""), shown.get("needs", {}).get("worker", "")) == (name, name), caller
        for path in ("/v1/jobs", f"/v1/jobs/{job['id']}/explain"):
            assert ("hers" in json.dumps(caller.get(path).body)) == bool(name)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("handed back by of-ann", "handed back by a worker"),
        ("worker of-ann was lost", "a worker was lost"),
        ("worker open was lost", "worker open was lost"),
        ("handed back by gone", "handed back by a worker"),
        ("wall clock limit", "wall clock limit"),
    ],
)
def test_reasons_name_no_hidden_worker(reason, shown):
    job = Job(id="j", owner="ann", state=JobState.PENDING, revision=1, created_at=1.0, app="a", reason=reason)
    assert discretion._without_others(job, {"open"}).reason == shown
