"""One line at the bottom of a terminal: what runs, for how long, how long it took last time, and what its log says.

running steps ──every quarter of a second──> render ──> the line is written anew; said lines push it down
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

INTERVAL_S = 0.25
READ_BYTES = 2000  # of a log's end
CLEAR = "\r\x1b[K"
UNPRINTABLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[^ -~\u00a1-\u1fff]")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A step that runs. `expected`: how many seconds it took last time, 0 when that is not known."""

    started: float
    expected: float = 0
    log: Path | None = None


def render(running: Mapping[str, Running], now: float, width: int) -> str:
    """One line, never wider than the terminal: the oldest step's log has what room is left."""
    parts = [f"{name} {_times(one, now)}" for name, one in running.items()]
    left = max((one.expected - (now - one.started) for one in running.values() if one.expected), default=0)
    about = f" (about {left:.0f} s more)" if left >= 1 else ""
    said = next((text for one in running.values() if (text := last_line(one.log))), "")
    return (f"» {', '.join(parts)}{about}" + (f"  {said}" if said else ""))[: width - 1]


def _times(one: Running, now: float) -> str:
    spent = f"{now - one.started:.0f}"
    return f"{spent}/{one.expected:.0f} s" if one.expected >= 1 else f"{spent} s"


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


@dataclass
class StatusLine:
    """The line, and the thread that renews it. While something runs that writes by itself, there is none."""

    stream: TextIO
    width: Callable[[], int] = lambda: shutil.get_terminal_size().columns
    running: dict[str, Running] = field(default_factory=dict)
    speaking: set[str] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)
    ended: threading.Event = field(default_factory=threading.Event)
    shown: bool = False

    def begin(self) -> None:
        threading.Thread(target=self._renew, daemon=True).start()

    def add(self, name: str, one: Running | None) -> None:
        """A task runs now; None for one that writes by itself."""
        with self.lock:
            if one:
                self.running[name] = one
            else:
                self.clear()
                self.speaking.add(name)

    def remove(self, name: str) -> None:
        with self.lock:
            self.running.pop(name, None)
            self.speaking.discard(name)

    def say(self, line: str) -> None:
        """A line that stays, above this one."""
        with self.lock:
            self.clear()
            self.stream.write(line + "\n")
            self.stream.flush()

    def clear(self) -> None:
        with self.lock:
            if self.shown:
                self.stream.write(CLEAR)
                self.stream.flush()
                self.shown = False

    def end(self) -> None:
        """The terminal is as it was: nothing but this line was ever changed."""
        self.ended.set()
        self.clear()

    def _renew(self) -> None:
        while not self.ended.wait(INTERVAL_S):
            with self.lock:
                if self.running and not self.speaking and not self.ended.is_set():
                    self.stream.write(CLEAR + render(self.running, time.monotonic(), self.width()))
                    self.stream.flush()
                    self.shown = True
