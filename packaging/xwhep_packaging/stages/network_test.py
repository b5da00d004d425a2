"""Stage network_test: the images, linked on one network, do real work, or the build has no verdict.

images ──> engine (docker or podman, by the docker SDK) ──> pytest tests/network
                                                                 │  server, worker, client; a job goes through
                                                                 └──> junit.xml  timings.json  logs/ of each container

What takes longer carries a marker, and is the stage endurance: the same tests' folder, another choice of them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output, sha256_file, sha256_tree
from xwhep_packaging.command import Command
from xwhep_packaging.engines import Engine
from xwhep_packaging.errors import NetworkTestError, SettingsError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe

JUNIT = "junit.xml"
TIMINGS = "timings.json"
CLEAN_UP_S = 20.0  # told to stop, the tests remove their containers: 1 s, and far more on a busy machine


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the tests: `choice` is pytest's expression of markers, empty for all."""

    stage: str
    choice: str


def verdict_part(settings: Settings) -> Part:
    marker = settings.network_test.endurance
    return Part(stage="network_test", choice=f"not {marker}" if marker else "")


def endurance_part(settings: Settings) -> Part:
    return Part(stage="endurance", choice=settings.network_test.endurance)


def recipe(settings: Settings, part: Part, engine: str, upstream: dict[str, str]) -> Recipe:
    """What decides a part's verdict: the images, the tests and the engine."""
    tests = settings.root_folder / settings.network_test.folder
    if not tests.is_dir():
        raise SettingsError(
            f"the network test's folder {settings.network_test.folder!r} does not exist",
            next_step="correct [network_test] folder in the pipeline file",
        )
    own = {"tests": sha256_tree(tests), "choice": part.choice, "code": sha256_file(Path(__file__))}
    inputs = {**own, "engine": engine, **upstream}
    return Recipe(stage=part.stage, name=settings.product.name, inputs=inputs)


def pytest_command(settings: Settings, part: Part, output: Path) -> list[str]:
    """The tests are told everything by environment; no plug-in of the caller's own Python is loaded.

    They can import what lies beside them in their folder.
    """
    folder = settings.root_folder / settings.network_test.folder
    options = [
        "-p",
        "no:cacheprovider",
        "-q",
        "-x",
        "--tb=short",
        f"--rootdir={folder}",
        f"--confcutdir={folder}",
        f"--junitxml={output / JUNIT}",
        f"--override-ini=pythonpath={folder}",
        *(["-m", part.choice] if part.choice else []),
    ]
    return [sys.executable, "-m", "pytest", "-c", "/dev/null", "--import-mode=importlib", *options, str(folder)]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is tested: a part of the tests, on images, by an engine."""

    part: Part
    engine: Engine
    images: list[Output]


def make_network_test(settings: Settings, trial: Trial, draft: Draft) -> None:
    """Run the tests; publish their report only when all pass.

    Raises:
        EngineError: no container can be started.
        NetworkTestError: the containers run, but a test fails, or none ran.
    """
    stage, engine = trial.part.stage, trial.engine
    wanted = {image.manifest.name: image.manifest.facts["digest"] for image in trial.images}
    with engine.serving(draft.log.with_name(f"{stage}-engine.log")) as address:
        result = command.run(
            Command(
                argv=pytest_command(settings, trial.part, draft.folder),
                cwd=settings.root_folder,
                env={
                    "DOCKER_HOST": address,
                    "XWHEP_TEST_IMAGES": json.dumps(wanted),
                    "XWHEP_TEST_OUTPUT": str(draft.folder),
                    "XWHEP_TEST_ENGINE": engine.name,
                },
                log=draft.log,
                timeout_s=settings.network_test.timeout_s,
                grace_s=CLEAN_UP_S,
            ),
            check=False,
        )
    counts = _counts(draft.folder / JUNIT)
    if result.returncode != 0 or counts["tests"] == 0 or counts["skipped"]:
        raise NetworkTestError(
            f"the {stage.replace('_', ' ')} on {engine.name} fails",
            cause=command.last_lines(result.stdout, 16),
            next_step=f"read the log; doit {stage} repeats it alone",
            log=draft.log,
        )
    draft.facts.update({"engine": engine.name, "verdict": "passed", **counts, "timings": _timings(draft.folder)})


def _counts(junit: Path) -> dict[str, int]:
    if not junit.is_file():
        return {"tests": 0, "skipped": 0}
    suites = ElementTree.parse(junit).getroot().iter("testsuite")  # noqa: S314 - pytest wrote it a moment ago
    rows = [(int(suite.get("tests", 0)), int(suite.get("skipped", 0))) for suite in suites]
    return {"tests": sum(row[0] for row in rows), "skipped": sum(row[1] for row in rows)}


def _timings(folder: Path) -> dict[str, float]:
    path = folder / TIMINGS
    return {str(name): float(value) for name, value in json.loads(path.read_bytes()).items()} if path.is_file() else {}
