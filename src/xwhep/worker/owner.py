"""What the owner of a machine allows: at which hours, at which load, and whether somebody is typing.

Hours are written as in "mon-fri 18-08, sat-sun 00-24": days (one, or a range; none: every day), then from and to as
HH or HH:MM, in the machine's own time. A time that ends before it begins goes on into the next day.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")
_DAY_MINUTES = 24 * 60
_TERMINALS = ("dev/tty[0-9]*", "dev/pts/[0-9]*")


@dataclass(frozen=True)
class Span:
    """Minutes after midnight on some days (0 is Monday); `end` may be beyond midnight."""

    days: frozenset[int]
    begin: int
    end: int

    def holds(self, day: int, minute: int) -> bool:
        return (day in self.days and self.begin <= minute < self.end) or (
            (day - 1) % 7 in self.days and minute + _DAY_MINUTES < self.end
        )


def parse_hours(text: str) -> tuple[Span, ...]:
    """Spans from "mon-fri 18-08, sat-sun 00-24"; none from an empty text, which means always.

    Raises:
        ValueError: it is not written so.
    """
    return tuple(_span(part) for part in text.lower().split(",") if part.strip())


def _span(text: str) -> Span:
    match = _SPAN.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text.strip()!r}: write hours as in: mon-fri 18-08, sat-sun 00-24")
    first, last, *times = match.groups()
    for day in (first, last):
        if day and day not in _DAYS:
            raise ValueError(f"{day!r} is no day; days are {' '.join(_DAYS)}")
    begin, end = _minute(times[0], times[1]), _minute(times[2], times[3])
    if begin == end:
        raise ValueError(f"{text.strip()!r} ends when it begins; all day is 00-24")
    return Span(_days(first, last or first), begin, end if end > begin else end + _DAY_MINUTES)


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if not first or not last:
        return frozenset(range(7))
    begin, count = _DAYS.index(first), (_DAYS.index(last) - _DAYS.index(first)) % 7 + 1
    return frozenset((begin + step) % 7 for step in range(count))


def _minute(hour: str, minute: str | None) -> int:
    value = int(hour) * 60 + int(minute or 0)
    if int(minute or 0) > 59 or value > _DAY_MINUTES:
        raise ValueError(f"{hour}:{minute or '00'} is no time of a day")
    return value


@dataclass(frozen=True, kw_only=True)
class Owner:
    """`load`: of the last minute, by others than jobs, from which on no job is taken; `idle_s`: since somebody last
    typed at a terminal. 0 is no limit; no `hours` are all hours."""

    hours: tuple[Span, ...] = ()
    load: float = 0.0
    idle_s: float = 0.0
    now: Callable[[], time.struct_time] = time.localtime
    measure: Callable[[], float] = lambda: os.getloadavg()[0]
    untouched_s: Callable[[], float] = lambda: idle_seconds()  # noqa: PLW0108 - defined below

    def refusal(self, running: int) -> str:
        """Why no job may be taken at this moment, in words; empty when one may. `running` jobs are its own load."""
        now = self.now()
        if self.hours and not any(span.holds(now.tm_wday, now.tm_hour * 60 + now.tm_min) for span in self.hours):
            return "outside the hours of its owner"
        if self.load and (others := self.measure() - running) >= self.load:
            return f"the load of others is {others:.1f}"
        if self.idle_s and self.untouched_s() < self.idle_s:
            return "somebody uses this machine"
        return ""


def idle_seconds(root: Path = Path("/")) -> float:
    """Seconds since the last key at any terminal of this machine; many when there is none."""
    touched = [0.0]
    for pattern in _TERMINALS:
        for terminal in root.glob(pattern):
            try:
                touched.append(terminal.stat().st_atime)
            except OSError:
                continue
    return max(0.0, time.time() - max(touched))
