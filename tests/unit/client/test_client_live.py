"""What `xw` asks of many jobs, against the real server; the tests play the workers."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from live_server import Api, LiveServer
from xwhep.common.errors import (
    Conflict,
    InvalidRequest,
    JobFailed,
    NotAllowed,
    NotFound,
    TimedOut,
    UsageError,
)

SHM = Path("/dev/shm")


class Hand:
    """A worker with an asset, that does what the test says."""

    def __init__(self, api: Api, asset: str) -> None:
        self._api, self._asset = api, asset

    def ask(self, wait_s=0.0):
        return self._api.ask(wait_s, shared=[self._asset])

    def take(self):
        reply = self.ask(10.0)
        assert reply.status == 200, "there was no job for this worker"
        return reply.body

    def await_reader(self, lease):
        """Until somebody follows the job."""
        mine, end = {"job_id": lease["job_id"], "attempt": lease["attempt"]}, time.monotonic() + 15
        while mine not in self._api.post("/v1/worker/heartbeat", {"running": [mine]}).body.get("watched", []):
            assert time.monotonic() < end, "nobody follows the job"

    def write(self, lease, offset, data):
        place = {"job_id": lease["job_id"], "attempt": lease["attempt"], "stream": "stdout", "offset": offset}
        reply = self._api.post("/v1/worker/output", {**place, "data": base64.b64encode(data).decode()})
        assert reply.status == 200, reply

    def finish(self, lease, stdout=b"", exit_code=0):
        assert self._api.deliver(lease, stdout=stdout, exit_code=exit_code).status == 200

    def leave(self, lease):
        mine = {"job_id": lease["job_id"], "attempt": lease["attempt"]}
        assert self._api.post("/v1/worker/leave", {"running": [mine]}).status == 200

    def read(self, datum):
        return self._api.get(f"/v1/blobs/{datum['sha256']}").raw


@pytest.fixture(scope="module")
def live():
    """One server for all: each test has an app and workers of its own."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        server = LiveServer(Path(folder) / "state")
        server.start()
        yield server
        server.kill()


@pytest.fixture(scope="module")
def join_line(live):
    """Of a client, which it makes the administrator's."""
    return live.run_command("join-line", "client", "--address", f"localhost:{live.port}").stdout.encode()


@pytest.fixture
def hand(live, app):
    """Makes workers that run this test's app."""
    return lambda name="w": Hand(live.worker(name, shared=[app]), app)


@pytest.fixture
def me(stranger, join_line):
    """`xw` logged in as the administrator."""
    done = stranger("login", stdin=join_line)
    assert done.code == 0, done.err
    return stranger


@pytest.fixture
def app(me, request):
    """An app that only workers with an asset of its name run, so that no test gets another's jobs."""
    name = request.node.name.replace("[", "-").rstrip("]")[:100]
    assert me("app", "register", name, "--shared", name).code == 0
    return name


def ok(done):
    assert done.code == 0, done.err
    return done.out.strip()


def asked(done):
    return json.loads(ok(done))


def test_needs_and_the_rest_reach_the_server(me, app):
    words = (
        *("--os", "linux", "--arch", "x86_64", "--cpus", "3", "--ram", "2G", "--disk", "512M", "--asset", "a", "b"),
        *("--need-label", "gpu", "--worker-group", "g", "--worker", "w", "--priority", "-7", "--deadline", "+2h"),
        *("--wall-clock", "10m", "--attempts", "5", "--group", "G", "--session", "S", "--replicas", "3"),
        *("--quorum", "2", "--mode", "g+r"),
    )
    first = ok(me("job", "submit", app))
    job = asked(me("job", "submit", app, *words, "--after", first[:8], "--format", "json", "--", "--os"))
    assert job["needs"] == {
        "os": "linux",
        "arch": "x86_64",
        "cpu_count": 3,
        "ram_bytes": 2 << 30,
        "disk_bytes": 512 << 20,
        "shared": ["a", "b"],
        "labels": ["gpu"],
        "worker_group": "g",
        "worker": "w",
    }
    assert (job["priority"], job["wall_clock_s"], job["max_attempts"]) == (-7, 600, 5)
    assert (job["group"], job["session"], job["after"], job["args"]) == ("G", "S", [first], ["--os"])
    assert (job["replicas"], job["quorum"], job["mode"]) == (3, 2, 0o740)
    assert 7100 < job["deadline_at"] - time.time() < 7300
    shown = ok(me("job", "show", job["id"]))
    for words in ("cpu_count=3  ram=2.0 GiB", "3, of which 2 must agree", "rwxr-----", "at most 5", "for 1 job"):
        assert words in shown


def test_explain_says_which_need_how_many_workers_fail(me, hand, app):
    hand("small").ask()
    job_id = ok(me("job", "submit", app, "--cpus", "99", "--need-label", "gpu"))
    text = ok(me("job", "explain", job_id[:8]))
    assert text.startswith(f"job {job_id} is pending: no worker fits")
    assert "fewer than 99 processors" in text
    found = asked(me("job", "explain", job_id, "--format", "json"))
    rows = {tuple(line.split()[:2]) for line in text.splitlines()[2:]}
    assert {("cpu_count", "99"), ("labels", "gpu")} <= rows
    assert {"cpu_count", "labels"} <= {one["need"] for one in found["failing"]}
    assert me("job", "explain", "nothing").code == NotFound.exit_code


def test_logs_follow_a_job_byte_by_byte_over_attempts_to_its_outcome(me, hand, app):
    job_id = ok(me("job", "submit", app))
    first, second = hand("first"), hand("second")
    lease = first.take()
    process = me.start("job", "logs", "-f", job_id)
    first.await_reader(lease)
    first.write(lease, 0, b"old\xff")
    assert process.stdout.read(4) == b"old\xff"
    first.leave(lease)
    lease = second.take()
    second.await_reader(lease)
    second.write(lease, 0, b"\x00new")
    assert process.stdout.read(4) == b"\x00new"
    second.finish(lease, stdout=b"\x00new and all", exit_code=3)
    out, err = process.communicate(timeout=20)
    assert out == b" and all"
    assert process.returncode == JobFailed.exit_code
    assert b"attempt 2" in err
    assert b"failed with exit code 3" in err
    assert me("job", "logs", job_id).raw == b"\x00new and all"
    assert me("job", "logs", job_id, "--stderr").raw == b""


def test_logs_are_of_one_replica(me, hand, app):
    job_id = ok(me("job", "submit", app, "--replicas", "2"))
    first, second = hand("first"), hand("second")
    leases = first.take(), second.take()
    mixed = me("job", "logs", job_id)
    assert (mixed.code, mixed.raw) == (Conflict.exit_code, b"")
    assert "--replica 1" in mixed.err
    process = me.start("job", "logs", "-f", "--replica", "2", job_id)
    second.await_reader(leases[1])
    first.write(leases[0], 0, b"of the first")
    second.write(leases[1], 0, b"same")
    assert process.stdout.read(4) == b"same"
    second.finish(leases[1], stdout=b"same")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, b"")
    assert b"completed  (replica 2)" in err
    first.finish(leases[0], stdout=b"same")
    agreed = me("job", "logs", job_id)
    assert (agreed.raw, "replicas 1, 2" in agreed.err) == (b"same", True)
    assert me("job", "logs", "--replica", "9", job_id).code == NotFound.exit_code


def test_logs_without_following_show_what_there_is(me, hand, app):
    job_id = ok(me("job", "submit", app))
    pending = me("job", "logs", job_id)
    assert (pending.code, pending.raw) == (0, b"")
    assert "is pending" in pending.err
    worker = hand()
    lease = worker.take()
    process = me.start("job", "logs", job_id)
    worker.await_reader(lease)
    worker.write(lease, 10, b"so far")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, b"so far")
    assert b"10 bytes are left out" in err


def test_ctrl_c_leaves_a_followed_job_running(me, hand, app):
    job_id = ok(me("job", "submit", app))
    worker = hand()
    lease = worker.take()
    process = me.start("job", "logs", "-f", job_id)
    worker.await_reader(lease)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"")
    assert f"xw job logs -f {job_id}" in err.decode()
    assert asked(me("job", "show", job_id, "--format", "json"))["state"] == "running"


def test_a_sweep_is_one_submission_whose_jobs_share_a_group(me, hand, app):
    (me.folder / "rows.csv").write_text("name,seed\nann,1\nbob,2\n")
    for name in ("ann", "bob"):
        (me.folder / f"{name}.in").write_text(f"input of {name}")
    words = (
        *("job", "sweep", app, "--csv", "rows.csv", "--env", "SEED={seed}"),
        *("--data", "input=./{name}.in", "--", "--name={name}"),
    )
    dry = asked(me(*words[:-2], "--dry-run", "--format", "json", *words[-2:]))
    assert [(spec["args"], spec["env"], spec["data"]) for spec in dry] == [
        (["--name=ann"], {"SEED": "1"}, ["input=./ann.in"]),
        (["--name=bob"], {"SEED": "2"}, ["input=./bob.in"]),
    ]
    table = ok(me(*words[:-2], "--dry-run", *words[-2:]))
    assert [line.split()[0] for line in table.splitlines()] == ["LINE", "2", "3"]
    group = ok(me(*words))
    jobs = asked(me("job", "list", "--group", group, "--format", "json"))[::-1]
    assert [(job["args"], job["label"]) for job in jobs] == [
        (["--name=ann"], "row-1"),
        (["--name=bob"], "row-2"),
    ]
    worker = hand()
    for _ in jobs:
        lease = worker.take()
        assert [datum["name"] for datum in lease["data"]] == ["input"]
        worker.finish(lease, stdout=worker.read(lease["data"][0]) + lease["env"]["SEED"].encode())
    assert asked(me("job", "wait", "--group", group, "--format", "json")) == {"completed": 2}
    ok(me("job", "results", "--group", group, "-o", "out"))
    texts = {(me.folder / "out" / job["id"][:8] / "stdout").read_text() for job in jobs}
    assert texts == {"input of ann1", "input of bob2"}
    assert ok(me("job", "results", "--group", group, "-o", "out")).count("completed") == 2  # they are there already
    assert asked(me("job", "list", "--group", group, "--label", "row-2", "--format", "json"))[0]["args"] == [
        "--name=bob"
    ]


def test_a_sweep_with_a_mistake_submits_and_uploads_nothing(me, app):
    (me.folder / "rows.csv").write_text("name\nann\nnobody\n")
    (me.folder / "ann.in").write_text("x")
    group = ("--group", "none-of-it")
    before = asked(me("data", "list", "--format", "json"))
    sweep = ("job", "sweep", app, "--csv", "rows.csv", *group)
    done = me(*sweep, "--stdin", "./{name}.in")
    assert done.code == UsageError.exit_code
    assert "line 3 of rows.csv: there is no file ./nobody.in" in done.err
    done = me(*sweep, "--stdin", "{name}")
    assert done.code == NotFound.exit_code
    assert "line 2 of rows.csv: there is no datum 'ann'" in done.err
    assert me(*sweep, "--", "{nam}").code == UsageError.exit_code
    (me.folder / "long.csv").write_text(f"name\nann\n{'x' * 70_000}\n")
    done = me("job", "sweep", app, "--csv", "long.csv", *group, "--", "{name}", "{name}")
    assert done.code == InvalidRequest.exit_code
    assert "line 3 of long.csv: arguments and environment" in done.err
    assert asked(me("job", "list", *group, "--format", "json")) == []
    assert asked(me("data", "list", "--format", "json")) == before


def test_a_sweep_waits_for_thousands_with_few_requests(me, hand, app):
    (me.folder / "rows.csv").write_text("n\n" + "".join(f"{number}\n" for number in range(300)))
    process = me.start("job", "sweep", app, "--csv", "rows.csv", "--wait", "--format", "json", "--", "{n}")
    worker, began = hand(), time.monotonic()
    for number in range(300):
        lease = worker.take()
        worker.finish(lease, exit_code=int(number == 150))
    out, err = process.communicate(timeout=30)
    assert process.returncode == JobFailed.exit_code
    assert json.loads(out) == {"completed": 299, "failed": 1}
    assert "1 job of 300 failed; job" in err.decode()
    assert len(err.decode().splitlines()) < 10 + (time.monotonic() - began)  # news come together


def test_a_batch_is_submitted_with_its_order_kept(me, hand, app):
    lines = [{"app": app, "args": ["0"]}, {"app": app, "args": ["1"], "after": ["#0"], "group": f"own-{app}"}]
    (me.folder / "jobs.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    ids = ok(me("job", "batch", "jobs.jsonl", "--group", app)).split()
    first, second = (asked(me("job", "show", one, "--format", "json")) for one in ids)
    assert (first["group"], first["state"]) == (app, "pending")
    assert (second["group"], second["state"]) == (f"own-{app}", "waiting")
    assert "must be completed first" in ok(me("job", "explain", ids[1]))
    worker = hand()
    for one in ids:
        lease = worker.take()
        assert lease["job_id"] == one
        worker.finish(lease)
    (me.folder / "jobs.jsonl").write_text("\n".join([json.dumps(lines[0]), '{"app": "' + app + '", "after": ["#7"]}']))
    done = me("job", "batch", "jobs.jsonl")
    assert done.code == InvalidRequest.exit_code
    assert "#7 is no earlier job of the batch" in done.err


def test_a_batch_from_standard_input_uploads_local_files(me, hand, app):
    (me.folder / "table.csv").write_text("content")
    job = {"app": app, "data": ["./table.csv"], "files": {"deep/er.csv": "@table.csv"}}
    done = asked(me("job", "batch", "-", "--format", "json", stdin=json.dumps(job).encode()))
    lease = hand().take()
    assert [lease["job_id"]] == done["ids"]
    assert sorted(datum["name"] for datum in lease["data"]) == ["deep/er.csv", "table.csv"]


def test_a_group_is_waited_for_stopped_and_told_apart(me, app):
    ids = [ok(me("job", "submit", app, "--group", app, "--session", "night")) for _ in range(3)]
    done = me("job", "wait", "--group", app, "--timeout", "0.2")
    assert done.code == TimedOut.exit_code
    assert f"xw job wait --group {app}" in done.err
    early = me("job", "results", "--group", app, "-o", "out")
    assert early.code == Conflict.exit_code
    assert ok(me("job", "cancel", "--group", app)).splitlines() == [f"{one} cancelled" for one in ids]
    done = me("job", "wait", "--session", "night")
    assert done.code == JobFailed.exit_code
    assert "3 jobs of 3 cancelled; job" in done.err
    assert me("job", "results", "--group", app, "-o", "out").code == JobFailed.exit_code
    for command in ("wait", "results"):
        assert me("job", command, "--group", "nobody's").code == NotFound.exit_code


def test_chmod_opens_and_closes_what_is_ones_own(me, live, app, join_line, tmp_path):
    live.run_command("user", "add", f"eve-{len(app)}", stdin="secret of eve\n")
    eve = type(me)(tmp_path / "eve", {**me.environment, "XWHEP_CLIENT_STATE": str(tmp_path / "eve/state")})
    eve.folder.mkdir()
    fingerprint = join_line.decode().split("sha256:")[1].split()[0]
    login = ("login", f"localhost:{live.port}", "--user", f"eve-{len(app)}", "--fingerprint", f"sha256:{fingerprint}")
    ok(eve(*login, stdin=b"secret of eve\n"))
    (me.folder / "input").write_text("x")
    datum = ok(me("data", "put", "input", "--name", app)).split()[1]
    job_id = ok(me("job", "submit", app))
    assert eve("data", "show", datum).code == NotFound.exit_code
    assert ok(me("chmod", "o+r", "data", app)).startswith("rwx---r--")
    assert "rwx---r--" in ok(eve("data", "show", datum))
    assert eve("chmod", "777", "data", datum).code == NotAllowed.exit_code
    assert eve("job", "show", job_id).code == NotFound.exit_code
    ok(me("chmod", "o=rx", "job", job_id[:8]))
    assert "rwx---r-x" in ok(eve("job", "show", job_id))
    assert "rwx---r-x" in ok(eve("job", "list"))
    assert asked(me("chmod", "0", "any", job_id, "--format", "json"))["mode"] == 0
    assert asked(me("chmod", "u=rwx", "any", app, "--format", "json"))["mode"] == 0o755
    assert me("chmod", "700", "app", "nothing").code == NotFound.exit_code
    assert eve("job", "submit", app, "--owner-group", "strangers").code == NotAllowed.exit_code
    mine = ok(eve("job", "submit", app))
    for mode in ("000", "700"):  # an owner gets back what he has closed even to himself
        ok(eve("chmod", mode, "job", mine))
    assert ok(eve("job", "show", mine))
    shutil.rmtree(eve.folder)
