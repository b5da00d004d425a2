"""Stage network_test: the images, linked on one network, do real work, or the build has no verdict.

images ──> engine (docker or podman, by the docker SDK) ──> pytest tests/network
                                                                 │  server, worker, client; a job goes through
                                                                 └──> junit.xml  timings.json  logs/ of each container
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output, sha256_file, sha256_tree
from xwhep_packaging.command import Command
from xwhep_packaging.engines import Engine
from xwhep_packaging.errors import NetworkTestError, SettingsError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe

STAGE = "network_test"
JUNIT = "junit.xml"
TIMINGS = "timings.json"


def recipe(settings: Settings, engine: str, upstream: dict[str, str]) -> Recipe:
    """What decides the verdict: the images, the tests and the engine."""
    tests = settings.root_folder / settings.network_test.folder
    if not tests.is_dir():
        raise SettingsError(
            f"the network test's folder {settings.network_test.folder!r} does not exist",
            next_step="correct [network_test] folder in the pipeline file",
        )
    inputs = {"tests": sha256_tree(tests), "engine": engine, "code": sha256_file(Path(__file__)), **upstream}
    return Recipe(stage=STAGE, name=settings.product.name, inputs=inputs)


def pytest_command(settings: Settings, output: Path) -> list[str]:
    """The tests are told everything by environment; no plug-in of the caller's own Python is loaded."""
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
    ]
    return [sys.executable, "-m", "pytest", "-c", "/dev/null", "--import-mode=importlib", *options, str(folder)]


def make_network_test(settings: Settings, engine: Engine, images: list[Output], draft: Draft) -> None:
    """Run the tests on `engine`; publish their report only when all pass.

    Raises:
        EngineError: no container can be started.
        NetworkTestError: the containers run, but a test fails, or none ran.
    """
    wanted = {image.manifest.name: image.manifest.facts["digest"] for image in images}
    with engine.serving(draft.log.with_name(f"{STAGE}-engine.log")) as address:
        result = command.run(
            Command(
                argv=pytest_command(settings, draft.folder),
                cwd=settings.root_folder,
                env={
                    "DOCKER_HOST": address,
                    "XWHEP_TEST_IMAGES": json.dumps(wanted),
                    "XWHEP_TEST_OUTPUT": str(draft.folder),
                    "XWHEP_TEST_ENGINE": engine.name,
                },
                log=draft.log,
                timeout_s=settings.network_test.timeout_s,
            ),
            check=False,
        )
    counts = _counts(draft.folder / JUNIT)
    if result.returncode != 0 or counts["tests"] == 0 or counts["skipped"]:
        raise NetworkTestError(
            f"the network test on {engine.name} fails",
            cause=command.last_lines(result.stdout, 16),
            next_step="read the log; doit network_test repeats it alone",
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
