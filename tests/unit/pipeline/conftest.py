"""A small pipeline file, settings made of it, and real git repositories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture
def repository(new_repository: NewRepository) -> Repository:
    """The pipeline file's own repository, with one commit: a source in src/, an image folder, a document."""
    made = new_repository()
    made.write("packaging/pipeline.toml", PIPELINE_FILE)
    made.write("src/main.py", "print('one')\n")
    made.write("images/server/Containerfile", "FROM scratch\n")
    made.write("docs/note.md", "a note\n")
    made.commit("first")
    return made


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
