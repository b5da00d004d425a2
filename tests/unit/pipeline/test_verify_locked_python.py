"""The Python of the locked packages, run by its own linker where PATH has no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workshop import LOCK
from xwhep_packaging import lockfile
from xwhep_packaging.errors import VerifyError
from xwhep_packaging.verify import locked_python, variations


def test_what_is_unpacked_is_python_and_its_libraries() -> None:
    known = lockfile.read(LOCK)
    assert known is not None
    minor = locked_python.minor_of_locks()
    names = locked_python.wanted(known.debs, minor)
    assert {f"python3.{minor}", f"python3.{minor}-minimal", f"libpython3.{minor}-stdlib"} <= set(names)
    assert set(locked_python.LIBRARIES) <= set(names), "the lock has each of them"
    assert not [name for name in names if name.startswith("python3-")]


@pytest.mark.parametrize(("locked", "on_path", "possible"), [(99, "", True), (0, "", False), (0, "/x", True)])
def test_the_variation_is_possible_where_either_has_another(
    monkeypatch: pytest.MonkeyPatch, locked: int, on_path: str, possible: bool
) -> None:
    monkeypatch.setattr(locked_python, "minor_of_locks", lambda: locked)
    monkeypatch.setattr(variations, "other_python", lambda: on_path)
    assert (variations.possible(["python"])[0] == ["python"]) is possible


def test_the_same_python_in_the_lock_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_python, "minor_of_locks", lambda: sys.version_info.minor)
    monkeypatch.setattr(variations, "other_python", lambda: "")
    able, impossible = variations.possible(["python"])
    assert (able, impossible["python"]) == ([], "no other minor version of Python 3 is on PATH, or locked")


def linker_of(folder: Path, script: str) -> Path:
    """Stands for the unpacked packages: its linker is a script."""
    linker = folder / "usr" / "lib" / "cpu-linux-gnu" / "ld-linux-cpu.so.2"
    program = folder / "usr" / "bin" / "python3.99"
    for file in (linker, program):
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    return linker


def test_the_script_calls_the_linker_by_the_name_that_it_is_called_by(tmp_path: Path) -> None:
    """Links to it, as venvs have, are told apart by that name."""
    folder = tmp_path / "a folder"
    linker = linker_of(folder, 'printf "%s\\n" "$@"')
    program = locked_python.ready(folder, 99, tmp_path / "log")
    link = tmp_path / "python"
    link.symlink_to(program)
    said = subprocess.run([link, "-c", "a b"], check=True, capture_output=True, text=True).stdout.splitlines()
    real = str(program.with_name("python3.99.real"))
    assert said == ["--argv0", str(link), "--library-path", str(linker.parent), real, "-c", "a b"]


def test_what_does_not_run_here_is_told(tmp_path: Path) -> None:
    linker_of(tmp_path / "other", "echo no such machine; exit 1")
    with pytest.raises(VerifyError, match="does not run on this machine"):
        locked_python.ready(tmp_path / "other", 99, tmp_path / "log")
    with pytest.raises(VerifyError, match="hold no Python"):
        locked_python.ready(tmp_path / "empty", 99, tmp_path / "log")
