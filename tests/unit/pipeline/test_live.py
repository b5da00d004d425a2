"""What a run shows on a terminal, and tells other programs."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from screen import Screen
from xwhep_packaging import live, terminal
from xwhep_packaging.live import DONE, FAILED, RUNS, WAITS, Board, Running, View, one_line, render
from xwhep_packaging.terminal import Block

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
LIMIT_S = 30
COLUMNS, ROWS = 100, 24
ESCAPES = re.compile(r"\x1b\[[^A-Za-z]*[A-Za-z]")
DODO = """
    import time
    from pathlib import Path
    from xwhep_packaging import errors, live
    from xwhep_packaging.tasks import base

    class Reporter(base.Reporter):
        def forecast(self):  # there is no pipeline here
            return lambda done, spent: 75 - 5 * len(done)

    DOIT_CONFIG = {**base.CONFIG, "reporter": Reporter}

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
        return {"doc": "it fails", "actions": [(base.guarded, [fail])], "params": [base.EVENTS]}

    def task_group():
        yield {"name": None, "doc": "two parts"}
        yield {"name": "made", "actions": [(base.guarded, [lambda: None])], "uptodate": [True], "meta": step("none")}
        waits = [(base.guarded, [lambda: wait("go")])]
        yield {"name": "slow", "doc": "waits", "actions": waits, "meta": step("slow.log")}

    def task_last():
        return {"actions": [(base.guarded, [lambda: None])], "task_dep": ["group"], "meta": step("none")}

    def task_speaks():
        return {"doc": "it writes", "actions": [(base.guarded, [lambda: wait("go")])]}
"""


def start(
    folder: Path, *words: str, variables: dict[str, str] | None = None, **streams: Any
) -> subprocess.Popen[bytes]:
    (folder / "dodo.py").write_text(textwrap.dedent(DODO))
    dropped = ("XWHEP_", "NO_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment = {**kept, "PYTHONPATH": str(PACKAGING), "TERM": "xterm", **(variables or {})}
    return subprocess.Popen([sys.executable, "-m", "doit", *words], cwd=folder, env=environment, **streams)


class Terminal:
    """A doit whose output is a terminal, and all that it has written there."""

    def __init__(self, folder: Path, *words: str, **variables: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(COLUMNS, ROWS)
        self.process = start(folder, *words, variables=variables, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.text = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

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


def lines_of(terminal: Terminal) -> list[str]:
    return Screen(COLUMNS, ROWS).feed(terminal.text).shown


def test_block_shows_what_runs_and_is_gone_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "slow.log").write_text("first\nfetching \x1b[31mpart\x1b[0m 3\n")
    terminal = Terminal(tmp_path, "last")
    terminal.read_until(lambda text: text.count("fetching") > 1)
    stages, step = lines_of(terminal)[-2:]
    assert lines_of(terminal)[0].split()[:2] == ["·", "group:slow"]
    assert re.fullmatch(r"  1 of 3 steps are done, \d s; about 1 min 10 s more", lines_of(terminal)[-3])
    assert stages == "  » group 1/2  · last"
    assert re.fullmatch(r"» group:slow +\d/90 s  fetching part 3", step)
    (tmp_path / "go").touch()
    assert terminal.end() == 0
    assert [line.split()[:2] for line in lines_of(terminal)] == [
        ["·", "group:slow"],
        ["✓", "group:slow"],
        ["·", "last"],
        ["✓", "last"],
    ]


def test_interrupted_terminal_is_as_it_was(tmp_path: Path) -> None:
    """Nothing was changed but the block: no cursor is hidden, no other screen is shown, no colour stays on."""
    (tmp_path / "slow.log").write_text("a long line " * 40)
    terminal = Terminal(tmp_path, "last")
    terminal.read_until(lambda text: "» group:slow" in text)
    os.write(terminal.master, b"\x03")  # shown as ^C behind the last line; the signal goes to no other test
    terminal.read_until(lambda text: "^C" in text)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    said = "stopped; what was finished is kept: type it again to go on"
    assert [line for line in lines_of(terminal) if line][1:] == [said]
    assert {escape[-1] for escape in ESCAPES.findall(terminal.text)} <= {"A", "J", "K", "m"}
    colours = [escape for escape in ESCAPES.findall(terminal.text) if escape.endswith("m")]
    assert colours[1::2] == ["\x1b[0m"] * (len(colours) // 2)


def test_no_colours_where_they_are_not_wanted(tmp_path: Path) -> None:
    (tmp_path / "slow.log").write_text("fetching\n")
    terminal = Terminal(tmp_path, "slow", NO_COLOR="1")
    terminal.read_until(lambda text: "fetching" in text)
    (tmp_path / "go").touch()
    assert terminal.end() == 0
    assert {escape[-1] for escape in ESCAPES.findall(terminal.text)} <= {"A", "J", "K"}


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_simple_terminal_gets_plain_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / "go").touch()
    terminal = Terminal(tmp_path, "slow", TERM=name)
    assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert [line.split()[:2] for line in terminal.text.splitlines()] == [["·", "slow"], ["✓", "slow"]]


def test_a_window_that_changes_while_a_step_runs(tmp_path: Path) -> None:
    (tmp_path / "slow.log").write_text("a long line " * 40)
    terminal = Terminal(tmp_path, "last")
    terminal.read_until(lambda text: "a long line" in text)
    for columns, rows in ((40, ROWS), (40, 3), (COLUMNS, ROWS)):
        terminal.resize(columns, rows)
        since = len(terminal.text)
        drawn = terminal.read_until(lambda text, since=since: text[since:].count("» group:slow") > 1)  # type: ignore[misc]
        last = ESCAPES.sub("", drawn[since:].rpartition("» group:slow")[2])
        assert len("» group:slow" + last.splitlines()[0]) < columns
        assert ("steps are done" in drawn[since:].rpartition("» group:slow")[0]) == (rows > 3)
    (tmp_path / "go").touch()
    assert terminal.end() == 0


def test_no_block_while_something_writes_by_itself(tmp_path: Path) -> None:
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


def test_events_on_standard_output_are_alone_there(tmp_path: Path) -> None:
    process = start(tmp_path, "bad", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, said = (stream.decode() for stream in process.communicate(timeout=LIMIT_S))
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["event"] for row in rows] == ["started", "failed", "done"]
    assert {name: rows[1][name] for name in ("task", "exit_code", "code", "what")} == {
        "task": "bad",
        "exit_code": 13,
        "code": "network",
        "what": "no network",
    }
    assert "\nerror [network]: no network" in said


def test_events_on_a_terminal_take_the_place_of_the_block(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    terminal = Terminal(tmp_path, "slow", "bad", "--json")
    terminal.end()
    assert '{"event": "done"' in terminal.text
    assert "\x1b" not in terminal.text


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["lines", "events"])
def test_a_reader_that_goes_does_not_end_the_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    process = start(tmp_path, "slow", "bad", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline()
    process.stdout.close()
    (tmp_path / "go").touch()
    said = process.stderr.read().decode()
    assert process.wait(LIMIT_S) == 13
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_events_that_cannot_be_written_stop_the_run_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "slow", "events=no/such/folder.jsonl", stdout=subprocess.PIPE)
    out = process.communicate(timeout=LIMIT_S)[0].decode()
    assert process.returncode == 20
    assert out.startswith("error [store]: cannot write the events to no/such/folder.jsonl")
    assert "Traceback" not in out


# The block


def board(*running: str, log: Path | None = None, **steps: str) -> Board:
    known = {name.replace("__", ":"): state for name, state in steps.items()}
    return Board(began=0, steps=known, running={name: Running(started=2, expected=30, log=log) for name in running})


def drawn(board: Board, size: tuple[int, int] = (80, 24), left: float | None = None) -> list[str]:
    return ["".join(text for text, _ in line) for line in render(board, 12, size, left)]


def test_how_far_each_stage_is() -> None:
    steps = board("debs:a", source=DONE, base__x=DONE, base__y=WAITS, debs__a=RUNS, lint=FAILED, images=WAITS)
    assert drawn(steps, left=70) == [
        "  2 of 6 steps are done, 12 s; about 1 min 10 s more",
        "  ✓ source  · base 1/2  » debs  ✗ lint  · images",
        "» debs:a   10/30 s  ",
    ]


def test_stages_that_are_done_lose_their_names_where_there_is_no_room() -> None:
    steps = board("debs:a", source=DONE, packages=DONE, base=DONE, debs__a=RUNS, images=WAITS)
    assert drawn(steps, (30, 24))[1] == "  ✓  ✓  ✓  » debs  · images"


@pytest.mark.parametrize(("rows", "shown", "more"), [(24, 9, 0), (8, 4, 5), (5, 1, 8), (4, 0, 9)])
def test_a_low_window_shows_the_oldest_steps(rows: int, shown: int, more: int) -> None:
    lines = drawn(board(*(f"step:{n}" for n in range(9)), source=DONE), (80, rows))
    assert len(lines) < rows
    assert [line[:8] for line in lines[2 : 2 + shown]] == [f"» step:{n}" for n in range(shown)]
    assert (lines[-1] == f"  and {more} more") == bool(more)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_lower_one_has_one_line(rows: int) -> None:
    assert drawn(board("a", "b", source=DONE), (80, rows), left=40) == ["» a 10/30 s, b 10/30 s (about 40 s more)"]


def block(columns: int = 80, rows: int = 24, *, colours: bool = False) -> Block:
    return Block(io.StringIO(), lambda: (columns, rows), colours=colours)


def test_line_is_never_wider_than_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 5000)
    drawing = block(colours=True)
    drawing.draw(render(board("a", "b", log=log, source=DONE), 10, (80, 24)))
    assert drawing.shown[-2:] == [77, 77]
    assert [len(line) for line in Screen(500, 24).feed(written(drawing)).shown[-2:]] == [77, 77]


def written(block: Block) -> str:
    """As a terminal gets it: the kernel puts the carriage return there."""
    text: str = block.stream.getvalue()  # type: ignore[attr-defined]
    return text.replace("\n", "\r\n")


def test_each_drawing_takes_the_place_of_the_last() -> None:
    drawing = block()
    for lines in (["one", "two", "three"], ["1"], ["first, longer", "second"]):
        drawing.draw([((line, ""),) for line in lines])
        assert Screen(80, 24).feed(written(drawing)).shown == lines
    drawing.draw([(("at the bottom", ""),)], said="said\nin two lines")
    assert Screen(80, 24).feed(written(drawing)).shown == ["said", "in two lines", "at the bottom"]
    drawing.clear()
    drawing.clear()
    assert Screen(80, 24).feed(written(drawing)).shown == ["said", "in two lines"]


def test_what_was_said_stays_when_the_screen_is_full() -> None:
    drawing, said = block(20, 5), [f"line {n}" for n in range(20)]
    for line in said:
        drawing.draw([(("a block", ""),), (("of two", ""),)], said=line)
    assert Screen(20, 5).feed(written(drawing)).shown == [*said, "a block", "of two"]


def test_a_narrower_window_has_broken_the_old_lines() -> None:
    """Terminals break lines anew: 70 letters are three rows of 30, and the climb is as long."""
    size = [(80, 24)]
    drawing = Block(io.StringIO(), lambda: size[0])
    drawing.draw([(("x" * 70, ""),), (("y" * 20, ""),)])
    size[0] = (30, 24)
    before = len(written(drawing))
    drawing.draw([(("z", ""),)])
    assert written(drawing)[before:].startswith("\r\x1b[3Az")
    assert drawing.shown == [1]


def test_colours_are_of_marks_and_log_lines() -> None:
    drawing = block(colours=True)
    drawing.draw([(("a log", "dim"), ("", "bad"))], said="✓  done\n✗  bad\nerror: x")
    assert ESCAPES.findall(written(drawing)) == [
        "\x1b[J",
        *(terminal.STYLES["good"], terminal.PLAIN),
        *(terminal.STYLES["bad"], terminal.PLAIN),
        *(terminal.STYLES["dim"], terminal.PLAIN),
        "\x1b[K",
        "\x1b[J",
    ]


@pytest.mark.parametrize(("expected", "shown"), [(0, "» a 10 s"), (30, "» a 10/30 s"), (5, "» a 10/5 s")])
def test_times(expected: float, shown: str) -> None:
    assert one_line(Board(began=0, running={"a": Running(started=0, expected=expected)}), 10) == shown


def test_log_cannot_move_the_cursor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes("good\n\x1b[2J\x1b[1;1Hba\u1100\u4e2dd\x07\x00\u200f\r\n\n".encode() + b"\xff\n")
    assert live.last_line(log) == "bad"
    assert live.last_line(tmp_path / "none") == ""
    assert live.last_line(None) == ""


def test_what_is_foreseen_is_asked_only_once_something_runs() -> None:
    asked: list[int] = []
    view = View(block=block(), board=board(source=WAITS), forecast=lambda: asked.append(1) or (lambda done, spent: 50))  # type: ignore[func-returns-value]
    view.begin(["source"])
    view.say("nothing runs")
    time_over = time.monotonic() + 3 * live.INTERVAL_S
    while time.monotonic() < time_over:
        time.sleep(0.02)
        assert not asked
    view.add("source", Running(started=time.monotonic()))
    deadline = time.monotonic() + LIMIT_S
    while "about 50 s more" not in written(view.block):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    view.end()
    assert Screen(80, 24).feed(written(view.block)).shown == ["nothing runs"]
