"""The graph of steps, laid out by rank: each column needs only what stands to its left."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOX_WIDTH, BOX_HEIGHT = 146, 40
GAP_X, GAP_Y = 38, 12
BEND_HEIGHT = 6  # where an arrow passes a column
MARGIN = 6
SWEEPS = 8  # of ordering the columns by where their neighbours are; more change nothing

Bend = tuple[str, str, int]  # need, step and column: an arrow's place in a column that it passes
Place = str | Bend


@dataclass(frozen=True, kw_only=True)
class Box:
    """One step; x and y are its upper left corner in pixels."""

    step: str
    x: int
    y: int


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`shape` is that of an SVG path."""

    need: str
    step: str
    shape: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int


def draw(needs: Mapping[str, Sequence[str]]) -> Drawing:
    """Boxes and arrows. An arrow that a longer way says too is left out, one past a column goes between its boxes."""
    direct = _reduced({step: [need for need in given if need in needs] for step, given in needs.items()})
    ranks = _ranks(direct)
    ways = {(need, step): _way(need, step, ranks) for step, given in direct.items() for need in given}
    columns = _ordered(_columns(ranks, ways), ways)
    height = max((_height(column) for column in columns), default=0)
    tops: dict[Place, int] = {}
    for column in columns:
        top = MARGIN + (height - _height(column)) // 2
        for place in column:
            tops[place] = top
            top += _thick(place) + GAP_Y
    return Drawing(
        boxes=tuple(Box(step=step, x=_left(rank), y=tops[step]) for step, rank in ranks.items()),
        edges=tuple(Edge(need=way[0], step=way[1], shape=_shape(ways[way], tops, ranks)) for way in ways),
        width=2 * MARGIN + len(columns) * (BOX_WIDTH + GAP_X) - GAP_X,
        height=2 * MARGIN + height,
    )


def _left(column: int) -> int:
    return MARGIN + column * (BOX_WIDTH + GAP_X)


def _thick(place: Place) -> int:
    return BOX_HEIGHT if isinstance(place, str) else BEND_HEIGHT


def _height(column: Sequence[Place]) -> int:
    return sum(_thick(place) + GAP_Y for place in column) - GAP_Y


def _way(need: str, step: str, ranks: Mapping[str, int]) -> list[Place]:
    """From one to the other, by a bend in each column between them."""
    return [need, *((need, step, column) for column in range(ranks[need] + 1, ranks[step])), step]


def _shape(way: Sequence[Place], tops: Mapping[Place, int], ranks: Mapping[str, int]) -> str:
    parts: list[str] = []
    for start, end in itertools.pairwise(way):
        column = ranks[start] if isinstance(start, str) else start[2]
        x1, x2 = _left(column) + BOX_WIDTH, _left(column + 1)
        y1, y2 = tops[start] + _thick(start) // 2, tops[end] + _thick(end) // 2
        pass_by = f" H{x2 + BOX_WIDTH}" if not isinstance(end, str) else ""
        parts.append(f"C{x1 + GAP_X // 2},{y1} {x2 - GAP_X // 2},{y2} {x2},{y2}{pass_by}")
    first = way[0]
    return f"M{_left(ranks[str(first)]) + BOX_WIDTH},{tops[first] + BOX_HEIGHT // 2} {' '.join(parts)}"


def _reduced(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    above = {step: _all_above(step, needs) for step in needs}
    return {
        step: [need for need in given if not any(need in above[other] for other in given if other != need)]
        for step, given in needs.items()
    }


def _all_above(step: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(needs[step])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += needs[one]
    return found


def _ranks(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The column of each step: one after the last that it needs."""
    ranks: dict[str, int] = {}

    def rank(step: str) -> int:
        if step not in ranks:
            ranks[step] = 0  # so that a ring, which doit refuses anyway, ends here
            ranks[step] = 1 + max((rank(need) for need in needs[step]), default=-1)
        return ranks[step]

    return {step: rank(step) for step in needs}


def _columns(ranks: Mapping[str, int], ways: Mapping[tuple[str, str], Sequence[Place]]) -> list[list[Place]]:
    columns: list[list[Place]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for step, rank in ranks.items():
        columns[rank].append(step)
    for way in ways.values():
        for place in way[1:-1]:
            columns[place[2] if isinstance(place, tuple) else 0].append(place)
    return columns


def _ordered(columns: list[list[Place]], ways: Mapping[tuple[str, str], Sequence[Place]]) -> list[list[Place]]:
    """Each near the middle of its neighbours, so that few arrows cross: by those to the left, then to the right."""
    before: dict[Place, list[Place]] = {}
    after: dict[Place, list[Place]] = {}
    for way in ways.values():
        for start, end in itertools.pairwise(way):
            before.setdefault(end, []).append(start)
            after.setdefault(start, []).append(end)
    for sweep in range(SWEEPS):
        near = (before, after)[sweep % 2]
        height = {place: _share(n, column) for column in columns for n, place in enumerate(column)}
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            middles = {place: _middle([height[one] for one in near.get(place, ())], height[place]) for place in column}
            column.sort(key=middles.__getitem__)
            height |= {place: _share(n, column) for n, place in enumerate(column)}
    return columns


def _share(place: int, column: Sequence[Place]) -> float:
    return (place + 0.5) / len(column)


def _middle(heights: Sequence[float], alone: float) -> float:
    return sum(heights) / len(heights) if heights else alone
