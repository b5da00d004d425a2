"""Why two pieces of content differ: from what stands in them, and from what was different around them.

    first ──┐ where they differ ──> known values? ──> order? ──> form: id, date, path ... ──> the only variation on?
    second ─┘                          │                │                 │                            │
                                       └────────────────┴──── cause ──────┴────────────────────────────┘

Pure functions on bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

UNKNOWN = "unknown"
SUM = "sum of another file"  # no cause of its own
# What a variation does when nothing in the content says more.
OF_VARIATION = {
    "date": "timestamp",
    "timezone": "time zone",
    "locale": "locale",
    "umask": "umask",
    "path": "path",
    "user": "user name",
    "host": "host name",
    "cpus": "thread count",
    "order": "order",
    "kernel": "kernel",
    "environment": "environment",
    "cache": "unpinned input",
    "engine": "engine",
    "python": "python version",
    "unprivileged": "uid",
}
# Others, from the content alone.
OF_CONTENT = ("random id", "memory address", "build id", "pyc", "gzip header", "compressor", "network", SUM)
CAUSES = frozenset({*OF_VARIATION.values(), *OF_CONTENT, UNKNOWN})

CONTEXT_BYTES = 80
EARLIEST, LATEST = 1_300_000_000, 2_200_000_000  # 2011 to 2039, UTC seconds
SHORT = 3  # a value of so few bytes stands everywhere by chance
SEPARATORS = b" \t\r\n\0\"'=,;()[]<>{}|"
MONTHS = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
RANDOM = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-fA-F]{16,}\b|\btmp[.]?[A-Za-z0-9_]{6,10}\b",
    re.ASCII,
)
ADDRESS = re.compile(rb"0x[0-9a-f]{6,16}\b")
ZONE = re.compile(
    rb"(?:(?<=\s)|(?<=:\d\d))[+-](?:0\d|1[0-4])(?::?[0-5]\d)?\b|\b(?:UTC|GMT|CES?T|ES?T|PS?T)\b|(?<=\d)Z\b"
)
DATE = re.compile(
    rb"\b(?:19|20)\d\d[-/.]?(?:0[1-9]|1[0-2])[-/.]?(?:0[1-9]|[12]\d|3[01])|\b\d{1,2}:\d{2}(?::\d{2})?\b"
    rb"|\b" + MONTHS + rb"[a-z]*\b|\b1[4-9]\d{8}\b|\b(?:19|20)\d\d\b"
)
NETWORK = re.compile(rb"[a-z]+://[^\s]+|\b\d{1,3}(?:\.\d{1,3}){3}\b|[Cc]ould not resolve|\bHTTP/\d|\bDate: .*GMT")
PATH = re.compile(rb"(?:^|[^\w.])/(?:[\w.+-]+/)*[\w.+-]+")
MODE = re.compile(rb"\b0?[0-7]{3}\b|[-dl][r-][w-][xsS-][r-][w-][xsS-][r-][w-][xtT-]")
OWNER = re.compile(rb"\b(?:uid|gid|owner)\b", re.I)
KERNEL = re.compile(rb"\b\d\.\d{1,3}\.\d{1,3}(?:[.-][\w.-]+)?")
VERSION = re.compile(rb"\b\d+(?:\.\d+)+(?:[-+~][\w.+~-]+)?\b")


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was different around the two builds: variations that were on, and the values that each side could see.

    `values` are (cause, of the first, of the second).
    """

    on: frozenset[str] = frozenset()
    values: tuple[tuple[str, str, str], ...] = ()

    @property
    def only(self) -> str:
        """The cause that belongs to the only variation that is on; empty where there are none or several."""
        return OF_VARIATION[next(iter(self.on))] if len(self.on) == 1 else ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where two contents part: the position of the first byte, the words and lines around it on each side."""

    offset: int
    words: tuple[bytes, bytes]
    lines: tuple[bytes, bytes]
    whole: tuple[bytes, bytes] = field(repr=False)


def difference(first: bytes, second: bytes) -> Difference:
    """The first place where two unequal contents differ."""
    start = _common(first, second)
    lines = (_line(first, start), _line(second, start))
    tail = _common(lines[0][::-1], lines[1][::-1])
    words = tuple(_words(side, tail, lines) for side in lines)
    return Difference(offset=start, words=(words[0], words[1]), lines=lines, whole=(first, second))


def _common(first: bytes, second: bytes) -> int:
    """How many bytes two contents begin with in common."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle - 1)
    return low


def _line(data: bytes, position: int) -> bytes:
    """The line around a position, or as much of it as is near."""
    start = max(data.rfind(b"\n", 0, position) + 1, position - CONTEXT_BYTES, 0)
    end = data.find(b"\n", position)
    return data[start : min(end if end >= 0 else len(data), position + CONTEXT_BYTES)]


def _words(line: bytes, tail: int, lines: tuple[bytes, bytes]) -> bytes:
    """The part of a line that differs, widened to whole words."""
    head = _common(*lines)
    end = max(len(line) - tail, head)
    while head > 0 and line[head - 1 : head] not in _SEPARATORS:
        head -= 1
    while end < len(line) and line[end : end + 1] not in _SEPARATORS:
        end += 1
    return line[head:end]


_SEPARATORS = frozenset(bytes([byte]) for byte in SEPARATORS)


Rule = Callable[[Difference, Known], str]


def cause_of(found: Difference, known: Known) -> str:
    """The class of the cause."""
    for rule in RULES:
        cause = rule(found, known)
        if cause:
            return cause
    return known.only or UNKNOWN


def _by_values(found: Difference, known: Known) -> str:
    """One side holds what only it could see, and the other side what only that one could."""
    for cause, first, second in sorted(known.values, key=lambda row: -len(row[1])):
        pair = first.encode(), second.encode()
        if min(map(len, pair)) <= SHORT:
            if found.words == pair:
                return cause
        elif all(value in line for value, line in zip(pair, found.lines, strict=True)):
            return cause
    return ""


def _by_order(found: Difference, known: Known) -> str:
    """The same lines, or the same words in a line, in another order."""
    for sides, pattern in ((found.whole, rb"\n"), (found.lines, rb"[\s,;:\[\]{}()]+")):
        parts = [sorted(part for part in re.split(pattern, side) if part) for side in sides]
        if parts[0] == parts[1]:
            return "order"
    return ""


def _by_zone(found: Difference, known: Known) -> str:
    zones = [ZONE.findall(line) for line in found.lines]
    dated = all(DATE.search(line) for line in found.lines)
    if dated and zones[0] != zones[1] and (zones[0] or zones[1]):
        return "time zone"
    return "time zone" if dated and known.on == {"timezone"} else ""


def _by_form(pattern: re.Pattern[bytes], cause: str, *, whole_line: bool = False) -> Rule:
    def rule(found: Difference, known: Known) -> str:
        sides = found.lines if whole_line else found.words
        matched = [pattern.findall(side) for side in sides]
        return cause if all(matched) and matched[0] != matched[1] else ""

    return rule


def _by_number(found: Difference, known: Known) -> str:
    """A binary number of seconds: both plausible as a time, in either byte order, and no text by chance."""
    for start in range(max(found.offset - 3, 0), found.offset + 1):
        sides = [side[start : start + 4] for side in found.whole]
        if not any(side.isascii() and side.decode("ascii").isprintable() for side in sides) and _are_times(sides):
            return "timestamp"
    return ""


def _are_times(sides: Sequence[bytes]) -> bool:
    little = [int.from_bytes(side, "little") for side in sides]
    big = [int.from_bytes(side, "big") for side in sides]
    return any(all(EARLIEST < number < LATEST for number in numbers) for numbers in (little, big))


def _by_version(found: Difference, known: Known) -> str:
    matched = [VERSION.findall(side) for side in found.words]
    if not all(matched):
        return ""
    return known.only if known.only in ("kernel", "python version") else "unpinned input"


def _by_mode(found: Difference, known: Known) -> str:
    matched = all(MODE.fullmatch(side) for side in found.words)
    return "umask" if matched and known.only in ("umask", "") else ""


def _by_owner(found: Difference, known: Known) -> str:
    numbers = all(re.search(rb"\d", side) for side in found.words)
    return "uid" if numbers and all(OWNER.search(line) for line in found.lines) else ""


def _by_one_sided(found: Difference, known: Known) -> str:
    """Words of a network on one side only: what was fetched, or could not be."""
    return "network" if any(NETWORK.search(side) for side in found.lines) and not known.only else ""


RULES: tuple[Rule, ...] = (
    _by_values,
    _by_order,
    _by_form(NETWORK, "network"),
    _by_form(RANDOM, "random id"),
    _by_form(ADDRESS, "memory address"),
    _by_owner,
    _by_zone,
    _by_form(PATH, "path"),
    _by_mode,
    _by_form(DATE, "timestamp"),
    _by_version,
    _by_one_sided,
    _by_number,
)
