"""Another version of a tool that decides bytes is another key, and nothing is asked twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xwhep_packaging import command, toolset
from xwhep_packaging.command import Command, Result
from xwhep_packaging.errors import MissingTool
from xwhep_packaging.store import Recipe

VERSIONS = dict.fromkeys((*toolset.PACKAGES, toolset.PYTHON, toolset.RUNNER), "1.0")
PAIRS = [(stage, tool) for stage, tools in toolset.DECIDING.items() for tool in (*tools, toolset.RUNNER)]


def recipe(stage: str) -> Recipe:
    return Recipe(stage=stage, name="grid", inputs={"content": "c"})


def key(stage: str, **other: str) -> str:
    return toolset.with_tools(recipe(stage), lambda: {**VERSIONS, **other}).key


@pytest.mark.parametrize(("stage", "tool"), PAIRS, ids=str)
def test_another_version_is_another_key(stage: str, tool: str) -> None:
    assert key(stage, **{tool: "2.0"}) != key(stage)


def test_a_tool_that_does_not_decide_changes_no_key() -> None:
    assert key("images", mmdebstrap="2.0") == key("images")


def test_a_stage_without_bytes_of_its_own_asks_for_no_version() -> None:
    def ask() -> dict[str, str]:
        raise AssertionError("nobody needs it")

    assert toolset.with_tools(recipe("lint"), ask) == recipe("lint")


def test_every_tool_that_decides_has_a_version() -> None:
    named = {tool for tools in toolset.DECIDING.values() for tool in tools}
    assert named <= VERSIONS.keys()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tools of one's own, which no package of this machine brought."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in toolset.PACKAGES:
        (folder / name).write_text(f"#!/bin/sh\necho {name}\n")
    monkeypatch.setattr(command, "find_tool", lambda name: str(folder / name))
    return folder


def test_a_tool_from_elsewhere_is_known_by_its_content(tools: Path, tmp_path: Path) -> None:
    before = toolset.versions(tmp_path / "memory")
    (tools / "buildah").write_text("#!/bin/sh\necho other\n")
    after = toolset.versions(tmp_path / "memory")
    assert {name for name in before if before[name] != after[name]} == {"buildah"}


def test_a_tool_that_is_missing_is_missed_by_who_needs_it_alone(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that makes packages bakes no image."""

    def find(name: str) -> str:
        if name == "buildah":
            raise MissingTool("the tool 'buildah' is not installed")
        return str(tools / name)

    monkeypatch.setattr(command, "find_tool", find)
    found = toolset.versions(tmp_path / "memory")
    assert toolset.with_tools(recipe("source"), lambda: found).inputs["tool git"]
    with pytest.raises(MissingTool):
        toolset.with_tools(recipe("images"), lambda: found)


def test_an_equal_time_hides_no_change(tools: Path, tmp_path: Path) -> None:
    stat = (tools / "tar").stat()
    before = toolset.versions(tmp_path / "memory")["tar"]
    (tools / "tar").write_text("#!/bin/sh\necho rat\n")
    os.utime(tools / "tar", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert toolset.versions(tmp_path / "memory")["tar"] != before


def test_versions_are_dpkg_s_and_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(call: Command, *, check: bool = True) -> Result:
        asked.append(str(call.argv[-1]))
        return Result(returncode=0, stdout="1.2-3")

    monkeypatch.setattr(command, "find_tool", lambda name: "/usr/bin/env")
    monkeypatch.setattr(command, "run", run)
    first = toolset.versions(tmp_path / "memory")
    assert first["dpkg-deb"] == "1.2-3"
    assert "dpkg" in asked
    asked.clear()
    assert toolset.versions(tmp_path / "memory") == first
    assert asked == []


def test_a_damaged_memory_is_made_anew(tools: Path, tmp_path: Path) -> None:
    before = toolset.versions(tmp_path / "memory")
    (tmp_path / "memory").write_text("{")
    assert toolset.versions(tmp_path / "memory") == before
