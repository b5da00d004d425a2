"""The edges of the service: its state folder, leftovers of earlier lives, log lines, status texts."""

import io
import json
import logging
import os
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xwhep.common.errors import Conflict, NotAllowed, UsageError
from xwhep.worker import logs, processes, service
from xwhep.worker.board import ShownAttempt, Status, sole_worker
from xwhep.worker.launch import Wall
from xwhep.worker.settings import Settings
from xwhep.worker.status import NOT_RUNNING, as_json, as_table

STATUS = Status(
    pid=7, name="n", worker_id="w", server="https://s:1", isolation="process", slots=2, started_at=0, connected=True
)


# The state folder.


def test_it_is_made_private(tmp_path: Path) -> None:
    state = tmp_path / "a/b/state"
    service.prepare_state(state)
    mode = stat.S_IMODE(state.stat().st_mode)
    assert mode == (0o711 if os.geteuid() == 0 else 0o700)


def test_one_that_is_too_open_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    service.prepare_state(tmp_path)
    assert not stat.S_IMODE(tmp_path.stat().st_mode) & 0o066


def test_one_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotAllowed, match="file") as caught:
        service.prepare_state(tmp_path / "file")
    assert "XWHEP_WORKER_STATE" in caught.value.next_step


def test_two_workers_cannot_share_it(tmp_path: Path) -> None:
    with sole_worker(tmp_path), pytest.raises(Conflict, match="another worker"), sole_worker(tmp_path):
        pytest.fail("the second got it too")
    with sole_worker(tmp_path):
        pass


def test_leftovers_of_an_earlier_life_are_removed_and_their_processes_ended(tmp_path: Path) -> None:
    work = tmp_path / "jobs/old.1/work"
    work.mkdir(parents=True)
    (work / "file").touch()
    stray = subprocess.Popen(["/bin/sleep", "81.5"], env={"HOME": str(work)})
    other = subprocess.Popen(["/bin/sleep", "81.5"], env={"HOME": str(tmp_path / "jobs-of-another")})
    try:
        deadline = time.monotonic() + 10
        while not processes.environment_of(stray.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        jobs = service.prepare_jobs(tmp_path)
        assert list(jobs.iterdir()) == []
        assert stray.wait(10) == -9
        assert other.poll() is None
    finally:
        for process in (stray, other):
            process.kill()
            process.wait()


# Joining.


def test_a_join_line_comes_from_the_environment_before_a_file(tmp_path: Path, monkeypatch) -> None:
    line = "xwhep-join-1 https://one:1 sha256:" + "0" * 64 + " token"
    (tmp_path / "line").write_text(line.replace("one", "two"))
    monkeypatch.setenv("XWHEP_JOIN_FILE", str(tmp_path / "line"))
    monkeypatch.delenv("XWHEP_JOIN", raising=False)
    assert service._join_line(None).address == "https://two:1"
    monkeypatch.setenv("XWHEP_JOIN", line)
    assert service._join_line(None).address == "https://one:1"
    assert "XWHEP_JOIN" not in os.environ


def test_without_one_the_way_to_get_it_is_told(monkeypatch) -> None:
    monkeypatch.delenv("XWHEP_JOIN", raising=False)
    monkeypatch.delenv("XWHEP_JOIN_FILE", raising=False)
    with pytest.raises(UsageError) as caught:
        service._join_line(None)
    assert "xwhep-server join-line worker" in caught.value.next_step
    monkeypatch.setenv("XWHEP_JOIN_FILE", "/no/such/file")
    with pytest.raises(UsageError, match="XWHEP_JOIN_FILE"):
        service._join_line(None)


def test_the_isolation_in_use_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        service._log_start(Settings(), Wall("container", confined=True))
    assert "isolation container with Landlock" in caplog.text
    with caplog.at_level(logging.WARNING):
        service._log_start(Settings(), Wall("process"))
    assert "bubblewrap would be one" in caplog.text


def test_a_thread_with_a_fault_ends_the_whole_worker(monkeypatch, capsys) -> None:
    codes: list[int] = []
    monkeypatch.setattr(service.os, "_exit", codes.append)
    monkeypatch.setattr(threading, "excepthook", service._die)
    thread = threading.Thread(target=lambda: {}["missing"])
    thread.start()
    thread.join()
    assert codes == [1]
    assert "KeyError" in capsys.readouterr().err


# Processes.


def test_descendants_are_found_at_every_depth() -> None:
    shell = subprocess.Popen(["/bin/sh", "-c", "sh -c 'sleep 82.5; true' & wait"])
    try:
        deadline = time.monotonic() + 10
        while len(processes.descendants(shell.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(processes.descendants(shell.pid)) == 2
        assert shell.pid in processes.children(os.getpid())
    finally:
        for pid in [*processes.descendants(shell.pid), shell.pid]:
            processes.send(pid, processes.signal.SIGKILL)
        shell.wait()
    assert processes.descendants(shell.pid) == []
    assert processes.environment_of(shell.pid) == {}


# Texts.


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged while a test runs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.start_logging(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_log_line_is_one_line_whatever_it_says(logged: io.StringIO) -> None:
    logging.getLogger("test").info("job %s: %s", "j", "a\nfake line\x1b[31m é")
    written = logged.getvalue()
    assert written.count("\n") == 1, written
    line = written.rstrip("\n")
    assert line.endswith("INFO job j: a?fake line?[31m é")
    assert line[:5].rstrip("-").isdecimal()
    assert line[19] == "Z"


def test_status_as_a_table() -> None:
    assert as_table(None) == NOT_RUNNING
    assert "no job" in as_table(STATUS)
    held = ShownAttempt(job_id="abc", attempt=3, app="hello", phase="running", since=86400)
    busy = Status(**{name: getattr(STATUS, name) for name in STATUS.__struct_fields__} | {"attempts": [held]})
    lines = as_table(busy).splitlines()
    assert lines[0].startswith("worker     n (w), pid 7, since 1970-01-01T00:00:00Z")
    assert lines[-1].split() == ["abc", "3", "hello", "running", "1970-01-02T00:00:00Z"]


def test_status_as_json() -> None:
    assert json.loads(as_json(None)) == {"running": False}
    content = json.loads(as_json(STATUS))
    assert content["running"]
    assert content["server"] == "https://s:1"
    assert content["attempts"] == []
