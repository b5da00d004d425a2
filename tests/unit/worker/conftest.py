"""A grid, a worker of it, and folders that jobs can reach."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker_command import Command
from worker_grid import LIMITS, MACHINE, Grid
from xwhep.worker import identity as identities
from xwhep.worker.identity import Identity
from xwhep.worker.launch import Wall
from xwhep.worker.session import Session
from xwhep.worker.walls import probe


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that user nobody, who runs jobs when tests run as root, can pass through (tmp_path it cannot)."""
    path = Path(tempfile.mkdtemp(prefix="xwhep-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    made = Grid(tmp_path_factory.mktemp("grid"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def identity(grid: Grid, folder: Path) -> Identity:
    return identities.join(grid.join_line, "tester", MACHINE, folder)


@pytest.fixture
def session(identity: Identity, folder: Path) -> Session:
    return identity.session(folder)


@pytest.fixture(params=["bubblewrap", "process"])
def isolation(request: pytest.FixtureRequest, folder: Path) -> str:
    """Each wall in turn; one that this machine cannot build is skipped, saying why."""
    if problem := probe(Wall(request.param), LIMITS, folder):
        pytest.skip(f"{request.param} does not work here: {problem}")
    return request.param


@pytest.fixture
def command(folder: Path) -> Iterator[Command]:
    made = Command(folder)
    yield made
    for process in made.running:
        process.kill()
        process.wait(10)


@pytest.fixture
def worker(command: Command, grid) -> subprocess.Popen[bytes]:
    """A running worker that joined by its environment."""
    process = command.start(XWHEP_JOIN=str(grid.join_line))
    grid.until(lambda: grid.requests)
    return process
