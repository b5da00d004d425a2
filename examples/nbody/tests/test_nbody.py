"""Orbits close, energy stays, the method is of second order, and equal arguments give equal bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nbody.command import main
from nbody.gravity import State, cluster, energy, step


def two_bodies() -> State:
    """Two of mass 1/2 on a circle of radius 1/2: speed 1/2 each, period 2 pi."""
    return State(0.0, [0.5, 0.5], [(0.5, 0, 0), (-0.5, 0, 0)], [(0, 0.5, 0), (0, -0.5, 0)])


def moved(state: State, steps: int, dt: float, softening: float = 0.0) -> State:
    for _ in range(steps):
        state = step(state, dt, softening)
    return state


def test_circle_closes_after_one_period() -> None:
    after = moved(two_bodies(), 1000, 2 * math.pi / 1000)
    assert math.dist(after.positions[0], (0.5, 0, 0)) < 1e-4


def test_half_the_step_leaves_a_quarter_of_the_error() -> None:
    errors = [
        math.dist(moved(two_bodies(), count, 2 * math.pi / count).positions[0], (0.5, 0, 0)) for count in (200, 400)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_momentum_and_energy_stay() -> None:
    start = cluster(8, seed=5)
    after = moved(start, 300, 0.002, 0.1)
    for axis in range(3):
        assert sum(velocity[axis] for velocity in after.velocities) == pytest.approx(0, abs=1e-12)
    assert energy(after, 0.1) == pytest.approx(energy(start, 0.1), rel=1e-3)


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        assert main(["--bodies", "4", "--steps", "20", "--every", "5", "--output", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(files[0].read_text().splitlines()) == 5


def test_a_run_in_two_parts_ends_where_one_run_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, first, second = (str(tmp_path / name) for name in ("whole", "first", "second"))
    options = ["--bodies", "3", "--dt", "0.01"]
    main([*options, "--steps", "40", "--output", whole])
    main([*options, "--steps", "20", "--output", first])
    main([*options, "--steps", "20", "--start", first, "--output", second])
    ends = [json.loads(Path(path).read_text().splitlines()[-1]) for path in (whole, second)]
    assert ends[0] == ends[1]
    assert capsys.readouterr().out.count("3 bodies to time 0.4,") == 2


@pytest.mark.parametrize("option", ["--bodies", "--steps", "--every", "--dt"])
def test_nothing_and_less_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option, "0"]) == 2
    assert capsys.readouterr().err == f"nbody: {option} must be above 0\n"


def test_a_file_of_something_else_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other"
    file.write_text("\n")
    assert main(["--start", str(file)]) == 2
    assert "is no result of nbody" in capsys.readouterr().err
