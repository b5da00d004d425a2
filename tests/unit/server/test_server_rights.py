"""Two users apart, workers apart from users, and nobody gets what is not theirs by guessing."""

from __future__ import annotations

import hashlib
import time

import pytest

EMPTY = hashlib.sha256(b"").hexdigest()


def test_a_user_sees_only_what_is_hers_and_the_admin_sees_all(live):
    ann, bob, admin = live.user("ann"), live.user("bob"), live.admin()
    ann.register_app()
    datum = ann.post("/v1/data", {"name": "mine", **ann.upload(b"secret")}).body
    job = ann.submit(data=["mine"])
    for path in (f"/v1/jobs/{job['id']}", "/v1/data/mine", f"/v1/data/{datum['id']}"):
        assert ann.get(path).status == 200
        assert bob.get(path).status == 404
    assert bob.get("/v1/jobs").body == bob.get("/v1/data").body == []
    assert bob.post(f"/v1/jobs/{job['id']}/cancel").status == 404
    assert bob.call("DELETE", f"/v1/jobs/{job['id']}").status == 404
    assert [found["id"] for found in admin.get("/v1/jobs").body] == [job["id"]]
    assert [found["id"] for found in admin.get("/v1/data").body] == [datum["id"]]
    assert admin.get(f"/v1/jobs/{job['id']}").status == 200
    assert admin.post(f"/v1/jobs/{job['id']}/cancel").body["state"] == "cancelled"


def test_what_is_anothers_looks_like_what_does_not_exist(live):
    ann, bob = live.user("ann"), live.user("bob")
    ann.register_app()
    job = ann.submit()
    known, unknown = bob.get(f"/v1/jobs/{job['id']}"), bob.get("/v1/jobs/0123456789abcdef")
    assert known.body["message"].replace(job["id"], "X") == unknown.body["message"].replace("0123456789abcdef", "X")
    blob = ann.upload(b"secret")
    absent = hashlib.sha256(b"absent").hexdigest()
    known, unknown = bob.get(f"/v1/blobs/{blob['sha256']}"), bob.get(f"/v1/blobs/{absent}")
    assert known.body["message"].replace(blob["sha256"], "X") == unknown.body["message"].replace(absent, "X")


def test_knowing_a_hash_is_not_enough_to_read_or_name_a_blob(live):
    ann, bob = live.user("ann"), live.user("bob")
    blob = ann.upload(b"secret")
    assert bob.get(f"/v1/blobs/{blob['sha256']}").status == 404
    assert bob.call("HEAD", f"/v1/blobs/{blob['sha256']}").status == 404
    assert bob.post("/v1/data", {"name": "stolen", **blob}).status == 404
    app = {"name": "stolen", "binaries": [{"os": "any", "arch": "any", **blob}]}
    assert bob.post("/v1/apps", app).status == 404
    assert bob.upload(b"secret") == blob  # who has the content may
    assert bob.post("/v1/data", {"name": "own", **blob}).status == 200
    assert bob.get(f"/v1/blobs/{blob['sha256']}").raw == b"secret"


def test_a_worker_cannot_name_a_blob_it_never_uploaded_in_a_result(live):
    ann, worker = live.user("ann"), live.worker()
    ann.register_app()
    ann.submit()
    secret = live.user("bob").upload(b"secret of bob")
    lease = worker.ask().body
    stolen = worker.result(lease, files=[{"path": "stolen", **secret}])
    assert worker.post("/v1/worker/result", stolen).status == 404


def test_a_worker_reads_only_what_its_leased_jobs_need(live):
    ann, worker, other = live.user("ann"), live.worker(), live.worker("other")
    ann.register_app()
    blob = ann.upload(b"input")
    private = ann.upload(b"private")
    ann.post("/v1/data", {"name": "in", **blob})
    ann.post("/v1/data", {"name": "private", **private})
    ann.submit(data=["in"])
    path = f"/v1/blobs/{blob['sha256']}"
    assert worker.get(path).status == 404
    lease = worker.ask().body
    assert worker.get(path).raw == b"input"
    assert other.get(path).status == 404
    assert worker.get(f"/v1/blobs/{private['sha256']}").status == 404
    worker.deliver(lease)
    assert worker.get(path).status == 404


def test_the_owner_of_a_job_reads_its_results_and_another_does_not(live):
    ann, bob, worker = live.user("ann"), live.user("bob"), live.worker()
    ann.register_app()
    job = ann.submit()
    worker.deliver(worker.ask().body, stdout=b"for ann")
    sha256 = ann.get(f"/v1/jobs/{job['id']}").body["result"]["stdout"]["sha256"]
    assert ann.get(f"/v1/blobs/{sha256}").raw == b"for ann"
    assert bob.get(f"/v1/blobs/{sha256}").status == 404
    assert live.admin().get(f"/v1/blobs/{sha256}").raw == b"for ann"


def test_an_app_is_visible_to_all_and_changed_by_its_owner_or_the_admin_only(live):
    ann, bob, admin = live.user("ann"), live.user("bob"), live.admin()
    ann.register_app("tool", b"one", os="linux", arch="x86_64")
    assert bob.get("/v1/apps/tool").body["owner"] == "ann"
    refused = bob.register_app("tool", b"evil")
    assert (refused.status, refused.code) == (403, "not_allowed")
    assert bob.submit("tool")["state"] == "pending"  # to run it is no change
    both = ann.register_app("tool", b"two", os="linux", arch="riscv64").body["binaries"]
    assert [binary["arch"] for binary in both] == ["riscv64", "x86_64"]
    assert admin.register_app("tool", b"new", os="linux", arch="x86_64").body["owner"] == "ann"


def test_data_names_belong_to_each_user_and_are_not_overwritten(live):
    ann, bob = live.user("ann"), live.user("bob")
    first = ann.post("/v1/data", {"name": "set", **ann.upload(b"one")}).body
    assert bob.post("/v1/data", {"name": "set", **bob.upload(b"two")}).status == 200
    assert ann.post("/v1/data", {"name": "set", **ann.upload(b"one")}).body == first
    taken = ann.post("/v1/data", {"name": "set", **ann.upload(b"three")})
    assert (taken.status, taken.code) == (409, "conflict")


def test_a_job_cannot_take_another_users_datum(live):
    ann, bob = live.user("ann"), live.user("bob")
    ann.register_app()
    datum = ann.post("/v1/data", {"name": "mine", **ann.upload(b"secret")}).body
    for spec in ({"data": [datum["id"]]}, {"stdin": "mine"}):
        assert bob.post("/v1/jobs", {"app": "tool", **spec}).status == 404


def test_users_see_workers_but_not_the_ids_of_others_jobs(live):
    ann, bob, worker = live.user("ann"), live.user("bob"), live.worker()
    ann.register_app()
    job = ann.submit()
    worker.ask()
    assert ann.get("/v1/workers").body[0]["running"] == [job["id"]]
    seen = bob.get("/v1/workers").body[0]
    assert seen["state"] == "busy"
    assert "running" not in seen


USER_PATHS = [
    ("GET", "/v1/me"),
    ("GET", "/v1/apps"),
    ("GET", "/v1/apps/x"),
    ("POST", "/v1/apps"),
    ("GET", "/v1/data"),
    ("GET", "/v1/data/x"),
    ("POST", "/v1/data"),
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/x"),
    ("POST", "/v1/jobs/x/cancel"),
    ("DELETE", "/v1/jobs/x"),
    ("GET", "/v1/workers"),
]
WORKER_PATHS = [("POST", f"/v1/worker/{verb}") for verb in ("request", "heartbeat", "result", "leave")]
BLOB_PATHS = [(method, f"/v1/blobs/{EMPTY}") for method in ("GET", "HEAD", "PUT")]


def test_every_route_refuses_strangers_and_the_wrong_kind_of_token(live):
    user, worker, stranger = live.admin(), live.worker(), live.api()
    forged = live.api("xwu_" + "A" * 43)
    for method, path in [*USER_PATHS, *WORKER_PATHS, *BLOB_PATHS]:
        for caller in (stranger, forged):
            assert caller.call(method, path, b"").status == 401, (method, path)
    for method, path in USER_PATHS:
        assert worker.call(method, path, b"").status == 403, (method, path)
    for method, path in WORKER_PATHS:
        assert user.call(method, path, b"").status == 403, (method, path)


def test_a_wrong_password_and_an_unknown_login_look_the_same(live):
    live.user("ann")
    replies = [live.api().post("/v1/login", {"login": login, "password": "wrong one"}) for login in ("ann", "nobody")]
    assert [reply.status for reply in replies] == [401, 401]
    assert replies[0].body == replies[1].body


def test_wrong_passwords_are_throttled_and_right_ones_are_not(live):
    live.user("ann")
    for _ in range(8):
        live.login("ann", "secret of ann")
    statuses = [live.api().post("/v1/login", {"login": "ann", "password": "wrong one"}).status for _ in range(7)]
    assert statuses[:5] == [401] * 5
    assert statuses[5:] == [429] * 2
    assert live.user("bob").get("/v1/me").body == {"login": "bob", "role": "user"}


def test_a_wrong_join_token_enrols_nobody(live):
    machine = {"os": "linux", "arch": "x", "cpu_count": 1, "cpu_model": "", "version": ""}
    enrol = {"name": "node", "machine": {**machine, "ram_bytes": 1, "disk_free_bytes": 1}}
    assert live.api().post("/v1/enrol", {**enrol, "join_token": "xwj_wrong"}).status == 401
    right = (live.state / "join.token").read_text().strip()
    assert live.api().post("/v1/enrol", {**enrol, "join_token": right}).status == 200
    assert len(live.admin().get("/v1/workers").body) == 1


def test_a_session_ends_in_time(stopped):
    stopped.start("--session-hours", "0.0003")  # about a second
    admin = stopped.admin()
    assert admin.get("/v1/me").status == 200
    expires_in = 0.0003 * 3600
    time.sleep(expires_in + 0.1)
    assert admin.get("/v1/me").status == 401


@pytest.mark.parametrize("role", ["user", "admin"])
def test_me_says_who_asks(live, role):
    if role == "admin":
        assert live.admin().get("/v1/me").body == {"login": "admin", "role": "admin"}
    else:
        assert live.user("ann").get("/v1/me").body == {"login": "ann", "role": "user"}


def test_no_secret_is_in_the_log(live):
    live.user("ann")
    worker = live.worker()
    worker.ask()
    live.run_command("join-line", "client")
    log = live.log()
    secrets = [(live.state / name).read_text().split()[-1] for name in ("admin.login", "join.token")]
    for secret in [*secrets, worker.token, "secret of ann"]:
        assert secret not in log
    assert "xwhep-server join-line worker" in log.splitlines()[0]
