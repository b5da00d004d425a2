"""What a run shows on a terminal, and tells other programs."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xwhep_packaging import live
from xwhep_packaging.live import CLEAR, Running, StatusLine, render

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
LIMIT_S = 30
DODO = """
    import time
    from pathlib import Path
    from xwhep_packaging import errors, live
    from xwhep_packaging.tasks import base
    DOIT_CONFIG = base.CONFIG

    def wait(name):
        deadline = time.monotonic() + 20
        while not Path(name).exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def fail():
        raise errors.NetworkError("no network")

    def step(log):
        return {"step": lambda: live.Running(started=time.monotonic(), expected=90, log=Path(log))}

    def task_slow():
        return {"doc": "it waits", "actions": [(base.guarded, [lambda: wait("go")])], "meta": step("slow.log")}

    def task_made():
        return {"actions": [(base.guarded, [lambda: None])], "uptodate": [True]}

    def task_bad():
        return {"doc": "it fails", "actions": [(base.guarded, [fail])]}

    def task_speaks():
        return {"doc": "it writes", "actions": [(base.guarded, [lambda: wait("go")])]}
"""


def start(folder: Path, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
    (folder / "dodo.py").write_text(textwrap.dedent(DODO))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
    environment = {**kept, "PYTHONPATH": str(PACKAGING), "TERM": "xterm", "COLUMNS": "100"}
    return subprocess.Popen([sys.executable, "-m", "doit", *words], cwd=folder, env=environment, **streams)


class Terminal:
    """A doit whose output is a terminal, and all that it has written there."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.process = start(folder, *words, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.text = ""

    def read_until(self, found: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + LIMIT_S
        while not found(self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode()
                except OSError:  # the other end is closed
                    self.process.wait(LIMIT_S)
                    assert found(self.text), self.text
        return self.text

    def end(self) -> int:
        self.read_until(lambda text: self.process.poll() is not None)
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.text += os.read(self.master, 65536).decode()
            except OSError:
                break
        os.close(self.master)
        return self.process.wait()


def screen(text: str) -> list[str]:
    """What stays on a terminal of endless width: a cleared line is gone."""
    return [line.rpartition(CLEAR)[2] for line in text.replace("\r\n", "\n").split("\n")]


def test_line_shows_what_runs_and_is_gone_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "slow.log").write_text("first\nfetching \x1b[31mpart\x1b[0m 3\n")
    terminal = Terminal(tmp_path, "slow")
    shown = terminal.read_until(lambda text: "fetching" in text)
    assert re.search(r"» slow \d+/90 s \(about \d+ s more\)  fetching part 3", shown)
    (tmp_path / "go").touch()
    assert terminal.end() == 0
    assert [line.split()[:2] for line in screen(terminal.text) if line] == [["·", "slow"], ["✓", "slow"]]


def test_interrupted_terminal_is_as_it_was(tmp_path: Path) -> None:
    """Nothing was changed but that line: no cursor is hidden, no other screen is shown."""
    terminal = Terminal(tmp_path, "slow")
    terminal.read_until(lambda text: "» slow" in text)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "stopped; what was finished is kept" in screen(terminal.text)[-2]
    assert set(re.findall(r"\x1b\[[^A-Za-z]*[A-Za-z]", terminal.text)) == {"\x1b[K"}


def test_no_line_while_something_writes_by_itself(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "speaks", "slow")
    terminal.read_until(lambda text: "speaks" in text and "slow" in text)
    since = len(terminal.text)
    time_shown = time.monotonic() + 3 * live.INTERVAL_S
    while time.monotonic() < time_shown:
        if select.select([terminal.master], [], [], 0.05)[0]:
            terminal.text += os.read(terminal.master, 65536).decode()
    (tmp_path / "go").touch()
    assert "»" not in terminal.text[since:].partition("✓")[0]
    assert terminal.end() == 0


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    process = start(tmp_path, "slow", stdout=subprocess.PIPE)
    out = process.communicate(timeout=LIMIT_S)[0].decode()
    assert "\x1b" not in out
    assert [line.split()[:2] for line in out.splitlines()] == [["·", "slow"], ["✓", "slow"]]


def test_events_tell_another_program(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    process = start(tmp_path, "slow", "made", "bad", "events=events.jsonl", stdout=subprocess.PIPE)
    process.communicate(timeout=LIMIT_S)
    rows = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    told = {(row["event"], row.get("task")): row for row in rows}
    assert ("started", "slow") in told
    assert told["ended", "slow"]["seconds"] >= 0
    assert ("up-to-date", "made") in told
    assert told["failed", "bad"]["exit_code"] == 13
    assert (rows[-1]["event"], rows[-1]["exit_code"]) == ("done", process.returncode) == ("done", 13)
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


def test_events_that_cannot_be_written_stop_the_run_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "slow", "events=no/such/folder.jsonl", stdout=subprocess.PIPE)
    out = process.communicate(timeout=LIMIT_S)[0].decode()
    assert process.returncode == 20
    assert out.startswith("error [store]: cannot write the events to no/such/folder.jsonl")
    assert "Traceback" not in out


# The line


def test_line_is_never_wider_than_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 5000)
    running = {f"step:{n}": Running(started=0, expected=50, log=log) for n in range(9)}
    assert len(render(running, 10, 80)) == 79


@pytest.mark.parametrize(
    ("expected", "shown"), [(0, "» a 10 s"), (30, "» a 10/30 s (about 20 s more)"), (5, "» a 10/5 s")]
)
def test_times(expected: float, shown: str) -> None:
    assert render({"a": Running(started=0, expected=expected)}, 10, 80) == shown


def test_log_cannot_move_the_cursor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"good\n\x1b[2J\x1b[1;1Hbad\x07\x00\xff\r\n\n")
    assert live.last_line(log) == "bad"
    assert live.last_line(tmp_path / "none") == ""
    assert live.last_line(None) == ""


def test_said_line_clears_the_shown_one_first() -> None:
    line = StatusLine(io.StringIO(), shown=True)
    line.say("done")
    assert line.stream.getvalue() == f"{CLEAR}done\n"  # type: ignore[attr-defined]
