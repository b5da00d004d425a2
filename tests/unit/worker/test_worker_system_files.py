import os
import threading
from pathlib import Path

import pytest

from xwhep.worker.system_files import NAMES, SystemFiles


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """Of a machine."""
    folder = tmp_path / "machine"
    (folder / "alternatives").mkdir(parents=True)
    (folder / "alternatives/awk").symlink_to("/usr/bin/mawk")
    for name in ("passwd", "group", "shadow", "ld.so.cache"):
        (folder / name).write_text(f"{name}\n")
    (folder / "shadow").chmod(0o600)
    (folder / "passwd").chmod(0o600)
    return folder


@pytest.fixture
def files(etc: Path, tmp_path: Path) -> SystemFiles:
    return SystemFiles(tmp_path / "etc", etc)


def test_only_what_is_named_is_copied_and_everyone_can_read_it(files: SystemFiles) -> None:
    copy = files.current()
    assert {path.name for path in copy.iterdir()} == {"alternatives", "passwd", "group", "ld.so.cache"}
    assert (copy / "alternatives/awk").readlink() == Path("/usr/bin/mawk")
    assert (copy / "passwd").read_text() == "passwd\n"
    assert (copy / "passwd").stat().st_mode & 0o777 == 0o644
    assert copy.stat().st_mode & 0o777 == 0o755


def test_it_is_copied_once_and_again_after_a_change(files: SystemFiles, etc: Path) -> None:
    first = files.current()
    assert files.current() == first
    (etc / "passwd").write_text("other\n")
    os.utime(etc / "passwd", (1, 1))
    second = files.current()
    assert (second / "passwd").read_text() == "other\n"
    assert (first / "passwd").read_text() == "passwd\n"  # a job that runs keeps what it has
    (etc / "group").unlink()
    assert not (files.current() / "group").exists()


def test_what_an_earlier_life_left_is_removed(files: SystemFiles, etc: Path, tmp_path: Path) -> None:
    left = files.current()
    (left / "left").touch()
    again = SystemFiles(tmp_path / "etc", etc).current()
    assert not (again / "left").exists()


def test_a_copy_that_failed_is_made_again(files: SystemFiles, monkeypatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("shutil.copyfile", _full)
        with pytest.raises(OSError, match="full"):
            files.current()
    assert (files.current() / "passwd").read_text() == "passwd\n"


def _full(*_: object) -> None:
    raise OSError("the disk is full")


def test_slots_share_one_copy(files: SystemFiles) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(files.current())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_no_name_is_that_of_a_secret() -> None:
    assert not set(NAMES) & {"shadow", "gshadow", "ssh", "ssl", "sudoers", "machine-id"}
