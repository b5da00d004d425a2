"""The command: arguments in, a result file of JSON lines and one summary line out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from nbody.gravity import State, cluster, energy, step

USAGE_ERROR = 2


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nbody",
        description="Move bodies under their own gravity (G = 1). The same arguments give the same result.",
    )
    parser.add_argument("--bodies", type=int, default=10, metavar="N", help="bodies of the cluster (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the cluster (%(default)s)")
    parser.add_argument("--start", type=Path, metavar="FILE", help="go on from the last state of that result instead")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="steps to take (%(default)s)")
    parser.add_argument("--dt", type=float, default=0.001, metavar="T", help="time of one step (%(default)s)")
    parser.add_argument("--softening", type=float, default=0.05, metavar="L", help="smallest distance (%(default)s)")
    parser.add_argument("--every", type=int, default=100, metavar="N", help="keep every Nth state (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the states there, one JSON object a line")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Status 0, or 2 when arguments or files make no sense."""
    chosen = arguments().parse_args(argv)
    try:
        _check(chosen)
        start = _last_state(chosen.start) if chosen.start else cluster(chosen.bodies, chosen.seed)
        kept = [start, *run(start, chosen)]
        if chosen.output:
            lines = [json.dumps(asdict(state)) + "\n" for state in kept]
            chosen.output.write_text("".join(lines), encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"nbody: {error}\n")
        return USAGE_ERROR
    before, after = (energy(state, chosen.softening) for state in (kept[0], kept[-1]))
    drift = abs(after - before) / (abs(before) or 1.0)
    sys.stdout.write(f"{len(start.masses)} bodies to time {kept[-1].time:.6g}, energy changed by {drift:.2g}\n")
    return 0


def run(state: State, chosen: argparse.Namespace) -> Iterator[State]:
    """Every kept state after the first; the last one is always kept."""
    for number in range(1, chosen.steps + 1):
        state = step(state, chosen.dt, chosen.softening)
        if number % chosen.every == 0 or number == chosen.steps:
            yield state


def _check(chosen: argparse.Namespace) -> None:
    for name in ("bodies", "steps", "every", "dt"):
        if getattr(chosen, name) <= 0:
            raise ValueError(f"--{name} must be above 0")
    if chosen.softening < 0:
        raise ValueError("--softening must not be below 0")


def _last_state(path: Path) -> State:
    try:
        content = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        vectors = [[(float(x), float(y), float(z)) for x, y, z in content[key]] for key in ("positions", "velocities")]
        return State(float(content["time"]), [float(mass) for mass in content["masses"]], *vectors)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no result of nbody") from error
