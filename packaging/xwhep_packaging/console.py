"""Questions to a person at a terminal, or nobody there to be asked."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
from collections.abc import Iterator
from typing import Protocol

from xwhep_packaging import command
from xwhep_packaging.errors import ValuesError

POLL_S = 0.1


class Console(Protocol):
    """Somebody who can be asked."""

    def say(self, line: str) -> None: ...

    def ask(self, question: str, *, hidden: bool = False) -> str:
        """One line, without its end; a hidden one is not shown while it is typed."""


class Terminal:
    """The terminal at standard input."""

    @staticmethod
    def is_there() -> bool:
        return sys.stdin is not None and sys.stdin.isatty()

    def say(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def ask(self, question: str, *, hidden: bool = False) -> str:
        # Echo goes before the question comes: who answers at once would see the answer.
        with _without_echo() if hidden else contextlib.nullcontext():
            sys.stdout.write(f"{question}: ")
            sys.stdout.flush()
            line = _line()
        if hidden:
            self.say("")
        return line


def _line() -> str:
    """The next line. Waited for in short steps: a signal reaches another thread, and this one must see that it came."""
    while not select.select([sys.stdin], [], [], POLL_S)[0]:
        if command.is_stopping():
            raise ValuesError("stopped before everything was answered; nothing was written")
    line = sys.stdin.readline()
    if not line:
        raise ValuesError("the answers ended too early; nothing was written", next_step="scripts/doit configure")
    return line.rstrip("\r\n")


@contextlib.contextmanager
def _without_echo() -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
