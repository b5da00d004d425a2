"""Files written whole or not at all, private from their first moment."""

import gc
import os
import stat
from pathlib import Path

import pytest

from xwhep.common.durable import sync, write_private


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o077, 0o777], ids=oct)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644], ids=oct)
def test_the_mode_is_as_asked_whatever_the_umask_and_the_old_file(tmp_path, umask, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        write_private(path, b"new", mode)
    finally:
        os.umask(before)
    assert (path.read_bytes(), mode_of(path)) == (b"new", mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "file"
    write_private(path, b"old")
    with path.open("rb") as reader:
        write_private(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_what_fails_leaves_the_old_file_and_no_leftover(tmp_path, monkeypatch, failure):
    path = tmp_path / "file"
    write_private(path, b"old")

    def full(_):
        raise failure

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(type(failure)):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    write_private(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert not (tmp_path / "file").is_symlink()


def test_content_and_folder_are_synced_in_that_order(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda one: (synced.append(stat.S_ISDIR(os.fstat(one).st_mode)), real(one))[1])
    write_private(tmp_path / "file", b"new")
    assert synced == [False, True]


def test_no_descriptor_stays_open(tmp_path):
    gc.collect()  # what other tests left open must not be closed meanwhile
    before = open_descriptors()
    for _ in range(3):
        write_private(tmp_path / "file", b"new")
        sync(tmp_path)
    assert open_descriptors() == before
