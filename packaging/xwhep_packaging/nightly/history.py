"""What each night came to: one JSON line a night, and what those lines say together.

verify/latest.json ──> artefact x variation ──> history.jsonl ──> strips of nights, last good commit, cause
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

NAME = "history.jsonl"
PAPERS = "a release's papers"  # its signed indexes and bills of materials
IDENTICAL, DIFFERENT = "identical", "different"
PACKAGE = re.compile(r"([a-z0-9][a-z0-9+.-]+)_[^_ ]+_[a-z0-9]+\.deb$")
SOURCE_PACKAGE = re.compile(r"\.(dsc|changes|buildinfo|tar\.\w+)$")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact in one night: variation -> identical or different, and the causes that were named."""

    variations: dict[str, str] = {}
    causes: list[str] = []

    @property
    def state(self) -> str:
        """Different when it was so under any variation, or in a rebuild for which no single one is to blame."""
        return DIFFERENT if self.causes or DIFFERENT in self.variations.values() else IDENTICAL


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history. `at` is UTC seconds, `failed` the step that ended it ("": none), `released` the version
    that the channel shows since."""

    at: int
    commit: str
    version: str = ""
    failed: str = ""
    error: str = ""
    released: str = ""
    seconds: float = 0.0
    artefacts: dict[str, Seen] = {}
    impossible: dict[str, str] = {}

    @property
    def is_good(self) -> bool:
        return not self.failed


def append(folder: Path, night: Night) -> None:
    with (folder / NAME).open("ab") as stream:
        stream.write(msgspec.json.encode(night) + b"\n")


def read(folder: Path) -> list[Night]:
    """All nights, oldest first; a line that was cut off when a disk was full is left out."""
    file = folder / NAME
    return list(_nights(file.read_bytes().splitlines())) if file.is_file() else []


def _nights(lines: Sequence[bytes]) -> Iterator[Night]:
    for line in lines:
        try:
            yield msgspec.json.decode(line, type=Night)
        except msgspec.DecodeError:
            continue


def artefacts_of(build: Mapping[str, Any], verified: Mapping[str, Any]) -> dict[str, Seen]:
    """Every artefact of a build (latest.json) as the rebuilds of a `doit verify` (its latest.json) found it.

    A variation is to blame when each rebuild in which it was on differed: several are on in one rebuild.
    """
    names = [f"source of {row}" for row in dict.fromkeys(row["source"] for row in build["debs"])]
    names += [row["package"] for row in build["debs"]] + [f"image {row['name']}" for row in build["images"]] + [PAPERS]
    found = {name: _seen(name, verified["rebuilds"]) for name in names}
    others = {artefact_of(row["file"]) for row in verified["differences"]} - set(names)
    return found | {name: _seen(name, verified["rebuilds"]) for name in sorted(others)}


def _seen(name: str, rebuilds: Sequence[Mapping[str, Any]]) -> Seen:
    hits = [[row for row in rebuild["differences"] if artefact_of(row["file"]) == name] for rebuild in rebuilds]
    by_variation: dict[str, list[bool]] = {}
    for rebuild, rows in zip(rebuilds, hits, strict=True):
        for variation in rebuild["variations"]:
            by_variation.setdefault(variation, []).append(bool(rows))
    return Seen(
        variations={one: DIFFERENT if all(found) else IDENTICAL for one, found in sorted(by_variation.items())},
        causes=sorted({row["cause"] for rows in hits for row in rows}),
    )


def artefact_of(label: str) -> str:
    """The artefact that a finding's `file` belongs to, such as `debs:grid grid-client_1_all.deb` to grid-client."""
    step, _, name = label.partition(" ")
    stage, _, which = step.partition(":")
    if package := PACKAGE.search(name):
        return package[1]
    if stage == "papers":
        return PAPERS
    if stage == "images":
        return f"image {which}"
    is_source = stage == "source" or (stage == "debs" and SOURCE_PACKAGE.search(name))
    return f"source of {which}" if is_source else step


def last_good(nights: Sequence[Night], artefact: str) -> str:
    """The commit of the newest night in which it was identical under all that was tried; "" when there is none."""
    for night in reversed(nights):
        seen = night.artefacts.get(artefact)
        if seen and seen.variations and seen.state == IDENTICAL:
            return night.commit
    return ""


def strip(nights: Sequence[Night], artefact: str, variation: str) -> list[tuple[str, int]]:
    """Runs of equal nights, oldest first: (identical, different or "" when it was not tried, how many nights)."""
    runs: list[tuple[str, int]] = []
    for night in nights:
        seen = night.artefacts.get(artefact)
        state = seen.variations.get(variation, "") if seen else ""
        runs = [*runs[:-1], (state, runs[-1][1] + 1)] if runs and runs[-1][0] == state else [*runs, (state, 1)]
    return runs


def load_json(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded
