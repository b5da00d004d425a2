"""From the key to the job, with the real server and real workers: who requires signers runs what they signed, and says
why not when they did not."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from live_server import LiveServer
from worker_command import Command, until
from xwhep.common import errors, trust
from xwhep.common.join import JoinLine


class Grid:
    def __init__(self, live, folder):
        self.live, self.folder = live, folder
        self.boss = live.admin()

    def line(self, token):
        pem = (self.live.state / "ca.pem").read_text()
        address = f"https://localhost:{self.live.port}"
        return str(JoinLine(address=address, fingerprint=trust.fingerprint(pem), token=token))

    def worker(self, signers=""):
        """A worker that runs programs of these signers only."""
        command = Command(self.folder / "worker")
        command.environment |= {"XWHEP_WORKER_ISOLATION": "process", "XWHEP_WORKER_SIGNERS": signers}
        token = (self.live.state / "join.token").read_text().strip()
        joined = command("join", stdin=self.line(token))
        assert joined.returncode == 0, joined
        command.start()
        return command


@pytest.fixture
def grid():
    """In a folder that user nobody, who runs jobs when tests run as root, can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="xwhep-test-"))
    folder.chmod(0o711)
    (folder / "worker").mkdir(mode=0o711)
    live = LiveServer(folder / "server")
    live.start()
    yield Grid(live, folder)
    live.kill()
    assert "Traceback" not in live.log()
    shutil.rmtree(folder)


@pytest.fixture
def worker(grid):
    """Starts one; it is stopped with the test."""
    started = []

    def start(signers=""):
        started.append(grid.worker(signers))
        return started[-1]

    yield start
    for command in started:
        for process in command.running:
            process.terminate()
            process.wait(15)


@pytest.fixture
def xw(grid, stranger):
    (stranger.folder / "hello.sh").write_text("#!/bin/sh\necho hello $1\n")
    (stranger.folder / "other.sh").write_text("#!/bin/sh\necho other $1\n")

    def call(*words):
        return stranger(*words, XWHEP_JOIN=grid.line(grid.boss.token))

    return call


def key(xw, name):
    made = xw("key", "make", name)
    assert made.code == 0, made.err
    return made.out.strip()


def register(xw, name, *options):
    done = xw("app", "register", name, "./hello.sh", "--os", "any", "--arch", "any", *options)
    assert done.code == 0, done.err


def test_a_worker_that_requires_signers_runs_what_they_signed_and_nothing_else(xw, grid, worker):
    known, other = key(xw, "known.key"), key(xw, "other.key")
    register(xw, "signed", "--sign", "known.key")
    register(xw, "unsigned")
    register(xw, "stranger", "--sign", "other.key")
    worker(known)
    for name in ("unsigned", "stranger"):
        job = json.loads(xw("job", "submit", name, "--format", "json").out)
        until(lambda job=job: "1 worker is there" in grid.boss.get(f"/v1/jobs/{job['id']}/explain").body["text"])
        said = grid.boss.get(f"/v1/jobs/{job['id']}/explain").body
        assert said["text"] == (
            f"no worker fits; 1 worker is there: 1 run only what signers they know signed, not {name}"
        )
        assert [one["need"] for one in said["failing"]] == ["signer"]
    done = xw("job", "submit", "signed", "--wait", "--", "world")
    assert (done.code, done.out) == (0, "hello world\n"), done.err
    states = {job["app"]: job["state"] for job in grid.boss.get("/v1/jobs").body}
    assert states == {"signed": "completed", "unsigned": "pending", "stranger": "pending"}
    assert re.search(rf"^only signed by +{re.escape(known)}$", xw("worker", "show", "tester").out, re.MULTILINE)
    assert f"signed by {other}" in xw("app", "show", "stranger").out
    assert "not signed" in xw("app", "show", "unsigned").out


def test_what_is_signed_later_runs_at_once(xw, grid, worker):
    known = key(xw, "known.key")
    register(xw, "late")
    worker(known)
    job = json.loads(xw("job", "submit", "late", "--format", "json").out)
    assert grid.boss.get(f"/v1/jobs/{job['id']}").body["state"] == "pending"
    signed = xw("app", "sign", "late", "hello.sh", "--key", "known.key", "--format", "json")
    assert json.loads(signed.out)["binaries"][0]["signer"] == known
    assert xw("job", "wait", job["id"], "--timeout", "30").code == 0


def test_a_forged_signature_is_refused_by_the_worker_and_its_reason_reaches_the_user(xw, grid, worker):
    """The server checks what is registered; here somebody has changed its database."""
    known = key(xw, "known.key")
    register(xw, "forged", "--sign", "known.key")
    register(xw, "donor")
    assert xw("app", "sign", "donor", "hello.sh", "--key", "known.key").code == 0
    grid.live.stop()
    forge(grid.live.state / "xwhep.db")
    grid.live.start()
    worker(known)
    done = xw("job", "submit", "forged", "--wait")
    assert done.code == errors.JobFailed.exit_code
    assert "the signature of the app 'forged' is not right" in done.err


def forge(database):
    """The signature of the app donor, over the same program, as that of the app forged."""
    connection = sqlite3.connect(database)
    with connection:
        donor = "SELECT binaries FROM apps WHERE name = 'donor'"
        changed = connection.execute(f"UPDATE apps SET binaries = ({donor}) WHERE name = 'forged'")
    assert changed.rowcount == 1
    connection.close()


def test_only_the_content_of_ones_own_file_is_signed(xw, grid):
    key(xw, "known.key")
    register(xw, "app")
    done = xw("app", "sign", "app", "other.sh", "--key", "known.key")
    assert done.code == errors.UsageError.exit_code
    assert "other.sh is no program of the app app" in done.err
    assert "not signed" in xw("app", "show", "app").out
    gone = xw("app", "sign", "ap", "hello.sh", "--key", "known.key")
    assert gone.code == errors.NotFound.exit_code
    assert "did you mean app?" in gone.err
    assert xw("app", "sign", "app", "hello.sh", "--key", "none.key").code == errors.UsageError.exit_code
