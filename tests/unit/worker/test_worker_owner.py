"""The owner's hours, load and keyboard."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep.worker.owner import Owner, idle_seconds, parse_hours

MONDAY, FRIDAY, SATURDAY, SUNDAY = 0, 4, 5, 6


def at(day: int, clock: str) -> time.struct_time:
    hour, minute = clock.split(":")
    return time.struct_time((2024, 1, 1 + day, int(hour), int(minute), 0, day, 1, 0))  # 2024 began on a Monday


def works(hours: str, day: int, clock: str) -> bool:
    return not Owner(hours=parse_hours(hours), now=lambda: at(day, clock)).refusal(0)


@pytest.mark.parametrize(
    ("day", "clock", "expected"),
    [
        (MONDAY, "17:59", False),
        (MONDAY, "18:00", True),
        (MONDAY, "07:59", False),  # Sunday's night is not lent
        (1, "07:59", True),
        (1, "08:00", False),
        (FRIDAY, "23:59", True),
        (SATURDAY, "07:59", True),
        (SATURDAY, "08:00", False),
        (SUNDAY, "20:00", False),
    ],
)
def test_nights_of_working_days(day: int, clock: str, expected: bool) -> None:
    assert works("mon-fri 18-08", day, clock) is expected


@pytest.mark.parametrize(
    ("hours", "day", "clock", "expected"),
    [
        ("", MONDAY, "12:00", True),
        ("00-24", SUNDAY, "23:59", True),
        ("18:30-19:15", 2, "19:14", True),
        ("18:30-19:15", 2, "19:15", False),
        ("sat-sun 00-24, mon-fri 20-06", SATURDAY, "12:00", True),
        ("sat-mon 00-24", MONDAY, "12:00", True),  # around the end of the week
        ("sat-mon 00-24", FRIDAY, "12:00", False),
        ("sun 22-04", MONDAY, "03:00", True),
        ("WED 08-10", 2, "09:00", True),
    ],
)
def test_other_ways_to_write_hours(hours: str, day: int, clock: str, expected: bool) -> None:
    assert works(hours, day, clock) is expected


@pytest.mark.parametrize(
    "text", ["always", "mon", "8", "mon-fri", "monday 8-10", "xyz 8-10", "8-25", "8:60-9", "8-8", "mon-fri 8-10 12-14"]
)
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match=r"hours|day|begins"):
        parse_hours(text)


@given(st.integers(0, 23), st.integers(1, 24), st.integers(0, 6), st.integers(0, 23))
def test_a_span_and_its_opposite_share_no_hour_and_leave_none(begin: int, end: int, day: int, hour: int) -> None:
    if begin == end % 24:
        return
    inside = works(f"{begin}-{end}", day, f"{hour}:30")
    assert inside is (begin <= hour < end if end > begin else hour >= begin or hour < end)
    assert works(f"{end % 24}-{begin or 24}", day, f"{hour}:30") is not inside


@pytest.mark.parametrize(("load", "running", "refused"), [(3.9, 2, False), (4.0, 2, True), (4.0, 3, False)])
def test_the_load_of_jobs_is_not_that_of_others(load: float, running: int, refused: bool) -> None:
    assert bool(Owner(load=2.0, measure=lambda: load).refusal(running)) is refused


def test_the_keyboard() -> None:
    assert Owner(idle_s=60, untouched_s=lambda: 59.0).refusal(0) == "somebody uses this machine"
    assert Owner(idle_s=60, untouched_s=lambda: 60.0).refusal(0) == ""
    assert Owner(untouched_s=lambda: 0.0).refusal(0) == ""


def test_the_last_touch_of_any_terminal_counts(tmp_path: Path) -> None:
    assert idle_seconds(tmp_path) > 10**9
    for name, ago in (("tty1", 500), ("pts/3", 100), ("pts/4", 900)):
        terminal = tmp_path / "dev" / name
        terminal.parent.mkdir(parents=True, exist_ok=True)
        terminal.touch()
        os.utime(terminal, (time.time() - ago, time.time()))
    assert 99 < idle_seconds(tmp_path) < 200
