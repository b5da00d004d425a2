"""Bytes that differ become a place, both sides and a cause; edges that no mutant has."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import pytest

from xwhep_packaging.verify.causes import CAUSES, OF_VARIATION, Known
from xwhep_packaging.verify.explain import Finding, explain, readable
from xwhep_packaging.verify.unpack import decompressed, kind_of, members


def tar(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def test_equal_bytes_have_no_difference() -> None:
    assert explain("f", (b"a", b"a"), Known()) == []


def test_a_member_is_named_through_all_archives() -> None:
    sides = tuple(lzma.compress(tar(a=b"same", b=b"at " + stamp)) for stamp in (b"2026-01-01", b"2027-02-03"))
    found = only(explain("f", (sides[0], sides[1]), Known()))
    assert (found.member, found.first, found.second, found.cause) == ("b", "2026-01-01", "2027-02-03", "timestamp")
    assert found.offset == 6


def test_a_member_of_one_side_alone_is_found() -> None:
    found = only(explain("f", (tar(a=b""), tar(a=b"", b=b"")), Known()))
    assert (found.member, found.first, found.second, found.cause) == ("b", "not there", "there", "unpinned input")


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh", b"PK\x03\x04", b"!<arch>\n"])
def test_a_damaged_archive_is_compared_as_it_is(magic: bytes) -> None:
    sides = magic + b"broken" * 20, magic + b"BROKEN" * 20
    assert kind_of(sides[0])
    assert decompressed(sides[0]) is None
    assert not members(sides[0])
    assert explain("f", sides, Known())


def test_one_side_empty() -> None:
    assert only(explain("f", (b"", b"text"), Known())).second == "text"


def test_the_only_variation_decides_where_content_does_not() -> None:
    for variation, cause in OF_VARIATION.items():
        assert only(explain("f", (b"left", b"right"), Known(on=frozenset({variation})))).cause == cause
    assert only(explain("f", (b"left", b"right"), Known())).cause == "unknown"
    assert only(explain("f", (b"left", b"right"), Known(on=frozenset({"date", "host"})))).cause == "unknown"


def test_content_decides_among_several_variations() -> None:
    known = Known(on=frozenset({"date", "host"}), values=(("host name", "build", "elsewhere"),))
    assert only(explain("f", (b"on build", b"on elsewhere"), known)).cause == "host name"
    assert only(explain("f", (b"at 2026-01-01", b"at 2027-02-05"), known)).cause == "timestamp"


def test_sums_follow_what_they_are_of() -> None:
    sides = (b" %064x 5 a.deb\n" % 1, b" %064x 5 a.deb\n" % 2)
    assert only(explain("debs:grid a.changes", sides, Known())).cause == "sum of another file"
    assert only(explain("debs:grid a.txt", sides, Known())).cause == "random id"


def test_every_cause_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "howto" / "verify.md").read_text(encoding="utf-8")
    words = " ".join(page.split())
    assert [cause for cause in CAUSES if cause not in words] == []


def test_bytes_that_are_no_text_are_shown_in_hex() -> None:
    assert readable(b"\x00\xff") == "00 ff"
    assert readable("é".encode()) == "é"
    assert len(readable(b"a" * 1000)) <= 60
