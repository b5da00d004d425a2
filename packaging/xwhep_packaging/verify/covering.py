"""Which variations to combine in one rebuild, so that few rebuilds meet every pair of them.

Each variation is on or off; the first build is the row where all are off. A pair is covered when all four of its
combinations occur: a difference that needs two variations at once, or one without the other, shows in some row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

Row = frozenset[str]
Combination = tuple[str, str, bool, bool]


def combinations(names: Sequence[str]) -> set[Combination]:
    """Every pair, on and off."""
    pairs = itertools.combinations(names, 2)
    return {(a, b, on_a, on_b) for a, b in pairs for on_a in (False, True) for on_b in (False, True)}


def covered(names: Sequence[str], rows: Iterable[Row]) -> set[Combination]:
    """The combinations that occur in `rows`."""
    pairs = list(itertools.combinations(names, 2))
    return {(a, b, a in row, b in row) for row in rows for a, b in pairs}


def pairwise(names: Sequence[str]) -> list[Row]:
    """The fewest rows that, with the first build, cover every pair; the same ones each time.

    Each variation is on in another choice of `size` of the rows. Two such choices always share a row, since together
    they are more than all, and each has a row that the other lacks; the first build has neither (Kleitman, Spencer).
    """
    count = next(count for count in itertools.count(1) if _room(count) >= len(names))
    choices = itertools.combinations(range(count), _size(count))
    chosen = dict(zip(names, choices, strict=False))
    rows = [frozenset(name for name in names if number in chosen[name]) for number in range(count)]
    return [row for row in rows if row]


def halves(names: Sequence[str]) -> list[Row]:
    """Two rows in which each variation is on once and off once: what every change can afford."""
    return [row for row in (frozenset(names[::2]), frozenset(names[1::2])) if row]


def beside(name: str, others: Sequence[str]) -> list[Row]:
    """Two more rows, for one that not all others go with: each of those that do is on in one and off in the other."""
    return [row | {name} for row in halves(others)] or [frozenset({name})]


def _size(rows: int) -> int:
    return rows // 2 + 1


def _room(rows: int) -> int:
    return math.comb(rows, _size(rows))
