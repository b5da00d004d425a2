"""What a test that passed the second time failed of: pytest-rerunfailures tells its name alone."""

from __future__ import annotations

from typing import Any

import pytest

SHOWN = 300  # characters of the reason; the whole traceback stands above it


@pytest.hookimpl(optionalhook=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.write_sep("_", f"first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
        terminalreporter.write_line(f"FIRST TRY {report.nodeid}: {reason(report)}")


def reason(report: Any) -> str:
    """The message that it ended with, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    words = (crash.message if crash else report.longreprtext.strip().rpartition("\n")[2]).split()
    return " ".join(words)[:SHOWN]
