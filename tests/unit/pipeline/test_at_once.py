"""As many steps as there are processors, fewer where memory is short, never none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xwhep_packaging.at_once import STEP_BYTES, at_once

PROCESSORS = 8
KIB = 1024


@pytest.fixture(autouse=True)
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(PROCESSORS)))


def memory(folder: Path, steps: float) -> Path:
    file = folder / "meminfo"
    file.write_text(f"MemTotal: 99 kB\nMemAvailable:  {int(steps * STEP_BYTES) // KIB + 1} kB\nSwapFree: 0 kB\n")
    return file


@pytest.mark.parametrize(("steps", "expected"), [(100, PROCESSORS), (3.5, 3), (1, 1), (0.1, 1)])
def test_memory_decides_where_it_is_short(tmp_path: Path, steps: float, expected: int) -> None:
    assert at_once(memory(tmp_path, steps), ()) == expected


@pytest.mark.parametrize(
    ("limit", "expected"), [(str(2 * STEP_BYTES), 2), ("max\n", PROCESSORS), (str(2**63 - 4096), PROCESSORS)]
)
def test_a_container_has_a_limit_of_its_own(tmp_path: Path, limit: str, expected: int) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert at_once(memory(tmp_path, 100), (tmp_path / "memory.max", tmp_path / "none")) == expected


def test_a_machine_that_does_not_tell(tmp_path: Path) -> None:
    assert at_once(tmp_path / "none", (tmp_path / "none",)) == PROCESSORS
