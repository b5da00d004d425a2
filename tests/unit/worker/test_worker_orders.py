"""What server and owner may ask of a running worker, against a grid that speaks the contract."""

import json
import signal
import time

import pytest

from worker_command import Command, running_sleeper, until
from xwhep.common.errors import (
    ConnectionFailed,
)
from xwhep.common.wire import Running


@pytest.mark.usefixtures("worker")
def test_a_running_job_is_followed_when_somebody_asks(grid) -> None:
    key = grid.submit(b"#!/bin/sh\nn=0; while [ ! -e go ]; do echo line $((n += 1)); sleep 0.1; done\n")
    grid.until(lambda: key in grid.leased)
    time.sleep(1.2)
    assert grid.outputs == []
    grid.watched = [Running(job_id=key[0], attempt=1)]
    grid.until(lambda: len(grid.outputs) >= 3)
    pieces = [message for _, message in grid.outputs]
    whole = b"".join(message.data for message in pieces)
    assert whole.startswith(b"line 1\nline 2\n")
    assert [message.offset for message in pieces] == [
        sum(len(before.data) for before in pieces[:number]) for number in range(len(pieces))
    ]
    gaps = [after[0] - before[0] for before, after in zip(grid.outputs, grid.outputs[1:], strict=False)]
    assert min(gaps) > 0.8


def test_a_new_token_is_kept_and_used_and_nothing_running_suffers(grid, command: Command, worker) -> None:
    held = running_sleeper(grid, command)
    grid.tokens.add("rotated-secret")
    grid.new_token = "rotated-secret"
    used = "Bearer rotated-secret"
    grid.until(lambda: any(path.endswith("heartbeat") and one["Authorization"] == used for _, path, one in grid.calls))
    grid.tokens.remove("worker-secret")
    grid.new_token = ""
    assert grid.text(grid.result(grid.submit(b"#!/bin/sh\necho on\n")).result.stdout) == "on\n"
    assert worker.poll() is None
    assert "rotated-secret" not in command.logged()
    identity = command.state / "identity.json"
    assert json.loads(identity.read_text())["token"] == "rotated-secret"
    assert identity.stat().st_mode & 0o777 == 0o600
    grid.until(lambda: grid.heartbeats[-1][1] == [held])
    worker.kill()
    worker.wait()
    command.start()
    assert grid.result(grid.submit(b"#!/bin/sh\n")).result.exit_code == 0


def test_labels_are_announced(grid, command: Command) -> None:
    command.start("--labels", "gpu,site=lab7", XWHEP_JOIN=str(grid.join_line))
    grid.until(lambda: grid.requests)
    assert grid.requests[-1].machine.labels == ["gpu", "site=lab7"]


# What the owner says.


def status_of(command: Command) -> dict[str, object]:
    status = json.loads(command("status", "--format", "json").stdout)
    assert isinstance(status, dict)
    return status


def test_pause_is_at_once_lasts_over_a_restart_and_resume_ends_it(grid, command: Command, worker) -> None:
    held = running_sleeper(grid, command)
    assert "takes no new jobs" in command("pause").stdout
    key = grid.submit(b"#!/bin/sh\n")
    time.sleep(1)
    assert grid.pending
    assert status_of(command)["mode"] == "paused"
    assert "paused" in command("status").stdout
    assert grid.heartbeats[-1][1] == [held]  # it goes on
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)
    command.start()
    until(lambda: status_of(command)["running"])
    time.sleep(0.5)
    assert grid.pending
    assert command("resume").returncode == 0
    assert grid.result(key).result.exit_code == 0


def test_a_drained_worker_has_delivered_all(grid, command: Command, worker) -> None:
    key = grid.submit(b"#!/bin/sh\necho up > up; while [ ! -e go ]; do sleep 0.05; done; echo done\n")
    work = command.state / f"jobs/{key[0]}.1" / "work"
    until((work / "up").exists)
    assert command("drain").returncode == 0
    other = grid.submit(b"#!/bin/sh\n")
    assert "draining" in command("status").stdout
    (work / "go").touch()
    assert grid.text(grid.result(key).result.stdout) == "done\n"
    until(lambda: "mode       drained" in command("status").stdout)
    assert grid.pending
    assert other not in grid.results
    assert worker.poll() is None


def test_a_mode_without_a_worker_is_a_clear_error(command: Command) -> None:
    for verb in ("pause", "resume", "drain"):
        done = command(verb)
        assert done.returncode == ConnectionFailed.exit_code
        assert "no worker runs" in done.stderr
        assert "Traceback" not in done.stderr


def test_outside_its_hours_it_asks_for_nothing_and_says_why(grid, command: Command) -> None:
    tomorrow = time.strftime("%a", time.localtime(time.time() + 2 * 86400)).lower()
    command.start("--hours", f"{tomorrow} 00-24", XWHEP_JOIN=str(grid.join_line))
    grid.until(lambda: grid.heartbeats)
    time.sleep(0.5)
    assert grid.requests == []
    assert status_of(command)["refusal"] == "outside the hours of its owner"


def test_programs_of_unknown_signers_are_handed_back_ever_slower(grid, command: Command) -> None:
    command.start("--signers", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", XWHEP_JOIN=str(grid.join_line))
    for attempt in range(1, 30):
        grid.submit(b"#!/bin/sh\n", job_id="unsigned", attempt=attempt)
    grid.until(lambda: len(grid.left) >= 2, 20)
    time.sleep(2)
    assert len(grid.left) <= 3  # pauses of 1 to 2, 2 to 4, 4 to 8 seconds
    assert grid.results == {}
    assert "not signed" in command.logged()
