"""The estimate is right within its error bar, the error bar is honest, and equal arguments give equal bytes."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest

from pi_montecarlo.command import main
from pi_montecarlo.estimate import Estimate, combine, estimate


def test_estimate_lies_within_four_error_bars() -> None:
    result = estimate(200_000, seed=7, grid=100)
    assert abs(result.value - math.pi) < 4 * result.error
    assert result.points == 200_000


def test_error_bar_is_the_spread_of_many_seeds() -> None:
    results = [estimate(4_000, seed=seed, grid=20) for seed in range(60)]
    spread = statistics.stdev(result.value for result in results)
    assert 0.7 < spread / statistics.mean(result.error for result in results) < 1.4


def test_grid_shrinks_the_error() -> None:
    assert estimate(50_000, seed=1, grid=100).error < 0.3 * estimate(50_000, seed=1, grid=1).error


def test_combining_weighs_by_points() -> None:
    result = combine([Estimate(3.0, 0.3, 100), Estimate(3.2, 0.1, 300)])
    assert result.value == pytest.approx(3.15)
    assert result.error == pytest.approx(math.hypot(0.3 * 100, 0.1 * 300) / 400)
    assert result.points == 400


@pytest.mark.parametrize(("points", "grid"), [(10, 0), (10, 3), (0, 1), (-5, 1)])
def test_too_few_points_a_cell_are_refused(points: int, grid: int) -> None:
    with pytest.raises(ValueError, match="at least 2 points"):
        estimate(points, seed=1, grid=grid)


def test_command_writes_the_same_bytes_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        assert main(["--points", "5000", "--grid", "10", "--seed", "3", "--output", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads(files[0].read_text())["points"] == 5000
    assert capsys.readouterr().out.count("from 5000 points") == 2


def test_command_combines_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [str(tmp_path / f"{seed}.json") for seed in (1, 2)]
    for seed, part in enumerate(parts):
        main(["--points", "3000", "--grid", "10", "--seed", str(seed), "--output", part])
    assert main(["--combine", *parts]) == 0
    assert "from 6000 points" in capsys.readouterr().out


def test_a_file_of_something_else_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.json"
    file.write_text("[1, 2]")
    assert main(["--combine", str(file)]) == 2
    assert capsys.readouterr().err == f"pi-montecarlo: {file} is no result of pi-montecarlo\n"
