"""A failed run on the page: kept when it happens, shown beside the last whole build, forgotten once it is mended."""

from __future__ import annotations

import os
import subprocess
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pretended import Pretended
from repositories import Repository
from xwhep_packaging.errors import BuildError, NetworkTestError, PipelineError, StoreError
from xwhep_packaging.seeing import failed, page
from xwhep_packaging.seeing.failed import Ended, Failed, settle

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
HOSTILE = """</pre></details></script><img src=x onerror="document.title='owned'"><script>alert(1)</script>"""
JUNIT = """<testsuite><testcase classname="test_main_job" name="test_job_goes_through[server]" time="1.5"/>
<testcase classname="test_main_job" name="test_bad" time="0.1"><failure/></testcase></testsuite>"""


def run_of(step: str, error: PipelineError | None = None, message: str = "") -> Ended:
    fail = Failed(task=step, seconds=12.3, error=error, message=message)
    return Ended(steps=["source:grid", step, "lint:grid"], good={"source:grid"}, failed=[fail])


def written(grid: Pretended) -> str:
    return page.write(grid.store).read_text(encoding="utf-8")


def test_page_has_the_step_the_cause_the_log_and_what_to_type(grid: Pretended) -> None:
    log = grid.store.log("debs", "grid")
    log.write_text("dpkg-source: info: building\ntar: No space left on device\n")
    error = BuildError("grid does not build", cause="tar: failed", next_step="read the log", log=log)
    settle(grid.run(), run_of("debs:grid", error))
    text = written(grid)
    for said in ("debs:grid failed", "build, exit code 14", "grid does not build", "tar: failed", "12.3 s"):
        assert said in text, said
    for said in ("disk full: the disk", "<li>df -h", "<li>read the log</li>", "dpkg-source: info", "lint:grid</p>"):
        assert said in text, said
    assert text.index("<li>df -h") < text.index("<li>read the log")
    assert "1 steps of that run are finished" in text.replace("\n", " ")
    assert "No build was whole yet" in text


def test_a_failed_network_test_shows_its_tests_and_the_containers_logs(grid: Pretended) -> None:
    left = grid.store.failed("network_test", "grid") / "one"
    left.mkdir(parents=True)
    (left / "junit.xml").write_text(JUNIT)
    (left / "server.log").write_text("the server's last words\n")
    (left / "empty.log").write_text("")
    settle(grid.run(), run_of("network_test", NetworkTestError("the network test on podman fails", cause="assert")))
    text = written(grid)
    for said in ("1 not passed", "</span> bad</td>", "server.log", "last words"):
        assert said in text, said
    assert "job goes through" not in text, "what passed is of no interest here"
    assert "empty.log" not in text


def test_what_a_private_step_left_is_not_shown(grid: Pretended) -> None:
    left = grid.store.failed("debs", "grid")
    left.mkdir(parents=True)
    (left / "some.log").write_text("private")
    settle(grid.run(), run_of("debs:grid", BuildError("it fails")))
    assert "private" not in written(grid)


def test_a_defect_is_shown_too(grid: Pretended) -> None:
    settle(grid.run(), run_of("debs:grid", None, "Traceback (most recent call last):\n  x\nZeroDivisionError: y"))
    text = written(grid)
    assert "defect, exit code 2" in text
    assert "ZeroDivisionError" in text


class Names(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_hostile_text_stays_text(grid: Pretended) -> None:
    log = grid.store.log("debs", "grid")
    log.write_text(HOSTILE)
    settle(grid.run(), run_of("debs:grid", BuildError(HOSTILE, cause=HOSTILE, next_step=HOSTILE, log=log)))
    text = written(grid)
    assert {"script", "img"}.isdisjoint(Names(text).names)
    assert text.count("alert(1)") == 4
    assert escape("<script>") in text


def test_it_is_forgotten_once_the_step_is_made(grid: Pretended) -> None:
    pipeline = grid.run()
    settle(pipeline, run_of("debs:grid", BuildError("it fails")))
    settle(pipeline, Ended(steps=["source:grid"], good={"source:grid"}, failed=[]))
    assert failed.read(grid.store), "another step that is good mends nothing"
    settle(pipeline, Ended(steps=["debs:grid"], good={"debs:grid"}, failed=[]))
    assert failed.read(grid.store) is None
    with pytest.raises(StoreError, match="no build"):
        page.write(grid.store)


def test_a_task_that_is_no_step_is_none_of_the_builds_failures(grid: Pretended) -> None:
    settle(grid.run(), run_of("test:lint", BuildError("it fails")))
    assert failed.read(grid.store) is None


def test_a_torn_record_is_none(grid: Pretended) -> None:
    grid.store.failure.write_text('{"step": "de')
    assert failed.read(grid.store) is None


def test_a_full_disk_keeps_its_own_error(grid: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failed, "write_durably", full)
    settle(grid.run(), run_of("debs:grid", BuildError("it fails")))
    assert failed.read(grid.store) is None


def test_typed(repository: Repository) -> None:
    """A wrong ref: the run says that there is a page; it is there, and gone after a run that is good."""
    repository.write("tests/network/test_none.py", "")
    dodo = (PACKAGING.parent / "dodo.py").read_text()
    repository.write("dodo.py", dodo.replace('str(Path(__file__).parent / "packaging")', repr(str(PACKAGING))))

    def doit(*words: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
        argv = [sys.executable, "-m", "doit", *words]
        environment = {**kept, "PYTHONPATH": str(PACKAGING)}
        done = subprocess.run(argv, cwd=repository.folder, env=environment, capture_output=True, text=True, check=False)
        return done.stdout

    record = repository.folder / "_build" / "failure.json"
    assert "0 of 1 steps are finished and kept; scripts/doit report" in doit("source", "set=sources.grid.ref=none")
    assert record.exists()
    assert "report.html" in doit("report")
    assert "source:grid failed" in (repository.folder / "_build" / "report.html").read_text()
    assert "✓  source:grid" in doit("source")
    assert not record.exists()
    assert "there is no build to report on" in doit("report")
