"""Two users on one grid: neither reads, guesses nor stops what is the other's, until its owner lets him."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from grid import Caller, HandMadeWorker, Job, sha256_of

SECRET = "what alice alone may know\n"
SCRIPT = "#!/bin/bash\ncat\n"


@dataclass(frozen=True, kw_only=True)
class Things:
    """What alice has: all of it private, as it is by default but for the app."""

    owner: Caller
    bob: Caller
    carol: Caller
    datum: dict[str, Any]
    job: Job

    @property
    def paths(self) -> dict[str, str]:
        """How each of them is asked for by somebody who knows, or guesses, its name."""
        job = f"/v1/jobs/{self.job['id']}"
        return {
            "datum by id": f"/v1/data/{self.datum['id']}",
            "datum by name": "/v1/data/diary",
            "datum by hash": f"/v1/blobs/{sha256_of(SECRET)}",
            "app": "/v1/apps/private-app",
            "program by hash": f"/v1/blobs/{sha256_of(SCRIPT)}",
            "job": job,
            "explanation": f"{job}/explain",
            "output": f"{job}/logs?stream=stdout",
        }


PATHS = ("datum by id", "datum by name", "datum by hash", "app", "program by hash", "job", "explanation", "output")


@pytest.fixture(scope="module")
def things(fleet: Any) -> Things:
    alice, bob, carol = (fleet.add_user(login) for login in ("alice", "bob", "carol"))
    fleet.admin.post("/v1/groups", name="lab", members=["alice", "bob"])
    datum = alice.post("/v1/data", name="diary", **alice.upload(SECRET))
    alice.add_app("private-app", SCRIPT)
    alice.post("/v1/apps/private-app/mode", mode=0o700)
    job = alice.completed(alice.submit("private-app", stdin="diary"))
    assert alice.stdout(job) == SECRET
    return Things(owner=alice, bob=bob, carol=carol, datum=datum, job=job)


@pytest.fixture
def shared(things: Things) -> Iterator[Things]:
    """The same, its group allowed to read everything and to run the app; private again afterwards."""
    places = ("/v1/apps/private-app", f"/v1/data/{things.datum['id']}", f"/v1/jobs/{things.job['id']}")
    for place, mode in zip(places, (0o750, 0o740, 0o740), strict=True):
        things.owner.post(f"{place}/mode", mode=mode, group="lab")
    yield things
    for place in places:
        things.owner.post(f"{place}/mode", mode=0o700, group="")


@pytest.mark.parametrize("what", PATHS)
def test_the_owner_reads_it_and_another_finds_nothing(things: Things, what: str) -> None:
    path = things.paths[what]
    assert things.owner.status("GET", path) == 200
    assert things.bob.status("GET", path) == 404
    assert Caller(line=things.bob.line).status("GET", path) == 401


@pytest.mark.parametrize("kind", ["jobs", "data", "apps"])
def test_lists_show_others_nothing(things: Things, kind: str) -> None:
    assert things.owner.get(f"/v1/{kind}")
    mine = {"private-app", "diary", things.job["id"]}
    listed = {row["id"] for row in things.bob.get(f"/v1/{kind}")} | {
        row["name"] for row in things.bob.get(f"/v1/{kind}") if kind != "jobs"
    }
    assert not listed & (mine | {things.datum["id"]})


def test_nobody_stops_or_removes_anothers_job(things: Things) -> None:
    path = f"/v1/jobs/{things.job['id']}"
    assert things.bob.status("POST", f"{path}/cancel") == 404
    assert things.bob.status("DELETE", path) == 404
    assert things.bob.status("POST", f"{path}/mode", json={"mode": 0o777}) == 404
    assert things.owner.get(path)["state"] == "completed"


def test_nobody_names_anothers_things_in_his_own(things: Things) -> None:
    """Knowing a hash is no proof of having the content."""
    known = {"sha256": sha256_of(SECRET), "size": len(SECRET)}
    assert things.bob.status("POST", "/v1/data", json={"name": "mine", **known}) == 404
    assert things.bob.status("POST", "/v1/jobs", json={"app": "private-app"}) == 404
    for datum in (things.datum["id"], "diary"):
        assert things.bob.status("POST", "/v1/jobs", json={"app": "say", "stdin": datum}) == 404
        assert things.bob.status("POST", "/v1/jobs", json={"app": "say", "data": [datum]}) == 404


@pytest.mark.parametrize("path", ["/v1/users", "/v1/audit", "/v1/tokens?all=1"])
def test_only_administrators_look_after_users(fleet: Any, things: Things, path: str) -> None:
    assert things.bob.status("GET", path) == 403
    assert fleet.admin.status("GET", path) == 200


@pytest.mark.parametrize("what", sorted(set(PATHS) - {"datum by name"}))
def test_a_group_reads_what_its_owner_lets_it(shared: Things, what: str) -> None:
    path = shared.paths[what]
    assert shared.bob.status("GET", path) == 200
    assert shared.carol.status("GET", path) == 404


def test_a_group_runs_the_app_but_changes_nothing(shared: Things) -> None:
    job = shared.bob.completed(shared.bob.submit("private-app", stdin=shared.datum["id"]))
    assert shared.bob.stdout(job) == SECRET
    assert shared.owner.status("GET", f"/v1/jobs/{job['id']}") == 404, "a job is its owner's, not the app's owner's"
    for place in ("/v1/apps/private-app", f"/v1/jobs/{shared.job['id']}"):
        assert shared.bob.status("POST", f"{place}/mode", json={"mode": 0o777}) == 403
    assert shared.bob.status("DELETE", f"/v1/jobs/{shared.job['id']}") == 403


def test_a_taken_back_right_is_gone_at_once(things: Things) -> None:
    path = f"/v1/data/{things.datum['id']}"
    for mode, status in ((0o704, 200), (0o700, 404)):
        things.owner.post(f"{path}/mode", mode=mode)
        assert things.carol.status("GET", path) == status
        assert things.carol.status("GET", things.paths["datum by hash"]) == status


def test_a_private_worker_runs_its_owners_jobs_only(fleet: Any, things: Things) -> None:
    token = things.owner.post("/v1/tokens/join", visibility="private", owner="alice")["token"]
    assert things.bob.status("POST", "/v1/tokens/join", json={"visibility": "private", "owner": "alice"}) == 403
    laptop = HandMadeWorker.enrol(fleet, "alices-laptop", token, labels=["laptop"])
    needs = {"labels": ["laptop"]}
    others, own = (caller.submit("say", "1", needs=needs) for caller in (things.bob, things.owner))
    lease = laptop.take()
    assert lease["job_id"] == own["id"]
    assert laptop.take(wait_s=0.0) == {}
    told = things.bob.get(f"/v1/jobs/{others['id']}/explain")
    assert {"visibility", "labels"} <= {failing["need"] for failing in told["failing"]}
    laptop.deliver(lease, "number 1\n")
    assert things.owner.completed(own)["worker"] == "alices-laptop"
    things.bob.post(f"/v1/jobs/{others['id']}/cancel")
    laptop.leave()
