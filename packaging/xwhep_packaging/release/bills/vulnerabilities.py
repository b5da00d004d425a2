"""Known vulnerabilities of what images hold, by a database that lies on this machine: nobody is asked.

The form is that of the Debian security tracker (its page data/json): source package, CVE, what a suite does about it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, total_ordering
from pathlib import Path
from typing import Any

import msgspec

from xwhep_packaging.artefacts import sha256_file
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.bills.installed import Package

NOT_AFFECTED = "0"  # as the tracker writes a fixed version where no version ever was affected
UNIMPORTANT = "unimportant"
END = 0
PARTS = re.compile(r"(\D*)(\d*)")


class InSuite(msgspec.Struct, frozen=True):
    """What a suite does about a vulnerability: open, resolved (in `fixed_version`) or undetermined."""

    status: str
    fixed_version: str = ""
    urgency: str = ""


class Entry(msgspec.Struct, frozen=True):
    releases: dict[str, InSuite]
    description: str = ""


Tracked = dict[str, dict[str, Entry]]


@dataclass(frozen=True, kw_only=True)
class Vulnerable:
    """One source package that one vulnerability is known of. `fixed`: the version that mends it; empty: none yet."""

    id: str
    source: str
    version: str
    packages: list[str]
    status: str
    fixed: str
    urgency: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Database:
    file: Path
    suite: str

    @cached_property
    def tracked(self) -> Tracked:
        """The whole file.

        Raises:
            ReleaseError: it cannot be read, or is something else.
        """
        next_step = "[release] vulnerabilities names a file in the JSON form of the Debian security tracker"
        try:
            content = self.file.read_bytes()
        except OSError as error:
            raise ReleaseError(f"cannot read {self.file}", cause=error.strerror or "", next_step=next_step) from error
        try:
            found = msgspec.json.decode(content, type=Tracked)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            what = f"{self.file} is no list of vulnerabilities"
            raise ReleaseError(what, cause=str(error), next_step=next_step) from error
        if not any(self.suite in entry.releases for entries in found.values() for entry in entries.values()):
            what = f"{self.file} says nothing about {self.suite}"
            raise ReleaseError(what, cause=f"it has {len(found)} source packages", next_step=next_step)
        return found

    def of(self, packages: Iterable[Package]) -> list[Vulnerable]:
        """What is known of these, by source package and identifier."""
        names: dict[tuple[str, str], list[str]] = defaultdict(list)
        for package in packages:
            names[package.source, package.source_version].append(package.name)
        return [one for key in sorted(names) for one in self._of_source(*key, names[key])]

    def listing(self, images: Mapping[str, Iterable[Package]]) -> dict[str, Any]:
        """vulnerabilities.json of a release."""
        rows = {image: [asdict(one) for one in self.of(packages)] for image, packages in images.items()}
        told = {"file": self.file.name, "sha256": sha256_file(self.file), "suite": self.suite}
        return {"database": told, "images": rows}

    def _of_source(self, source: str, version: str, names: list[str]) -> Iterator[Vulnerable]:
        for identifier, entry in sorted(self.tracked.get(source, {}).items()):
            said = entry.releases.get(self.suite)
            if said and _affects(said, version):
                yield Vulnerable(
                    id=identifier,
                    source=source,
                    version=version,
                    packages=sorted(names),
                    status="open" if said.status == "resolved" else said.status,
                    fixed=said.fixed_version,
                    urgency=said.urgency,
                    description=entry.description,
                )


def _affects(said: InSuite, version: str) -> bool:
    if said.status != "resolved":
        return True
    return said.fixed_version not in ("", NOT_AFFECTED) and Version(version) < Version(said.fixed_version)


def summary(listing: Mapping[str, Any]) -> dict[str, int]:
    """How many are open in any image: all, those that a newer package mends, those that are called unimportant."""
    found = {(row["id"], row["source"]): row for rows in listing["images"].values() for row in rows}
    rows = [row for row in found.values() if row["status"] == "open"]
    unimportant = sum(row["urgency"] == UNIMPORTANT for row in rows)
    mended = sum(bool(row["fixed"]) for row in rows)
    return {"open": len(rows), "mended by an update": mended, "unimportant": unimportant}


@total_ordering
class Version:
    """A Debian version, in the order of deb-version(7); dpkg itself would be a process for each of thousands."""

    def __init__(self, text: str) -> None:
        epoch, _, rest = text.partition(":") if ":" in text else ("0", "", text)
        upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
        self._key = (int(epoch), _key(upstream), _key(revision))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _key(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Words and numbers by turns. In a word ~ comes first, then its end, then letters, then all else."""
    pairs = [((*map(_weight, word), END), int(number or 0)) for word, number in PARTS.findall(text or "0")[:-1]]
    return (*pairs, ((END,), 0))


def _weight(sign: str) -> int:
    if sign == "~":
        return -1
    return ord(sign) if sign.isalpha() else ord(sign) + 256
