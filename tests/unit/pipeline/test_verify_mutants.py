"""Builds that are irreproducible in one way each: verify names the way."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest

from mutant_list import MUTANTS
from mutants import AGAIN, FIRST, Mutant, built, known
from xwhep_packaging.verify.causes import CAUSES
from xwhep_packaging.verify.explain import Finding, explain

RIGHT_SHARE = 0.95


def findings(mutant: Mutant) -> list[Finding]:
    """What is found between two builds of a mutant under its variation."""
    other = AGAIN[mutant.variation]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first, second = Path(one), Path(two)
        sides = (built(mutant, FIRST, first), built(mutant, other, second))
        assert sides[0] != sides[1], f"{mutant.name} is no mutant: both builds are the same"
        about = known(mutant.variation, first / FIRST.folder, second / other.folder)
        return explain(mutant.name, sides, about)


def control(mutant: Mutant) -> list[Finding]:
    """The same on two equal sides: nothing may differ but what differs each time."""
    with tempfile.TemporaryDirectory() as one:
        first = built(mutant, FIRST, Path(one))
    with tempfile.TemporaryDirectory() as one:
        return explain(mutant.name, (first, built(mutant, FIRST, Path(one))), known("", Path(one), Path(one)))


@pytest.fixture(scope="module")
def named() -> dict[str, list[Finding]]:
    return {mutant.name: findings(mutant) for mutant in MUTANTS}


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 60
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.cause for mutant in MUTANTS}) >= 15
    assert {mutant.cause for mutant in MUTANTS} <= CAUSES


def test_the_cause_is_named_right(named: dict[str, list[Finding]]) -> None:
    """The first cause that is named most; a difference in a package also changes sizes and sums beside it."""
    wrong = {}
    for mutant in MUTANTS:
        causes = Counter(finding.cause for finding in named[mutant.name])
        if not causes or causes.most_common(1)[0][0] != mutant.cause:
            wrong[mutant.name] = (mutant.cause, [(f.member, f.first, f.second, f.cause) for f in named[mutant.name]])
    assert len(wrong) <= (1 - RIGHT_SHARE) * len(MUTANTS), wrong


def test_a_difference_says_where_and_what(named: dict[str, list[Finding]]) -> None:
    found = named["iso date in a text"][0]
    assert found.member == "data.tar.gz/usr/built"
    assert (found.first, found.second) == ("2023-11-14", "2024-12-18")
    assert found.offset == 3
    buried = named["time in a tar in a gzip in a package"]
    assert {finding.member for finding in buried} >= {"data.tar.gz/usr/inner.tar.gz/usr/file"}


def test_builds_in_equal_surroundings_are_equal() -> None:
    """Else a mutant would be irreproducible in more than its own way."""
    assert {mutant.name: found for mutant in MUTANTS[::7] if (found := control(mutant))} == {}
