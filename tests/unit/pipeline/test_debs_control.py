"""debian/control and debian/changelog: what is read, what is refused, which build dependencies hold."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs import control

CONTROL = """# a comment
Source: grid
Maintainer: A <a@example.invalid>
Build-Depends: debhelper-compat (= 13),
 libfoo-dev [amd64], libbar-dev [!amd64]
Build-Depends-Indep: doxygen <!nodoc>

Package: grid
Architecture: any
Description: short
 long
 .
 more
"""
AMD64 = control.Conditions(architecture="amd64")
COMMIT = Commit(
    repository=Path("/r"), origin="local", sha="a" * 40, shipped_sha="b" * 40, epoch=1_700_000_000, content="c"
)


def test_paragraphs_and_continuations() -> None:
    source, package = control.parse(CONTROL, "control")
    assert source["Source"] == "grid"
    assert package["Description"] == "short\n long\n .\n more"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("Source: grid", "Source grid", "control line 2 is no field", id="no field"),
        pytest.param("Source: grid", "Package: grid", "does not start with a Source field", id="no source"),
        pytest.param("Maintainer: A <a@example.invalid>\n", "", "names no Maintainer", id="no maintainer"),
        pytest.param("Architecture: any\n", "", "grid has no Architecture field", id="no architecture"),
        pytest.param("Architecture: any", "Package: again", "line 9: the field Package comes twice", id="twice"),
        pytest.param("Package: grid\n", "", "a binary paragraph has no Package field", id="nameless"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(old: str, new: str, says: str) -> None:
    assert old in CONTROL
    with pytest.raises(BuildError, match=says):
        control.parse(CONTROL.replace(old, new), "control")


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(BuildError):
        assert "Source" in control.parse(text, "control")[0]


def test_build_dependencies_that_hold() -> None:
    source = control.parse(CONTROL, "control")[0]
    assert control.build_dependencies(source, AMD64, "control") == ["debhelper-compat (= 13)", "libfoo-dev", "doxygen"]
    nodoc = control.Conditions(architecture="amd64", profiles=frozenset({"nodoc"}))
    assert "doxygen" not in control.build_dependencies(source, nodoc, "control")


@pytest.mark.parametrize(
    ("clause", "reduced"),
    [
        ("aa:any (>=  1:2~) | bb [i386]", ["aa (>= 1:2~)"]),
        ("aa [i386] | bb [linux-any]", ["bb"]),
        ("aa [!i386 !arm64]", ["aa"]),
        ("aa <stage1> <!nocheck !nodoc>", ["aa"]),
        ("aa <stage1 !nodoc>", []),
        ("aa,, aa ,", ["aa"]),
    ],
)
def test_restrictions(clause: str, reduced: list[str]) -> None:
    assert control.build_dependencies({"Build-Depends": clause}, AMD64, "control") == reduced


@pytest.mark.parametrize("clause", ["libfoo (>= 1", "lib foo", "${misc:Depends}", "a [amd64"])
def test_an_unreadable_dependency_is_named(clause: str) -> None:
    with pytest.raises(BuildError, match="cannot be read"):
        control.build_dependencies({"Build-Depends": clause}, AMD64, "control")


def test_build_essential_only_where_something_is_compiled() -> None:
    assert control.all_build_dependencies(CONTROL, AMD64, "control")[0] == "build-essential"
    scripts = CONTROL.replace("Architecture: any", "Architecture: all")
    assert "build-essential" not in control.all_build_dependencies(scripts, AMD64, "control")
    assert control.all_build_dependencies("", AMD64, "control") == []


def test_what_the_shared_chroot_gives_is_not_asked_for_again() -> None:
    clauses = ["debhelper-compat (= 13)", "dh-sequence-python3", "python3", "a | b", "c (>= 2)"]
    assert control.beyond(clauses, {"debhelper", "dh-python", "python3", "b"}) == ["c (>= 2)"]


def test_entry_is_dated_by_its_commit_but_never_before_the_one_below() -> None:
    entry = control.changelog_entry(("grid", "1"), COMMIT, "A <a@example.invalid>")
    assert entry.endswith(" -- A <a@example.invalid>  Tue, 14 Nov 2023 22:13:20 +0000\n\n")
    assert control.changelog_time(entry) == COMMIT.epoch
    assert (
        control.changelog_time(control.changelog_entry(("grid", "2"), COMMIT, "A <a@b>", COMMIT.epoch + 9))
        == COMMIT.epoch + 10
    )
    assert control.changelog_head(entry) == ("grid", "1")
    assert max(len(line) for line in entry.splitlines()) <= 80


@pytest.mark.parametrize("text", ["", "no entry", " -- A <a@b>  some day\n"])
def test_time_of_no_entry_is_nought(text: str) -> None:
    assert control.changelog_time(text) == 0


def test_changelog_without_an_entry_is_refused() -> None:
    with pytest.raises(BuildError, match="does not start with an entry"):
        control.changelog_head("grid 1.0 unstable\n")
