"""doit's side: exit codes, one report per failure, and lines that read well. A real doit runs a tiny dodo.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from repositories import Repository
from xwhep_packaging import errors
from xwhep_packaging.errors import PipelineError

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
HEAD = """
    from pathlib import Path
    from xwhep_packaging import command, errors
    from xwhep_packaging.tasks import base as tasks
    DOIT_CONFIG = tasks.CONFIG
"""


def doit(folder: Path, dodo: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        doit_argv(folder, dodo, *words), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def doit_argv(folder: Path, dodo: str, *words: str) -> list[str]:
    if dodo:
        (folder / "dodo.py").write_text(textwrap.dedent(HEAD) + textwrap.dedent(dodo))
    return [sys.executable, "-m", "doit", *words]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
    return {**kept, "PYTHONPATH": str(PACKAGING)}


KINDS = sorted((kind for kind in PipelineError.__subclasses__() if kind.__module__ == errors.__name__), key=str)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_exit_code_and_report_pass_through_doit(tmp_path: Path, kind: type[PipelineError]) -> None:
    dodo = f"""
        def fail():
            raise errors.{kind.__name__}("it broke", cause="because", next_step="mend it", log=Path("/the/log"))
        def task_one():
            return {{"doc": "one step", "actions": [(tasks.guarded, [fail])], "io": {{"capture": False}}}}
    """
    done = doit(tmp_path, dodo, "one")
    assert done.returncode == kind.exit_code
    assert f"error [{kind.code}]: it broke\n  cause: because\n  next:  mend it\n  log:   /the/log\n" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_defect_keeps_its_traceback(tmp_path: Path) -> None:
    dodo = """
        def task_one():
            return {"actions": [(tasks.guarded, [lambda: 1 / 0])]}
    """
    done = doit(tmp_path, dodo, "one")
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stdout


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS"])
def test_a_disk_that_takes_nothing_is_no_defect(tmp_path: Path, name: str) -> None:
    dodo = f"""
        import errno, os
        def fail():
            raise OSError(errno.{name}, os.strerror(errno.{name}), "/some/file")
        def task_one():
            return {{"actions": [(tasks.guarded, [fail])]}}
    """
    done = doit(tmp_path, dodo, "one")
    assert done.returncode == errors.StoreError.exit_code
    assert "error [store]: cannot write /some/file" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_lines_of_a_run(tmp_path: Path) -> None:
    dodo = """
        def task_two():
            return {"doc": "the second step", "actions": [(tasks.guarded, [lambda: None])], "task_dep": ["one"]}
        def task_one():
            return {"doc": "the first step", "actions": [(tasks.guarded, [lambda: None])]}
        def task_made():
            return {"actions": [(tasks.guarded, [lambda: 1 / 0])], "uptodate": [True]}
        def task_group():
            yield {"name": None, "doc": "no line for me"}
            yield {"name": "part", "actions": [(tasks.guarded, [lambda: None])]}
    """
    done = doit(tmp_path, dodo, "two", "made", "group")
    assert done.returncode == 0, done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["·", "one", "the", "first", "step"]
    assert [line[:2] for line in lines if line[0] == "✓"].index(["✓", "one"]) < [
        line[:2] for line in lines if line[0] == "✓"
    ].index(["✓", "two"])
    assert not [line for line in lines if "made" in line or "group" in line]


def test_first_failure_decides_and_dependents_are_silent(tmp_path: Path) -> None:
    dodo = """
        def fail():
            raise errors.NetworkError("no network")
        def task_one():
            return {"actions": [(tasks.guarded, [fail])]}
        def task_later():
            return {"actions": [(tasks.guarded, [lambda: None])], "task_dep": ["one"]}
    """
    done = doit(tmp_path, dodo, "later")
    assert done.returncode == 13
    assert "later" not in done.stdout


def test_no_database_is_left(tmp_path: Path) -> None:
    """Whether a step is up to date is the store's word alone."""
    dodo = """
        def task_one():
            return {"actions": [(tasks.guarded, [lambda: None])]}
    """
    doit(tmp_path, dodo, "one")
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["dodo.py"]


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie: it dies with its parent, and somebody else buries it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_stops_its_tools_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    dodo = """
        import time
        def slow():
            try:
                command.run(command.Command(argv=["sh", "-c", "echo $$ > pid; exec sleep 60"], cwd=Path.cwd()))
            finally:
                time.sleep(0.3)
                Path("tidied").touch()
        def task_one():
            return {"actions": [(tasks.guarded, [slow])], "io": {"capture": False}}
    """
    process = subprocess.Popen(
        doit_argv(tmp_path, dodo, "one"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    pid_file, deadline = tmp_path / "pid", time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    out = process.communicate(timeout=20)[0]
    assert process.returncode == 130, out
    assert "type it again to go on" in out
    assert (tmp_path / "tidied").exists(), "what the action cleans up is waited for"
    deadline = time.monotonic() + 5
    while runs(int(pid_file.read_text())):
        assert time.monotonic() < deadline, "the tool outlives the run"
        time.sleep(0.01)


def test_a_signal_that_another_thread_gets_stops_the_run_too(tmp_path: Path) -> None:
    """The main thread, which has to act on it, waits for the step."""
    dodo = """
        import signal, threading
        def wait():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            command.run(command.Command(argv=["sleep", "60"]))
        def task_one():
            return {"actions": [(tasks.guarded, [wait])], "io": {"capture": False}}
    """
    done = subprocess.run(
        doit_argv(tmp_path, dodo, "-n", "2", "one"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 130, done.stdout + done.stderr


def test_a_killed_tool_is_noticed_and_ends_its_step(tmp_path: Path) -> None:
    """As the kernel kills it when memory is short. What runs beside it is finished; nothing hangs."""
    dodo = """
        def run(action, words):
            return tasks.guarded(lambda: action(*words))
        def slow(script):
            command.run(command.Command(argv=["sh", "-c", script], cwd=Path.cwd(), log=Path.cwd() / "log"))
        def task_killed():
            return {"actions": [(run, [slow, ["echo working; echo $$ > pid; exec sleep 60"]])]}
        def task_beside():
            wait = "while kill -0 $(cat pid 2>/dev/null) 2>/dev/null || [ ! -s pid ]; do sleep 0.02; done"
            return {"actions": [(run, [slow, [wait]])]}
        def task_later():
            return {"actions": [(tasks.guarded, [lambda: None])], "task_dep": ["killed"]}
    """
    process = subprocess.Popen(
        doit_argv(tmp_path, dodo, "-n", "2", "killed", "beside", "later"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    pid_file, deadline = tmp_path / "pid", time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    out = process.communicate(timeout=20)[0]
    assert process.returncode == errors.CommandError.exit_code, out
    assert "error [command]: sh was killed by SIGKILL" in out
    assert "known: out of memory" in out
    assert "✓  beside" in out
    assert "later" not in out


def test_output_of_tasks_at_once_never_mixes(tmp_path: Path) -> None:
    """Eight at a time, each with a tool that writes piecemeal, and a report of many lines at its end."""
    dodo = """
        import sys
        SCRIPT = "for n in 1 2 3 4 5 6 7 8 9 10; do printf 'from '; sleep 0.005; printf '%s\\\\n' NAME; done; exit 1"
        def fail(name):
            script = SCRIPT.replace("NAME", name)
            argv, log = ["sh", "-c", script], Path.cwd() / f"{name}.log"
            command.run(command.Command(argv=argv, log=log, what=f"{name} fails"))
        def task_all():
            for n in range(8):
                name = f"task{n}"
                yield {"name": name, "doc": f"about {name}", "io": {"capture": False},
                       "actions": [(lambda name: tasks.guarded(lambda: fail(name)), [name])]}
    """
    done = doit(tmp_path, dodo, "-n", "8", "-c", "all")
    assert done.returncode == errors.CommandError.exit_code
    for n in range(8):
        words = [f"from task{n}"] * 10
        assert (tmp_path / f"task{n}.log").read_text().splitlines()[1:] == words
        report = [
            f"error [command]: task{n} fails",
            f"  cause: {words[0]}",
            *(f"         {word}" for word in words[1:]),
        ]
        assert "\n".join([*report, f"  log:   {tmp_path}/task{n}.log"]) in done.stdout
    lines = [line for line in done.stdout.splitlines() if line[:1] in "·✗"]
    assert sorted(line.split()[:2] for line in lines if line) == sorted(
        [mark, f"all:task{n}"] for n in range(8) for mark in "·✗"
    )


# The real list of tasks on a small repository


@pytest.fixture
def project(repository: Repository) -> Path:
    repository.write("tests/network/test_none.py", "")
    dodo = (PACKAGING.parent / "dodo.py").read_text()
    repository.write("dodo.py", dodo.replace('str(Path(__file__).parent / "packaging")', repr(str(PACKAGING))))
    return repository.folder


def test_list_reads_well(project: Path) -> None:
    done = doit(project, "", "list")
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert {"source", "debs", "base", "images", "network_test", "endurance", "build", "test", "bench"} <= set(rows)
    assert not [name for name in rows if ":" in name]


def test_parts_have_names(project: Path, repository: Repository) -> None:
    names = doit(project, "", "list", "--all", "--quiet").stdout.split()
    assert {"source:grid", "debs:grid", "lint:grid", "base:chroot", "base:rootfs", "base:image"} <= set(names)
    assert {"images:server", "test:lint", "test:build", "test:integration"} <= set(names)
    assert "test:endurance" not in names  # this pipeline file names no tests that run apart
    file = repository.folder / "packaging" / "pipeline.toml"
    file.write_text(file.read_text() + '\n[network_test]\nendurance = "slow"\n')
    assert "test:endurance" in doit(project, "", "list", "--all", "--quiet").stdout.split()


def test_one_step_for_real(project: Path) -> None:
    """source: made once, then up to date; the store says so, not doit."""
    first, second = doit(project, "", "source"), doit(project, "", "source")
    assert "✓  source:grid" in first.stdout
    assert (second.returncode, second.stdout) == (0, "")
    assert len(list((project / "_build" / "source").iterdir())) == 1


def test_wrong_setting_is_one_clear_error(project: Path) -> None:
    file = project / "packaging" / "pipeline.toml"
    file.write_text(file.read_text() + "zzz = 1\n")
    done = doit(project, "", "list")
    assert done.returncode == 10
    assert done.stderr.startswith("error [settings]:")
    assert "Traceback" not in done.stderr


def test_other_pipeline_file(project: Path) -> None:
    other = project / "other.toml"
    text = (project / "packaging" / "pipeline.toml").read_text()
    other.write_text(text.replace("[sources.grid]", "[sources.star]").replace("{ grid =", "{ star ="))
    names = doit(project, "", "list", "--all", "--quiet", "pipeline=other.toml").stdout.split()
    assert "source:star" in names
    assert "source:grid" not in names


def test_store_that_cannot_be_written(project: Path) -> None:
    (project / "_build").write_text("in the way")
    done = doit(project, "", "source")
    assert done.returncode == 20, done.stdout
    assert "error [store]: cannot write" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("kilobytes", [4, 20, 40, 128])
def test_a_disk_that_is_full_at_any_point(project: Path, small_disk: Path, kilobytes: int) -> None:
    """One clear error wherever it fills up, nothing that is taken for whole, and with room the run is good."""

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", small_disk], check=True)

    store = f"set=store.folder={small_disk}/_build"
    resize(f"{kilobytes}k")
    done = doit(project, "", "source", store)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, errors.StoreError.exit_code, errors.SourceError.exit_code), done.stdout
    if done.returncode:
        assert "error [" in done.stdout
        assert "No space left on device" in done.stdout
        assert not list((small_disk / "_build" / "source").glob("*/manifest.json"))
    resize("2m")
    again = doit(project, "", "source", store)
    assert (again.returncode, "✓  source:grid" in again.stdout) == (0, done.returncode != 0), again.stdout
    assert doit(project, "", "source", store).stdout == ""


def test_a_store_that_may_only_be_read(project: Path, small_disk: Path) -> None:
    """What is made can be used; what is not is one clear error."""
    store = f"set=store.folder={small_disk}/_build"
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    assert [doit(project, "", word, store).returncode for word in ("source", "plan")] == [0, 0]
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert (doit(project, "", "source", store).stdout, doit(project, "", "plan", store).returncode) == ("", 0)
    (project / "src" / "main.py").write_text("print('two')\n")
    argv = ["git", "-c", "user.name=T", "-c", "user.email=t@b.invalid", "commit", "--quiet", "--all", "-m", "two"]
    subprocess.run(argv, cwd=project, check=True)
    done = doit(project, "", "source", store)
    assert done.returncode == errors.StoreError.exit_code
    assert "Read-only file system" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
