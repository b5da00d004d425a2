"""How exposed the shipped units leave their services, by systemd's own measure: 0 is best, 10 worst."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

DEBIAN = Path(__file__).parents[2] / "debian"
NIGHTLY = Path(__file__).parents[2] / "packaging" / "nightly"


def exposure(unit: Path) -> float:
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()[-1]
    assert f"Overall exposure level for {unit.name}" in said
    return float(said.rpartition(": ")[2].split()[0])


@pytest.mark.parametrize(("role", "most"), [("server", 1.5), ("worker", 3.0)])
def test_a_service_is_as_little_exposed_as_its_work_allows(role: str, most: float) -> None:
    assert exposure(DEBIAN / f"xwhep-{role}.service") <= most


def test_an_open_unit_is_seen(tmp_path: Path) -> None:
    unit = tmp_path / "open.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(unit) > 8


@pytest.mark.parametrize("role", ["server", "worker"])
def test_systemd_knows_every_word_of_a_unit(role: str, tmp_path: Path) -> None:
    """With the programs that this machine has not put aside; what is left to complain about is an unknown setting."""
    unit = tmp_path / f"xwhep-{role}.service"
    text = (DEBIAN / unit.name).read_text("utf-8")
    assert f"ExecStart=/usr/bin/xwhep-{role} run" in text
    unit.write_text(text.replace(f"/usr/bin/xwhep-{role} run", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    unknown = [line for line in done.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line]
    assert [line for line in unknown if "RestartSteps" not in line and "RestartMaxDelaySec" not in line] == []


@pytest.mark.parametrize("kind", ["service", "timer"])
def test_systemd_takes_the_nightly_units(kind: str, tmp_path: Path) -> None:
    """As an instance for a clone at /srv/grid, with a program that is there."""
    for file in NIGHTLY.iterdir():
        text = file.read_text("utf-8").replace("%f/scripts/doit nightly", "/bin/true").replace("=%f", "=/srv")
        (tmp_path / file.name.replace("@", "@srv-grid")).write_text(text)
    unit = tmp_path / f"xwhep-nightly@srv-grid.{kind}"
    argv = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "xwhep" in line]) == (0, [])
