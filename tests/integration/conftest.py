"""A whole build, and a private docker daemon: made once, shared by the tests."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from types import FrameType

import pytest

from clones import REPOSITORY, Clone
from daemon import private_dockerd
from grids import Grid, configured_grid


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends the tests as Ctrl-C does, so that fixtures clean up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone in which `scripts/doit build` ran to its end; its root file systems come from this checkout's store."""
    folder = tmp_path_factory.mktemp("whole") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    clone = Clone(folder=folder)
    for kept in ("packages", "base", "base_image"):
        source = REPOSITORY / "_build" / kept
        if source.is_dir():  # else the clone makes them: slower, not wrong
            shutil.copytree(source, clone.store / kept)
    before = stored_images()
    try:
        clone.doit("build")
        yield clone
    finally:
        made = stored_images() - before
        if made:
            subprocess.run(["buildah", "rmi", "--force", *made], check=False, capture_output=True)


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A clone with a deployment, its private packages and images made; what this checkout's store has is taken over."""
    folder = tmp_path_factory.mktemp("grid") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    clone = Clone(folder=folder)
    for kept in ("base", "base_image", "debs", "source"):
        source = REPOSITORY / "_build" / kept
        if source.is_dir():
            shutil.copytree(source, clone.store / kept)
    if (REPOSITORY / ".venv").is_dir():
        (folder / ".venv").symlink_to(REPOSITORY / ".venv")  # made anew where its pins are others
    before = stored_images()
    try:
        yield configured_grid(clone, folder.parent / "answers")
    finally:
        made = stored_images() - before
        if made:
            subprocess.run(["buildah", "rmi", "--force", *made], check=False, capture_output=True)


def stored_images() -> set[str]:
    """Ids of all images in buildah's and podman's storage."""
    argv = ["buildah", "images", "--all", "--quiet", "--no-trunc"]
    return set(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split())


@pytest.fixture(scope="module")  # one that dies in a module harms no other
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("dockerd")
    with private_dockerd(folder) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)
