"""Temporary folders: gone afterwards, also those of a run that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xwhep_packaging.temporary import temporary_folder


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with temporary_folder("test", tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert not list(tmp_path.iterdir())


def test_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), temporary_folder("test", tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = tmp_path / f"xwhep-test-{dead_pid()}-abcd"
    alive = tmp_path / f"xwhep-test-{os.getpid()}-abcd"
    other = tmp_path / f"xwhep-other-{dead_pid()}-abcd"
    for folder in (dead, alive, other):
        folder.mkdir()
    with temporary_folder("test", tmp_path):
        assert not dead.exists()
    assert alive.exists()
    assert other.exists()
