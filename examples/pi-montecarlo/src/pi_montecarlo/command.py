"""The command: arguments in, a result file and one summary line out."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pi_montecarlo.estimate import Estimate, combine, estimate

USAGE_ERROR = 2


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pi-montecarlo",
        description="Estimate pi by random points in the unit square. The same arguments give the same result.",
    )
    parser.add_argument("--points", type=int, default=1_000_000, metavar="N", help="points to throw (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the random numbers (%(default)s)")
    parser.add_argument("--grid", type=int, default=100, metavar="K", help="cut the square into K x K (%(default)s)")
    parser.add_argument("--combine", nargs="+", type=Path, metavar="FILE", help="combine results instead of throwing")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the result there, as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Status 0, or 2 when arguments or files make no sense."""
    chosen = arguments().parse_args(argv)
    try:
        if chosen.combine:
            result = combine(_read(path) for path in chosen.combine)
        else:
            result = estimate(chosen.points, chosen.seed, chosen.grid)
        if chosen.output:
            chosen.output.write_text(json.dumps(asdict(result)) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"pi-montecarlo: {error}\n")
        return USAGE_ERROR
    sys.stdout.write(summary(result) + "\n")
    return 0


def summary(result: Estimate) -> str:
    """One line for a person: the estimate, its error bar, and how far off it is."""
    off = abs(result.value - math.pi) / result.error if result.error else 0.0
    return f"pi = {result.value:.9f} +- {result.error:.2g} from {result.points} points, {off:.1f} error bars off"


def _read(path: Path) -> Estimate:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Estimate(float(content["value"]), float(content["error"]), int(content["points"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no result of pi-montecarlo") from error
