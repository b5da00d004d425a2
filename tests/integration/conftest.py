"""A whole build, and a private docker daemon: made once, shared by the tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from clones import REPOSITORY, Clone
from daemon import private_dockerd


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `scripts/doit build` ran to its end; its root file systems come from this checkout's store."""
    folder = tmp_path_factory.mktemp("whole") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    clone = Clone(folder=folder)
    for kept in ("base", "base_image"):
        source = REPOSITORY / "_build" / kept
        if source.is_dir():  # else the clone makes them: slower, not wrong
            shutil.copytree(source, clone.store / kept)
    clone.doit("build")
    return clone


@pytest.fixture(scope="session")
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("dockerd")
    with private_dockerd(folder) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)
