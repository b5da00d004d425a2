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
        def slow():
            command.run(command.Command(argv=["sh", "-c", "echo $$ > pid; exec sleep 60"], cwd=Path.cwd()))
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
    deadline = time.monotonic() + 5
    while runs(int(pid_file.read_text())):
        assert time.monotonic() < deadline, "the tool outlives the run"
        time.sleep(0.01)


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
