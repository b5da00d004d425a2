"""The mathematics: stratified sampling of the quarter circle, and the combination of independent estimates."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """`value` estimates pi from `points` points; `error` is its standard error."""

    value: float
    error: float
    points: int


def estimate(points: int, seed: int, grid: int) -> Estimate:
    """Throw `points` points, the same number into each of `grid` x `grid` cells of the unit square.

    Raises:
        ValueError: fewer than two points a cell, which gives no error bar.
    """
    cells = grid * grid
    each = points // cells if grid > 0 else 0
    if each < 2:
        raise ValueError(f"{points} points on a grid of {grid} x {grid} cells: at least 2 points a cell are needed")
    throw = random.Random(seed).random
    total = variance = 0.0
    for cell in range(cells):
        share = _share_inside(throw, divmod(cell, grid), 1 / grid, each)
        total += share
        variance += share * (1 - share) / (each - 1)
    return Estimate(4 * total / cells, 4 * math.sqrt(variance) / cells, each * cells)


def _share_inside(throw: Callable[[], float], cell: tuple[int, int], width: float, count: int) -> float:
    inside = 0
    for _ in range(count):
        x, y = (cell[0] + throw()) * width, (cell[1] + throw()) * width
        inside += x * x + y * y <= 1.0
    return inside / count


def combine(estimates: Iterable[Estimate]) -> Estimate:
    """The mean of independent estimates, each weighted by its number of points.

    Raises:
        ValueError: there is none.
    """
    parts = list(estimates)
    points = sum(part.points for part in parts)
    if not points:
        raise ValueError("nothing to combine")
    value = sum(part.value * part.points for part in parts) / points
    error = math.sqrt(sum((part.error * part.points) ** 2 for part in parts)) / points
    return Estimate(value, error, points)
