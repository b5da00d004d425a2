"""A small pipeline file, settings made of it, and real git repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pretended import Pretended, copied, pretend
from repositories import NewRepository, Repository
from xwhep_packaging import settings as settings_module
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Store

PIPELINE_FILE = """
[product]
name = "grid"

[sources.grid]
builder = "debian"
location = "."
ships = ["src"]

[chroot]
packages = ["build-essential"]

[base]
packages = ["python3", "tini"]
exclude = ["/usr/share/doc/*"]

[images.server]
folder = "images/server"
debs = { grid = ["grid-server"] }
dated_name = "gridserverimg"
"""


@pytest.fixture
def new_repository(tmp_path: Path) -> NewRepository:
    """Makes an empty repository of the given name."""

    def make(name: str = "repository") -> Repository:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        repository = Repository(folder)
        repository.git("init", "--quiet", "--initial-branch=main")
        return repository

    return make


def small_repository(folder: Path) -> Repository:
    """One commit: a source in src/, an image folder, a document."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Repository(folder)
    made.git("init", "--quiet", "--initial-branch=main")
    made.write("packaging/pipeline.toml", PIPELINE_FILE)
    made.write("src/main.py", "print('one')\n")
    made.write("images/server/Containerfile", "FROM scratch\n")
    made.write("docs/note.md", "a note\n")
    made.commit("first")
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The pipeline file's own repository."""
    return small_repository(tmp_path / "repository")


@pytest.fixture(scope="session")
def _pretended(tmp_path_factory: pytest.TempPathFactory) -> Pretended:
    folder = tmp_path_factory.mktemp("pretended")
    return pretend(small_repository(folder / "repository"), Store(folder / "_build"))


@pytest.fixture
def grid(_pretended: Pretended, tmp_path: Path) -> Iterator[Pretended]:
    """A pipeline whose steps are all made, by writing a file each."""
    made = copied(_pretended, tmp_path / "grid")
    with made.with_tools():
        yield made


@pytest.fixture
def pipeline_file(repository: Repository) -> Path:
    return repository.folder / "packaging" / "pipeline.toml"


@pytest.fixture
def settings(pipeline_file: Path) -> Settings:
    return settings_module.load(pipeline_file, {})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "_build")


@pytest.fixture
def load(pipeline_file: Path) -> Callable[..., Settings]:
    """Loads the small file with some text replaced, appended, and an environment."""

    def loaded(*replacements: tuple[str, str], more: str = "", environ: dict[str, Any] | None = None) -> Settings:
        text = PIPELINE_FILE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        pipeline_file.write_text(text + more)
        return settings_module.load(pipeline_file, environ or {})

    return loaded


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB; only root may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "small", folder], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)
