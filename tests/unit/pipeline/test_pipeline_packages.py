"""Stage packages: as locked where that can be had; else resolved anew and said so; enforced, refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from xwhep_packaging import lockfile
from xwhep_packaging.archive import Apt
from xwhep_packaging.artefacts import FileRecord, Manifest, Output
from xwhep_packaging.debcache import DebCache
from xwhep_packaging.errors import LockError, NetworkError
from xwhep_packaging.lockfile import Deb, DebSet, Lock
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import packages
from xwhep_packaging.stages.packages import Inputs, Wish
from xwhep_packaging.store import Draft

Load = Callable[..., Settings]
EPOCH, LATER = 1000, 2000


def deb(version: str) -> Deb:
    content = f"tini {version}".encode()
    path = f"pool/main/t/tini/tini_{version}_all.deb"
    sha256 = hashlib.sha256(content).hexdigest()
    return Deb(name="tini", version=version, arch="all", archive="main", path=path, size=len(content), sha256=sha256)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


@pytest.fixture
def settings(load: Load, mirror: Path, tmp_path: Path) -> Settings:
    places = f'[suite]\nmirror = "copy:{mirror}"\nsecurity_mirror = "copy:{mirror}"\n'
    return load(more=f'{places}[cache]\nfolder = "{tmp_path}/cache"\n')


@pytest.fixture
def offered(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The mirror has just this version, and apt would take it."""

    def make(version: str) -> None:
        for old in mirror.rglob("*.deb"):
            old.unlink()
        file = mirror / deb(version).path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"tini {version}".encode())

        def resolve(
            apt: Apt, names: Sequence[str], clauses: Sequence[str], installed: Sequence[Deb]
        ) -> tuple[Deb, ...]:
            return (deb(version),)

        monkeypatch.setattr(Apt, "update", lambda apt: LATER)
        monkeypatch.setattr(Apt, "resolve", resolve)

    return make


@pytest.fixture
def wish() -> Wish:
    return Wish(name="rootfs", packages=("tini",))


@pytest.fixture
def lock(settings: Settings, wish: Wish) -> Lock:
    one = DebSet(wish=wish.digest(settings), epoch=EPOCH, debs=(deb("1"),))
    return Lock(suite="trixie", architecture="amd64", epoch=EPOCH, sets={"rootfs": one})


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    (tmp_path / "draft").mkdir()
    return Draft(folder=tmp_path / "draft", log=tmp_path / "log")


def made(settings: Settings, draft: Draft, lock: Lock | None, wish: Wish) -> DebSet:
    packages.make_packages(settings, Inputs(lock=lock, wish=wish), draft)
    return lockfile.read_set(draft.folder / "debs.json")


def test_as_locked(settings: Settings, draft: Draft, lock: Lock, wish: Wish, offered: Callable[[str], None]) -> None:
    offered("1")
    assert made(settings, draft, lock, wish) == lock.sets["rootfs"]
    assert draft.facts["drifted"] == ""
    assert DebCache(settings.cache_folder).missing([deb("1")]) == []


def test_a_filled_cache_needs_no_mirror(
    settings: Settings, draft: Draft, lock: Lock, wish: Wish, offered: Callable[[str], None]
) -> None:
    offered("1")
    made(settings, draft, lock, wish)
    offered("2")
    assert made(settings, draft, lock, wish) == lock.sets["rootfs"]


def test_a_lost_version_drifts_and_says_so(
    settings: Settings, draft: Draft, lock: Lock, wish: Wish, offered: Callable[[str], None]
) -> None:
    offered("2")
    assert made(settings, draft, lock, wish).debs == (deb("2"),)
    assert draft.facts["drifted"] == "the archive no longer has tini 1"
    assert draft.facts["difference"][0] == "~ tini 1 -> 2"
    assert draft.facts["epoch"] == LATER


@pytest.mark.parametrize("with_lock", [True, False], ids=["lost version", "no lock"])
def test_enforced_fails_closed(
    load: Load, draft: Draft, lock: Lock, wish: Wish, offered: Callable[[str], None], with_lock: bool, mirror: Path
) -> None:
    offered("2")
    places = f'[suite]\nmirror = "copy:{mirror}"\n[cache]\nfolder = "{mirror.parent}/cache"\n'
    settings = load(more=places, environ={"XWHEP_LOCKED": "1"})
    with pytest.raises(LockError, match="are not as locked") as caught:
        made(settings, draft, lock if with_lock else None, wish)
    assert "tini 1" in caught.value.cause if with_lock else caught.value.cause == "there is no lock"
    assert "doit lock" in caught.value.next_step
    assert list(draft.folder.iterdir()) == []


def test_the_snapshot_archive_has_it_still(
    load: Load, draft: Draft, lock: Lock, wish: Wish, offered: Callable[[str], None], mirror: Path
) -> None:
    offered("2")
    old = mirror.parent / "snapshot/debian" / deb("1").path
    old.parent.mkdir(parents=True)
    old.write_bytes(b"tini 1")
    settings = load(
        more=f'[suite]\nmirror = "copy:{mirror}"\n[cache]\nfolder = "{mirror.parent}/cache"\n',
        environ={"XWHEP_SNAPSHOT": f"copy:{mirror.parent}/snapshot", "XWHEP_LOCKED": "1"},
    )
    assert made(settings, draft, lock, wish).debs == (deb("1"),)
    assert draft.facts["drifted"] == ""


def test_a_dead_network_is_no_drift(load: Load, draft: Draft, lock: Lock, wish: Wish, tmp_path: Path) -> None:
    dead = '[suite]\nmirror = "http://127.0.0.1:9/debian"\nsecurity_mirror = "http://127.0.0.1:9/s"\n'
    settings = load(more=f'{dead}[cache]\nfolder = "{tmp_path}/cache"\n')
    with pytest.raises(NetworkError, match="cannot fetch tini 1"):
        made(settings, draft, lock, wish)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(Wish(name="rootfs", packages=("tini", "bash")), "has changed since", id="other wish"),
        pytest.param(Wish(name="chroot", packages=("tini",)), "has no set 'chroot'", id="other set"),
        pytest.param(Wish(name="rootfs", packages=("tini",), clauses=("a | b",)), "has changed since", id="a clause"),
    ],
)
def test_a_lock_that_does_not_answer(settings: Settings, lock: Lock, change: Wish, reason: str) -> None:
    found, why = packages.locked(settings, lock, change)
    assert found is None
    assert reason in why


def test_who_asks_for_nothing_needs_no_lock(settings: Settings) -> None:
    found, why = packages.locked(settings, None, Wish(name="chroot-x", packages=(), beside="chroot"))
    assert found is not None
    assert (found.debs, why) == ((), "")


def test_key_follows_the_lock(settings: Settings, lock: Lock, wish: Wish) -> None:
    key = packages.recipe(settings, lock, wish, {}).key
    later = Lock(
        suite="trixie",
        architecture="amd64",
        epoch=LATER,
        sets={"rootfs": DebSet(wish=wish.digest(settings), epoch=LATER, debs=(deb("2"),))},
    )
    assert key == packages.recipe(settings, lock, wish, {}).key
    assert key != packages.recipe(settings, later, wish, {}).key
    assert key != packages.recipe(settings, None, wish, {}).key
    assert key != packages.recipe(settings, lock, wish, {"beside chroot": "x"}).key


def test_what_was_pruned_comes_again_or_is_named(
    settings: Settings, draft: Draft, lock: Lock, wish: Wish, offered: Callable[[str], None]
) -> None:
    offered("1")
    made(settings, draft, lock, wish)
    manifest = Manifest(stage="packages", name="rootfs", key="k", inputs={}, files={"debs.json": FileRecord(1, "0")})
    output, cache = Output(folder=draft.folder, manifest=manifest), DebCache(settings.cache_folder)
    cache.path(deb("1").sha256).unlink()
    packages.refill(settings, output, draft.log)
    assert cache.has(deb("1"))
    cache.path(deb("1").sha256).unlink()
    offered("2")
    with pytest.raises(LockError, match="tini 1 is neither in the cache nor in the archive"):
        packages.refill(settings, output, draft.log)
