"""The lock against a real, small, signed archive: as locked, moved on, enforced, offline, and with leaks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clones import REPOSITORY
from mirror import Mirror
from workshop import LOCK, git
from xwhep_packaging import lockfile, settings
from xwhep_packaging.debcache import DebCache
from xwhep_packaging.lockfile import Deb

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root file systems need root")
LIMIT_S = 300
PIPELINE = """
[product]
name = "small"

[suite]
mirror = "{main}"
security_mirror = "{security}"
keyring = "{keyring}"

[cache]
folder = "{cache}"

[sources.small]
builder = "command"
command = ["true"]
debs = ["*.deb"]

[chroot]
packages = ["tini"]

[base]
packages = ["tini"]
exclude = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"]

[images.only]
debs = {{ small = [] }}
entrypoint = ["/bin/true"]
"""


@dataclass(frozen=True, kw_only=True)
class Small:
    """A product of two packages beside the essential ones, whose archive is ours."""

    folder: Path
    mirror: Mirror

    @property
    def cache(self) -> DebCache:
        return DebCache(self.folder / "cache")

    @property
    def lock(self) -> Path:
        return self.folder / "lock" / "trixie-amd64.toml"

    def deb(self, name: str) -> Deb:
        known = lockfile.read(self.lock)
        assert known is not None
        return known.debs[name]

    def doit(self, *words: str, code: int = 0, around: tuple[str, ...] = (), **environment: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
        done = subprocess.run(
            [*around, sys.executable, "-m", "doit", *words, f"pipeline={self.folder}/pipeline.toml"],
            cwd=REPOSITORY,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def manifest(self, stage: str, name: str) -> dict[str, Any]:
        """The newest output of that name."""
        files = (self.folder / "_build" / "products" / "small" / stage).glob("*/manifest.json")
        found = [(path.stat().st_mtime_ns, json.loads(path.read_text())) for path in files]
        return dict(max((row for row in found if row[1]["name"] == name), key=lambda row: row[0])[1])

    def forget(self, *stages: str) -> None:
        for stage in stages:
            shutil.rmtree(self.folder / "_build" / "products" / "small" / stage, ignore_errors=True)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """Locked and made once; tests work on copies."""
    folder = tmp_path_factory.mktemp("small")
    ours = settings.load(REPOSITORY / "packaging" / "pipeline.toml", {})
    known = lockfile.read(LOCK)
    assert known is not None
    assert DebCache(ours.cache_folder).missing(known.sets["rootfs"].debs) == [], "doit packages fills it"
    made = Small(folder=folder, mirror=Mirror.of(folder / "mirror", LOCK, DebCache(ours.cache_folder)))
    _write(made)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "pipeline.toml")
    git(folder, "commit", "--quiet", "--message=small")
    made.doit("lock")
    made.doit("base:rootfs")
    yield made
    _end_agent(folder)


def _write(small: Small) -> None:
    mirror = small.mirror
    text = PIPELINE.format(
        main=mirror.main, security=mirror.security, keyring=mirror.keyring, cache=small.folder / "cache"
    )
    (small.folder / "pipeline.toml").write_text(text)


@pytest.fixture
def small(locked: Small) -> Iterator[Small]:
    """In a folder with a short path: gpg's agent has a socket in it, whose address may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="lock-") as short:
        yield from _copied(locked, Path(short) / "small")


def _copied(locked: Small, folder: Path) -> Iterator[Small]:
    shutil.copytree(locked.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("S.gpg*"))
    copy = Small(folder=folder, mirror=Mirror(folder=folder / "mirror"))
    _write(copy)
    yield copy
    _end_agent(folder)


def _end_agent(folder: Path) -> None:
    subprocess.run(["gpgconf", "--homedir", str(folder / "mirror/gnupg"), "--kill", "all"], check=False)


def test_lock_names_what_was_installed_and_no_host(locked: Small) -> None:
    text = locked.lock.read_text()
    assert "copy:" not in text
    assert str(locked.folder) not in text
    rows = {deb.row for deb in lockfile.read(locked.lock).sets["rootfs"].debs}  # type: ignore[union-attr]
    folder = next((locked.folder / "_build/products/small/base").iterdir())
    assert set((folder / "packages.tsv").read_text().splitlines()) == rows
    assert locked.manifest("base", "rootfs")["facts"]["epoch"] == 1793491200  # the archive's date, not today's


def test_lock_again_changes_nothing(small: Small) -> None:
    before = small.lock.read_text()
    assert "is up to date" in small.doit("lock")
    small.mirror.publish("later")
    assert "is up to date" in small.doit("lock")
    assert small.lock.read_text() == before


def test_the_difference_is_shown(small: Small) -> None:
    tini = small.deb("tini")
    small.mirror.replace(tini, "1.0-1", security=True)
    small.mirror.publish("later")
    out = small.doit("lock")
    assert f"~ tini {tini.version} -> 1.0-1  (security)" in out
    assert small.deb("tini").version == "1.0-1"


def second_source(small: Small) -> tuple[Path, Path]:
    """A folder of apt sources with an archive that has a newer tini, and an apt configuration that names it too."""
    tini = small.deb("tini")
    other = Mirror(folder=small.folder / "other")
    shutil.copytree(small.mirror.folder, other.folder, symlinks=True, ignore=shutil.ignore_patterns("S.gpg*"))
    other.replace(tini, "99.0-1")
    other.publish("later")
    sources = small.folder / "sources.list.d"
    sources.mkdir()
    (sources / "second.list").write_text(f"deb [trusted=yes] {other.main} trixie main\n")
    configuration = small.folder / "apt.conf"
    configuration.write_text(f'Dir::Etc::SourceParts "{sources}";\nAPT::Default-Release "trixie";\n')
    return sources, configuration


def test_without_any_network_the_same_bits_come_again(small: Small) -> None:
    """Mirror gone, cache full, a second source with a newer package in the machine's apt, no network at all, everything
    made again: the same digest."""
    before = small.manifest("base", "rootfs")["files"]["root.tar"]
    sources, configuration = second_source(small)
    shutil.rmtree(small.mirror.folder / "debian")
    small.forget("packages", "base")
    around = ("unshare", "--mount", "--net", "sh", "-c", f'mount --bind {sources} /etc/apt/sources.list.d && exec "$@"')
    leaks = {"APT_CONFIG": str(configuration), "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8"}
    small.doit("base:rootfs", around=(*around, "sh"), XWHEP_LOCKED="1", **leaks)
    assert small.manifest("base", "rootfs")["files"]["root.tar"] == before
    assert small.manifest("packages", "rootfs")["facts"]["drifted"] == ""


def test_a_mirror_that_moved_on_breaks_nobody(small: Small) -> None:
    tini = small.deb("tini")
    small.mirror.replace(tini, "1.0-1")
    small.mirror.publish("later")
    small.cache.path(tini.sha256).unlink()
    small.forget("packages", "base")
    small.doit("base:rootfs")
    facts = small.manifest("packages", "rootfs")["facts"]
    assert facts["drifted"] == f"the archive no longer has tini {tini.version}"
    assert facts["difference"][0] == f"~ tini {tini.version} -> 1.0-1"
    assert "·" not in small.doit("base:rootfs"), "drifted, and made once all the same"


def test_enforced_it_fails_with_the_next_command(small: Small) -> None:
    tini = small.deb("tini")
    small.mirror.replace(tini, "1.0-1")
    small.mirror.publish("later")
    small.cache.path(tini.sha256).unlink()
    small.forget("packages", "base")
    out = small.doit("packages:rootfs", code=23, XWHEP_LOCKED="1")
    assert f"the archive no longer has tini {tini.version}" in out
    assert "next:  scripts/doit lock" in out


def test_the_snapshot_archive_has_it(small: Small) -> None:
    tini = small.deb("tini")
    shutil.copytree(small.mirror.folder / "debian/pool", small.folder / "snapshot/debian/pool")
    small.mirror.replace(tini, "1.0-1")
    small.mirror.publish("later")
    small.cache.path(tini.sha256).unlink()
    small.forget("packages", "base")
    small.doit("packages:rootfs", XWHEP_LOCKED="1", XWHEP_SNAPSHOT=f"copy:{small.folder}/snapshot")
    assert small.cache.has(tini)


def test_cache_travels(small: Small, tmp_path: Path) -> None:
    file = tmp_path / "cache.tar"
    small.doit("cache", "export", str(file))
    shutil.rmtree(small.folder / "cache")
    shutil.rmtree(small.mirror.folder / "debian")
    small.forget("packages", "base")
    small.doit("cache", "import", str(file))
    small.doit("packages:rootfs", XWHEP_LOCKED="1")
    assert small.manifest("packages", "rootfs")["facts"]["drifted"] == ""


def test_words_that_cache_does_not_know(small: Small) -> None:
    assert "doit cache wants prune" in small.doit("cache", "purge", code=10)


# What might slip in


def test_a_changed_package_in_the_cache_is_caught(small: Small) -> None:
    path = small.cache.path(small.deb("tini").sha256)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    small.forget("base")
    assert "the cached file of tini" in small.doit("base:rootfs", code=23)
    small.doit("base:rootfs")


def test_another_file_under_a_locked_name_is_caught(small: Small) -> None:
    tini = small.deb("tini")
    file = small.mirror.folder / "debian" / tini.path
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    small.cache.path(tini.sha256).unlink()
    small.forget("packages", "base")
    assert "the mirror serves another file as tini" in small.doit("base:rootfs", code=13)


def test_an_index_without_the_right_signature_is_caught(small: Small) -> None:
    release = small.mirror.folder / "debian/dists/trixie/InRelease"
    release.write_text(release.read_text().replace("Origin: Test", "Origin: Other"))
    out = small.doit("lock", code=23)
    assert "apt-get update fails" in out


def test_wish_that_the_lock_does_not_know_drifts(small: Small) -> None:
    file = small.folder / "pipeline.toml"
    file.write_text(file.read_text().replace('[base]\npackages = ["tini"]', '[base]\npackages = ["tini", "python3"]'))
    small.doit("packages:rootfs")
    assert "has changed since the lock was written" in small.manifest("packages", "rootfs")["facts"]["drifted"]
