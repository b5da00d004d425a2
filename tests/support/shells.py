"""Interactive shells on a terminal of their own, so that a key completes what a person types."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

INSTALLED = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]
PLAIN = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
DEADLINE_S = 20.0
TO_THE_START = "\x01"


def completed(shell: str, setup: str, line: str, path: Path) -> list[str]:
    """What `line` and the completion key give, `path` being the first folder of PATH."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(path), "PS1": "> "}
    environment.pop("EDITOR", None)
    environment.pop("VISUAL", None)
    if shell == "fish":
        command = ["fish", "--no-config", "-c", f"{setup}; complete -C '{line}'"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        return [row.split("\t")[0] for row in done.stdout.splitlines()]
    return _typed([shell, *PLAIN[shell]], environment, setup, line)


def _typed(argv: list[str], environment: dict[str, str], setup: str, line: str) -> list[str]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, environment)
    try:
        os.write(terminal, f"{setup}\necho rea''dy\n".encode())
        _until(terminal, r"^ready\r?$")
        os.write(terminal, f"{line}\t{TO_THE_START}echo it''is \n".encode())
        return [_until(terminal, r"^itis (.*?)\s*$")]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _until(terminal: int, pattern: str) -> str:
    said, deadline = "", time.monotonic() + DEADLINE_S
    while True:
        if select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            said += os.read(terminal, 65536).decode(errors="replace")
        found = re.search(pattern, said.replace("\r\n", "\n"), re.M)
        if found:
            return found[found.re.groups]
        assert time.monotonic() < deadline, said
