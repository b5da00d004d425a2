"""Tokens and workers, as administrators and their owners handle them, at the real server."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from live_server import LiveServer
from typist import Typist
from xwhep.common import errors
from xwhep.common.join import parse_join_line

SECRET = re.compile(r"xw[a-z]_[\w-]{20,}")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    server = LiveServer(tmp_path_factory.mktemp("admin-tokens") / "state")
    server.start("--quarantine-after", "1")
    server.boss = server.admin()
    yield server
    server.kill()
    assert "Traceback" not in server.log()


@pytest.fixture
def xw(live, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XWHEP_CLIENT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XWHEP_CLIENT_CONFIG", str(tmp_path / "none.toml"))
    return Typist(live, monkeypatch, capsys)


@pytest.fixture
def user(live, xw):
    """A new user with a session, and his login."""

    def make(login):
        xw("admin", "user", "add", login, stdin=f"secret of {login}\n")
        return live.login(login, f"secret of {login}")

    return make


@pytest.fixture
def in_thread():
    with ThreadPoolExecutor() as pool:
        yield pool.submit


# tokens


def test_sessions_are_listed_and_ended(xw, live, user):
    ines = user("ines")
    other = live.login("ines", "secret of ines")
    listed = xw.json("token", "list", api=ines)
    assert [token["current"] for token in listed].count(True) == 1
    (stale,) = [token["id"] for token in listed if not token["current"]]
    assert "session (this one)" in xw("token", "list", api=ines)
    assert xw("token", "revoke", stale[:10], api=ines) == f"{stale} (session of ines) revoked\n"
    assert other.get("/v1/me").status == 401
    assert ines.get("/v1/me").status == 200
    for typed in (stale, "zzz", ""):
        assert xw.type("token", "revoke", typed, api=ines)[0] == errors.NotFound.exit_code


def test_an_admin_ends_anyones_and_a_user_his_own_only(xw, user):
    jane, karl = user("jane"), user("karl")
    (token,) = [one["id"] for one in xw.json("admin", "token", "list") if one["subject"] == "karl"]
    assert xw.type("token", "revoke", token, api=jane)[0] == errors.NotFound.exit_code
    assert xw.type("token", "revoke", token)[0] == errors.NotFound.exit_code  # the admin's own only, without `admin`
    assert karl.get("/v1/me").status == 200
    xw("admin", "token", "revoke", token)
    assert karl.get("/v1/me").status == 401


def test_all_of_ones_tokens_end_in_one_command(xw, live, user):
    leo = user("leo")
    others = [live.login("leo", "secret of leo") for _ in range(2)]
    listed = [token["id"] for token in xw.json("token", "list", api=leo)]
    assert xw("token", "revoke", *listed, api=leo).count("revoked") == 3
    assert [api.get("/v1/me").status for api in (leo, *others)] == [401] * 3


def enrol(live, token, name):
    machine = {"os": "linux", "arch": "x86_64", "cpu_count": 1, "cpu_model": "", "ram_bytes": 1, "disk_free_bytes": 1}
    spec = {"join_token": token, "name": name, "machine": {**machine, "version": ""}}
    reply = live.api().post("/v1/enrol", spec)
    assert reply.status == 200, reply
    return live.api(reply.body["token"])


@pytest.mark.parametrize(
    ("options", "serves"),
    [
        ((), "everyone"),
        (("--group", "makers"), "the group makers"),
        (("--private", "mia", "--valid", "7d"), "its owner mia"),
    ],
)
def test_a_join_line_makes_such_workers(xw, live, options, serves):
    if "makers" not in xw("admin", "group", "list"):
        xw("admin", "group", "add", "makers")
        xw("admin", "user", "add", "mia", stdin="secret of mia\n")
    code, out, err = xw.type("admin", "token", "join", *options)
    assert code == 0, err
    line = parse_join_line(out)  # what is printed can be pasted as it is
    assert line == xw.line(line.token)
    assert line.token not in err
    name = f"made-by-{'-'.join(options).strip('-') or 'default'}"[:40]
    enrol(live, line.token, name)
    assert re.search(rf"^runs jobs of +{serves}$", xw("worker", "show", name), re.MULTILINE)


def test_a_join_line_as_json_for_another_address(xw):
    made = xw.json("admin", "token", "join", "--valid", "90", "--address", "grid.example.org")
    assert made["join_line"].split()[1] == "https://grid.example.org:4321"
    assert 80 < made["expires_at"] - time.time() < 100
    assert xw.type("admin", "token", "join", "--address", "http://x")[0] == errors.UsageError.exit_code
    listed = [token["id"] for token in xw.json("admin", "token", "list")]
    assert made["id"] in listed
    assert not SECRET.search(json.dumps(listed))


def test_the_deployments_join_token_is_replaced(xw, live):
    old = (live.state / "join.token").read_text().strip()
    new = parse_join_line(xw("admin", "token", "join", "--replace")).token
    assert (live.state / "join.token").read_text().strip() == new != old
    enrol(live, new, "with-the-new-one")
    machine = {"os": "a", "arch": "a", "cpu_count": 1, "cpu_model": "", "ram_bytes": 1, "disk_free_bytes": 1}
    spec = {"join_token": old, "name": "late", "machine": {**machine, "version": ""}}
    assert live.api().post("/v1/enrol", spec).status == 401


def test_a_user_joins_machines_of_his_own(xw, live, user):
    nora = user("nora")
    token = parse_join_line(xw("token", "join", "--valid", "1h", api=nora)).token
    enrol(live, token, "noras")
    assert xw.json("worker", "show", "noras", api=nora)["owner"] == "nora"
    assert xw.json("admin", "worker", "drain", "noras", api=nora)[0]["draining"] is True
    code, _, err = xw.type("admin", "token", "join", "--private", "admin", api=nora)
    assert code == errors.NotAllowed.exit_code
    assert "private workers of your own only" in err


# workers


def test_workers_are_drained_resumed_and_set(xw, live):
    live.worker("w1"), live.worker("w2")
    xw("admin", "group", "add", "owners")
    assert [one["draining"] for one in xw.json("admin", "worker", "drain", "w1", "w2")] == [True, True]
    assert "draining" in xw("worker", "show", "w1")
    assert re.search(r"^w2 +\w+, draining", xw("worker", "list"), re.MULTILINE)
    assert "runs jobs of everyone\n" in xw("admin", "worker", "resume", "w1", "w1")
    (changed,) = xw.json("admin", "worker", "set", "w1", "--group", "owners")
    assert (changed["visibility"], changed["group"], changed["draining"]) == ("group", "owners", False)
    assert xw.json("admin", "worker", "set", "w1", "--visibility", "public")[0]["visibility"] == "public"
    assert xw.type("admin", "worker", "set", "w1", "--group", "none")[0] == errors.NotFound.exit_code
    assert xw.type("admin", "worker", "set", "w1", "--visibility", "private")[0] == errors.InvalidRequest.exit_code


def test_one_wrong_name_changes_nothing(xw, live):
    live.worker("kept-1")
    code, _, err = xw.type("admin", "worker", "drain", "kept-1", "kept-2")
    assert code == errors.NotFound.exit_code
    assert "did you mean kept-1" in err
    assert xw.json("worker", "show", "kept-1")["draining"] is False


def test_a_rotated_worker_is_told_its_new_token(xw, live):
    worker = live.worker("rotated")
    worker.ask()
    xw("admin", "worker", "rotate", "rotated")
    told = worker.post("/v1/worker/heartbeat", {"running": []}).body["token"]
    assert live.api(told).post("/v1/worker/heartbeat", {"running": []}).status == 200
    assert worker.post("/v1/worker/heartbeat", {"running": []}).status == 401


def test_a_worker_leaves_quarantine_at_once(xw, live, in_thread):
    live.boss.post("/v1/apps", {"name": "faulty", "shared": "faulty"})
    worker = live.worker("broken")
    live.boss.submit("faulty", max_attempts=1)
    lease = worker.ask(shared=["faulty"]).body
    worker.deliver(lease, exit_code=126, reason="worker refused: broken")
    shown = xw.json("worker", "show", "broken")
    assert shown["quarantined_until"] > time.time()
    assert "quarantine " in xw("worker", "show", "broken")
    assert re.search(r"^broken +\w+, quarantined", xw("worker", "list"), re.MULTILINE)
    assert xw.json("admin", "status")["quarantined"] == ["broken"]
    job = live.boss.submit("faulty")
    waiting = in_thread(lambda: worker.ask(wait_s=20, shared=["faulty"]))
    (freed,) = xw.json("admin", "worker", "unquarantine", "broken")
    assert (freed["quarantined_until"], freed["failures_in_row"]) == (0, 0)
    assert waiting.result(10).body["job_id"] == job["id"]
    assert "worker unquarantine" in xw("admin", "audit")


def test_a_worker_is_found_by_id_and_the_one_that_is_there_wins(xw, live):
    old, new = live.worker("twin"), live.worker("twin")
    old.ask(), new.ask()
    ids = [one["id"] for one in xw.json("worker", "list") if one["name"] == "twin"]
    code, _, err = xw.type("worker", "show", "twin")
    assert code == errors.UsageError.exit_code
    assert all(one in err for one in ids)
    assert {xw.json("worker", "show", one[:12])["id"] for one in ids} == set(ids)
    assert [one["id"] for one in xw.json("worker", "show", *ids)] == ids
    assert xw("worker", "show", *ids).count("twin") == 2
    old.post("/v1/worker/leave", {"running": []})
    assert xw.json("worker", "show", "twin")["state"] == "idle"
