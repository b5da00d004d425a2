"""The one module that starts processes: environment, log, time limit, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BuildError, CommandError, MissingTool, StoreError

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
WAIT_S = 10.0


def shell(script: str, **more: object) -> Command:
    return Command(argv=["sh", "-c", script], **more)  # type: ignore[arg-type]


def wait_for(condition: object) -> None:
    """Until `condition()` is true; fails the test when it takes too long."""
    assert callable(condition)
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def read_pid(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


# Results and errors


def test_output_and_errors_are_apart() -> None:
    result = command.run(shell("echo out; echo err >&2"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "out\n", "err\n")


def test_status_is_given_without_check() -> None:
    assert command.run(shell("exit 7"), check=False).returncode == 7


def test_failure_raises_the_callers_error() -> None:
    wanted = shell("echo reason >&2; exit 3", error=BuildError, what="the thing does not build", next_step="mend it")
    with pytest.raises(BuildError, match="the thing does not build") as caught:
        command.run(wanted)
    assert (caught.value.cause, caught.value.next_step) == ("reason", "mend it")


def test_failure_without_words_names_the_command() -> None:
    with pytest.raises(CommandError, match="false failed with status 1") as caught:
        command.run(Command(argv=["false", "a b"]))
    assert "false 'a b'" in caught.value.cause


def test_missing_tool_says_how_to_get_it() -> None:
    with pytest.raises(MissingTool, match="no-such-tool") as caught:
        command.run(Command(argv=["no-such-tool"]))
    assert caught.value.next_step == "scripts/doit --install"


def test_path_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot start"):
        command.run(Command(argv=[tmp_path / "none"], cwd=tmp_path / "nowhere"))


def test_input_is_given_else_closed() -> None:
    assert command.run(Command(argv=["cat"], input="words")).stdout == "words"
    assert command.run(Command(argv=["cat"])).stdout == ""


def test_folder() -> None:
    assert command.run(Command(argv=["pwd"])).stdout == "/\n"
    assert command.run(Command(argv=["pwd"], cwd=Path("/usr"))).stdout == "/usr\n"


def test_words_are_never_split_or_expanded() -> None:
    argv = ["printf", "%s|", "a b", "$HOME", "*", ";id", "it's"]
    assert command.run(Command(argv=argv)).stdout == "a b|$HOME|*|;id|it's|"


def test_odd_bytes_do_not_break_the_output() -> None:
    assert command.run(shell(r"printf '\377ok'")).stdout == "\ufffdok"


# Environment


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD_X", "PYTHONPATH", "GIT_DIR", "DEB_BUILD_OPTIONS", "SECRET_TOKEN"):
        monkeypatch.setenv(name, "from the caller")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("https_proxy", "proxy:1")
    lines = command.run(Command(argv=["env"], env={"EXTRA": "1"})).stdout.splitlines()
    given = dict(line.split("=", 1) for line in lines)
    assert given["PATH"] == command.SYSTEM_PATH
    assert (given["LC_ALL"], given["TZ"], given["EXTRA"], given["https_proxy"]) == ("C.UTF-8", "UTC", "1", "proxy:1")
    assert set(given) <= {"PATH", "LC_ALL", "TZ", "EXTRA", "PWD", "SHLVL", "_", *command.KEPT_VARIABLES}


def test_tools_are_those_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool of the same name at the front of the caller's PATH is not taken."""
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexit 99\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert command.find_tool("git").startswith("/usr")


# Log


def test_log_has_the_command_and_both_streams(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    result = command.run(shell("echo out; echo err >&2", log=log))
    assert result.stdout == "out\nerr\n"
    assert log.read_text().splitlines()[1:] == ["out", "err"]
    assert log.read_text().startswith("$ ")
    command.run(shell("echo again", log=log))
    assert log.read_text().endswith("again\n")
    assert "out\n" in log.read_text(), "a log is appended to"


def test_log_can_be_read_while_the_tool_runs(tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    thread = threading.Thread(
        target=command.run, args=(shell(f"echo early; while [ ! -e {go} ]; do sleep 0.01; done; echo late", log=log),)
    )
    thread.start()
    wait_for(lambda: log.exists() and "early\n" in log.read_text())
    assert "late\n" not in log.read_text()
    go.touch()
    thread.join(WAIT_S)
    assert log.read_text().endswith("late\n")


def test_failure_names_the_log_and_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(CommandError) as caught:
        command.run(shell("seq 100; exit 1", log=log))
    assert caught.value.log == log
    assert caught.value.cause.splitlines() == [str(n) for n in range(89, 101)]


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write the log"):
        command.run(shell("true", log=tmp_path / "file" / "log"))


def test_last_lines_leave_out_blank_ones() -> None:
    assert command.last_lines("a\n\n b  \n\n", 2) == "a\n b"
    assert command.last_lines("") == ""


# Time and death


def test_time_limit_stops_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    result = command.run(shell(f"sleep 60 & echo $! > {pid_file}; wait", timeout_s=0.3), check=False)
    assert time.monotonic() - started < WAIT_S
    assert result.returncode != 0
    assert "stopped after 0.3 s" in result.stderr
    wait_for(lambda: not is_alive(read_pid(pid_file)))


def test_time_limit_with_a_log(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        command.run(shell("echo slow; exec sleep 60", timeout_s=0.3, log=tmp_path / "log", error=BuildError))
    assert caught.value.cause == "slow\nstopped after 0.3 s"
    assert (tmp_path / "log").read_text().endswith("slow\n\nstopped after 0.3 s\n")


@pytest.mark.parametrize("with_log", [False, True])
def test_tool_that_ignores_sigterm_is_killed(tmp_path: Path, with_log: bool) -> None:
    more = {"log": tmp_path / "log"} if with_log else {}
    stubborn = shell("trap '' TERM; while :; do sleep 0.05; done", timeout_s=0.3, grace_s=0.2, **more)
    assert command.run(stubborn, check=False).returncode == -signal.SIGKILL


def test_tool_that_cleans_up_has_its_own_grace(tmp_path: Path) -> None:
    """Longer than the one that a tool has by default is not waited for here: 0.5 s against 0.2 s."""
    tidy = f"trap 'sleep 0.5; touch {tmp_path}/tidy; exit 3' TERM; while :; do sleep 0.05; done"
    assert command.run(shell(tidy, timeout_s=0.3, grace_s=0.2), check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "tidy").exists()
    assert command.run(shell(tidy, timeout_s=0.3, grace_s=WAIT_S), check=False).returncode == 3
    assert (tmp_path / "tidy").exists()


@pytest.mark.parametrize(("grace_s", "tidies"), [(0.2, False), (WAIT_S, True)])
def test_stop_all_gives_each_tool_its_own_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace_s: float, tidies: bool
) -> None:
    monkeypatch.setattr(command, "_running", command._Running())
    script = f"trap 'sleep 0.5; touch {tmp_path}/tidy; exit 3' TERM; touch {tmp_path}/on; while :; do sleep 0.05; done"
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(command.run, shell(script, grace_s=grace_s), check=False)
        wait_for((tmp_path / "on").exists)
        command.stop_all()
        ran.result(WAIT_S)
    assert (tmp_path / "tidy").exists() == tidies


def test_background_service_ends_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with command.background(shell("echo serving; exec sleep 60", log=log)) as service:
        wait_for(lambda: "serving" in log.read_text())
        assert is_alive(service.pid)
    assert not is_alive(service.pid)


@pytest.mark.parametrize(("grace_s", "tidies"), [(0.2, False), (WAIT_S, True)])
def test_background_service_has_its_own_grace(tmp_path: Path, grace_s: float, tidies: bool) -> None:
    script = f"trap 'sleep 0.5; touch {tmp_path}/tidy; exit 3' TERM; touch {tmp_path}/on; while :; do sleep 0.05; done"
    with command.background(shell(script, grace_s=grace_s)):
        wait_for((tmp_path / "on").exists)
    assert (tmp_path / "tidy").exists() == tidies


def test_background_service_ends_when_the_block_fails() -> None:
    with pytest.raises(BuildError), command.background(shell("exec sleep 60")) as service:
        raise BuildError("in the block")
    assert not is_alive(service.pid)


PARENT = """
    import sys
    from xwhep_packaging import command
    command.run(command.Command(argv=["sh", "-c", f"echo $$ > {sys.argv[1]}; exec sleep 60"]))
"""


def start_parent(script: str, *words: object) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", textwrap.dedent(script), *map(str, words)]
    return subprocess.Popen(argv, env={"PYTHONPATH": str(PACKAGING)}, stderr=subprocess.DEVNULL)


def test_killed_parent_takes_its_tool_along(tmp_path: Path) -> None:
    parent = start_parent(PARENT, tmp_path / "pid")
    tool = read_pid(tmp_path / "pid")
    assert is_alive(tool)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(tool))


def test_ctrl_c_takes_the_tool_along(tmp_path: Path) -> None:
    parent = start_parent(PARENT, tmp_path / "pid")
    tool = read_pid(tmp_path / "pid")
    parent.send_signal(signal.SIGINT)
    assert parent.wait(WAIT_S) != 0
    wait_for(lambda: not is_alive(tool))


STOPPER = """
    import sys, threading, time
    from pathlib import Path
    from xwhep_packaging import command
    from xwhep_packaging.errors import CommandError
    pids = [Path(sys.argv[1]) / str(n) for n in range(2)]
    def tool(pid):
        command.run(command.Command(argv=["sh", "-c", f"echo $$ > {pid}; exec sleep 60"]), check=False)
    threads = [threading.Thread(target=tool, args=(pid,)) for pid in pids]
    for thread in threads:
        thread.start()
    while not all(pid.exists() and pid.read_text() for pid in pids):
        time.sleep(0.01)
    command.stop_all()
    for thread in threads:
        thread.join()
    try:
        command.run(command.Command(argv=["true"]))
    except CommandError as error:
        sys.exit(42 if "being stopped" in str(error) else 1)
"""


def test_stop_all_stops_every_tool_and_starts_no_more(tmp_path: Path) -> None:
    assert start_parent(STOPPER, tmp_path).wait(WAIT_S) == 42
    assert not any(is_alive(int(path.read_text())) for path in tmp_path.iterdir())


def test_a_tool_that_is_just_being_started_is_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs already, and nobody has it on a list yet."""
    start = subprocess.Popen

    def slow_start(*given: object, **named: object) -> subprocess.Popen[str]:
        process = start(*given, **named)  # type: ignore[call-overload]
        read_pid(tmp_path / "pid")
        command.stop_all()
        return process  # type: ignore[no-any-return]

    monkeypatch.setattr(command, "_running", command._Running())
    monkeypatch.setattr(command.subprocess, "Popen", slow_start)
    with pytest.raises(CommandError, match="being stopped"):
        command.run(shell(f"echo $$ > {tmp_path}/pid; exec sleep 60", timeout_s=WAIT_S))
    assert not is_alive(read_pid(tmp_path / "pid"))
