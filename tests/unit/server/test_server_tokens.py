"""Tokens: listed without their secrets, revoked and rotated within a second, also for requests that wait."""

from __future__ import annotations

import time

import pytest

from xwhep.server.identity import token_hash

MACHINE = {"os": "linux", "arch": "x86_64", "cpu_count": 1, "cpu_model": "", "ram_bytes": 1, "disk_free_bytes": 1}


@pytest.fixture(scope="module")
def shared_live(tmp_path_factory, live_server_class):
    server = live_server_class(tmp_path_factory.mktemp("tokens") / "state")
    server.start()
    server.boss = server.admin()
    server.ann, server.bob = server.user("ann"), server.user("bob")
    server.boss.post("/v1/groups", {"name": "lab", "members": ["ann"]})
    server.boss.register_app()
    yield server
    server.kill()
    assert "Traceback" not in server.log()


@pytest.fixture
def boss(shared_live):
    return shared_live.boss


@pytest.fixture
def ann(shared_live):
    return shared_live.ann


@pytest.fixture
def bob(shared_live):
    return shared_live.bob


@pytest.fixture
def enrol(shared_live):
    """Enrol with any join token; returns the reply."""

    def call(join_token: str, name: str = "node"):
        machine = {**MACHINE, "version": ""}
        return shared_live.api().post("/v1/enrol", {"join_token": join_token, "name": name, "machine": machine})

    return call


@pytest.fixture
def make_worker(shared_live, enrol, boss):
    """A worker that a join token of that kind made, with its id."""

    def make(name: str, **spec):
        joined = boss.post("/v1/tokens/join", spec)
        assert joined.status == 200, joined
        enrolled = enrol(joined.body["token"], name).body
        worker = shared_live.api(enrolled["token"])
        worker.id = enrolled["worker_id"]
        return worker

    return make


def view(caller, worker):
    (found,) = [one for one in caller.get("/v1/workers").body if one["id"] == worker.id]
    return found


# listing


def test_tokens_are_listed_without_their_secrets(boss, ann, make_worker):
    worker = make_worker("listed", visibility="private", owner="ann")
    reply = ann.get("/v1/tokens")
    kinds = {token["kind"]: token for token in reply.body}
    assert kinds.keys() == {"session", "worker", "join"}
    assert (kinds["worker"]["id"], kinds["worker"]["subject"]) == (worker.id, "listed")
    assert [token["subject"] for token in reply.body if token.get("current")] == ["ann"]
    everyone = boss.get("/v1/tokens?all=1")
    for secret in (worker.token, ann.token, boss.token):
        assert secret not in reply.raw.decode() + everyone.raw.decode()
        assert token_hash(secret) not in reply.raw.decode() + everyone.raw.decode()
    assert {token["id"] for token in reply.body} < {token["id"] for token in everyone.body}
    assert ann.get("/v1/tokens?all=1").status == 403


# revoking


def test_a_revoked_session_is_out_at_once(shared_live, boss):
    second = shared_live.login("ann", "secret of ann")
    (own,) = [token for token in second.get("/v1/tokens").body if token.get("current")]
    assert shared_live.ann.call("DELETE", f"/v1/tokens/{own['id']}").status == 204
    assert second.get("/v1/me").status == 401
    assert shared_live.ann.get("/v1/me").status == 200


def test_a_user_revokes_his_own_only(shared_live, boss, ann, bob, make_worker):
    theirs = [token["id"] for token in ann.get("/v1/tokens").body]
    for token_id in [*theirs, make_worker("public").id, "deployment", "nothing"]:
        assert bob.call("DELETE", f"/v1/tokens/{token_id}").status == 404
    assert ann.get("/v1/me").status == 200


def test_a_revoked_worker_gets_no_more_and_its_waiting_request_ends(shared_live, boss, make_worker, in_background):
    worker = make_worker("revoked")
    waiting = in_background(lambda: (worker.ask(wait_s=20).status, time.monotonic()))
    time.sleep(0.3)
    started = time.monotonic()
    assert boss.call("DELETE", f"/v1/tokens/{worker.id}").status == 204
    status, ended = waiting()
    assert status == 401
    assert ended - started < 1
    assert shared_live.api(worker.token).ask().status == 401
    assert view(boss, worker)["state"] == "left"
    assert worker.id not in [token["id"] for token in boss.get("/v1/tokens?all=1").body]
    assert boss.call("DELETE", f"/v1/tokens/{worker.id}").status == 404


def test_a_revoked_sessions_waiting_request_ends(shared_live, boss, in_background):
    second = shared_live.login("ann", "secret of ann")
    job = second.submit()
    (own,) = [token for token in second.get("/v1/tokens").body if token.get("current")]
    waiting = in_background(lambda: (second.get(f"/v1/jobs/{job['id']}?seen=99&wait=20").status, time.monotonic()))
    time.sleep(0.3)
    started = time.monotonic()
    boss.call("DELETE", f"/v1/tokens/{own['id']}")
    status, ended = waiting()
    assert status == 401
    assert ended - started < 1
    shared_live.ann.post(f"/v1/jobs/{job['id']}/cancel")


def test_revoking_is_audited_and_survives_a_restart(live):
    boss, worker = live.admin(), live.worker()
    worker_id = boss.get("/v1/workers").body[0]["id"]
    boss.call("DELETE", f"/v1/tokens/{worker_id}")
    (entry,) = boss.get("/v1/audit").body
    assert (entry["who"], entry["act"], entry["subject"]) == ("admin", "token revoke", worker_id)
    live.kill()
    live.start()
    assert live.api(worker.token).ask().status == 401


# rotating a worker's token


def beat(worker):
    return worker.post("/v1/worker/heartbeat", {"running": []})


def test_a_rotated_worker_gets_its_token_by_heartbeat(shared_live, boss, make_worker):
    worker = make_worker("rotated")
    assert "token" not in beat(worker).body
    assert boss.post(f"/v1/workers/{worker.id}/rotate").status == 200
    new = shared_live.api(beat(worker).body["token"])
    assert new.token != worker.token
    assert worker.ask().status == 204  # the old one is good until the new one is used
    assert "token" not in beat(new).body
    assert beat(worker).status == 401
    assert beat(new).status == 200


def test_an_answer_that_is_lost_does_not_lose_the_worker(shared_live, boss, make_worker):
    worker = make_worker("unlucky")
    boss.post(f"/v1/workers/{worker.id}/rotate")
    lost = shared_live.api(beat(worker).body["token"])
    new = shared_live.api(beat(worker).body["token"])
    assert beat(lost).status == 401
    assert beat(new).status == 200
    assert beat(worker).status == 401


def test_a_rotation_waits_for_the_worker_over_a_restart(live):
    boss, worker = live.admin(), live.worker()
    worker_id = boss.get("/v1/workers").body[0]["id"]
    boss.post(f"/v1/workers/{worker_id}/rotate")
    live.kill()
    live.start()
    new = beat(live.api(worker.token)).body["token"]
    live.kill()
    live.start()
    assert beat(live.api(new)).status == 200
    assert beat(live.api(worker.token)).status == 401


def test_rotation_is_for_admins_and_owners(ann, bob, make_worker):
    worker = make_worker("anns", visibility="private", owner="ann")
    assert bob.post(f"/v1/workers/{worker.id}/rotate").status == 404  # he does not see it
    assert ann.post(f"/v1/workers/{worker.id}/rotate").status == 200
    assert bob.post("/v1/workers/nothing/rotate").status == 404


# join tokens


def test_the_deployments_join_token_is_replaced_at_once(live):
    old = (live.state / "join.token").read_text().strip()
    boss = live.admin()
    made = boss.post("/v1/tokens/join", {"replace": True}).body
    assert (live.state / "join.token").read_text().strip() == made["token"] != old
    assert made["token"] in live.run_command("join-line", "worker").stdout
    machine = {**MACHINE, "version": ""}
    for token, status in ((old, 401), (made["token"], 200)):
        enrol = {"join_token": token, "name": "node", "machine": machine}
        assert live.api().post("/v1/enrol", enrol).status == status
    assert boss.call("DELETE", "/v1/tokens/deployment").status == 204  # there is always one
    latest = (live.state / "join.token").read_text().strip()
    assert latest not in (old, made["token"])
    live.kill()
    live.start()
    for token, status in ((made["token"], 401), (latest, 200)):
        enrol = {"join_token": token, "name": "node", "machine": machine}
        assert live.api().post("/v1/enrol", enrol).status == status


def test_a_join_token_ends_in_time_and_when_revoked(boss, enrol):
    short = boss.post("/v1/tokens/join", {"valid_s": 0.3}).body
    assert enrol(short["token"]).status == 200
    time.sleep(0.4)
    assert enrol(short["token"]).status == 401
    assert short["id"] not in [token["id"] for token in boss.get("/v1/tokens?all=1").body]
    long = boss.post("/v1/tokens/join", {}).body
    assert enrol(long["token"]).status == 200
    (used,) = [token for token in boss.get("/v1/tokens?all=1").body if token["id"] == long["id"]]
    assert used["last_used_at"] > 0
    assert boss.call("DELETE", f"/v1/tokens/{long['id']}").status == 204
    assert enrol(long["token"]).status == 401


@pytest.mark.parametrize(
    ("spec", "user", "admin"),
    [
        ({}, 403, 200),
        ({"replace": True}, 403, 200),
        ({"visibility": "private", "owner": "bob"}, 200, 200),
        ({"visibility": "private", "owner": "ann"}, 403, 200),
        ({"visibility": "group", "group": "lab"}, 403, 200),
        ({"visibility": "group", "group": "lab", "owner": "bob"}, 403, 200),
        ({"visibility": "group", "group": "none"}, 403, 404),
        ({"visibility": "private", "owner": "nobody"}, 403, 404),
        ({"visibility": "private"}, 422, 422),
        ({"visibility": "group"}, 422, 422),
        ({"visibility": "odd"}, 422, 422),
        ({"valid_s": -1.0}, 422, 422),
        ({"replace": True, "visibility": "private", "owner": "bob"}, 422, 422),
    ],
    ids=str,
)
def test_who_may_make_which_join_token(boss, bob, spec, user, admin):
    assert bob.post("/v1/tokens/join", spec).status == user
    assert boss.post("/v1/tokens/join", spec).status == admin


# whose jobs a worker runs


@pytest.mark.parametrize(
    ("spec", "runs"),
    [
        ({"visibility": "public"}, {"ann", "bob", "admin"}),
        ({"visibility": "private", "owner": "ann"}, {"ann"}),
        ({"visibility": "group", "group": "lab"}, {"ann"}),
        ({"visibility": "private", "owner": "bob"}, {"bob"}),
    ],
    ids=["public", "ann's own", "of a group", "bob's own"],
)
def test_a_worker_runs_the_jobs_it_is_there_for(boss, ann, bob, make_worker, spec, runs):
    worker = make_worker("chooser", **spec)
    seen = view(boss, worker)
    assert (seen.get("visibility", "public"), seen.get("owner", ""), seen.get("group", "")) == (
        spec["visibility"],
        spec.get("owner", ""),
        spec.get("group", ""),
    )
    for name, caller in (("ann", ann), ("bob", bob), ("admin", boss)):
        job = caller.submit()
        reply = worker.ask()
        assert (reply.status == 200) is (name in runs), name
        if reply.status == 200:
            assert reply.body["job_id"] == job["id"]
        caller.post(f"/v1/jobs/{job['id']}/cancel")


def test_a_changed_worker_runs_others_jobs_at_once(boss, ann, bob, make_worker):
    worker = make_worker("changed", visibility="private", owner="ann")
    job = bob.submit()
    assert worker.ask().status == 204
    assert ann.post(f"/v1/workers/{worker.id}", {"visibility": "public"}).status == 200
    assert worker.ask().body["job_id"] == job["id"]
    bob.post(f"/v1/jobs/{job['id']}/cancel")
    assert boss.post(f"/v1/workers/{worker.id}", {"visibility": "group", "group": "lab"}).body["group"] == "lab"
    job = bob.submit()
    assert worker.ask().status == 204
    boss.post("/v1/groups/lab", {"members": ["ann", "bob"]})
    assert worker.ask().body["job_id"] == job["id"]
    boss.post("/v1/groups/lab", {"members": ["ann"]})
    bob.post(f"/v1/jobs/{job['id']}/cancel")


def test_a_drained_worker_gets_no_more_until_it_is_let(boss, ann, make_worker):
    worker = make_worker("drained", visibility="private", owner="ann")
    job = ann.submit()
    assert ann.post(f"/v1/workers/{worker.id}", {"draining": True}).body["draining"] is True
    assert worker.ask().status == 204
    assert "draining" not in ann.post(f"/v1/workers/{worker.id}", {"draining": False}).body
    assert worker.ask().body["job_id"] == job["id"]
    ann.post(f"/v1/jobs/{job['id']}/cancel")


def test_a_private_workers_idle_request_does_not_keep_jobs_from_others(boss, ann, bob, make_worker, in_background):
    """The one that waits longest is asked first; a job that is not for it goes to the next at once."""
    private = make_worker("first-in-line", visibility="private", owner="ann")
    public = make_worker("second")
    first = in_background(lambda: private.ask(wait_s=4).status)
    time.sleep(0.3)
    second = in_background(lambda: (public.ask(wait_s=10).body, time.monotonic()))
    time.sleep(0.3)
    started = time.monotonic()
    job = bob.submit()
    lease, at = second()
    assert lease["job_id"] == job["id"]
    assert at - started < 0.5
    assert first() == 204
    bob.post(f"/v1/jobs/{job['id']}/cancel")


def test_explain_counts_the_workers_that_serve_others(boss, ann, bob, make_worker):
    worker = make_worker("explained", visibility="private", owner="ann")
    worker.ask()
    job = bob.submit()
    failing = {one["need"]: one for one in bob.get(f"/v1/jobs/{job['id']}/explain").body["failing"]}
    assert failing["visibility"]["wanted"] == "bob"
    assert ann.get(f"/v1/jobs/{job['id']}/explain").status == 404
    bob.post(f"/v1/jobs/{job['id']}/cancel")


def test_only_owner_and_admins_change_a_worker(boss, ann, bob, make_worker):
    worker = make_worker("kept", visibility="private", owner="ann")
    path = f"/v1/workers/{worker.id}"
    assert bob.post(path, {"visibility": "public"}).status == 404  # he does not see it
    assert ann.post(path, {"visibility": "odd"}).status == 422
    assert boss.post(path, {"visibility": "group", "group": "none"}).status == 404
    assert ann.post(path, {"visibility": "group", "group": "none"}).status == 403
    assert ann.post(path, {"visibility": "group", "group": "lab"}).status == 200
    public = make_worker("public")
    assert ann.post(f"/v1/workers/{public.id}", {"visibility": "public"}).status == 403
    assert boss.post(f"/v1/workers/{public.id}", {"visibility": "private"}).status == 422
    assert boss.post("/v1/workers/nothing", {"visibility": "public"}).status == 404
