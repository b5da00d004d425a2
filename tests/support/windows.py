"""A terminal window with one command in it, in which somebody types."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time

import pytest


class Window:
    """`seen`: what was printed and not yet waited for."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.argv, self.environment = argv, environment
        self.seen = ""

    def __enter__(self) -> Window:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *self.argv], stdin=slave, stdout=slave, stderr=slave, env=self.environment
        )
        os.close(slave)
        return self

    def __exit__(self, *words: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def type(self, line: str) -> None:
        os.write(self.master, f"{line}\n".encode())

    def wait_for(self, wanted: str, seconds: float) -> str:
        """All that was printed since the last wait, up to what the pattern matches."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(wanted, self.seen)):
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} did not come in {seconds} s:\n{self.seen}"
            if select.select([self.master], [], [], min(left, 1.0))[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    pytest.fail(f"it ended without {wanted!r}:\n{self.seen}")
        found, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return found
