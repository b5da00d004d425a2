"""What administrators do, typed as they type it, at the real server."""

from __future__ import annotations

import io
import json
import queue
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from live_server import LiveServer
from xwhep.client.main import main
from xwhep.common import errors, trust
from xwhep.common.join import JoinLine, parse_join_line

SECRET = re.compile(r"xw[a-z]_[\w-]{20,}")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    server = LiveServer(tmp_path_factory.mktemp("admin") / "state")
    server.start("--quarantine-after", "1")
    server.boss = server.admin()
    yield server
    server.kill()
    assert "Traceback" not in server.log()


class Typist:
    """Runs `xw` in this process as the holder of a token."""

    def __init__(self, live, monkeypatch, capsys):
        self.live, self.monkeypatch, self.capsys = live, monkeypatch, capsys

    def line(self, token):
        pem = (self.live.state / "ca.pem").read_text()
        return JoinLine(address=f"https://localhost:{self.live.port}", fingerprint=trust.fingerprint(pem), token=token)

    def type(self, *words, stdin="", api=None):
        """(exit code, standard output, standard error)"""
        self.monkeypatch.setenv("XWHEP_JOIN", str(self.line((api or self.live.boss).token)))
        self.monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(words)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def __call__(self, *words, **more):
        """Standard output of what must go well."""
        code, out, err = self.type(*words, **more)
        assert code == 0, err
        return out

    def json(self, *words, **more):
        return json.loads(self(*words, "--format", "json", **more))


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


class Followed:
    """`xw admin audit -f` as a process."""

    def __init__(self, process):
        self.process = process
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line) for line in process.stdout], daemon=True).start()

    def next(self):
        return json.loads(self.lines.get(timeout=15))


@pytest.fixture
def following(stranger):
    started = []

    def follow(line, *words):
        process = stranger.start("admin", "audit", "-f", "--format", "json", *words, XWHEP_JOIN=str(line))
        started.append(process)
        return Followed(process)

    yield follow
    for process in started:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


# users


def test_a_user_is_made_with_a_password_from_standard_input(xw, live):
    assert xw("admin", "user", "add", "ann", stdin="a long secret\nmore\n") == "ann (user)\n"
    assert live.login("ann", "a long secret").get("/v1/me").body["role"] == "user"
    code, _, err = xw.type("admin", "user", "add", "ann", stdin="a long secret\n")
    assert code == errors.Conflict.exit_code
    assert "there is a user ann already" in err


def test_a_password_comes_from_a_file_that_nobody_else_reads(xw, live, tmp_path):
    file = tmp_path / "password"
    file.write_text("the secret of bob\n")
    file.chmod(0o644)
    words = ("admin", "user", "add", "bob", "--role", "admin", "--password-file", str(file))
    code, _, err = xw.type(*words)
    assert code == errors.UsageError.exit_code
    assert f"chmod 600 {file}" in err
    file.chmod(0o600)
    assert xw.json(*words)["role"] == "admin"
    assert live.login("bob", "the secret of bob").get("/v1/users").status == 200
    assert xw.type("admin", "user", "add", "new", "--password-file", str(tmp_path / "none"))[0] == 2


@pytest.mark.parametrize(
    ("stdin", "code", "said"),
    [("\n", errors.UsageError, "empty"), ("", errors.UsageError, "empty"), ("short\n", errors.InvalidRequest, "8")],
)
def test_a_bad_password_makes_no_user(xw, stdin, code, said):
    done = xw.type("admin", "user", "add", "nobody", stdin=stdin)
    assert done[0] == code.exit_code
    assert said in done[2]
    assert "nobody" not in xw("admin", "user", "list")


def test_users_are_changed(xw, live, user):
    xw("admin", "group", "add", "one")
    xw("admin", "group", "add", "two")
    session = user("carl")
    assert xw("admin", "user", "change", "carl", "--group", "one", "two") == "carl (user), in one two\n"
    assert xw.json("admin", "user", "change", "carl", "--no-groups", "--role", "admin")["groups"] == []
    assert session.get("/v1/users").status == 200
    xw("admin", "user", "change", "carl", "--password", "--role", "user", stdin="another secret\n")
    assert session.get("/v1/me").status == 401
    assert live.login("carl", "another secret").get("/v1/users").status == 403
    assert xw.type("admin", "user", "change", "nobody", "--role", "user")[0] == errors.NotFound.exit_code
    code, _, err = xw.type("admin", "user", "change", "carl", "--group", "three")
    assert code == errors.NotFound.exit_code
    assert "xw admin group list" in err


def test_a_disabled_user_is_out_until_he_is_enabled(xw, live, user):
    session = user("dora")
    assert xw("admin", "user", "disable", "dora") == "dora (user, disabled)\n"
    assert session.get("/v1/me").status == 401
    assert re.search(r"^dora +user +no", xw("admin", "user", "list"), re.MULTILINE)
    assert xw.json("admin", "user", "enable", "dora")["active"] is True
    assert live.login("dora", "secret of dora").get("/v1/me").status == 200


def test_administration_is_refused_to_others_in_words(xw, user):
    eve = user("eve")
    for words in (
        ("user", "list"),
        ("user", "disable", "admin"),
        ("group", "add", "hers"),
        ("token", "list"),
        ("token", "join"),
        ("audit",),
        ("status",),
    ):
        code, out, err = xw.type("admin", *words, api=eve)
        assert (code, out) == (errors.NotAllowed.exit_code, ""), words
        assert "next: " in err


# groups


def test_members_come_and_go(xw, user):
    user("fred"), user("gina")
    assert xw("admin", "group", "add", "lab", "fred") == "lab: fred\n"
    assert xw("admin", "group", "members", "lab", "--add", "gina", "--remove", "fred") == "lab: gina\n"
    assert xw.json("admin", "group", "members", "lab")["members"] == ["gina"]
    assert xw("admin", "group", "members", "lab", "--remove", "gina") == "lab: (nobody)\n"
    assert re.search(r"^lab +- +20", xw("admin", "group", "list"), re.MULTILINE)
    code, _, err = xw.type("admin", "group", "members", "lab", "--remove", "fred")
    assert code == errors.NotFound.exit_code
    assert "fred is not in the group lab" in err
    assert xw.type("admin", "group", "members", "none", "--add", "fred")[0] == errors.NotFound.exit_code
    assert xw.type("admin", "group", "members", "lab", "--add", "none")[0] == errors.NotFound.exit_code
    assert xw.json("admin", "group", "members", "lab")["members"] == []


def test_a_member_sees_his_groups_and_no_others(xw, user):
    hugo = user("hugo")
    xw("admin", "group", "add", "his", "hugo")
    xw("admin", "group", "add", "theirs")
    assert [group["name"] for group in xw.json("admin", "group", "list", api=hugo)] == ["his"]


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


# the audit log, the state of the grid


def test_the_audit_log_is_read_oldest_first(xw):
    for name in ("first", "second", "third"):
        xw("admin", "group", "add", f"audited-{name}")
    said = [entry["subject"] for entry in xw.json("admin", "audit", "--since", "1h") if "audited" in entry["subject"]]
    assert said == ["audited-first", "audited-second", "audited-third"]
    assert [entry["subject"] for entry in xw.json("admin", "audit", "--limit", "1")] == ["audited-third"]
    assert xw.json("admin", "audit", "--since", "2999-01-01") == []
    assert re.search(r"^20\S+ \S+Z +admin +group add +audited-third", xw("admin", "audit"), re.MULTILINE)


def test_the_audit_log_is_followed_across_a_restart(xw, live, following):
    xw("admin", "group", "add", "before")
    log = following(xw.line(live.boss.token), "--limit", "1")
    assert log.next()["subject"] == "before"
    xw("admin", "group", "add", "while")
    assert log.next()["subject"] == "while"
    live.kill()
    live.start("--quarantine-after", "1")
    xw("admin", "group", "add", "after")
    assert log.next()["subject"] == "after"


def test_the_status_is_one_screen(xw, live):
    live.worker("seen").ask()
    known = xw.json("admin", "status")
    assert known["ready"] is True
    assert known["workers"]["idle"] >= 1
    assert set(known["jobs"]) == {"waiting", "pending", "running", "completed", "failed", "cancelled", "lost"}
    assert known["disk_free_bytes"] > 0
    assert known["started_at"] == pytest.approx(time.time(), abs=600)
    assert len(known["audit"]) == 5
    table = xw("admin", "status")
    assert len(table.splitlines()) < 24
    assert re.search(r"^ready +yes$", table, re.MULTILINE)
    assert f"localhost:{live.port}, {known['version']}" in table


def test_no_output_holds_a_secret(xw):
    for words in (("audit",), ("status",), ("token", "list"), ("user", "list")):
        assert not SECRET.search(xw("admin", *words))


# one's own password


def test_a_user_changes_his_password(xw, live, user):
    otto = user("otto")
    other = live.login("otto", "secret of otto")
    code, _, err = xw.type("passwd", stdin="not the secret\na new secret\n", api=otto)
    assert code == errors.AuthenticationFailed.exit_code
    assert "wrong password" in err
    assert xw.type("passwd", stdin="secret of otto\n\n", api=otto)[0] == errors.UsageError.exit_code
    assert "of otto is changed" in xw("passwd", stdin="secret of otto\na new secret\n", api=otto)
    assert otto.get("/v1/me").status == 200
    assert other.get("/v1/me").status == 401
    assert live.login("otto", "a new secret").get("/v1/me").status == 200
