"""The command itself, as its own process, against a grid that speaks the contract."""

import json
import signal
import time
from pathlib import Path

import pytest

from worker_command import Command, no_sleepers, running_sleeper, sleepers, until
from xwhep.common.errors import (
    AuthenticationFailed,
    Conflict,
    ConnectionFailed,
    NotAllowed,
    UntrustedCertificate,
    UsageError,
)
from xwhep.common.wire import Running
from xwhep.worker import processes

# A job.

WHOLE = b"""#!/bin/sh
echo "args: $*"; cat; echo "$GREETING" >&2
cp in.txt out.txt; mkdir d; echo deep > d/deep; echo more >> grown.txt; exit 3
"""


@pytest.mark.usefixtures("worker")
def test_a_job_with_everything(grid) -> None:
    data = {"in.txt": b"in", "grown.txt": b"some "}
    key = grid.submit(WHOLE, args=["a", "b c"], env={"GREETING": "hello"}, stdin=b"from stdin", data=data)
    message = grid.result(key)
    result = message.result
    assert (result.exit_code, result.reason, result.note) == (3, "", "")
    assert grid.text(result.stdout) == "args: a b c\nfrom stdin"
    assert grid.text(result.stderr) == "hello\n"
    assert {file.path: grid.text(file) for file in result.files} == {
        "out.txt": "in",
        "d/deep": "deep\n",
        "grown.txt": "some more\n",
    }
    assert 0 < result.wall_s < 10


def places(command: Command) -> list[str]:
    """Of jobs; those of slots that wait are there as long as the worker."""
    return [path.name for path in (command.state / "jobs").iterdir() if not path.name.startswith("slot-")]


@pytest.mark.usefixtures("worker")
def test_nothing_of_a_finished_job_stays(grid, command: Command) -> None:
    grid.result(grid.submit(b"#!/bin/sh\necho x > x; mkdir closed; touch closed/f; chmod 0 closed\n"))
    until(lambda: places(command) == [])
    until(lambda: list((command.state / "spool").iterdir()) == [])


@pytest.mark.usefixtures("worker")
def test_many_jobs_on_two_slots(grid) -> None:
    keys = [grid.submit(f"#!/bin/sh\necho {number}\n".encode()) for number in range(20)]
    assert [grid.text(grid.result(key).result.stdout) for key in keys] == [f"{number}\n" for number in range(20)]


@pytest.mark.usefixtures("worker")
def test_two_slots_run_two_jobs_at_once_and_ask_for_no_third(grid, command: Command) -> None:
    held = [running_sleeper(grid, command), running_sleeper(grid, command)]
    third = grid.submit(b"#!/bin/sh\n")
    time.sleep(0.3)
    assert len(grid.pending) == 1
    grid.to_stop = held
    assert grid.result(third).result.exit_code == 0


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"env": {"LD_PRELOAD": "/job/x.so"}}, "LD_PRELOAD is not for jobs"),
        ({"data": {"../escape": b"x"}}, "no path inside"),
        ({"data": {"/etc/cron.d/x": b"x"}}, "no path inside"),
        ({"data": {"a": b"x", "a/b": b"y"}}, "contradicts"),
        ({"shared": "absent", "program": b""}, "'absent' is not installed"),
    ],
    ids=["preload", "parent", "absolute", "contradiction", "asset"],
)
@pytest.mark.usefixtures("worker")
def test_what_cannot_run_fails_with_a_reason(grid, more, reason: str) -> None:
    result = grid.result(grid.submit(**({"program": b"#!/bin/sh\n"} | more))).result
    assert result.exit_code == 126
    assert result.reason.startswith("worker refused: ")
    assert reason in result.reason


@pytest.mark.usefixtures("worker")
def test_data_that_is_not_what_its_name_says_never_reaches_the_job(grid) -> None:
    grid.fault("GET", f"/v1/blobs/{grid.sha(b'true')}", *[lambda call: call.answer(200, b"lie")] * 3)
    result = grid.result(grid.submit(b"#!/bin/sh\ncat x\n", data={"x": b"true"})).result
    assert "something else than blob" in result.reason


@pytest.mark.usefixtures("worker")
def test_a_shared_asset_is_announced_and_run(grid, command: Command) -> None:
    command.shared.mkdir()
    (command.shared / "sum.toml").write_text('name = "summer"\ncommand = ["/usr/bin/printf", "%s-%s"]\n')
    grid.result(grid.submit(b"#!/bin/sh\n"))  # so that it asks again
    grid.until(lambda: grid.requests[-1].machine.shared == ["summer"])
    assert grid.text(grid.result(grid.submit(b"", shared="summer", args=["a", "b"])).result.stdout) == "a-b"


@pytest.mark.usefixtures("worker")
def test_no_secret_reaches_jobs_arguments_or_logs(grid, command: Command) -> None:
    program = b"#!/bin/sh\nenv; tr '\\0' '\\n' < /proc/self/environ; ls -la; cat /proc/*/environ 2>/dev/null\n"
    grid.fault("POST", "/v1/worker/heartbeat", grid.says(500), grid.hangs_up)
    output = grid.text(grid.result(grid.submit(program)).result.stdout)
    arguments = Path(f"/proc/{command.running[0].pid}/cmdline").read_text()
    for secret in ("worker-secret", "join-secret"):
        assert secret not in output + arguments + command.logged()


def test_a_cancelled_job_ends_and_its_result_is_not_sent(grid, command: Command, worker) -> None:
    held = running_sleeper(grid, command)
    grid.to_stop = [held]
    until(no_sleepers)
    until(lambda: places(command) == [])
    assert grid.results == {}
    grid.until(lambda: grid.heartbeats[-1][1] == [])
    assert worker.poll() is None


# Ends and restarts.


def test_a_graceful_stop_hands_jobs_back_at_once(grid, command: Command, worker) -> None:
    held = running_sleeper(grid, command)
    before = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0, command.logged()
    assert time.monotonic() - before < 2
    assert grid.left[-1].running == [held]
    assert sleepers() == []
    assert grid.results == {}


def test_a_graceful_stop_without_a_server_is_as_quick(grid, command: Command, worker) -> None:
    running_sleeper(grid, command)
    grid.stop()
    before = time.monotonic()
    worker.send_signal(signal.SIGINT)
    assert worker.wait(10) == 0, command.logged()
    assert time.monotonic() - before < 2
    assert sleepers() == []


# In the worker's process from its start on: a name server that is silent while the file SILENT is there.
SILENT_NAME_SERVER = """
import os, socket, time
real = socket.getaddrinfo
def ask(*words, **options):
    while os.path.exists(os.environ["SILENT"]):
        time.sleep(0.05)
    return real(*words, **options)
socket.getaddrinfo = ask
"""


def test_a_graceful_stop_waits_for_no_name_server(grid, command: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SILENT_NAME_SERVER)
    silent = tmp_path / "silent"
    path = f"{tmp_path}:{command.environment['PYTHONPATH']}"
    worker = command.start(XWHEP_JOIN=str(grid.join_line), PYTHONPATH=path, SILENT=str(silent))
    grid.until(lambda: grid.requests)
    silent.touch()
    grid.stop()
    until(lambda: "asking for work: no answer" in command.logged(), 20)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0, command.logged()


@pytest.mark.parametrize("isolation", ["bubblewrap", "process"], indirect=True)
def test_a_killed_worker_leaves_no_job_running(grid, command: Command, isolation: str) -> None:
    worker = command.start("--isolation", isolation, XWHEP_JOIN=str(grid.join_line))
    running_sleeper(grid, command)
    worker.kill()
    worker.wait()
    if isolation == "bubblewrap":
        until(no_sleepers)
    assert len(places(command)) == 1
    command.start("--isolation", isolation)
    until(lambda: places(command) == [])
    until(no_sleepers)
    assert grid.result(grid.submit(b"#!/bin/sh\n")).result.exit_code == 0


@pytest.mark.usefixtures("worker")
def test_a_server_that_restarts_gets_the_job_it_had_lent(grid, command: Command) -> None:
    key = grid.submit(b"#!/bin/sh\necho up > up; while [ ! -e go ]; do sleep 0.05; done; echo done\n")
    work = command.state / f"jobs/{key[0]}.1/work"
    until((work / "up").exists)
    grid.stop()
    (work / "go").touch()
    until(lambda: list((command.state / "spool").glob("*.1")))
    grid.start()
    assert grid.text(grid.result(key, 40).result.stdout) == "done\n"


def test_a_result_survives_the_death_of_server_and_worker(grid, command: Command, worker) -> None:
    grid.fault("POST", "/v1/worker/result", *[grid.says(503)] * 1000)
    key = grid.submit(b"#!/bin/sh\necho precious\n")
    until(lambda: list((command.state / "spool").glob("*.1")))
    grid.stop()
    worker.kill()
    worker.wait()
    grid._faults.clear()
    command.start()
    time.sleep(0.5)
    grid.start()
    assert grid.text(grid.result(key, 40).result.stdout) == "precious\n"
    until(lambda: list((command.state / "spool").iterdir()) == [])


def test_a_stale_result_is_dropped_and_work_goes_on(grid, command: Command, worker) -> None:
    key = grid.submit(b"#!/bin/sh\nexit 0\n", job_id="stale")
    grid.fault("POST", "/v1/worker/result", lambda call: (grid.leased.pop(key), call.answer(409, b"{}")))
    until(lambda: "job stale attempt 1: dropped" in command.logged())  # else the next might deliver first
    assert grid.result(grid.submit(b"#!/bin/sh\n", job_id="next")).result.exit_code == 0
    until(lambda: list((command.state / "spool").iterdir()) == [])


def test_a_revoked_worker_ends_with_one_clear_error(grid, command: Command, worker) -> None:
    running_sleeper(grid, command)
    grid.tokens.clear()
    assert worker.wait(10) == AuthenticationFailed.exit_code, command.logged()
    assert sleepers() == []
    lines = [line for line in command.logged().splitlines() if "xwhep-worker:" in line]
    assert lines == ["xwhep-worker: this token is not known"]
    assert "Traceback" not in command.logged()


@pytest.mark.usefixtures("worker")
def test_heartbeats_go_on_while_a_large_download_is_stuck(grid) -> None:
    def stall(call) -> None:
        call.answer(200, b"half", Content_Length="1000")
        time.sleep(1.5)
        call.hang_up()

    grid.fault("GET", f"/v1/blobs/{grid.sha(b'z' * 1000)}", stall)
    key = grid.submit(b"#!/bin/sh\nwc -c < big\n", data={"big": b"z" * 1000})
    grid.until(lambda: key in grid.leased)
    count, lease = len(grid.heartbeats), Running(job_id=key[0], attempt=1)
    assert grid.text(grid.result(key).result.stdout).strip() == "1000"
    beats = [held for _, held in grid.heartbeats[count:]]
    assert sum(lease in held for held in beats) >= 4


def test_an_idle_worker_uses_little(grid, worker) -> None:
    grid.until(lambda: len(grid.heartbeats) >= 2)
    until(lambda: len(processes.children(worker.pid)) == 2)  # its slots have their spare walls
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines())
    assert int(fields["VmRSS"].split()[0]) < 40 * 1024
    times = Path(f"/proc/{worker.pid}/stat").read_text().split()
    before = int(times[13]) + int(times[14])
    time.sleep(1)
    times = Path(f"/proc/{worker.pid}/stat").read_text().split()
    assert int(times[13]) + int(times[14]) - before <= 5  # hundredths of a second, with five heartbeats in it


# The other commands.


def test_join_reads_its_line_from_standard_input_or_a_file(grid, command: Command, tmp_path: Path) -> None:
    done = command("join", stdin=f"{grid.join_line}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "joined" in done.stdout
    assert grid.enrolled[0].name == "tester"
    assert grid.enrolled[0].machine.isolation in ("bubblewrap", "container", "process")
    file = tmp_path / "line"
    file.write_text(str(grid.join_line))
    assert command("join", "--file", str(file), "--name", "other").returncode == 0
    assert grid.enrolled[1].name == "other"


def test_run_joins_by_a_file_named_in_the_environment(grid, command: Command, tmp_path: Path) -> None:
    (tmp_path / "line").write_text(str(grid.join_line))
    command.start(XWHEP_JOIN_FILE=str(tmp_path / "line"))
    assert grid.result(grid.submit(b"#!/bin/sh\n")).result.exit_code == 0


def test_run_waits_for_a_server_that_starts_later(grid, command: Command) -> None:
    line = str(grid.join_line)
    grid.stop()
    command.start(XWHEP_JOIN=line)
    until(lambda: "joining" in (command.logged() if command.log.exists() else ""))
    grid.start()
    grid.until(lambda: grid.requests)


def test_errors_have_their_own_exit_codes_and_no_traceback(grid, command: Command, tmp_path: Path) -> None:
    line = grid.join_line
    other = f"xwhep-join-1 {line.address} sha256:{'0' * 64} join-secret"
    wrong = f"xwhep-join-1 {line.address} {line.fingerprint} wrong-secret"
    nobody = f"xwhep-join-1 https://localhost:1 {line.fingerprint} join-secret"
    cases = [
        (command("run"), UsageError, "xwhep-server join-line worker"),
        (command("join", stdin="rubbish-secret"), UsageError, "no join line"),
        (command("join", "--file", str(tmp_path / "absent")), UsageError, "no join line can be read"),
        (command("join", stdin=other), UntrustedCertificate, "fingerprint"),
        (command("join", stdin=wrong), AuthenticationFailed, "join token"),
        (command("join", stdin=nobody), ConnectionFailed, "no grid server answers"),
        (command("run", "--slots", "none"), UsageError, "--slots"),
        (command("run", "--state", "/proc/no"), NotAllowed, "/proc/no"),
    ]
    for done, error, text in cases:
        assert done.returncode == error.exit_code, done.stderr
        assert text in done.stderr
        assert "Traceback" not in done.stderr
        assert "secret" not in done.stderr


def test_status_tells_what_it_does(grid, command: Command, worker) -> None:
    held = running_sleeper(grid, command)
    status = json.loads(command("status", "--format", "json").stdout)
    assert status["running"]
    assert status["pid"] == worker.pid
    assert [(one["job_id"], one["phase"]) for one in status["attempts"]] == [(held.job_id, "running")]
    table = command("status")
    assert table.returncode == 0
    assert held.job_id in table.stdout
    assert "connected" in table.stdout


def test_status_without_a_worker(command: Command) -> None:
    assert command("status").returncode == 3
    done = command("status", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (3, {"running": False})


def test_one_state_folder_serves_one_worker(grid, command: Command, worker) -> None:
    done = command("run")
    assert done.returncode == Conflict.exit_code
    assert "--state" in done.stderr
    assert worker.poll() is None


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["join", "--help"], ["status", "--help"], ["version"]]
)
def test_help_and_version(command: Command, arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 0
    assert "xwhep-worker" in done.stdout
