"""Who still runs, and who only waits to be asked how it ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest
from containers import is_dead

from xwhep_packaging.alive import is_alive

BOTH = [pytest.param(is_alive, id="pipeline"), pytest.param(lambda pid: not is_dead(f"{pid}-abcd"), id="network test")]
pytestmark = pytest.mark.parametrize("alive", BOTH)


def test_this_process_is_alive(alive: Callable[[int], bool]) -> None:
    assert alive(os.getpid())


def test_one_that_ended_is_not_before_its_parent_asks(alive: Callable[[int], bool]) -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert not alive(ended.pid)
    assert not alive(ended.pid)


def test_a_name_with_spaces_and_brackets_is_no_state(alive: Callable[[int], bool]) -> None:
    argv = ["python3", "-c", "open('/proc/self/comm', 'w').write('a) Z (b'); print(1, flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        assert alive(process.pid)
        process.stdin.close()


def test_what_is_no_process_is_not_alive(alive: Callable[[object], bool]) -> None:
    assert not alive("nobody")
