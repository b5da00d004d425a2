"""A difference between two files, explained: the member inside, the bytes on both sides, the class of the cause.

file ── ar, gzip, xz, tar, zip ──> members ──> what the archive says of each, and its content ──> Finding

Pure functions on bytes; causes.py looks at the content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from xwhep_packaging.verify.causes import SUM, Difference, Known, cause_of, difference
from xwhep_packaging.verify.unpack import Part, decompressed, gzip_header, kind_of, members

SHOWN_BYTES = 60
BUILD_ID_NOTE = re.compile(rb"\x04\0\0\0([\x08\x10\x14\x20])\0\0\0\x03\0\0\0GNU\0", re.S)
PYC_HEADER_BYTES = 16
LISTS_OF_SUMS = ("md5sums", ".dsc", ".changes", ".buildinfo", "config.json")
# What an archive says of a member -> why two archives say different things.
ABOUT = {
    "mtime": "timestamp",
    "mode": "umask",
    "uid": "uid",
    "gid": "uid",
    "user": "user name",
    "group": "user name",
}
Sides = tuple[bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One difference. `member` is the path inside, through all archives; `offset` counts bytes of that member."""

    file: str
    member: str
    offset: int
    first: str
    second: str
    cause: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one looks: file, member, and what was different around the builds."""

    file: str
    member: str
    known: Known

    def inside(self, name: str) -> Place:
        return Place(file=self.file, member=f"{self.member}/{name}".lstrip("/"), known=self.known)

    def finding(self, offset: int, sides: tuple[bytes | str, bytes | str], cause: str) -> Finding:
        first, second = (side if isinstance(side, str) else readable(side) for side in sides)
        return Finding(file=self.file, member=self.member, offset=offset, first=first, second=second, cause=cause)


def explain(file: str, sides: Sides, known: Known) -> list[Finding]:
    """Every difference between two contents; empty when there is none."""
    return list(_explained(Place(file=file, member="", known=known), sides))


def readable(data: bytes) -> str:
    """As text where it is text, else in hex; no more than a line of it."""
    shown = data[:SHOWN_BYTES]
    try:
        text = shown.decode("utf-8")
    except UnicodeDecodeError:
        return shown.hex(" ")
    return text if all(letter.isprintable() or letter in "\t\n" for letter in text) else shown.hex(" ")


def _explained(place: Place, sides: Sides) -> Iterator[Finding]:
    first, second = sides
    if first == second:
        return
    kind = kind_of(first)
    parts = (members(first), members(second))
    plain = (decompressed(first), decompressed(second))
    if kind != kind_of(second):
        yield _plain(place, sides)
    elif parts[0] is not None and parts[1] is not None:
        yield from _of_archive(place, sides, (parts[0], parts[1]))
    elif plain[0] is not None and plain[1] is not None:
        yield from _of_compressed(place, sides, (plain[0], plain[1]))
    elif kind == "elf":
        yield _of_elf(place, sides)
    else:
        yield _plain(place, sides)


def _of_compressed(place: Place, sides: Sides, plain: Sides) -> Iterator[Finding]:
    headers = (gzip_header(sides[0]), gzip_header(sides[1])) if kind_of(sides[0]) == "gzip" else (b"", b"")
    if headers[0] != headers[1]:
        found = difference(*headers)
        yield place.finding(found.offset, headers, "gzip header")
    if plain[0] != plain[1]:
        yield from _explained(place, plain)
    elif headers[0] == headers[1]:
        found = difference(*sides)
        rest = sides[0][found.offset :], sides[1][found.offset :]
        yield place.finding(found.offset, rest, "thread count" if "cpus" in place.known.on else "compressor")


def _of_archive(place: Place, sides: Sides, parts: tuple[list[Part], list[Part]]) -> Iterator[Finding]:
    names = [[part.name for part in side] for side in parts]
    if sorted(names[0]) == sorted(names[1]) and names[0] != names[1]:
        n = next(n for n, (a, b) in enumerate(zip(*names, strict=True)) if a != b)
        yield place.finding(n, (names[0][n], names[1][n]), "order")
    yield from _alone(place, parts)
    others = {part.name: part for part in parts[1]}
    found = [f for part in parts[0] if part.name in others for f in _of_member(place, part, others[part.name])]
    yield from found
    if not found and names[0] == names[1]:
        yield _plain(place, sides)  # padding, or a field that is not read


def _alone(place: Place, parts: tuple[list[Part], list[Part]]) -> Iterator[Finding]:
    """Members that only one side has: a name that differs, or something that came from elsewhere."""
    names = [{part.name for part in side} for side in parts]
    less, more = sorted(names[0] - names[1]), sorted(names[1] - names[0])
    for first, second in zip(less, more, strict=False):
        cause = cause_of(difference(first.encode(), second.encode()), place.known)
        yield place.inside(first).finding(0, (first, second), cause)
    for name in (*less[len(more) :], *more[len(less) :]):
        there = ("there", "not there") if name in names[0] else ("not there", "there")
        yield place.inside(name).finding(0, there, place.known.only or "unpinned input")


def _of_member(place: Place, first: Part, second: Part) -> Iterator[Finding]:
    inner = place.inside(first.name)
    for name, cause in ABOUT.items():
        values = first.about.get(name, ""), second.about.get(name, "")
        if values[0] != values[1]:
            yield inner.finding(0, (f"{name} {values[0]}", f"{name} {values[1]}"), cause)
    links = first.about.get("link", ""), second.about.get("link", "")
    if links[0] != links[1]:
        yield inner.finding(0, links, cause_of(difference(links[0].encode(), links[1].encode()), place.known))
    if first.content != second.content and first.name.endswith(".pyc"):
        yield _of_pyc(inner, (first.content, second.content))
    else:
        yield from _explained(inner, (first.content, second.content))


def _of_pyc(place: Place, sides: Sides) -> Finding:
    """Byte code: a header with a time, or content that depends on path, hash order or interpreter."""
    found = difference(*sides)
    if found.offset < PYC_HEADER_BYTES:
        return place.finding(found.offset, (sides[0][:PYC_HEADER_BYTES], sides[1][:PYC_HEADER_BYTES]), "pyc")
    cause = cause_of(found, Known(on=frozenset(), values=place.known.values))
    return place.finding(found.offset, found.words, "path" if cause == "path" else "pyc")


def _of_elf(place: Place, sides: Sides) -> Finding:
    """A build id is a digest of all the rest: it is the cause only where nothing else differs."""
    blank = tuple(_without_build_id(side) for side in sides)
    found = difference(*sides)
    if blank[0] == blank[1]:
        return place.finding(found.offset, (sides[0][found.offset :], sides[1][found.offset :]), "build id")
    return _plain(place, (blank[0], blank[1]))


def _without_build_id(data: bytes) -> bytes:
    for note in BUILD_ID_NOTE.finditer(data):
        length = note[1][0]
        data = data[: note.end()] + bytes(length) + data[note.end() + length :]
    return data


def _plain(place: Place, sides: Sides) -> Finding:
    found: Difference = difference(*sides)
    cause = cause_of(found, place.known)
    if cause == "random id" and f"{place.file}{place.member}".endswith(LISTS_OF_SUMS):
        cause = SUM
    return place.finding(found.offset, found.words, cause)
