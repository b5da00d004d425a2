"""Temporary folders: gone afterwards, also those of a run that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from xwhep_packaging import temporary
from xwhep_packaging.temporary import temporary_folder

PACKAGING = Path(temporary.__file__).parents[1]
WAIT_S = 10.0


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with temporary_folder("test", tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert not list(tmp_path.iterdir())


def test_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), temporary_folder("test", tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = tmp_path / f"xwhep-test-{dead_pid()}-abcd"
    alive = tmp_path / f"xwhep-test-{os.getpid()}-abcd"
    other = tmp_path / f"xwhep-other-{dead_pid()}-abcd"
    for folder in (dead, alive, other):
        folder.mkdir()
    with temporary_folder("test", tmp_path):
        assert not dead.exists()
    assert alive.exists()
    assert other.exists()


def test_folders_of_other_threads_are_waited_for(tmp_path: Path) -> None:
    made, may_end = threading.Event(), threading.Event()

    def work() -> None:
        with temporary_folder("test", tmp_path):
            made.set()
            assert may_end.wait(WAIT_S)

    worker = threading.Thread(target=work)
    worker.start()
    assert made.wait(WAIT_S)
    temporary.wait_for_other_threads(0.05)
    assert len(list(tmp_path.iterdir())) == 1, "there is a limit to it"
    threading.Timer(0.05, may_end.set).start()
    temporary.wait_for_other_threads(WAIT_S)
    assert not list(tmp_path.iterdir())
    worker.join()


def test_ones_own_folder_is_not_waited_for(tmp_path: Path) -> None:
    started = time.monotonic()
    with temporary_folder("test", tmp_path):
        temporary.wait_for_other_threads(WAIT_S)
    assert time.monotonic() - started < WAIT_S / 2


# A step in a thread of its own, as doit runs them; what its tool leaves takes a while to go.
STEP = """
    import sys, threading, time
    from pathlib import Path
    from xwhep_packaging import command, progress
    from xwhep_packaging.temporary import temporary_folder
    progress.stop_on_signals()
    place = Path(sys.argv[1])
    def step():
        with temporary_folder("test", place) as folder:
            try:
                command.run(command.Command(argv=["sh", "-c", f"touch {folder}/on; exec sleep 60"]), check=False)
            finally:
                time.sleep(0.5)
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join()
"""


def test_a_run_that_is_told_to_stop_leaves_none(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", textwrap.dedent(STEP), str(tmp_path)]
    process = subprocess.Popen(argv, env={"PYTHONPATH": str(PACKAGING)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + WAIT_S
    while not list(tmp_path.glob("*/on")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) != 0
    assert not list(tmp_path.iterdir())
