"""A state that an earlier server wrote opens in this one, with jobs, data, logins and workers.

schema_NUMBER.sql is such a state as its server left it, dumped: a new migration adds one, and edits none.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from xwhep.server.store.queries import migrations

STATES = sorted(Path(__file__).parent.glob("schema_*.sql"))
PROGRAM, TABLE, RESULT = b"#!/bin/sh\necho hello\n", b"one,two\n", b"the result\n"


@pytest.fixture(params=STATES, ids=lambda path: path.stem)
def upgraded(request, stopped):
    """A server of today on a state of then."""
    stopped.state.mkdir(mode=0o700)
    database = stopped.state / "xwhep.db"
    database.touch(mode=0o600)
    with sqlite3.connect(database) as connection:
        connection.executescript(request.param.read_text("utf-8"))
    connection.close()
    for content in (PROGRAM, TABLE, RESULT, b""):
        name = hashlib.sha256(content).hexdigest()
        path = stopped.state / "blobs" / name[:2] / name[2:]
        path.parent.mkdir(mode=0o700, parents=True)
        path.write_bytes(content)
    stopped.start("--restart-grace-seconds", "60")
    return stopped


def test_the_schema_is_the_newest(upgraded) -> None:
    newest = [number for number, _ in migrations()]
    with sqlite3.connect(upgraded.state / "xwhep.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newest[-1],)
        assert [row[0] for row in connection.execute("SELECT number FROM migrations ORDER BY number")] == newest
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_logins_sessions_and_groups_are_kept(upgraded) -> None:
    assert upgraded.login("ann", "secret of ann").get("/v1/me").body["groups"] == ["lab"]
    assert upgraded.api("xwu_token-of-ann").get("/v1/me").body["login"] == "ann"


def test_data_and_apps_are_kept(upgraded) -> None:
    ann = upgraded.api("xwu_token-of-ann")
    (datum,) = ann.get("/v1/data").body
    assert (datum["name"], ann.get(f"/v1/blobs/{datum['sha256']}").raw) == ("table", TABLE)
    (app,) = ann.get("/v1/apps").body
    assert ann.get(f"/v1/blobs/{app['binaries'][0]['sha256']}").raw == PROGRAM


def test_jobs_go_on(upgraded) -> None:
    ann, worker = upgraded.api("xwu_token-of-ann"), upgraded.api("xww_token-of-node1")
    jobs = {job["label"]: job for job in ann.get("/v1/jobs").body}
    states = {label: job["state"] for label, job in jobs.items()}
    assert states == {
        "done": "completed", "running": "running", "waiting": "waiting", "family": "pending", "pending": "pending",
    }  # fmt: skip
    stdout = ann.get(f"/v1/jobs/{jobs['done']['id']}").body["result"]["stdout"]
    assert ann.get(f"/v1/blobs/{stdout['sha256']}").raw == RESULT
    lease = {"job_id": jobs["running"]["id"], "attempt": jobs["running"]["attempt"]}
    assert worker.deliver(lease).status == 200  # the worker ran it all the while
    while (found := worker.ask()).status == 200:
        assert worker.deliver(found.body).status == 200
    ended = {job["label"]: job["state"] for job in ann.get("/v1/jobs").body}
    assert {label for label, state in ended.items() if state == "completed"} == set(states) - {"family"}
