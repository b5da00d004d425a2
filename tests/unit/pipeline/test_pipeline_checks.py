"""`doit test`: runs everything, reports everything, and counts honestly."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import pytest

from xwhep_packaging import check_runner, checks
from xwhep_packaging.check_runner import ChecksFailed, Counts, Runner
from xwhep_packaging.checks import Check
from xwhep_packaging.errors import MissingTool
from xwhep_packaging.store import Store

JUNIT = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'


def check(name: str, script: str, junit: Path | None = None) -> Check:
    argv = (sys.executable, "-c", script)
    return Check(name=name, doc=f"the {name} check", argv=argv, repeat=f"scripts/doit test:{name}", junit=junit)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def runner(tmp_path: Path, said: list[str]) -> Runner:
    return Runner(logs=tmp_path / "logs", environment={"XWHEP_ENGINE": "podman"}, say=said.append)


def writes(junit: Path, tests: int, failures: int = 0, skipped: int = 0) -> str:
    """A script that leaves a JUnit file and pytest's closing line behind, as pytest does."""
    text = JUNIT.format(tests, failures, 0, skipped)
    return f"""
import pathlib, sys
pathlib.Path({str(junit)!r}).write_text({text!r})
print("FAILED tests/test_x.py::test_y - assert 1 == 2" if {failures} else "...")
print("{failures} failed, {tests - failures - skipped} passed in 0.10s")
sys.exit({int(bool(failures))})
"""


def test_all_checks_pass(runner: Runner, said: list[str], tmp_path: Path) -> None:
    some = [check("lint", "pass"), check("unit", writes(tmp_path / "u.xml", 5, 0, 1), tmp_path / "u.xml")]
    runner.run(some)
    assert said[0].startswith("·  test:lint")
    assert said[1].startswith("✓  test:lint")
    assert said[3].startswith("✓  test:unit")
    assert said[-2].split() == ["unit", "0", "failed,", "4", "passed", "in", "0.10s"]
    assert said[-1] == "5 passed, 0 failed, 1 skipped"


def test_a_test_that_passed_the_second_time_is_named(runner: Runner, said: list[str], tmp_path: Path) -> None:
    script = writes(tmp_path / "u.xml", 5) + "\nprint('FIRST TRY test_x.py::test_y: KeyError')\nsys.stdout.flush()\n"
    script = script.replace("\nsys.exit(0)\n", "\n")
    runner.run([check("unit", script, tmp_path / "u.xml")])
    assert "!  failed the first time: test_x.py::test_y: KeyError" in said


def test_a_failing_check_stops_no_other(runner: Runner, said: list[str], tmp_path: Path) -> None:
    some = [
        check("lint", "print('E501 too long'); raise SystemExit(1)"),
        check("unit", writes(tmp_path / "u.xml", 5, 2), tmp_path / "u.xml"),
        check("type", "pass"),
    ]
    with pytest.raises(ChecksFailed) as caught:
        runner.run(some)
    assert [line[:15].strip() for line in said if line[0] in "✓✗"] == ["✗  test:lint", "✗  test:unit", "✓  test:type"]
    assert caught.value.exit_code == 21
    lines = caught.value.report().splitlines()
    assert lines[0] == "error [check]: the check 'lint' fails: the lint check"
    assert lines[1:4] == [
        "  cause: E501 too long",
        "  next:  scripts/doit test:lint",
        f"  log:   {tmp_path}/logs/test-lint.log",
    ]
    assert "  cause: FAILED tests/test_x.py::test_y - assert 1 == 2" in lines
    assert lines[-1] == "4 passed, 3 failed", "three tests passed and a check; two tests failed and a check"


def test_failure_without_a_failed_test_counts(runner: Runner, tmp_path: Path) -> None:
    """pytest that dies on its way leaves no JUnit file: never "0 failed"."""
    with pytest.raises(ChecksFailed) as caught:
        runner.run([check("unit", "raise SystemExit(3)", tmp_path / "u.xml")])
    assert caught.value.closing == "0 passed, 1 failed"


def test_junit_file_of_an_earlier_run_does_not_count(runner: Runner, tmp_path: Path) -> None:
    junit = tmp_path / "u.xml"
    junit.write_text(JUNIT.format(900, 0, 0, 0))
    with pytest.raises(ChecksFailed) as caught:
        runner.run([check("unit", "raise SystemExit(3)", junit)])
    assert caught.value.closing == "0 passed, 1 failed"


def test_checks_get_what_changes_a_build(runner: Runner) -> None:
    runner.run([check("build", "import os; assert os.environ['XWHEP_ENGINE'] == 'podman'")])


def test_time_limit(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_runner, "LIMIT_S", 0.2)
    with pytest.raises(ChecksFailed) as caught:
        runner.run([check("unit", "import time; time.sleep(60)")])
    assert "stopped after 0.2 s" in caught.value.report()


def test_tools_that_are_not_made(runner: Runner, said: list[str]) -> None:
    with pytest.raises(MissingTool) as caught:
        runner.run([Check(name="lint", doc="", argv=("/nonexistent/tox",), repeat="")])
    assert caught.value.next_step == "scripts/doit --tools"
    assert said == []


# What is read from the tools' output


@pytest.mark.parametrize(
    ("output", "closing"),
    [
        ("x\n312 passed in 33.10s\n", "312 passed in 33.10s"),
        (
            "=== 1 failed, 2 passed, 1 warning in 0.50s (0:00:00) ===",
            "1 failed, 2 passed, 1 warning in 0.50s (0:00:00)",
        ),
        ("no tests ran in 0.01s\n", "no tests ran in 0.01s"),
        ("1 passed in 1.0s\n2 passed in 2.0s\n", "2 passed in 2.0s"),
        ("All checks passed!\n", ""),
        ("\n\nthe 3 passed in time\n", ""),
    ],
)
def test_closing_line(output: str, closing: str) -> None:
    assert check_runner.closing_line(output) == closing


def test_relevant_lines_of_pytest_are_the_failed_tests() -> None:
    many = "\n".join(f"FAILED test_{n}" for n in range(20))
    lines = check_runner.relevant_lines(f"noise\n{many}\n20 failed in 1.0s").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("FAILED test_0", "and 8 more", 13)


def test_relevant_lines_leave_out_toxs_own_words() -> None:
    tox = "lint: exit 1 (0.02 seconds) /x> ruff\n  lint: FAIL code 1 (0.3 s)\n  evaluation failed :( (0.3 s)\n"
    assert check_runner.relevant_lines(f"E501 too long\nFound 1 error.\n{tox}") == "E501 too long\nFound 1 error."


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (JUNIT.format(7, 1, 2, 1), Counts(passed=3, failed=3, skipped=1)),
        ("<testsuites/>", Counts()),
        ("<half", Counts()),
        (None, Counts()),
    ],
)
def test_count(tmp_path: Path, content: str | None, expected: Counts) -> None:
    if content is not None:
        (tmp_path / "j.xml").write_text(content)
    assert check_runner.count(tmp_path / "j.xml") == expected
    assert check_runner.count(None) == Counts()


def test_closing_line_is_one_that_ci_reads() -> None:
    assert str(Counts(passed=3)) == "3 passed, 0 failed"
    assert str(Counts(passed=3, failed=1, skipped=2)) == "3 passed, 1 failed, 2 skipped"


# The list


def test_every_check_is_a_tox_environment_or_a_task(store: Store) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(checks.REPOSITORY / "tox.ini")
    every = checks.all_checks(store)
    names = ["lint", "type", "imports", "docs", "unit", "build", "endurance", "verify", "debs", "integration"]
    assert [one.name for one in every] == names
    assert [one.name for one in checks.all_checks(store, endurance=False)] == [n for n in names if n != "endurance"]
    for one in every:
        if one.name not in ("build", "endurance", "verify"):
            section = parser[f"testenv:{one.name}"]
            assert one.argv[-2:] == ("-e", one.name)
            assert (f"/{one.name}.xml" in section["commands"]) == (one.junit is not None)
            assert one.junit is None or one.junit.name == f"{one.name}.xml"


def test_main_job_is_that_of_the_same_pipeline_file(store: Store) -> None:
    every = {one.name: one.argv[-2:] for one in checks.all_checks(store, "other.toml")}
    assert every["build"] == ("build", "pipeline=other.toml")
    assert every["endurance"] == ("endurance", "pipeline=other.toml")


def test_packages_that_are_checked_are_those_of_the_last_build(store: Store) -> None:
    debs = next(one for one in checks.all_checks(store) if one.name == "debs")
    assert debs.environment() == {}
    store.scratch("logs")
    store.write_latest({"debs": [{"path": "/store/debs/key/a.deb"}]})
    assert debs.environment() == {"XWHEP_DEBS": "/store/debs/key"}
