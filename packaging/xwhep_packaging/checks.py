"""Every check that CI runs; check_runner.py runs them one after another, and a failing one stops none of the others.

lint, type, imports, docs, unit ──> build, endurance, verify ──> debs, integration ──> "N passed, N failed"
      each by tox, from one installation      this very pipeline          by tox
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from xwhep_packaging.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
TOX = REPOSITORY / ".tox" / "dev" / "bin" / "tox"
JUNIT_FOLDER = REPOSITORY / "_build" / "test"  # as tox.ini says


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check. `junit` is the file in which its tests are counted; None: it counts as one test by itself.

    `environment` is asked when the check starts: what an earlier one made can be named in it.
    """

    name: str
    doc: str
    argv: tuple[str, ...]
    repeat: str
    junit: Path | None = None
    environment: Callable[[], Mapping[str, str]] = dict


def all_checks(store: Store, pipeline_file: str = "", *, endurance: bool = True) -> list[Check]:
    """The checks in the order of their cost; `endurance`: whether the pipeline file names tests that run apart."""
    apart = _by_doit("endurance", "the longer network tests: servers killed, networks cut", pipeline_file)
    return [
        _by_tox("lint", "style and common mistakes"),
        _by_tox("type", "types, strictly"),
        _by_tox("imports", "who may import whom"),
        _by_tox("docs", "what the documentation names exists", counts_tests=True),
        _by_tox("unit", "unit tests of platform and pipeline", counts_tests=True),
        _by_doit("build", "the main job: from this commit to a verdict", pipeline_file),
        *([apart] if endurance else []),
        replace(_by_doit("verify:ci", "two rebuilds give the same bits", pipeline_file), name="verify"),
        replace(
            _by_tox("debs", "what each .deb holds, to the file", counts_tests=True), environment=lambda: _debs(store)
        ),
        _by_tox("integration", "whole builds, killed and damaged", counts_tests=True),
    ]


def _by_doit(task: str, doc: str, pipeline_file: str) -> Check:
    argv = (sys.executable, "-E", "-s", "-m", "doit", task)
    return Check(
        name=task,
        doc=doc,
        argv=(*argv, f"pipeline={pipeline_file}") if pipeline_file else argv,
        repeat=f"scripts/doit {task}",
    )


def _debs(store: Store) -> dict[str, str]:
    """Where the last build's packages lie."""
    debs = (store.read_latest() or {}).get("debs", [])
    return {"XWHEP_DEBS": str(Path(debs[0]["path"]).parent)} if debs else {}


def _by_tox(name: str, doc: str, *, counts_tests: bool = False) -> Check:
    return Check(
        name=name,
        doc=doc,
        argv=(str(TOX), "run", "--quiet", "-e", name),
        repeat=f"scripts/doit test:{name}",
        junit=JUNIT_FOLDER / f"{name}.xml" if counts_tests else None,
    )
