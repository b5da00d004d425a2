"""What the network test did, from the report that pytest wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

MOST_TESTS = 400
NAME_SHOWN = 160


@dataclass(frozen=True, kw_only=True)
class Test:
    name: str
    seconds: float
    verdict: str = "passed"


@dataclass(frozen=True, kw_only=True)
class Group:
    """The tests of one file, in the order in which they ran."""

    name: str
    tests: tuple[Test, ...]

    @property
    def seconds(self) -> float:
        return sum(test.seconds for test in self.tests)

    @property
    def failed(self) -> int:
        return sum(test.verdict != "passed" for test in self.tests)


def groups(junit: Path | None) -> list[Group]:
    """Empty where there is no report, or none that can be read."""
    if junit is None:
        return []
    try:
        cases = list(ElementTree.parse(junit).getroot().iter("testcase"))  # noqa: S314 - this pipeline's pytest wrote it
    except (OSError, ElementTree.ParseError):
        return []
    found: dict[str, list[Test]] = {}
    for case in cases[:MOST_TESTS]:
        found.setdefault(_words(case.get("classname", "")), []).append(_test(case))
    return [Group(name=name, tests=tuple(tests)) for name, tests in found.items()]


def _test(case: ElementTree.Element) -> Test:
    kinds: Sequence[str] = [child.tag for child in case]
    verdict = next((word for word in ("failure", "error", "skipped") if word in kinds), "passed")
    return Test(name=_words(case.get("name", "")), seconds=float(case.get("time", 0)), verdict=verdict)


def _words(name: str) -> str:
    """test_job_goes_through[server] -> job goes through [server]"""
    text, bracket, which = name.partition("[")
    return f"{text.removeprefix('test_').replace('_', ' ')} {bracket}{which}".strip()[:NAME_SHOWN]
