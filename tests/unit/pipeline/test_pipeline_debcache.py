"""The cache of packages: nothing comes in or goes out that is not what its hash says."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from xwhep_packaging.debcache import DebCache, Progress
from xwhep_packaging.errors import LockError, StoreError
from xwhep_packaging.lockfile import Deb

CONTENTS = {name: f"content of {name}".encode() for name in ("one", "two", "three")}


def deb(name: str) -> Deb:
    content = CONTENTS[name]
    return Deb(
        name=name,
        version="1:1.0",
        arch="all",
        archive="main",
        path=f"pool/main/{name}_1.0_all.deb",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture
def debs() -> list[Deb]:
    return [deb(name) for name in CONTENTS]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    for name, content in CONTENTS.items():
        file = folder / deb(name).path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> DebCache:
    return DebCache(tmp_path / "cache")


@pytest.fixture
def full(cache: DebCache, debs: list[Deb], mirror: Path, tmp_path: Path) -> DebCache:
    assert cache.fill(debs, {"main": f"copy:{mirror}"}, tmp_path / "log") == []
    return cache


def test_filled_once(full: DebCache, debs: list[Deb], tmp_path: Path) -> None:
    assert full.missing(debs) == []
    assert len(full.files()) == len(debs)
    assert full.fill(debs, {"main": "http://127.0.0.1:9"}, tmp_path / "log") == []
    assert list((full.folder / "debs/tmp").iterdir()) == []


def test_what_is_gone_is_returned_and_the_rest_comes(
    cache: DebCache, debs: list[Deb], mirror: Path, tmp_path: Path
) -> None:
    (mirror / deb("two").path).unlink()
    assert cache.fill(debs, {"main": f"copy:{mirror}"}, tmp_path / "log") == [deb("two")]
    assert cache.missing(debs) == [deb("two")]


def test_copies_have_debians_names(full: DebCache, debs: list[Deb], tmp_path: Path) -> None:
    target = tmp_path / "repository"
    target.mkdir()
    full.copy(debs, target)
    assert sorted(path.name for path in target.iterdir()) == sorted(f"{name}_1%3a1.0_all.deb" for name in CONTENTS)


def test_a_changed_file_is_never_used(full: DebCache, debs: list[Deb], tmp_path: Path) -> None:
    """Also one of equal size and time."""
    path = full.path(deb("two").sha256)
    stat = path.stat()
    path.write_bytes(CONTENTS["two"][::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    target = tmp_path / "repository"
    target.mkdir()
    with pytest.raises(LockError, match=r"two 1:1\.0 was changed after it came in") as caught:
        full.copy(debs, target)
    assert "fetched anew" in caught.value.next_step
    assert full.missing(debs) == [deb("two")]


def test_a_missing_file_is_named(cache: DebCache, debs: list[Deb], tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"one 1:1\.0 is not in the cache"):
        cache.copy(debs, tmp_path)


def test_prune_keeps_what_is_wanted_or_was_used(full: DebCache) -> None:
    old = full.path(deb("one").sha256), full.path(deb("two").sha256)
    for path in old:
        os.utime(path, (0, 0))
    count, size = full.prune(frozenset({deb("one").sha256}), unused_days=30)
    assert (count, size) == (1, len(CONTENTS["two"]))
    assert {path.stem for path in full.files()} == {deb("one").sha256, deb("three").sha256}


def test_export_and_import(full: DebCache, debs: list[Deb], tmp_path: Path) -> None:
    file, other = tmp_path / "cache.tar", DebCache(tmp_path / "other")
    assert full.export(debs, file) == len(debs)
    assert other.take(file) == len(debs)
    assert other.missing(debs) == []


def test_export_wants_all_of_it(full: DebCache, debs: list[Deb], tmp_path: Path) -> None:
    full.path(deb("two").sha256).unlink()
    with pytest.raises(LockError, match="1 packages are not in the cache, two among them"):
        full.export(debs, tmp_path / "cache.tar")
    assert not (tmp_path / "cache.tar").exists()


def tar_of(path: Path, name: str, content: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "what"),
    [
        pytest.param(f"debs/{'0' * 64}.deb", "was changed", id="other content"),
        pytest.param("../../etc/passwd", "no package by content", id="a path upwards"),
        pytest.param(f"debs/{'./' * 32}.deb", "no package by content", id="no hash"),
    ],
)
def test_a_wrong_import_is_refused(cache: DebCache, tmp_path: Path, name: str, what: str) -> None:
    file = tar_of(tmp_path / "cache.tar", name, b"x")
    with pytest.raises(LockError, match=what):
        cache.take(file)
    assert cache.files() == []


def test_a_cut_import_is_refused(full: DebCache, debs: list[Deb], tmp_path: Path) -> None:
    file, other = tmp_path / "cache.tar", DebCache(tmp_path / "other")
    full.export(debs, file)
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(LockError, match="is no exported cache"):
        other.take(file)


def test_a_folder_that_cannot_be_written(debs: list[Deb], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        DebCache(tmp_path / "file" / "below").fill(debs, {}, tmp_path / "log")
    assert "XWHEP_CACHE" in caught.value.next_step


def read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


def test_a_cache_that_may_only_be_read_serves_what_it_has(
    small_disk: Path, debs: list[Deb], mirror: Path, tmp_path: Path
) -> None:
    """And says clearly what it cannot do: fetch, throw a damaged file away, prune. Nothing of it is lost."""
    cache, out = DebCache(small_disk / "cache"), tmp_path / "out"
    out.mkdir()
    cache.fill(debs[:2], {"main": f"copy:{mirror}"}, tmp_path / "log")
    damaged = cache.path(debs[1].sha256)
    damaged.write_bytes(b"x" * debs[1].size)
    os.utime(damaged, (0, 0))
    read_only(small_disk)
    cache.copy(debs[:1], out)
    assert cache.fill(debs[:2], {}, tmp_path / "log") == []
    for act in (
        lambda: cache.fill(debs, {"main": f"copy:{mirror}"}, tmp_path / "log"),
        lambda: cache.copy(debs[1:2], out),
        lambda: cache.prune(frozenset(), 30),
        lambda: cache.take(tar_of(tmp_path / "cache.tar", f"debs/{debs[2].sha256}.deb", CONTENTS["three"])),
    ):
        with pytest.raises(StoreError, match="cannot be written") as caught:
            act()
        assert "Read-only" in caught.value.cause
        assert "XWHEP_CACHE" in caught.value.next_step
    assert len(cache.files()) == 2


def test_a_disk_that_fills_while_packages_come(small_disk: Path, debs: list[Deb], mirror: Path, tmp_path: Path) -> None:
    """What came before stays, nothing half stays; with room, the rest comes."""
    cache = DebCache(small_disk / "cache")
    cache.fill(debs[:1], {"main": f"copy:{mirror}"}, tmp_path / "log")
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    with pytest.raises(StoreError) as caught:
        cache.fill(debs, {"main": f"copy:{mirror}"}, tmp_path / "log")
    assert "No space left" in caught.value.cause
    assert "free disk space" in caught.value.next_step
    assert [path.stem for path in cache.files()] == [debs[0].sha256]
    assert not list((cache.folder / "debs" / "tmp").iterdir())
    filler.unlink()
    assert cache.fill(debs, {"main": f"copy:{mirror}"}, tmp_path / "log") == []
    assert cache.missing(debs) == []


def test_the_log_says_how_much_has_come(debs: list[Deb], tmp_path: Path) -> None:
    """Nothing is written to the terminal, where other steps show what they do."""
    progress = Progress(3, 2_000_000, tmp_path / "log")
    progress.came(debs[:2])
    progress.came(debs[2:])
    assert (tmp_path / "log").read_text() == "2 of 3 packages, 0 of 2 MB\n3 of 3 packages, 0 of 2 MB\n"
