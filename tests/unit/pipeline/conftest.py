"""A small pipeline file, settings made of it, and real git repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
FIRST_COMMIT_TIME = 1_700_000_000  # 2023-11-14 22:13:20 UTC


@dataclass
class Repository:
    """A git repository whose commits are one minute apart."""

    folder: Path
    clock: int = FIRST_COMMIT_TIME

    def git(self, *words: str, environment: dict[str, str] | None = None) -> str:
        options = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "protocol.file.allow=always"]
        return subprocess.run(
            ["git", *options, "-C", str(self.folder), *words],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", **(environment or {})},
        ).stdout.strip()

    def write(self, path: str, content: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def commit(self, message: str = "change") -> str:
        """Commit everything; returns the hash."""
        date = f"{self.clock} +0000"
        self.git("add", "--all")
        self.git(
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            message,
            environment={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        )
        self.clock += 60
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str) -> None:
        self.git("tag", name)


@pytest.fixture
def new_repository(tmp_path: Path) -> Callable[..., Repository]:
    """Makes an empty repository of the given name."""

    def make(name: str = "repository") -> Repository:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        repository = Repository(folder)
        repository.git("init", "--quiet", "--initial-branch=main")
        return repository

    return make


@pytest.fixture
def repository(new_repository: Callable[..., Repository]) -> Repository:
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
