"""Jobs as a user sees them: real `xw` processes against a server that speaks the wire contract."""

import json
import signal
import threading
import time

import msgspec
import pytest

from xwhep.client.connection import ATTEMPTS
from xwhep.common import wire
from xwhep.common.errors import Conflict, ConnectionFailed, JobFailed, NotFound, TimedOut, UsageError


def submit(xw, *words):
    done = xw("job", "submit", "sleep", *words)
    assert done.code == 0, done.err
    return done.out.strip()


@pytest.fixture
def asleep(xw, grid):
    """A submitted job that nothing runs."""
    grid.add_app("sleep")
    return submit(xw)


def wait_until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_first_job_end_to_end(xw, grid):
    (xw.folder / "hello.sh").write_text("#!/bin/sh\necho hello\n")
    assert xw("app", "register", "hello", "hello.sh").code == 0

    def run(job):
        grid.change(job.id, state=wire.JobState.RUNNING, worker="w1", attempt=1)
        grid.finish(job.id, stdout=b"hello \xff\n", stderr=b"warned\n", files=[grid.file("out/a.txt", b"A")])

    grid.on_submit = run
    done = xw("job", "submit", "hello", "--env", "A=1", "--wait", "--output", "got", "--", "--world")
    assert done.code == 0, done.err
    assert done.raw == b"hello \xff\n"
    assert "completed" in done.err
    assert "warned\n" in done.err
    assert (xw.folder / "got/out/a.txt").read_bytes() == b"A"
    (job,) = grid.jobs.values()
    assert (job.args, job.env) == (["--world"], {"A": "1"})


def test_arguments_before_and_after_the_dashes_are_joined(xw, grid):
    grid.add_app("sleep")
    job = grid.jobs[submit(xw, "one", "--label", "L", "two", "--", "-x", "--", "--help")]
    assert job.args == ["one", "two", "-x", "--", "--help"]
    assert job.label == "L"


def test_local_files_are_uploaded_and_names_are_left_alone(xw, grid):
    grid.add_app("sleep")
    (xw.folder / "a.csv").write_bytes(b"a")
    (xw.folder / "b.csv").write_bytes(b"b")
    assert xw("data", "put", "b.csv", "--name", "known").code == 0
    job = grid.jobs[submit(xw, "--data", "./a.csv", "known", "--data", "@b.csv", "--stdin", "known")]
    contents = {datum.id: grid.blobs[datum.sha256] for datum in grid.data.values()}
    assert {name: contents[one] for name, one in job.files.items()} == {"a.csv": b"a", "b.csv": b"b"}
    assert (job.data, job.stdin) == (["known"], "known")


def test_our_own_stdin_can_be_the_jobs(xw, grid):
    grid.add_app("sleep")
    done = xw("job", "submit", "sleep", "--stdin", "-", stdin=b"typed")
    assert done.code == 0, done.err
    (datum,) = grid.data.values()
    assert grid.blobs[datum.sha256] == b"typed"
    assert grid.jobs[done.out.strip()].stdin == datum.id


def test_a_failed_job_says_its_own_exit_code(xw, grid):
    grid.add_app("sleep")
    grid.on_submit = lambda job: grid.finish(job.id, exit_code=3, stdout=b"partial", stderr=b"boom\n")
    done = xw("job", "submit", "sleep", "--wait")
    assert done.code == JobFailed.exit_code
    assert done.out == "partial"
    assert "failed with exit code 3" in done.err
    assert "boom" in done.err


def test_wait_with_json_prints_one_value(xw, grid):
    grid.add_app("sleep")
    grid.on_submit = lambda job: grid.finish(job.id, stdout=b"not json")
    done = xw("job", "submit", "sleep", "--wait", "--format", "json")
    job = json.loads(done.out)
    assert set(job) == set(wire.Job.__struct_fields__)
    assert job["result"]["exit_code"] == 0


def test_waiting_polls_once_per_change(xw, grid, asleep):
    process = xw.start("job", "wait", asleep)
    path = f"GET /v1/jobs/{asleep}"
    wait_until(lambda: grid.requests.count(path) == 2)  # find it, then stand waiting
    grid.change(asleep, state=wire.JobState.RUNNING, worker="w1", attempt=1)
    wait_until(lambda: grid.requests.count(path) == 3)
    grid.finish(asleep)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert grid.requests.count(path) == 3
    assert [line.split("  ")[2] for line in err.decode().splitlines()] == ["pending", "running", "completed"]
    assert "on w1, attempt 1" in err.decode()


def test_waiting_survives_a_server_restart(xw, grid, asleep):
    process = xw.start("job", "wait", asleep)
    wait_until(lambda: grid.requests.count(f"GET /v1/jobs/{asleep}") == 2)
    grid.stop()
    time.sleep(0.5)
    grid.finish(asleep)
    grid.start()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert err.decode().count("trying again") == 1
    assert err.decode().count("the server is back") == 1


def test_a_wait_for_a_server_that_stays_away_ends_with_its_timeout(xw, grid, asleep):
    process = xw.start("job", "wait", asleep, "--timeout", "1")
    wait_until(lambda: grid.requests.count(f"GET /v1/jobs/{asleep}") == 2)
    grid.stop()
    _, err = process.communicate(timeout=20)
    assert process.returncode == TimedOut.exit_code
    assert "when the server went away" in err.decode()


def test_wait_times_out(xw, asleep):
    done = xw("job", "wait", asleep, "--timeout", "0.3")
    assert done.code == TimedOut.exit_code
    assert f"xw job wait {asleep}" in done.err


def test_wait_for_several_reports_each_and_the_worst(xw, grid, asleep):
    other = submit(xw)
    threading.Timer(0.2, grid.finish, (asleep,)).start()
    threading.Timer(0.3, grid.finish, (other, 1)).start()
    done = xw("job", "wait", asleep, other, "--format", "json")
    assert done.code == JobFailed.exit_code
    assert [job["state"] for job in json.loads(done.out)] == ["completed", "failed"]
    assert other in done.err


def test_a_server_that_does_not_hold_requests_is_not_hammered(xw, grid, asleep):
    job = grid.jobs[asleep]
    grid.overrides[f"GET /v1/jobs/{asleep}"] = (200, msgspec.json.encode(job))
    assert xw("job", "wait", asleep, "--timeout", "1.5").code == TimedOut.exit_code
    assert 3 < grid.requests.count(f"GET /v1/jobs/{asleep}") < 25


def test_ctrl_c_says_that_the_job_goes_on(xw, grid):
    grid.add_app("sleep")
    process = xw.start("job", "submit", "sleep", "--wait")
    wait_until(lambda: any(request.startswith("GET /v1/jobs/") for request in grid.requests))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    (job_id,) = grid.jobs
    assert process.returncode == 130
    assert f"xw job wait {job_id}" in err.decode()
    assert b"Traceback" not in err
    assert out == b""


def test_job_commands_take_the_beginning_of_an_id(xw, grid, asleep):
    assert json.loads(xw("job", "show", asleep[:8], "--format", "json").out)["id"] == asleep
    cancelled = xw("job", "cancel", asleep[:6])
    assert cancelled.out.strip() == f"{asleep} cancelled"
    assert xw("job", "rm", asleep[:6]).code == 0
    assert not grid.jobs
    assert xw("job", "show", asleep[:6]).code == NotFound.exit_code


def test_an_ambiguous_beginning_is_refused(xw, grid, asleep):
    grid.jobs[asleep[:-1] + "~"] = msgspec.structs.replace(grid.jobs[asleep], id=asleep[:-1] + "~")
    done = xw("job", "cancel", asleep[:6])
    assert done.code == UsageError.exit_code
    assert "2 jobs begin with" in done.err
    assert all(job.state == wire.JobState.PENDING for job in grid.jobs.values())


def test_list_filters_and_aligns(xw, grid, asleep):
    other = submit(xw, "--label", "second")
    grid.finish(other, exit_code=7)
    assert [job["id"] for job in json.loads(xw("job", "list", "--format", "json").out)] == [other, asleep]
    assert [job["id"] for job in json.loads(xw("job", "list", "--state", "failed", "--format", "json").out)] == [other]
    lines = xw("job", "list").out.splitlines()
    assert lines[0].split() == [
        *("ID", "APP", "STATE", "EXIT", "WORKER", "SUBMITTED", "TOOK", "MODE", "GROUP", "LABEL")
    ]
    column = lines[0].index("STATE")
    assert [line[column:].split()[0] for line in lines[1:]] == ["failed", "pending"]
    assert lines[1].split()[:1] == [other[:8]]


def test_an_unknown_app_names_the_nearest(xw, grid):
    grid.add_app("blender")
    done = xw("job", "submit", "blendr")
    assert done.code == NotFound.exit_code
    assert "there is no app 'blendr'" in done.err
    assert "did you mean blender" in done.err


def test_an_unknown_app_is_refused_before_its_files_are_uploaded(xw, grid):
    (xw.folder / "big").write_bytes(b"x")
    assert xw("job", "submit", "none", "--data", "./big").code == NotFound.exit_code
    assert not grid.blobs


def test_a_file_name_without_a_slash_is_explained(xw, grid):
    grid.add_app("sleep")
    (xw.folder / "input.txt").write_text("x")
    done = xw("job", "submit", "sleep", "--stdin", "input.txt")
    assert done.code == NotFound.exit_code
    assert "./input.txt" in done.err


def test_a_submission_whose_answer_is_lost_is_sent_again_and_makes_one_job(xw, grid):
    grid.add_app("sleep")
    grid.lose_answers = 1
    job_id = submit(xw)
    assert list(grid.jobs) == [job_id]
    assert grid.requests.count("POST /v1/jobs") == 2
    assert submit(xw) != job_id  # each submission has a key of its own


def test_a_submission_that_nobody_answers_is_given_up_after_some_tries(xw, grid):
    grid.add_app("sleep")
    grid.overrides["POST /v1/jobs"] = (503, b"proxy error")
    done = xw("job", "submit", "sleep")
    assert done.code == ConnectionFailed.exit_code
    assert "may be registered" in done.err
    assert grid.requests.count("POST /v1/jobs") == ATTEMPTS


def test_a_changed_file_of_the_same_name_is_another_datum(xw, grid):
    grid.add_app("sleep")
    ids = []
    for content in (b"first", b"second", b"first"):
        (xw.folder / "input.csv").write_bytes(content)
        job = grid.jobs[submit(xw, "--data", "./input.csv")]
        assert list(job.files) == ["input.csv"]
        ids.append(job.files["input.csv"])
    assert ids[0] == ids[2] != ids[1]
    assert {grid.blobs[datum.sha256] for datum in grid.data.values()} == {b"first", b"second"}


def test_data_can_have_another_name_in_the_jobs_folder(xw, grid):
    grid.add_app("sleep")
    (xw.folder / "local=1.csv").write_bytes(b"x")
    assert xw("data", "put", "./local=1.csv", "--name", "known").code == 0
    words = ("--data", "table.csv=known", "same.csv=./local=1.csv", "./local=1.csv", "typed=-")
    done = xw("job", "submit", "sleep", *words, stdin=b"typed")
    assert done.code == 0, done.err
    (job,) = grid.jobs.values()
    assert (job.data, sorted(job.files)) == ([], ["local=1.csv", "same.csv", "table.csv", "typed"])
    assert job.files["table.csv"] == "known"
    assert job.files["same.csv"] == job.files["local=1.csv"]


@pytest.mark.parametrize("words", [("./d/a", "./a"), ("a=known", "./a"), ("-",), ("a=",), ("..=known",)], ids=" ".join)
def test_a_file_without_a_name_of_its_own_is_refused(xw, grid, words):
    grid.add_app("sleep")
    (xw.folder / "d").mkdir()
    for name in ("a", "d/a"):
        (xw.folder / name).write_bytes(b"x")
    done = xw("job", "submit", "sleep", "--data", *words)
    assert done.code == UsageError.exit_code
    assert not grid.jobs


def test_results_before_the_end_is_a_conflict(xw, asleep):
    done = xw("job", "results", asleep)
    assert done.code == Conflict.exit_code
    assert f"xw job wait {asleep}" in done.err


@pytest.mark.parametrize("word", ["=x", "A", "1A=x", "A B=x"])
def test_env_must_be_name_and_value(xw, word):
    done = xw("job", "submit", "sleep", "--env", word)
    assert done.code == UsageError.exit_code
    assert "NAME=VALUE" in done.err
