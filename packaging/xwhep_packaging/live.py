"""What a terminal shows while steps run: how far the stages are; of each step that runs, its times and its log's end.

        8 of 20 steps are done, 42 s; about 1 min 10 s more
        ✓ source  ✓ packages  » base 1/3  · debs  · images  · network_test
      » base:chroot   12/20 s  I: extracting archives...

Renewed every quarter of a second; what is said meanwhile stays above. terminal.py draws.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from xwhep_packaging import terminal
from xwhep_packaging.terminal import MARKS, Block, Line

INTERVAL_S = 0.25
READ_BYTES = 2000  # of a log's end
MINUTE_S = 60
NAME_WIDTH = 24  # the lines of a run have it as well
ROWS_OF_A_BLOCK = 4  # a window of fewer rows gets one line
# Commands to a terminal, and letters that are not one column wide.
UNPRINTABLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[^ -~\u00a1-\u02ff\u0370-\u10ff\u1e00-\u1fff\u2010-\u2027]|\xad")

WAITS, RUNS, DONE, FAILED = "·", "»", "✓", "✗"

# How many seconds are left, from what is done and how long each running step has run; None: nobody knows.
Forecast = Callable[[Collection[str], Mapping[str, float]], float | None]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A step that runs. `expected`: how many seconds it took last time, 0 when that is not known."""

    started: float
    expected: float = 0
    log: Path | None = None


@dataclass(kw_only=True)
class Board:
    """What is known of a run: all its steps with their state, and those that run."""

    began: float
    steps: dict[str, str] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)

    def done(self) -> set[str]:
        return {name for name, state in self.steps.items() if state == DONE}

    def spent(self, now: float) -> dict[str, float]:
        return {name: now - one.started for name, one in self.running.items()}


def render(board: Board, now: float, size: tuple[int, int], left: float | None = None) -> list[Line]:
    """The block for a window of so many columns and rows; the oldest steps are shown where not all have room."""
    columns, rows = size
    if rows < ROWS_OF_A_BLOCK or not board.steps:
        return [((one_line(board, now, left), ""),)]
    head = [((f"  {_total(board, now, left)}", ""),), _stages(board, columns - terminal.MARGIN)]
    room = rows - 1 - len(head)
    names = list(board.running)
    shown = names if len(names) <= room else names[: room - 1]
    width = max([len(name) for name in shown], default=0)
    lines = [_step(name, board.running[name], now, min(width, NAME_WIDTH)) for name in shown]
    more = len(names) - len(shown)
    return [*head, *lines, *([((f"  and {more} more", "dim"),)] if more else [])]


def one_line(board: Board, now: float, left: float | None = None) -> str:
    """All that runs, in one line; the oldest step's log has what room is left."""
    parts = [f"{name} {_times(one, now)}" for name, one in board.running.items()]
    about = f" (about {duration(left)} more)" if left and left >= 1 else ""
    said = next((text for one in board.running.values() if (text := last_line(one.log))), "")
    return f"{RUNS} {', '.join(parts)}{about}" + (f"  {said}" if said else "")


def _total(board: Board, now: float, left: float | None) -> str:
    about = f"; about {duration(left)} more" if left and left >= 1 else ""
    return f"{len(board.done())} of {len(board.steps)} steps are done, {duration(now - board.began)}{about}"


def _stages(board: Board, width: int) -> Line:
    """Each stage with its state; those that are done have no name where there is no room for it."""
    stages: dict[str, list[str]] = {}
    for name, state in board.steps.items():
        stages.setdefault(name.partition(":")[0], []).append(state)
    marks = {stage: _state(states) for stage, states in stages.items()}
    names = {stage: f" {stage}{_share(states)}" for stage, states in stages.items()}
    if sum(len(name) + 3 for name in names.values()) > width:
        names |= {stage: "" for stage, mark in marks.items() if mark == DONE}
    return tuple(
        part for stage, mark in marks.items() for part in ((f"  {mark}", MARKS.get(mark, "")), (names[stage], ""))
    )


def _state(states: Collection[str]) -> str:
    for state in (FAILED, RUNS):
        if state in states:
            return state
    return DONE if set(states) == {DONE} else WAITS


def _share(states: Collection[str]) -> str:
    done = sum(state == DONE for state in states)
    return f" {done}/{len(states)}" if 0 < done < len(states) else ""


def _step(name: str, one: Running, now: float, width: int) -> Line:
    return ((f"{RUNS} {name:<{width}}  {_times(one, now):>8}", ""), (f"  {last_line(one.log)}", "dim"))


def _times(one: Running, now: float) -> str:
    spent = f"{now - one.started:.0f}"
    return f"{spent}/{one.expected:.0f} s" if one.expected >= 1 else f"{spent} s"


def duration(seconds: float) -> str:
    """Whole seconds in words."""
    whole = round(seconds)
    return f"{whole} s" if whole < MINUTE_S else f"{whole // MINUTE_S} min {whole % MINUTE_S:02} s"


def last_line(log: Path | None) -> str:
    """What a log says last, without what would move a terminal's cursor."""
    try:
        with (log or Path()).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - READ_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    shown = (UNPRINTABLE.sub("", line).strip() for line in reversed(lines))
    return next((line for line in shown if line), "")


def view(stream: TextIO, forecast: Callable[[], Forecast]) -> View | None:
    """None where nothing can be drawn."""
    if not terminal.can_draw(stream):
        return None
    block = Block(stream, lambda: terminal.window(stream), colours=terminal.wants_colours())
    return View(block=block, board=Board(began=time.monotonic()), forecast=forecast)


@dataclass
class View:
    """The block, and the thread that renews it. While something runs that writes by itself, there is none."""

    block: Block
    board: Board
    forecast: Callable[[], Forecast] | None = None
    speaking: set[str] = field(default_factory=set)
    left: float | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    ended: threading.Event = field(default_factory=threading.Event)

    def begin(self, steps: Iterable[str]) -> None:
        self.board.steps |= dict.fromkeys(steps, WAITS)
        threading.Thread(target=self._renew, daemon=True).start()

    def add(self, name: str, one: Running | None) -> None:
        """A task runs now; None for one that writes by itself."""
        with self.lock:
            if one:
                self.board.running[name] = one
                self.board.steps[name] = RUNS
            else:
                self.block.clear()
                self.speaking.add(name)

    def remove(self, name: str, state: str) -> None:
        """A task is over, or had nothing to do."""
        with self.lock:
            self.board.running.pop(name, None)
            self.speaking.discard(name)
            if name in self.board.steps:
                self.board.steps[name] = state

    def say(self, text: str) -> None:
        """Lines that stay, above the block."""
        with self.lock:
            self.block.draw(self._lines() if self.block.shown and self._is_wanted() else [], said=text)

    def end(self) -> None:
        """The terminal is as it was, with what was said."""
        self.ended.set()
        with self.lock:
            self.block.clear()

    def _is_wanted(self) -> bool:
        return bool(self.board.running) and not self.speaking and not self.ended.is_set()

    def _lines(self) -> list[Line]:
        return render(self.board, time.monotonic(), self.block.size(), self.left)

    def _renew(self) -> None:
        """What is foreseen is asked for once something takes its time: most runs have nothing to make."""
        known: Forecast | None = None
        while not self.ended.wait(INTERVAL_S):
            if self.board.running and known is None:
                known = self.forecast() if self.forecast else _nobody_knows
            with self.lock:
                if self._is_wanted():
                    self.left = known(self.board.done(), self.board.spent(time.monotonic())) if known else None
                    self.block.draw(self._lines())


def _nobody_knows(done: Collection[str], spent: Mapping[str, float]) -> None:
    return None
