"""Users, groups, passwords and the audit log: what administrators do, what others may not, and how fast it works."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

ADMIN_ONLY = [
    ("GET", "/v1/users", None),
    ("POST", "/v1/users", {"login": "new", "password": "long enough"}),
    ("POST", "/v1/users/ann", {"role": "admin"}),
    ("POST", "/v1/groups", {"name": "lab"}),
    ("POST", "/v1/groups/lab", {"members": ["ann"]}),
    ("GET", "/v1/audit", None),
]


@pytest.fixture(scope="module")
def shared_live(tmp_path_factory, live_server_class):
    server = live_server_class(tmp_path_factory.mktemp("administration") / "state")
    server.start()
    server.boss = server.admin()
    yield server
    server.kill()
    assert "Traceback" not in server.log()


@pytest.fixture
def boss(shared_live):
    return shared_live.boss


@pytest.fixture
def make_user(shared_live, boss):
    """A user with a session, made over the wire."""

    def make(login: str, **fields):
        reply = boss.post("/v1/users", {"login": login, "password": f"secret of {login}", **fields})
        assert reply.status == 200, reply
        return shared_live.login(login, f"secret of {login}")

    return make


@pytest.mark.parametrize(("method", "path", "body"), ADMIN_ONLY, ids=[f"{verb} {path}" for verb, path, _ in ADMIN_ONLY])
def test_administration_is_for_administrators(shared_live, boss, make_user, method, path, body):
    if "ann" not in [user["login"] for user in boss.get("/v1/users").body]:
        shared_live.ann = make_user("ann")
        boss.post("/v1/groups", {"name": "lab"})
    reply = shared_live.ann.call(method, path, body)
    assert (reply.status, reply.code) == (403, "not_allowed")
    assert boss.call(method, path, body).status in (200, 409)
    boss.post("/v1/users/ann", {"role": "user"})


def test_a_new_user_is_as_the_admin_said(boss, make_user):
    boss.post("/v1/groups", {"name": "chem"})
    user = make_user("carl", groups=["chem"])
    assert user.get("/v1/me").body == {"login": "carl", "role": "user", "groups": ["chem"]}
    listed = {one["login"]: one for one in boss.get("/v1/users").body}
    assert listed["carl"] == {"login": "carl", "role": "user", "groups": ["chem"]}
    again = boss.post("/v1/users", {"login": "carl", "password": "long enough"})
    assert (again.status, again.code) == (409, "conflict")
    assert boss.post("/v1/users", {"login": "dan", "password": "long enough", "groups": ["none"]}).status == 404
    assert "dan" not in [one["login"] for one in boss.get("/v1/users").body]


@pytest.mark.parametrize(
    "wrong",
    [
        {"login": "../x"},
        {"login": ""},
        {"password": "short"},
        {"password": "x" * 2000},
        {"password": "surrogate \ud800 here"},
        {"role": "root"},
        {"groups": ["../x"]},
    ],
    ids=str,
)
def test_wrong_users_are_refused(boss, wrong):
    spec = {"login": "wrong", "password": "long enough", **wrong}
    assert boss.post("/v1/users", spec).status == 422


def test_a_deactivated_user_is_out_within_a_second_and_may_come_back(shared_live, boss, make_user):
    user = make_user("gone")
    assert user.get("/v1/me").status == 200
    assert boss.post("/v1/users/gone", {"active": False}).body["active"] is False
    assert user.get("/v1/me").status == 401
    assert shared_live.api().post("/v1/login", {"login": "gone", "password": "secret of gone"}).status == 401
    boss.post("/v1/users/gone", {"active": True})
    assert user.get("/v1/me").status == 401  # the session is gone for good
    assert shared_live.login("gone", "secret of gone").get("/v1/me").status == 200


def test_a_waiting_request_of_a_deactivated_user_ends_within_a_second(shared_live, boss, make_user, in_background):
    user = make_user("waiting")
    boss.register_app()
    job = user.submit()
    waiting = in_background(lambda: (user.get(f"/v1/jobs/{job['id']}?seen=99&wait=20").status, time.monotonic()))
    time.sleep(0.3)
    started = time.monotonic()
    boss.post("/v1/users/waiting", {"active": False})
    status, ended = waiting()
    assert status == 401
    assert ended - started < 1


def test_a_user_who_joins_or_leaves_a_group_sees_it_at_once(boss, make_user):
    user = make_user("mover")
    boss.post("/v1/groups", {"name": "bio"})
    boss.register_app("hidden")
    boss.post("/v1/apps/hidden/mode", {"mode": 0o750, "group": "bio"})
    for members, status in (([], 404), (["mover"], 200), ([], 404)):
        boss.post("/v1/groups/bio", {"members": members})
        assert user.get("/v1/apps/hidden").status == status
        assert [group["name"] for group in user.get("/v1/groups").body] == (["bio"] if members else [])
    boss.post("/v1/users/mover", {"groups": ["bio"]})
    assert user.get("/v1/groups").body[0]["members"] == ["mover"]
    assert boss.post("/v1/groups/bio", {"members": ["nobody"]}).status == 404
    assert boss.post("/v1/groups/none", {"members": []}).status == 404
    assert user.get("/v1/groups").body[0]["members"] == ["mover"]  # what was refused changed nothing


def test_a_promoted_user_is_admin_at_once_and_a_demoted_one_is_not(boss, make_user):
    user = make_user("rising")
    for role, status in (("admin", 200), ("user", 403)):
        boss.post("/v1/users/rising", {"role": role})
        assert user.get("/v1/users").status == status


@pytest.mark.parametrize("change", [{"active": False}, {"role": "user"}])
def test_the_last_administrator_stays(boss, change):
    reply = boss.post("/v1/users/admin", change)
    assert (reply.status, reply.code) == (409, "conflict")
    assert boss.get("/v1/users").status == 200


def test_a_user_changes_his_password_and_his_other_sessions_end(shared_live, make_user):
    user = make_user("fred")
    other = shared_live.login("fred", "secret of fred")
    wrong = user.post("/v1/me/password", {"old": "not it at all", "new": "a better one"})
    assert (wrong.status, wrong.code) == (401, "authentication")
    assert user.post("/v1/me/password", {"old": "secret of fred", "new": "short"}).status == 422
    assert other.get("/v1/me").status == 200
    assert user.post("/v1/me/password", {"old": "secret of fred", "new": "a better one"}).status == 200
    assert user.get("/v1/me").status == 200
    assert other.get("/v1/me").status == 401
    assert shared_live.api().post("/v1/login", {"login": "fred", "password": "secret of fred"}).status == 401
    assert shared_live.login("fred", "a better one").get("/v1/me").status == 200


def test_a_password_that_the_admin_sets_ends_every_session(shared_live, boss, make_user):
    user = make_user("reset")
    boss.post("/v1/users/reset", {"password": "from the admin"})
    assert user.get("/v1/me").status == 401
    assert shared_live.login("reset", "from the admin").get("/v1/me").status == 200


def test_guessing_the_old_password_is_throttled(make_user):
    user = make_user("guess")
    replies = [user.post("/v1/me/password", {"old": "guess number 1", "new": "a better one"}) for _ in range(7)]
    assert [reply.status for reply in replies][-1] == 429


def test_every_act_is_in_the_audit_log_and_no_secret(shared_live, boss, make_user):
    started = time.time()
    make_user("seen")
    boss.post("/v1/groups", {"name": "seen-group", "members": ["seen"]})
    boss.post("/v1/groups/seen-group", {"members": []})
    boss.post("/v1/users/seen", {"password": "secret from admin", "role": "admin", "active": False})
    shared_live.run_command("user", "add", "typed", stdin="secret of typed\n")
    entries = boss.get(f"/v1/audit?since={started}").body
    said = [(entry["who"], entry["act"], entry["subject"]) for entry in reversed(entries)]
    assert said == [
        ("admin", "user add", "seen"),
        ("admin", "group add", "seen-group"),
        ("admin", "group change", "seen-group"),
        ("admin", "user change", "seen"),
        ("console", "user add", "typed"),
    ]
    assert entries[1]["detail"] == "password, role admin, deactivated"
    assert "secret" not in str(entries)
    assert boss.get(f"/v1/audit?since={started}&limit=1").body == entries[:1]
    assert boss.get("/v1/audit?since=nan").status == 422


def test_members_come_and_go_in_one_request(boss, make_user):
    for login in ("come", "go", "stay"):
        make_user(login)
    boss.post("/v1/groups", {"name": "moving", "members": ["go", "stay"]})
    started = time.time()
    path = "/v1/groups/moving"
    assert boss.post(path, {"add": ["come"], "remove": ["go"]}).body["members"] == ["come", "stay"]
    assert boss.post(path, {"add": ["come"]}).body["members"] == ["come", "stay"]
    for wrong, status in (
        ({"remove": ["go"]}, 404),
        ({"add": ["go", "nobody"]}, 404),
        ({"remove": ["come", "go"]}, 404),
        ({}, 422),
        ({"members": [], "add": ["go"]}, 422),
        ({"add": ["go"], "remove": ["go"]}, 422),
    ):
        assert boss.post(path, wrong).status == status, wrong
    (moving,) = [group for group in boss.get("/v1/groups").body if group["name"] == "moving"]
    assert moving["members"] == ["come", "stay"]
    assert [entry["detail"] for entry in boss.get(f"/v1/audit?since={started}").body] == ["+come", "+come -go"]


def test_two_who_add_at_once_lose_nobody(boss, make_user, shared_live):
    logins = [f"together{number}" for number in range(6)]
    for login in logins:
        make_user(login)
    boss.post("/v1/groups", {"name": "together"})
    desks = [shared_live.api(boss.token) for _ in logins]
    with ThreadPoolExecutor(len(logins)) as pool:
        list(pool.map(lambda desk, login: desk.post("/v1/groups/together", {"add": [login]}), desks, logins))
    (together,) = [group for group in boss.get("/v1/groups").body if group["name"] == "together"]
    assert together["members"] == logins


def test_what_is_refused_is_not_in_the_audit_log(boss):
    before = boss.get("/v1/audit").body
    boss.post("/v1/users", {"login": "admin", "password": "long enough"})
    boss.post("/v1/users/admin", {"active": False})
    boss.post("/v1/groups/nothing", {"members": []})
    assert boss.get("/v1/audit").body == before


def test_what_an_admin_does_to_others_things_is_audited(boss, make_user):
    user = make_user("handled")
    user.register_app("handled")
    jobs = [user.submit("handled", group="handled")["id"] for _ in range(3)]
    started = time.time()
    user.post(f"/v1/jobs/{jobs[0]}/cancel")
    boss.post(f"/v1/jobs/{jobs[1]}/cancel")
    boss.call("DELETE", f"/v1/jobs/{jobs[0]}")
    boss.post("/v1/jobs/cancel", {"group": "handled"})
    boss.register_app("handled", b"#!/bin/sh\nexit 1\n")
    said = [(entry["act"], entry["subject"], entry["detail"]) for entry in boss.get(f"/v1/audit?since={started}").body]
    assert said[::-1] == [
        ("job cancel", jobs[1], "of handled"),
        ("job delete", jobs[0], "of handled"),
        ("job cancel", "group handled", "1 jobs"),
        ("app change", "handled", "of handled"),
    ]


def test_an_admins_change_of_anothers_mode_is_audited_and_ones_own_is_not(boss, make_user):
    user = make_user("moded")
    user.register_app("moded")
    before = len(boss.get("/v1/audit?limit=10000").body)
    user.post("/v1/apps/moded/mode", {"mode": 0o700})
    assert len(boss.get("/v1/audit?limit=10000").body) == before
    boss.post("/v1/apps/moded/mode", {"mode": 0o755})
    (entry,) = boss.get("/v1/audit?limit=1").body
    assert (entry["act"], entry["detail"]) == ("mode", "app of moded: 0700  -> 0755 ")
