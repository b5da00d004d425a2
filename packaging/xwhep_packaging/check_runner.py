"""Runs checks, one after another, and counts their tests from pytest's JUnit files.

Each check has a log, one line when it starts and one when it ends. Apart from checks.py, which every start reads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.checks import REPOSITORY, Check
from xwhep_packaging.command import Command
from xwhep_packaging.errors import CheckError, MissingTool

LIMIT_S = 3000.0  # a check that hangs; the slowest takes 20 minutes on two busy cores
CAUSE_LINES = 12
PYTEST_FAILURES = r"^(?:FAILED|ERROR) "
PYTEST_RERUNS = r"(?m)^FIRST TRY (.+)$"  # of tests/conftest.py
PYTEST_CLOSING = r"(?m)^=*[ ]*(?:no tests ran|\d+ (?:passed|failed|skipped|error).*) in [\d.]+s.*$"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many tests of a check went how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
        )

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a check went: `closing` is pytest's own last line, empty for other tools."""

    check: Check
    seconds: float
    counts: Counts
    closing: str = ""
    failure: CheckError | None = None


class ChecksFailed(CheckError):
    """One or more checks failed: the report of each, then the closing line of the whole run."""

    def __init__(self, failures: Sequence[CheckError], closing: str) -> None:
        super().__init__(f"{len(failures)} checks failed")
        self.failures, self.closing = failures, closing

    def report(self) -> str:
        return "\n\n".join([*(failure.report() for failure in self.failures), self.closing])


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where checks run and what they get from the caller's environment; `say` prints one line."""

    logs: Path
    environment: dict[str, str]
    say: Callable[[str], None]

    def run(self, checks: Sequence[Check]) -> None:
        """Run them all, then say what pytest said, and one closing line for everything.

        Raises:
            ChecksFailed: at least one failed; its report ends with the closing line.
            MissingTool: the tools that checks need are not made.
        """
        for check in checks:
            if "/" in check.argv[0] and not Path(check.argv[0]).exists():
                raise MissingTool("the tools that checks need are not installed", next_step="scripts/doit --tools")
        outcomes = [self._one(check) for check in checks]
        for outcome in outcomes:
            if outcome.closing:
                self.say(f"{outcome.check.name:<12} {outcome.closing}")
        closing = str(sum((outcome.counts for outcome in outcomes), Counts()))
        failures = [outcome.failure for outcome in outcomes if outcome.failure]
        if failures:
            raise ChecksFailed(failures, closing)
        self.say(closing)

    def _one(self, check: Check) -> Outcome:
        self.say(f"·  test:{check.name:<19} {check.doc}")
        log = self.logs / f"test-{check.name}.log"
        for stale in (log, check.junit):
            if stale:
                stale.unlink(missing_ok=True)
        started = time.monotonic()
        result = command.run(
            Command(
                argv=check.argv,
                cwd=REPOSITORY,
                env={**self.environment, **check.environment()},
                log=log,
                timeout_s=LIMIT_S,
            ),
            check=False,
        )
        outcome = Outcome(
            check=check,
            seconds=time.monotonic() - started,
            counts=count(check.junit),
            closing=closing_line(result.stdout) if check.junit else "",
        )
        if result.returncode != 0:
            outcome = replace(outcome, failure=_failure(check, result.stdout, log))
        outcome = _counted_itself(outcome)
        self.say(f"{'✗' if outcome.failure else '✓'}  test:{check.name:<19} {outcome.seconds:.1f} s")
        for test in dict.fromkeys(re.findall(PYTEST_RERUNS, result.stdout) if check.junit else ()):
            self.say(f"!  failed the first time: {test}")
        return outcome


def _counted_itself(outcome: Outcome) -> Outcome:
    """A check that failed without a failing test still counts as one failed; one without tests counts as one."""
    if outcome.failure and not outcome.counts.failed:
        return replace(outcome, counts=outcome.counts + Counts(failed=1))
    return outcome if outcome.check.junit else replace(outcome, counts=Counts(passed=1))


def _failure(check: Check, output: str, log: Path) -> CheckError:
    return CheckError(
        f"the check {check.name!r} fails: {check.doc}",
        cause=relevant_lines(output),
        next_step=check.repeat,
        log=log,
    )


def relevant_lines(output: str) -> str:
    """Of pytest the names of failed tests, of other tools the last lines; tox's own summary says nothing new."""
    lines = [line for line in output.splitlines() if not re.match(r"  \w+: FAIL|  evaluation failed|\w+: exit", line)]
    failed = [line for line in lines if re.match(PYTEST_FAILURES, line)]
    if failed:
        more = [f"and {len(failed) - CAUSE_LINES} more"] if len(failed) > CAUSE_LINES else []
        return "\n".join(failed[:CAUSE_LINES] + more)
    return command.last_lines("\n".join(lines), CAUSE_LINES)


def closing_line(output: str) -> str:
    """pytest's last line, such as `312 passed in 33.10s`."""
    found = re.findall(PYTEST_CLOSING, output)
    return found[-1].strip("= ") if found else ""


def count(junit: Path | None) -> Counts:
    """Tests by outcome in a JUnit file; a file that is missing or broken counts nothing."""
    if junit is None or not junit.is_file():
        return Counts()
    from xml.etree import ElementTree

    try:
        suites = list(ElementTree.parse(junit).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it just now
    except ElementTree.ParseError:
        return Counts()
    total, failed, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites for name in names)
        for names in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return Counts(passed=total - failed - skipped, failed=failed, skipped=skipped)
