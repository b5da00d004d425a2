"""A whole build, a deployment, a docker daemon: made once, shared by all tests of a process. A plug-in of pytest.

A plug-in, not a conftest.py: the folders that share it are no parts of one another, and a fixture that two conftest.py
import is made twice.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from by_hand import ByHand, by_hand
from clones import REPOSITORY, Clone
from daemon import private_dockerd
from grids import Grid, configured_grid
from xwhep_packaging.engines import PodmanEngine


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends the tests as Ctrl-C does, so that fixtures clean up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone in which `scripts/doit build` ran to its end; what this checkout's store has already is taken over."""
    folder = tmp_path_factory.mktemp("whole") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    clone = Clone(folder=folder)
    clone.keep_main_job_only()
    for kept in ("packages", "base", "base_image", "source", "debs", "lint"):
        source = REPOSITORY / "_build" / kept
        if source.is_dir():  # else the clone makes them: slower, not wrong
            shutil.copytree(source, clone.store / kept)
    if (REPOSITORY / ".venv").is_dir():
        (folder / ".venv").symlink_to(REPOSITORY / ".venv")  # made anew where its pins are others
    try:
        clone.doit("build")
        yield clone
    finally:
        remove_images(clone.store)


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A clone with a deployment, its private packages and images made; what this checkout's store has is taken over."""
    folder = tmp_path_factory.mktemp("grid") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    clone = Clone(folder=folder)
    for kept in ("base", "base_image", "debs", "lint", "source"):
        source = REPOSITORY / "_build" / kept
        if source.is_dir():
            shutil.copytree(source, clone.store / kept)
    if (REPOSITORY / ".venv").is_dir():
        (folder / ".venv").symlink_to(REPOSITORY / ".venv")  # made anew where its pins are others
    try:
        yield configured_grid(clone, folder.parent / "answers")
    finally:
        remove_images(clone.store)


@pytest.fixture(scope="session")
def podman_settings(configured: Grid) -> Path | None:
    """The file of settings that podman needs on this machine, as builds find them out by trying."""
    memory = configured.clone.store / "engine"
    memory.mkdir(exist_ok=True)
    return PodmanEngine(memory=memory).configuration(memory / "log")


@pytest.fixture
def hand(podman_settings: Path | None) -> Iterator[ByHand]:
    """podman, as a person types it."""
    with by_hand(podman_settings) as hand:
        yield hand


@pytest.fixture(scope="session")
def release(configured: Grid) -> Path:
    """A release of that clone, by a key that was made for it."""
    configured.clone.keep_main_job_only()
    out = configured.clone.doit("release", "skip=verify,endurance,autopkgtest,lintian,purge")
    assert "a key was made for this store alone" in out
    return Path(out.strip().rpartition(" is made: ")[2].splitlines()[0])


def remove_images(store: Path) -> None:
    """Those that a clone made and that are not this checkout's as well."""
    made = images_of(store) - images_of(REPOSITORY / "_build")
    if made:
        subprocess.run(["buildah", "rmi", "--force", *sorted(made)], check=False, capture_output=True)


def images_of(store: Path) -> set[str]:
    """Ids of all images that its manifests name."""
    facts = [json.loads(path.read_text())["facts"] for path in store.glob("*/*/manifest.json")]
    return {fact["digest"] for fact in facts if str(fact.get("digest", "")).startswith("sha256:")}


@pytest.fixture(scope="module")  # one that dies in a module harms no other
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("dockerd")
    with private_dockerd(folder) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)
