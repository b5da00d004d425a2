"""What people read: sizes, times, tables, and which machines a program is for."""

import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep.client import show, text
from xwhep.client.platforms import of_program
from xwhep.common import wire


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_sizes(count, words):
    assert text.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0.00 s"), (0.347, "0.35 s"), (12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds, words):
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "-"), (-5, "-"), (1e300, "-"), (float("nan"), "-"), (1795473997, "2026-11-23 22:46:37Z")]
)
def test_moments_are_utc(seconds, words, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert text.moment(seconds) == words


@given(st.text())
def test_clean_text_is_printable_and_as_long(dirty):
    shown = text.clean(dirty)
    assert shown.isprintable()
    assert len(shown) == len(dirty)


def test_columns_align_with_wide_and_combining_characters(capsys):
    show.print_table(("NAME", "X"), [("日本", "1"), ("e\u0301", "2"), ("", "3"), ("plain", "4")])
    assert capsys.readouterr().out.splitlines() == ["NAME   X", "日本   1", "e\u0301      2", "-      3", "plain  4"]


@given(st.lists(st.text("abcdef0123456789", min_size=1, max_size=32), unique=True, max_size=20))
def test_short_ids_stay_different(ids):
    short = show.short_ids(ids)
    assert len(set(short.values())) == len(ids)
    assert all(one.startswith(beginning) for one, beginning in short.items())


def test_json_has_every_field_of_the_wire(capsys):
    job = wire.Job(id="j", owner="o", state=wire.JobState.PENDING, revision=1, created_at=1.0, app="a")
    whole = show.whole(job)
    assert list(whole) == list(wire.Job.__struct_fields__)
    assert whole["args"] == []
    assert whole["state"] == "pending"
    assert whole["result"] is None


def elf(machine, order="<", system=0):
    return (
        b"\x7fELF\x02" + bytes([1 if order == "<" else 2, 1, system]) + bytes(8) + struct.pack(order + "HH", 2, machine)
    )


@pytest.mark.parametrize(
    ("head", "platform"),
    [
        (b"#!/bin/sh\n", ("linux", "any")),
        (elf(62), ("linux", "x86_64")),
        (elf(183), ("linux", "aarch64")),
        (elf(22, ">"), ("linux", "s390x")),
        (elf(21), ("linux", "ppc64le")),
        (elf(21, ">"), ("linux", "ppc64")),
        (elf(62, "<", 9), ("freebsd", "x86_64")),
        (elf(9999), None),
        (b"\x7fELF", None),
        (b"MZ\x90", None),
        (b"", None),
    ],
)
def test_platforms(head, platform):
    assert of_program(head) == platform


def test_the_running_python_is_for_this_machine():
    import platform  # noqa: PLC0415 - the name is taken above

    with Path(sys.executable).resolve().open("rb") as file:
        assert of_program(file.read(64)) == ("linux", platform.machine())


def test_register_by_header_and_by_word(xw, grid):
    (xw.folder / "prog").write_bytes(elf(62))
    (xw.folder / "arm").write_bytes(elf(183))
    (xw.folder / "odd").write_bytes(b"MZ")
    assert xw("app", "register", "p", "prog", "arm").code == 0
    assert [(one.os, one.arch) for one in grid.apps["p"].binaries] == [("linux", "x86_64"), ("linux", "aarch64")]
    refused = xw("app", "register", "o", "odd")
    assert refused.code == 2
    assert "--os and --arch" in refused.err
    assert xw("app", "register", "o", "odd", "--os", "windows", "--arch", "x86_64").code == 0
    assert xw("app", "register", "n", "--shared", "nbody").code == 0
    assert grid.apps["n"].shared == "nbody"
    assert "shared nbody: no worker now" in xw("app", "list").out
