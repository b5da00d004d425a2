"""Working containers of killed bakes: told from those of bakes that run, by what buildah keeps of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xwhep_packaging import command, leftovers
from xwhep_packaging.command import Command, Result


@pytest.fixture
def dead() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(leftovers, "storage_root", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(wanted: Command, *, check: bool = True) -> Result:
        calls.append([str(word) for word in wanted.argv])
        assert not check, "another run may have removed it"
        return Result(returncode=1, stdout="")

    monkeypatch.setattr(command, "run", run)
    return calls


def container(storage: Path, name: str, parent: str) -> None:
    folder = storage / "overlay-containers" / name / "userdata"
    folder.mkdir(parents=True)
    (folder / "buildah.json").write_text(json.dumps({"CommonBuildOpts": {"CgroupParent": parent}}))


def test_only_those_of_processes_that_are_gone_are_removed(
    storage: Path, called: list[list[str]], dead: int, tmp_path: Path
) -> None:
    container(storage, "killed", f"xwhep-bake-{dead}")
    container(storage, "running", leftovers.owner_option().partition("=")[2])
    container(storage, "somebody's", "")
    container(storage, "somebody's, named alike", f"xwhep-bake-{dead}-more")
    (storage / "overlay-containers" / "of podman" / "userdata").mkdir(parents=True)
    assert leftovers.working_containers() == {"killed": dead, "running": os.getpid()}
    assert leftovers.remove_leftovers(tmp_path / "log") == ["killed"]
    assert called == [["buildah", "rm", "killed"]]


def test_nothing_is_called_where_nothing_is_left(storage: Path, called: list[list[str]], tmp_path: Path) -> None:
    assert leftovers.remove_leftovers(tmp_path / "log") == []
    assert called == []
