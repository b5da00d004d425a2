"""Stage network_test: the images, linked on one network, do real work, or the build has no verdict.

images ──> engine (docker or podman, by the docker SDK) ──> pytest tests/network, two processes at once
                                                                 │  server, worker, client; a job goes through
                                                                 └──> junit.xml  timings.json  logs/ of each container

What takes longer carries a marker, and is the stage endurance: the same tests' folder, another choice of them. Tests
that need containers of their own carry another, and run at the same time as the others: both mostly wait. Tests that
need what an engine's containers have not are left out, by the marker `needs`, and the verdict names them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output, digests_below, digests_of
from xwhep_packaging.command import Command, Result
from xwhep_packaging.engines import Engine
from xwhep_packaging.errors import NetworkTestError, SettingsError
from xwhep_packaging.powers import WEAKER
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe

JUNIT = "junit.xml"
TIMINGS = "timings.json"
PLUGIN = Path(__file__).parents[1] / "left_out.py"  # only pytest loads it
LEFT_OUT = "left_out.json"
NO_TESTS = 5  # pytest's exit code when none was chosen
CLEAN_UP_S = 20.0  # told to stop, the tests remove their containers: 1 s, and far more on a busy machine


class Part(msgspec.Struct, frozen=True, kw_only=True):
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
    files = {"tests": _own(settings, digests_below(tests)), "code": digests_of(Path(__file__), PLUGIN)}
    inputs = {"choice": part.choice, "beside": settings.network_test.beside, "engine": engine, **upstream}
    return Recipe(stage=part.stage, name=settings.product.name, inputs=inputs, files=files)


def _own(settings: Settings, digests: dict[str, str]) -> dict[str, str]:
    """Without the folders that are apart."""
    apart = settings.network_test.apart
    return {name: digest for name, digest in digests.items() if Path(name).parts[0] not in apart}


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one process runs of a part: `choice` is pytest's expression, `output` where its report goes."""

    choice: str
    output: Path
    log: Path


def shares(settings: Settings, part: Part, draft: Draft) -> list[Share]:
    """All in one, or two when some tests are to run beside the others: those in a folder of that marker's name."""
    marker = settings.network_test.beside
    if not marker:
        return [Share(choice=part.choice, output=draft.folder, log=draft.log)]
    both = [f"{part.choice} and {choice}" if part.choice else choice for choice in (f"not {marker}", marker)]
    logs = [draft.log, draft.log.with_name(f"{part.stage}-{marker}.log")]
    outputs = [draft.folder, draft.folder / marker]
    return [Share(choice=row[0], output=row[1], log=row[2]) for row in zip(both, outputs, logs, strict=True)]


def pytest_command(settings: Settings, share: Share, lacks: Sequence[str] = ()) -> list[str]:
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
        f"--junitxml={share.output / JUNIT}",
        f"--override-ini=pythonpath={folder}",
        *(f"--ignore={folder / name}" for name in settings.network_test.apart),
        *(["-m", share.choice] if share.choice else []),
        *(["-p", f"xwhep_packaging.{PLUGIN.stem}"] if lacks else []),
    ]
    return [sys.executable, "-m", "pytest", "-c", "/dev/null", "--import-mode=importlib", *options, str(folder)]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
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
    from concurrent.futures import ThreadPoolExecutor

    stage, engine = trial.part.stage, trial.engine
    run = shares(settings, trial.part, draft)
    with engine.serving(draft.log.with_name(f"{stage}-engine.log")) as address, ThreadPoolExecutor(len(run)) as pool:
        results = list(pool.map(lambda share: _run(settings, trial, share, address), run))
    counts = _sum([_counts(share.output / JUNIT) for share in run])
    failed = [(share, result) for share, result in zip(run, results, strict=True) if not _is_good(share, result)]
    if not failed and (counts["tests"] == 0 or counts["skipped"]):
        failed = list(zip(run, results, strict=True))
    if failed:
        share, result = failed[0]
        raise NetworkTestError(
            f"the {stage.replace('_', ' ')} on {engine.name} fails",
            cause=command.last_lines(result.stdout, 16),
            next_step=f"read the log; scripts/doit {stage} repeats it alone",
            log=share.log,
        )
    timings = {name: value for share in run for name, value in _timings(share.output).items()}
    draft.facts.update({"engine": engine.name, "verdict": "passed", **counts, "timings": timings})
    if said := [*engine.weaker, *_left_out([share.output for share in run])]:
        draft.facts[WEAKER] = said


def _left_out(folders: Sequence[Path]) -> list[str]:
    """The tests that were not run, each with what it needs."""
    found: dict[str, list[str]] = {}
    for path in (folder / LEFT_OUT for folder in folders):
        found |= json.loads(path.read_bytes()) if path.is_file() else {}
    return [f"not tested: {test}, which needs {', '.join(needs)} of its own" for test, needs in sorted(found.items())]


def _run(settings: Settings, trial: Trial, share: Share, address: str) -> Result:
    """One process of pytest, to its end."""
    wanted = {image.manifest.name: image.manifest.facts["digest"] for image in trial.images}
    share.output.mkdir(exist_ok=True)
    share.log.unlink(missing_ok=True)  # what an earlier run wrote
    return command.run(
        Command(
            argv=pytest_command(settings, share, trial.engine.lacks),
            cwd=settings.root_folder,
            env={
                "DOCKER_HOST": address,
                "XWHEP_TEST_IMAGES": json.dumps(wanted),
                "XWHEP_TEST_OUTPUT": str(share.output),
                "XWHEP_TEST_ENGINE": trial.engine.name,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                **_of_plugin(trial.engine),
            },
            log=share.log,
            timeout_s=settings.network_test.timeout_s,
            grace_s=CLEAN_UP_S,
        ),
        check=False,
    )


def _of_plugin(engine: Engine) -> dict[str, str]:
    """What the plug-in needs, where it is needed."""
    package = str(PLUGIN.parents[1])
    return {"XWHEP_TEST_LACKS": ",".join(engine.lacks), "PYTHONPATH": package} if engine.lacks else {}


def _is_good(share: Share, result: Result) -> bool:
    """A process that had no test to run is good: whether any ran at all is asked of all together."""
    return result.returncode == NO_TESTS or (result.returncode == 0 and (share.output / JUNIT).is_file())


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(count[name] for count in counts) for name in ("tests", "skipped")}


def _counts(junit: Path) -> dict[str, int]:
    if not junit.is_file():
        return {"tests": 0, "skipped": 0}
    from xml.etree import ElementTree

    suites = ElementTree.parse(junit).getroot().iter("testsuite")  # noqa: S314 - pytest wrote it a moment ago
    rows = [(int(suite.get("tests", 0)), int(suite.get("skipped", 0))) for suite in suites]
    return {"tests": sum(row[0] for row in rows), "skipped": sum(row[1] for row in rows)}


def _timings(folder: Path) -> dict[str, float]:
    path = folder / TIMINGS
    return {str(name): float(value) for name, value in json.loads(path.read_bytes()).items()} if path.is_file() else {}
