"""Known vulnerabilities of what an image holds, by a file in the form of Debian's tracker."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release import page
from xwhep_packaging.release.bills.installed import Package
from xwhep_packaging.release.bills.vulnerabilities import Database, Version, summary

LIBC = Package(name="libc6", version="2.41-12", architecture="amd64", source="glibc", source_version="2.41-12")
BIN = Package(name="libc-bin", version="2.41-12", architecture="amd64", source="glibc", source_version="2.41-12")
CONTENT = {"product": "grid", "version": "1", "commit": "c", "date": "d", "key": "k", "channels": [], "skipped": []}
ROWS = {
    "images": [{"name": "server", "tags": ["grid-server:1"], "size": 1}],
    "debs": [{"package": "grid", "version": "1", "sha256": "a"}],
}


def suite(status: str, **fields: str) -> dict[str, Any]:
    return {"description": "words", "scope": "local", "releases": {"trixie": {"status": status, **fields}}}


TRACKED = {
    "glibc": {
        "CVE-2026-0001": suite("open", urgency="low"),
        "CVE-2026-0002": suite("resolved", fixed_version="2.41-13", urgency="high"),
        "CVE-2026-0003": suite("resolved", fixed_version="2.41-12"),
        "CVE-2026-0004": suite("resolved", fixed_version="0"),
        "CVE-2026-0005": suite("undetermined"),
        "CVE-2026-0006": suite("open", urgency="unimportant"),
        "CVE-2026-0007": {"releases": {"bookworm": {"status": "open"}}},
    },
    "other": {"CVE-2026-0008": suite("open")},
}


def database(folder: Path, content: str = json.dumps(TRACKED)) -> Database:
    (folder / "tracker.json").write_text(content)
    return Database(file=folder / "tracker.json", suite="trixie")


def test_what_is_open_for_an_installed_version_is_listed(tmp_path: Path) -> None:
    listing = database(tmp_path).listing({"server": [LIBC, BIN], "client": []})
    rows = listing["images"]["server"]
    assert [row["id"][-1] for row in rows] == ["1", "2", "5", "6"]
    assert rows[1] == {
        "id": "CVE-2026-0002",
        "source": "glibc",
        "version": "2.41-12",
        "packages": ["libc-bin", "libc6"],
        "status": "open",
        "fixed": "2.41-13",
        "urgency": "high",
        "description": "words",
    }
    assert listing["images"]["client"] == []
    assert listing["database"]["file"] == "tracker.json"
    assert summary(listing) == {"open": 3, "mended by an update": 1, "unimportant": 1}


def test_the_page_says_what_is_known_and_by_whom(tmp_path: Path) -> None:
    listing = database(tmp_path).listing({"server": [LIBC]})
    text = page.render({**CONTENT, **ROWS}, "", listing)
    assert "3 open, 1 mended by an update, 1 unimportant. By tracker.json" in text
    assert "no database was configured" in page.render({**CONTENT, **ROWS}, "", None)


@pytest.mark.parametrize(
    ("content", "what", "cause"),
    [
        ("", "is no list of vulnerabilities", "truncated"),
        ("[]", "is no list of vulnerabilities", "Expected `object`"),
        ('{"glibc": {"CVE-1": {}}}', "is no list of vulnerabilities", "missing required field `releases`"),
        ('{"glibc": {"CVE-1": {"releases": {"trixie": {"status": 1}}}}}', "is no list of", "Expected `str`"),
        ("{}", "says nothing about trixie", "it has 0 source packages"),
        ('{"glibc": {"CVE-1": {"releases": {"sid": {"status": "open"}}}}}', "says nothing about trixie", "it has 1"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, content: str, what: str, cause: str) -> None:
    with pytest.raises(ReleaseError, match=what) as caught:
        database(tmp_path, content).of([LIBC])
    assert cause in caught.value.cause
    assert "Debian security tracker" in caught.value.next_step


def test_text_that_is_none_is_refused(tmp_path: Path) -> None:
    known = database(tmp_path)
    known.file.write_bytes(b'{"\xff": {}}')
    with pytest.raises(ReleaseError, match="is no list of vulnerabilities"):
        known.of([LIBC])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"cannot read .*none\.json") as caught:
        Database(file=tmp_path / "none.json", suite="trixie").of([LIBC])
    assert caught.value.cause == "No such file or directory"


# The order of versions


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0-0.1"),
        ("1.0-1", "1.0-1+deb13u1"),
        ("1.9", "1.10"),
        ("9", "1:1"),
        ("1.0a", "1.0."),
        ("1.0-1~", "1.0-1"),
        ("2.41-12", "2.41-12+b1"),
    ],
)
def test_versions_are_in_debians_order(lower: str, higher: str) -> None:
    assert Version(lower) < Version(higher)
    assert not Version(higher) < Version(lower)


def test_versions_are_in_the_order_that_dpkg_has() -> None:
    chance = random.Random(3)

    def any_version() -> str:
        text = chance.choice("01") + "".join(chance.choice("01a~+.9") for _ in range(chance.randint(0, 4)))
        revision = "-" + "".join(chance.choice("0a~+1") for _ in range(chance.randint(1, 3)))
        return chance.choice(["", "", "1:"]) + text + chance.choice(["", revision])

    pairs = [(any_version(), any_version()) for _ in range(60)]
    script = 'while read -r a b; do dpkg --compare-versions "$a" lt "$b" && echo lt || echo ge; done'
    asked = "".join(f"{one} {other}\n" for one, other in pairs)
    told = subprocess.run(["sh", "-c", script], input=asked, capture_output=True, text=True, check=True).stdout.split()
    assert told == ["lt" if Version(one) < Version(other) else "ge" for one, other in pairs]
