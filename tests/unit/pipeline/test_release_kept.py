"""A gate's verdict is kept by what was tried: it is asked again when that changes, or when it did not hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.gates import kept
from xwhep_packaging.release.gates.kept import Gate
from xwhep_packaging.store import Store


@dataclass
class Asked:
    """A check that counts, and holds or not."""

    times: int = 0
    holds: bool = True

    def __call__(self) -> Sequence[str]:
        self.times += 1
        if not self.holds:
            raise ReleaseError("something is left", next_step="mend it")
        return ["server", "worker"]


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def gate(asked: Asked) -> Gate:
    return Gate(name="purge", inputs={"debs:grid": "one key"}, check=asked)


def test_what_did_not_change_is_not_tried_again(tmp_path: Path, gate: Gate, asked: Asked) -> None:
    assert not kept.is_known(Store(tmp_path), gate)
    assert kept.passed(Store(tmp_path), gate) == ("server", "worker")
    assert kept.is_known(Store(tmp_path), gate)
    assert kept.passed(Store(tmp_path), gate) == ("server", "worker")
    assert asked.times == 1
    (file,) = tmp_path.glob("gates/*/verdict.json")
    assert json.loads(file.read_text()) == {"gate": "purge", "verdict": "passed", "tried": ["server", "worker"]}


@pytest.mark.parametrize("change", [{"inputs": {"debs:grid": "another key"}}, {"name": "structure"}])
def test_what_changed_is_tried_again(tmp_path: Path, gate: Gate, asked: Asked, change: dict[str, str]) -> None:
    kept.passed(Store(tmp_path), gate)
    kept.passed(Store(tmp_path), replace(gate, **change))  # type: ignore[arg-type]
    assert asked.times == 2


def test_a_verdict_that_was_changed_counts_as_none(tmp_path: Path, gate: Gate, asked: Asked) -> None:
    kept.passed(Store(tmp_path), gate)
    (file,) = tmp_path.glob("gates/*/verdict.json")
    file.write_text(json.dumps({"gate": "purge", "verdict": "passed", "tried": []}))
    assert kept.passed(Store(tmp_path), gate) == ("server", "worker")
    assert asked.times == 2


def test_a_gate_that_does_not_hold_leaves_no_verdict(tmp_path: Path, gate: Gate, asked: Asked) -> None:
    asked.holds = False
    with pytest.raises(ReleaseError, match="something is left"):
        kept.passed(Store(tmp_path), gate)
    assert not kept.is_known(Store(tmp_path), gate)
    asked.holds = True
    assert kept.passed(Store(tmp_path), gate)
    assert asked.times == 2
