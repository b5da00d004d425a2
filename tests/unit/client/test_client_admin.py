"""What administrators do, typed as they type it, at the real server."""

from __future__ import annotations

import json
import queue
import re
import signal
import threading
import time

import pytest

from live_server import LiveServer
from typist import Typist
from xwhep.common import errors

SECRET = re.compile(r"xw[a-z]_[\w-]{20,}")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    server = LiveServer(tmp_path_factory.mktemp("admin") / "state")
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


@pytest.fixture(scope="module")
def full_live(tmp_path_factory):
    """A server whose disk has too little room."""
    server = LiveServer(tmp_path_factory.mktemp("full") / "state")
    server.start("--disk-reserve-mb", str(10**9))
    server.boss = server.admin()
    yield server
    server.kill()


@pytest.fixture
def user(live, xw):
    """A new user with a session, and his login."""

    def make(login):
        xw("admin", "user", "add", login, stdin=f"secret of {login}\n")
        return live.login(login, f"secret of {login}")

    return make


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
    for number in range(6):
        xw("admin", "group", "add", f"status-{number}")
    known = xw.json("admin", "status")
    assert known["ready"] is True
    assert known["workers"]["idle"] >= 1
    assert set(known["jobs"]) == {"waiting", "pending", "running", "completed", "failed", "cancelled", "lost"}
    assert known["disk_free_bytes"] > 0
    assert known["started_at"] == pytest.approx(time.time(), abs=600)
    assert [entry["subject"] for entry in known["audit"]] == [f"status-{number}" for number in range(1, 6)]
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


@pytest.mark.parametrize("words", [(), ("--format", "json")], ids=["table", "json"])
def test_the_status_of_a_server_that_is_not_ready_fails(full_live, monkeypatch, capsys, words):
    code, out, err = Typist(full_live, monkeypatch, capsys).type("admin", "status", *words)
    assert code == errors.ServerFailed.exit_code
    assert ('"ready": false' if words else "no: ") in out
    assert "the server is not ready: " in err
    assert "room" in err
