"""The lock: one text for equal locks, nothing of a host in it, and what changed in words."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from xwhep_packaging import lockfile
from xwhep_packaging.errors import LockError
from xwhep_packaging.lockfile import Deb, DebSet, Lock


def deb(name: str, version: str = "1.0-1", archive: str = "main", size: int = 1_000_000) -> Deb:
    return Deb(
        name=name,
        version=version,
        arch="amd64",
        archive=archive,
        path=f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb",
        size=size,
        sha256=hashlib.sha256(f"{name} {version}".encode()).hexdigest(),
    )


def a_set(*debs: Deb, wish: str = "w", epoch: int = 100) -> DebSet:
    return DebSet(wish=wish, epoch=epoch, debs=tuple(sorted(debs)))


@pytest.fixture
def lock() -> Lock:
    return Lock(
        suite="trixie",
        architecture="amd64",
        epoch=100,
        sets={"chroot": a_set(deb("libc6"), deb("make")), "rootfs": a_set(deb("libc6"), deb("python3"))},
    )


def test_what_is_written_is_read_again(lock: Lock, tmp_path: Path) -> None:
    path = tmp_path / "lock.toml"
    path.write_text(lockfile.render(lock))
    assert lockfile.read(path) == lock
    assert lockfile.render(lockfile.read(path) or lock) == lockfile.render(lock)


def test_one_line_a_package(lock: Lock) -> None:
    lines = [line for line in lockfile.render(lock).splitlines() if "version =" in line]
    assert [line.split()[0] for line in lines] == ['"libc6"', '"make"', '"python3"']
    assert 'sets = ["chroot", "rootfs"]' in lines[0]


def test_no_lock_is_none(tmp_path: Path) -> None:
    assert lockfile.read(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("epoch = 100", "epoch = ", id="no toml"),
        pytest.param("epoch = 100", "epoch = 100\nhost = 1", id="unknown key"),
        pytest.param('path = "pool/', 'path = "http://mirror.invalid/', id="a host"),
        pytest.param('path = "pool/main', 'path = "pool/../../etc', id="a path upwards"),
        pytest.param("size = 1000000", "size = 0", id="no size"),
        pytest.param('sets = ["chroot"]', 'sets = ["other"]', id="unknown set"),
        pytest.param('"make" = {', '"Make it" = {', id="no package name"),
    ],
)
def test_damaged_locks_are_refused(lock: Lock, tmp_path: Path, old: str, new: str) -> None:
    path, text = tmp_path / "lock.toml", lockfile.render(lock)
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(LockError, match="is no lock") as caught:
        lockfile.read(path)
    assert caught.value.cause


def test_digest_is_of_the_packages_and_the_date() -> None:
    one = a_set(deb("a"), deb("b"))
    assert one.digest == a_set(deb("b"), deb("a"), wish="other").digest
    assert one.digest != a_set(deb("a"), deb("b"), epoch=101).digest
    assert one.digest != a_set(deb("a"), deb("b", "2.0")).digest
    changed = msgspec.structs.replace(deb("b"), sha256="0" * 64)
    assert one.digest != a_set(deb("a"), changed).digest


def test_joined_keeps_the_date_where_nothing_differs(lock: Lock) -> None:
    later = {name: msgspec.structs.replace(one, epoch=200) for name, one in lock.sets.items()}
    assert lockfile.joined("trixie", "amd64", later, lock) == lock
    more = {**later, "rootfs": a_set(deb("libc6"), epoch=200)}
    assert lockfile.joined("trixie", "amd64", more, lock).epoch == 200


def test_one_package_in_two_versions_is_refused(lock: Lock) -> None:
    mixed = {"chroot": a_set(deb("libc6")), "rootfs": a_set(deb("libc6", "2.0"))}
    with pytest.raises(LockError, match="libc6 has two versions"):
        lockfile.joined("trixie", "amd64", mixed, None)


def test_difference_in_words() -> None:
    old = [deb("gone"), deb("kept"), deb("newer"), deb("fixed")]
    new = [deb("kept"), deb("newer", "2.0", size=3_000_000), deb("fixed", "1.0-1+deb13u1", "security"), deb("added")]
    assert lockfile.difference(old, new) == [
        "+ added 1.0-1",
        "~ fixed 1.0-1 -> 1.0-1+deb13u1  (security)",
        "- gone 1.0-1",
        "~ newer 1.0-1 -> 2.0",
        "4 packages, +2.0 MB to download",
    ]
    assert lockfile.difference(new, new) == []
    other = msgspec.structs.replace(deb("kept"), sha256="0" * 64)
    assert lockfile.difference([deb("kept")], [other])[0] == "~ kept 1.0-1, other content"


# What a run leaves to the next one


@pytest.fixture
def file(lock: Lock, tmp_path: Path) -> Path:
    path = tmp_path / "lock.toml"
    path.write_text(lockfile.render(lock))
    return path


def test_a_known_lock_is_not_parsed_again(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory"
    first = lockfile.read(file, memory)
    monkeypatch.setattr("tomllib.loads", lambda text: pytest.fail("it was parsed"))
    assert lockfile.read(file, memory) == first == lockfile.read(file, memory)


def test_a_changed_lock_is_parsed_again(file: Path, tmp_path: Path) -> None:
    """Under the same size and time, too: its content is what counts."""
    memory, stat = tmp_path / "memory", file.stat()
    before = lockfile.read(file, memory)
    file.write_text(file.read_text().replace("1.0-1", "1.0-2"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = lockfile.read(file, memory)
    assert after != before
    assert after == lockfile.read(file)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"digest": "", "lock": null}'])
def test_a_damaged_memory_is_as_good_as_none(file: Path, tmp_path: Path, content: bytes) -> None:
    memory = tmp_path / "memory"
    memory.write_bytes(content)
    assert lockfile.read(file, memory) == lockfile.read(file)


def test_a_memory_that_cannot_be_written_harms_nobody(file: Path, tmp_path: Path) -> None:
    assert lockfile.read(file, tmp_path / "none" / "memory") == lockfile.read(file)
