"""What a release says has changed: the commits since the one that people have now."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.channels import Channels
from xwhep_packaging.release.making import changelog

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *IDENTITY, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def shas(tmp_path: Path) -> list[str]:
    """Three commits: first, second, third."""
    git(tmp_path, "init", "--quiet", "repository")
    found = []
    for word in ("first", "second", "third"):
        git(tmp_path / "repository", "commit", "--quiet", "--allow-empty", "--message", word)
        found.append(git(tmp_path / "repository", "rev-parse", "HEAD"))
    return found


@pytest.fixture
def pipeline(tmp_path: Path, shas: list[str]) -> Pipeline:
    commit = SimpleNamespace(repository=tmp_path / "repository", sha=shas[-1])
    made: Any = SimpleNamespace(settings=SimpleNamespace(sources={"grid": None}), commit=lambda name: commit)
    return cast(Pipeline, made)


def shown(folder: Path, **commits: str) -> Channels:
    """Each channel shows a release of its commit."""
    channels = Channels(folder)
    for channel, commit in commits.items():
        (folder / f"of-{channel}").mkdir(parents=True)
        (folder / f"of-{channel}" / "release.json").write_text(json.dumps({"commit": commit}))
        channels.promote(channel, f"of-{channel}", lambda folder: None)
    return channels


def test_the_first_release_has_all_commits_newest_first(pipeline: Pipeline, tmp_path: Path, shas: list[str]) -> None:
    lines = [f"- {word} ({sha[:7]})" for word, sha in zip(("third", "second", "first"), reversed(shas), strict=True)]
    text = changelog(pipeline, Channels(tmp_path), "1.0")
    assert text == "# 1.0\n\nAll commits:\n\n" + "".join(f"{line}\n" for line in lines)


def test_it_begins_where_the_stablest_channel_stands(pipeline: Pipeline, tmp_path: Path, shas: list[str]) -> None:
    channels = shown(tmp_path / "releases", nightly=shas[1], stable=shas[0])
    text = changelog(pipeline, channels, "1.0")
    assert text.startswith("# 1.0\n\nSince of-stable:\n\n- third")
    assert "second" in text
    assert "first" not in text


def test_a_release_that_is_shown_already_is_not_its_own_beginning(
    pipeline: Pipeline, tmp_path: Path, shas: list[str]
) -> None:
    channels = shown(tmp_path / "releases", nightly=shas[1], stable=shas[2])
    assert "Since of-nightly:\n\n- third" in changelog(pipeline, channels, "of-stable")


def test_a_commit_that_this_clone_lacks_is_told(pipeline: Pipeline, tmp_path: Path) -> None:
    channels = shown(tmp_path / "releases", stable="d" * 40)
    assert changelog(pipeline, channels, "1.0").splitlines()[-1] == "The commits since of-stable are not known here."
