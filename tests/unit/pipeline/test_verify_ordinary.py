"""The ordinary user of a rebuild: who it is, what it sees, and that the machine does not know it."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from xwhep_packaging import command
from xwhep_packaging.temporary import temporary_folder
from xwhep_packaging.verify import ordinary
from xwhep_packaging.verify.ordinary import NAME, Ordinary
from xwhep_packaging.verify.rebuild import HOME, Rebuild, command_of


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may enter; pytest's are private."""
    with temporary_folder("test-ordinary") as folder:
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def user(place: Path) -> Ordinary:
    """With one folder of root's to see."""
    (place / "roots").mkdir()
    (place / "roots" / "file").write_text("seen")
    return ordinary.ordinary(place, {place / "seen": place / "roots"})


def test_its_numbers_are_nobodys(user: Ordinary) -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(user.uid)
    known = Path("/etc/subuid")
    ranges = [line.split(":") for line in (known.read_text().split() if known.is_file() else [])]
    assert all(user.first >= int(start) + int(count) for _, start, count in ranges)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_is_known_and_sees_what_it_is_shown_and_nobody_else_does(user: Ordinary, place: Path) -> None:
    home = place / HOME
    home.mkdir()
    user.furnish(home)
    script = f"id -un; cat {place}/seen/file; echo; grep {NAME} /etc/subuid; touch {home}/mine; echo $HOME"
    words = [*user.around(), *user.inside(), "sh", "-c", script]
    environment = {"PATH": command.SYSTEM_PATH, "HOME": str(home)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [NAME, "seen", f"{NAME}:{user.first}:65536", str(home)]
    assert (home / "mine").stat().st_uid == user.uid
    assert list((place / "seen").iterdir()) == []
    assert NAME not in Path("/etc/passwd").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_its_tools_leave_is_swept(user: Ordinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    for name in ("podman-run", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text("")
    os.chown(tmp_path / "podman-run", user.uid, user.uid)
    user.sweep()
    assert not (tmp_path / "podman-run").exists()
    assert (tmp_path / "other" / "lock").exists()


def test_mounts_come_first_and_the_user_last(user: Ordinary, tmp_path: Path) -> None:
    rebuild = Rebuild(names=("date", "host", "unprivileged"), log=tmp_path / "log")
    words = command_of(rebuild, tmp_path, ["python", "-m", "doit"], user)
    assert words[:2] == ["unshare", "--mount"]
    assert words.index("faketime") < words.index("setpriv")
    assert words[-4:] == ["--", "python", "-m", "doit"]


def test_a_python_that_root_alone_may_run_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "python"
    own.write_text("")
    own.chmod(0o755)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(own))
    monkeypatch.setattr(ordinary, "SYSTEM_PYTHON", Path("/usr/bin/python3.9"))
    assert ordinary.readable_python() is None
    monkeypatch.setattr(ordinary, "SYSTEM_PYTHON", Path("/usr/bin/python3.13"))
    assert ordinary.readable_python() == Path("/usr/bin/python3.13")


def test_who_is_no_root_has_nothing_to_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ordinary.hinders() == "the first build was an ordinary user's already"
