"""Real processes behind each wall that this machine can build."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from xwhep.common.errors import UsageError
from xwhep.worker import confine, launch, processes, sandbox, walls
from xwhep.worker.flag import Flag
from xwhep.worker.launch import Ended, Launcher, Streams, Wall, make_folders
from xwhep.worker.sandbox import Command, Limits
from xwhep.worker.system_files import SystemFiles
from xwhep.worker.walls import choose

LIMITS = Limits(processes=512, files=77)


@dataclass
class Ran:
    ended: Ended
    stdout: str
    stderr: str
    folder: Path


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _adopts_orphans() -> None:
    processes.guard_this_process()


@pytest.fixture
def run(folder: Path, isolation: str) -> Iterator[Run]:
    """Run a shell script as a job; keywords: stdin, cancel, grace_s, shown."""
    job = folder / "job.1"
    job.mkdir()
    job.chmod(0o711)
    make_folders(job)

    def run_script(script: str, **more) -> Ran:
        marks = {"XWHEP_JOB_ID": "job", "XWHEP_ATTEMPT": "1"}
        environment = sandbox.environment(sandbox.view(isolation, job), {"FROM_JOB": "x y"}, marks)
        command = Command(
            argv=("/bin/sh", "-c", script, "sh"), environment=environment, folder=job, shown=more.get("shown", ())
        )
        (folder / "stdin").write_bytes(more.get("stdin", b""))
        wall = more.get("wall") or Wall(isolation, more.get("confined", False))
        launcher = Launcher(wall, LIMITS, more.get("grace_s", 5.0), SystemFiles(folder / "etc"))
        with (
            (folder / "stdin").open("rb") as stdin,
            (folder / "out").open("wb") as out,
            (folder / "err").open("wb") as err,
            (folder / "status").open("w+b") as status,
        ):
            streams = Streams(stdin=stdin, stdout=out, stderr=err, status=status)
            ended = launcher.run(command, streams, more.get("cancel") or Flag())
        return Ran(ended, (folder / "out").read_text(), (folder / "err").read_text(), job)

    yield run_script
    shutil.rmtree(job)


def when_written(file: Path, act: Callable[[], None]) -> threading.Thread:
    """Act as soon as a running job has written `file`."""

    def watch() -> None:
        deadline = time.monotonic() + 20
        while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def processes_with(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(command)
    return found


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_exit_codes_are_those_a_shell_tells(run: Run, script: str, code: int) -> None:
    assert run(script).ended == Ended(exit_code=code)


def test_streams(run: Run) -> None:
    ran = run("cat; echo problem >&2", stdin=b"hello")
    assert (ran.stdout, ran.stderr) == ("hello", "problem\n")


def test_the_environment_is_exactly_the_promised_one(run: Run, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "1")
    names = {line.partition("=")[0] for line in run("/usr/bin/env").stdout.splitlines()}
    shell_own = {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names - shell_own == {"PATH", "HOME", "TMPDIR", "LANG", "FROM_JOB", "XWHEP_JOB_ID", "XWHEP_ATTEMPT"}


def test_it_starts_in_its_home_and_may_write_there_and_in_tmp(run: Run) -> None:
    ran = run('[ "$(pwd)" = "$HOME" ] && echo made > file && echo scratch > "$TMPDIR/x" && mkdir -p a/b')
    assert ran.ended.exit_code == 0, ran.stderr
    assert (ran.folder / "work/file").read_text() == "made\n"
    assert (ran.folder / "tmp/x").read_text() == "scratch\n"


def test_it_inherits_no_file_but_the_three(run: Run, folder: Path) -> None:
    with (folder / "open").open("w") as leak:
        os.set_inheritable(leak.fileno(), True)
        assert run("ls /proc/self/fd").stdout.split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_limits_are_in_force(run: Run) -> None:
    assert run("ulimit -c; ulimit -n; grep processes /proc/self/limits").stdout.split()[:2] == ["0", "77"]
    assert "512" in run("grep processes /proc/self/limits").stdout


def test_it_gains_no_privileges(run: Run) -> None:
    text = run("grep -E 'NoNewPrivs|CapEff|CapBnd' /proc/self/status").stdout
    assert "NoNewPrivs:\t1" in text
    assert "CapEff:\t0000000000000000" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run jobs as another user")
def test_under_root_it_runs_as_nobody_and_cannot_read_what_root_keeps(run: Run, folder: Path) -> None:
    secret = folder / "identity.json"
    secret.write_text("token")
    secret.chmod(0o600)
    ran = run(f"id -u; cat {secret} /etc/shadow")
    assert ran.stdout == "65534\n"
    assert ran.ended.exit_code != 0


def test_a_cancelled_job_may_tidy_up_in_the_grace(run: Run, folder: Path) -> None:
    cancel = Flag()
    watcher = when_written(folder / "out", cancel.set)
    ran = run("trap 'echo tidy > done; exit 7' TERM; echo up; while :; do sleep 0.05; done", cancel=cancel)
    watcher.join()
    assert ran.ended.cancelled
    assert (ran.folder / "work/done").read_text() == "tidy\n"


def test_a_deaf_job_is_killed_after_the_grace(run: Run, folder: Path) -> None:
    cancel = Flag()
    watcher = when_written(folder / "out", cancel.set)
    before = time.monotonic()
    ran = run("trap '' TERM; echo up; while :; do sleep 60.125; done", cancel=cancel, grace_s=0.2)
    watcher.join()
    assert ran.ended.cancelled
    assert time.monotonic() - before < 10
    assert processes_with("60.125") == []


def test_what_a_job_leaves_behind_ends_with_it(run: Run) -> None:
    run("setsid sh -c 'sleep 61.25 & sleep 61.25' & (setsid setsid sleep 61.25 &) ; (env -i sleep 61.25 &); exit 0")
    assert processes_with("61.25") == []


def test_a_job_of_many_processes_is_killed_whole(run: Run, folder: Path) -> None:
    cancel = Flag()
    watcher = when_written(folder / "out", cancel.set)
    script = "for i in 1 2 3 4 5; do (setsid sh -c 'trap \"\" TERM; sleep 62.5; sleep 62.5') & done; echo up; wait"
    assert run(script, cancel=cancel, grace_s=0.1).ended.cancelled
    watcher.join()
    assert processes_with("62.5") == []


def test_a_flag_set_before_the_start_ends_it_too(run: Run) -> None:
    cancel = Flag()
    cancel.set()
    assert run("sleep 63.5", cancel=cancel, grace_s=0).ended.cancelled
    assert processes_with("63.5") == []


def test_orphans_of_a_running_job_are_left_alone(folder: Path) -> None:
    own = {"XWHEP_JOB_ID": "a", "XWHEP_ATTEMPT": "1"}
    child = os.posix_spawn("/bin/sleep", ["sleep", "64.5"], own)
    try:
        deadline = time.monotonic() + 5
        while not processes.environment_of(child) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert launch._belongs(child, [own])
        assert not launch._belongs(child, [own | {"XWHEP_ATTEMPT": "2"}])
        assert processes.sweep(set(), lambda pid: pid == child and not launch._belongs(pid, [own])) == []
        assert processes.sweep(set(), lambda pid: pid == child) == [child]
    finally:
        processes.end(child)


# What only bubblewrap walls in.


only_bubblewrap = pytest.mark.parametrize("isolation", ["bubblewrap"], indirect=True)


@only_bubblewrap
def test_there_is_no_network(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = f"exec 9<>/dev/tcp/127.0.0.1/{port} && echo connected"
        assert run(f"bash -c '{script}'").stdout == ""
    assert run("ls /sys/class/net 2>/dev/null; cut -d: -f1 /proc/net/dev | tail -n +3").stdout.split() == ["lo"]


@only_bubblewrap
def test_the_system_is_read_only(run: Run) -> None:
    for place in ("/usr", "/etc", "/", "/app", "/var", "/usr/bin/sh", "/proc/sys/kernel/hostname"):
        ran = run(f"touch {place}/x || echo x > {place}")
        assert ran.ended.exit_code != 0, place


@only_bubblewrap
def test_it_sees_only_its_own_processes(run: Run) -> None:
    pids = [int(name) for name in run("ls /proc").stdout.split() if name.isdecimal()]
    assert len(pids) <= 3
    assert run(f"kill -0 {os.getpid()}").ended.exit_code != 0


@only_bubblewrap
def test_it_cannot_make_namespaces_of_its_own(run: Run) -> None:
    assert run("unshare --user true").ended.exit_code != 0


@only_bubblewrap
@pytest.mark.parametrize("form", sandbox.FORMS, ids=str)
def test_no_form_lets_a_job_make_user_namespaces_or_signal_others(run: Run, form: sandbox.Form) -> None:
    wall = Wall("bubblewrap", form=form)
    script = f"unshare --user true; echo $?; kill -0 {os.getpid()}; echo $?; cat /dev/zero > /dev/x; echo $?; (true)"
    ran = run(script, wall=wall)
    assert ran.ended.exit_code == 0, ran.stderr
    assert "0" not in ran.stdout.split()


@only_bubblewrap
def test_it_sees_neither_the_state_nor_other_folders(run: Run, folder: Path) -> None:
    assert run(f"ls {folder}").ended.exit_code != 0
    assert not {"home", "root", "run", "srv", "mnt"} & set(run("ls /").stdout.split())


@only_bubblewrap
def test_more_folders_can_be_shown_for_reading(run: Run, folder: Path) -> None:
    extra = folder / "extra"
    extra.mkdir(mode=0o755)
    (extra / "file").write_text("shown")
    assert run(f"cat {extra}/file", shown=(extra,)).stdout == "shown"
    assert run(f"touch {extra}/new", shown=(extra,)).ended.exit_code != 0


@only_bubblewrap
def test_a_wall_that_cannot_be_built_is_not_taken_for_the_jobs_failure(run: Run, folder: Path) -> None:
    ran = run("exit 0", shown=(folder / "absent",))
    assert ran.ended.wall_failed
    assert "absent" in ran.stderr


@only_bubblewrap
def test_a_program_that_cannot_start_is_the_jobs_failure(run: Run) -> None:
    assert run("exec /no/such/program").ended == Ended(exit_code=127)


# Landlock, where there is no bubblewrap.


@pytest.fixture
def confined(run: Run, folder: Path, monkeypatch) -> Run:
    # Under root jobs run as nobody, who may not reach the interpreter and the sources of a developer.
    monkeypatch.setattr(sys, "executable", shutil.which("python3", path="/usr/bin") or sys.executable)
    monkeypatch.setattr(confine, "__file__", shutil.copy(confine.__file__, folder))
    if problem := walls.probe(Wall("process", confined=True), LIMITS, folder):
        pytest.skip(f"Landlock does not work here: {problem}")
    return lambda script, **more: run(script, confined=True, **more)


only_process = pytest.mark.parametrize("isolation", ["process"], indirect=True)


@only_process
def test_a_confined_job_works_in_its_own_folders(confined: Run) -> None:
    ran = confined(
        'mkdir a && echo x > a/f && mv a/f f && cat f > "$TMPDIR/g" && ls /usr > /dev/null && rm -r a; exit 4'
    )
    assert (ran.ended.exit_code, ran.stderr) == (4, "")


@only_process
def test_a_confined_job_reads_no_file_of_the_worker_even_as_its_user(confined: Run, folder: Path) -> None:
    for name, mode in (("identity.json", 0o644), ("other", 0o666)):
        (folder / name).write_text("token")
        (folder / name).chmod(mode)
    ran = confined(f"cat {folder}/identity.json; echo x > {folder}/other; ls {folder}; echo x > /dev/null")
    assert ran.stdout == ""
    assert ran.stderr.count("ermission denied") == 3
    assert (folder / "other").read_text() == "token"


@only_process
def test_a_confined_job_has_no_tcp(confined: Run) -> None:
    if confine.supported() < 4:
        pytest.skip("this kernel's Landlock knows no network")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ran = confined(f"bash -c 'exec 9<>/dev/tcp/127.0.0.1/{port} && echo connected'")
    assert ran.stdout == ""
    assert "ermission denied" in ran.stderr


@only_process
def test_a_confined_program_that_is_not_there(confined: Run) -> None:
    assert confined("exec /no/such").ended.exit_code == 127


def test_absent_paths_are_no_reason_to_fail_and_wrong_ones_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("secret")
    spec = json.dumps({"read": ["/usr", "/lib", "/lib64", "/bin", "/absent"], "write": [str(tmp_path / "absent")]})
    argv = [
        "setpriv",
        "--no-new-privs",
        sys.executable,
        "-I",
        "-S",
        confine.__file__,
        spec,
        "cat",
        str(tmp_path / "file"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == ""
    assert done.returncode in (1, confine.FAILED)


# Choosing the wall.


def test_the_strongest_wall_that_works_is_chosen(folder: Path, monkeypatch) -> None:
    kinds = [Wall("bubblewrap"), Wall("container", True), Wall("process", True), Wall("container"), Wall("process")]
    problems = dict.fromkeys(kinds, "")
    monkeypatch.setattr(walls, "probe", lambda wall, *_: problems[wall])
    monkeypatch.setattr(walls, "in_container", lambda: True)
    problems |= {Wall("bubblewrap", form=form): "" for form in sandbox.FORMS}
    assert choose("auto", LIMITS, folder) == Wall("bubblewrap")
    for form in sandbox.FORMS[:-1]:
        problems[Wall("bubblewrap", form=form)] = "forbidden"
    assert choose("auto", LIMITS, folder) == Wall("bubblewrap", form=sandbox.FORMS[-1])
    assert choose("bubblewrap", LIMITS, folder) == Wall("bubblewrap", form=sandbox.FORMS[-1])
    problems[Wall("bubblewrap", form=sandbox.FORMS[-1])] = "the weakest fails at another thing"
    assert choose("auto", LIMITS, folder) == Wall("container", True)
    monkeypatch.setattr(walls, "in_container", lambda: False)
    assert choose("auto", LIMITS, folder) == Wall("process", True)
    with pytest.raises(UsageError, match="forbidden"):
        choose("bubblewrap", LIMITS, folder)
    problems[Wall("process", True)] = "no landlock"
    assert choose("auto", LIMITS, folder) == Wall("process")
    problems[Wall("process")] = "no prlimit"
    with pytest.raises(UsageError, match="no prlimit"):
        choose("auto", LIMITS, folder)


def test_a_probe_without_the_tools_says_which_is_missing(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sandbox.WRAPPER_ENVIRONMENT, "PATH", str(folder))
    assert "setpriv" in walls.probe(Wall("process"), LIMITS, folder)
    assert list(folder.iterdir()) == []


def test_containers_are_told_by_their_marks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(walls, "_CONTAINER_MARKS", (str(tmp_path / "mark"),))
    monkeypatch.delenv("container", raising=False)
    assert not walls.in_container()
    (tmp_path / "mark").touch()
    assert walls.in_container()
