"""Processes of containers: started, watched, found by their mark, and ended."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xwhep_packaging.alive import is_alive

ENTER = Path(__file__).with_name("enter.py")
STDOUT, STDERR = 1, 2
READ_BYTES = 65536
FIRST_MARK = 3_000_000_000
MARKS_EACH = 256  # containers of one engine at a time; process ids are below 2**22
# A child dies with the thread that started it (enter.py), so one thread that outlives all starts them.
_starter = ThreadPoolExecutor(1, thread_name_prefix="starter")


def mark_of(engine: int, number: int) -> int:
    """The group of the `number`th container of the engine with that process id."""
    return FIRST_MARK + engine * MARKS_EACH + number % MARKS_EACH


def engine_of(mark: int) -> int:
    """The process id of the engine that a mark is of; 0 for another group."""
    return (mark - FIRST_MARK) // MARKS_EACH if mark >= FIRST_MARK else 0


def marked() -> Iterator[tuple[int, int]]:
    """(process id, mark) of every process on this machine that has one."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for line in (folder / "status").read_text(errors="replace").splitlines():
                if line.startswith("Groups:"):
                    yield from ((int(folder.name), int(word)) for word in line.split()[1:] if int(word) >= FIRST_MARK)
                    break


def kill_marked(mark: int) -> None:
    """End all of a container's processes, those too that they start meanwhile."""
    while found := [pid for pid, own in marked() if own == mark and is_alive(pid)]:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def kill_leftovers() -> None:
    """What containers of engines left that were killed."""
    for mark in {mark for _, mark in marked() if not is_alive(engine_of(mark))}:
        kill_marked(mark)


@dataclass(frozen=True, kw_only=True)
class Place:
    """As whom and where a program runs: the root, `user` as UID, GID, the mark, the folder in it, its environment."""

    root: Path
    user: tuple[int, int]
    mark: int
    folder: str
    environment: Mapping[str, str]

    def command(self, argv: Sequence[str]) -> list[str]:
        who = [str(number) for number in (*self.user, self.mark)]
        return [sys.executable, "-I", "-S", str(ENTER), str(self.root), *who, self.folder, *argv]


@dataclass(kw_only=True)
class Output:
    """What a program wrote, in order; those who follow are woken. `ended`: nothing more comes."""

    parts: list[tuple[int, bytes]] = field(default_factory=list)
    ended: bool = False
    news: threading.Condition = field(default_factory=threading.Condition)

    def add(self, stream: int, data: bytes) -> None:
        with self.news:
            self.parts.append((stream, data))
            self.news.notify_all()

    def end(self) -> None:
        with self.news:
            self.ended = True
            self.news.notify_all()

    def follow(self, *, to_the_end: bool) -> Iterator[tuple[int, bytes]]:
        """What is there, then, if asked, what comes until the end."""
        seen = 0
        while True:
            with self.news:
                while to_the_end and seen == len(self.parts) and not self.ended:
                    self.news.wait()
                fresh = self.parts[seen:]
            yield from fresh
            seen += len(fresh)
            if not fresh:
                return


class Program:
    """One running program, its output and its input."""

    def __init__(self, place: Place, argv: Sequence[str], output: Output, *, tty: bool = False) -> None:
        self._output, self._terminal = output, -1
        pipes: list[tuple[int, int]] = []
        if tty:
            self._terminal, inner = pty.openpty()
            self.process = self._started(place, argv, (inner, inner, inner))
            os.close(inner)
            pipes = [(STDOUT, self._terminal)]
        else:
            self.process = self._started(place, argv, (subprocess.PIPE,) * 3)
            streams = ((STDOUT, self.process.stdout), (STDERR, self.process.stderr))
            pipes = [(number, stream.fileno()) for number, stream in streams if stream]
        self._readers = [threading.Thread(target=self._read, args=pipe, daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _started(place: Place, argv: Sequence[str], streams: tuple[int, int, int]) -> subprocess.Popen[bytes]:
        def start() -> subprocess.Popen[bytes]:
            stdin, stdout, stderr = streams
            return subprocess.Popen(
                place.command(argv),
                cwd="/",
                env=dict(place.environment),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

        return _starter.submit(start).result()

    def _read(self, stream: int, source: int) -> None:
        with suppress(OSError):  # a terminal whose other end is closed
            while data := os.read(source, READ_BYTES):
                self._output.add(stream, data)

    def write(self, data: bytes) -> None:
        with suppress(OSError):
            if self._terminal >= 0:
                os.write(self._terminal, data)
            elif self.process.stdin:
                self.process.stdin.write(data)
                self.process.stdin.flush()

    def close_input(self) -> None:
        if self.process.stdin:
            with suppress(OSError):
                self.process.stdin.close()

    def wait(self) -> int:
        """Its status as a shell gives it, when it has ended and all of its output is there."""
        code = self.process.wait()
        for reader in self._readers:
            reader.join(1.0)  # something it left behind may hold the pipe open
        self._output.end()
        return 128 - code if code < 0 else code
