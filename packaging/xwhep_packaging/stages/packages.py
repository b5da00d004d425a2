"""Stage packages: which exact .debs a root file system gets, and all of them in the cache.

lock, a set ──> cache ──fetch by sha256──> all there? ──yes──> debs.json                     as locked
                                              │ no: the archive has replaced one
no lock, or the set's wish has changed ───────┴──> apt resolves anew ──> debs.json           "drifted", said loudly
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xwhep_packaging import lockfile
from xwhep_packaging.artefacts import Output, digests_of
from xwhep_packaging.errors import LockError
from xwhep_packaging.lockfile import Deb, DebSet, Lock
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe
from xwhep_packaging.temporary import temporary_folder

if TYPE_CHECKING:
    from xwhep_packaging.archive import Apt
    from xwhep_packaging.debcache import DebCache

STAGE = "packages"
DEBS = "debs.json"
ARCHIVE = Path(__file__).parents[1] / "archive.py"
SHOWN = 12  # of the packages that differ; the log has them all


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What one root is asked to have: packages by name, and clauses as in a Depends field, beside the set `beside`."""

    name: str
    packages: tuple[str, ...]
    clauses: tuple[str, ...] = ()
    beside: str = ""

    @property
    def empty(self) -> bool:
        return not self.packages and not self.clauses

    def digest(self, settings: Settings) -> str:
        suite = settings.suite
        text = repr((suite.name, suite.architecture, suite.components, sorted(self.packages), sorted(self.clauses)))
        return hashlib.sha256(f"{text}{self.beside}".encode()).hexdigest()


def locked(settings: Settings, lock: Lock | None, wish: Wish) -> tuple[DebSet | None, str]:
    """The lock's set for a wish, or None and why there is none. Who asks for nothing gets nothing, without a lock."""
    if wish.empty:
        return DebSet(wish=wish.digest(settings), epoch=0, debs=()), ""
    if lock is None:
        return None, "there is no lock"
    if (lock.suite, lock.architecture) != (settings.suite.name, settings.suite.architecture):
        return None, f"the lock is for {lock.suite} {lock.architecture}"
    found = lock.sets.get(wish.name)
    if found is None:
        return None, f"the lock has no set {wish.name!r}"
    if found.wish != wish.digest(settings):
        return None, f"what {wish.name!r} asks for has changed since the lock was written"
    return found, ""


def recipe(settings: Settings, lock: Lock | None, wish: Wish, upstream: Mapping[str, str]) -> Recipe:
    """What decides a set: the lock's, where it has one, else the wish."""
    found, reason = locked(settings, lock, wish)
    own = {"wish": wish.digest(settings), "locked": found.digest if found else reason}
    files = {"code": digests_of(Path(__file__), ARCHIVE)}
    return Recipe(stage=STAGE, name=wish.name, inputs={**own, **upstream}, files=files)


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """`beside` is the output of the set that this one stands on."""

    lock: Lock | None
    wish: Wish
    beside: Output | None = None


def make_packages(settings: Settings, inputs: Inputs, draft: Draft) -> None:
    """Write debs.json, all of whose packages are in the cache then.

    Raises:
        LockError: `--locked` was asked for and the lock does not do, or the suite cannot satisfy the wish.
        NetworkError: a mirror does not answer.
    """
    from xwhep_packaging.debcache import DebCache

    cache = DebCache(settings.cache_folder)
    found, reason = locked(settings, inputs.lock, inputs.wish)
    gone = _fill(settings, cache, found.debs, draft.log) if found else []
    if gone:
        reason = "the archive no longer has " + ", ".join(f"{deb.name} {deb.version}" for deb in gone[:SHOWN])
    if reason and settings.lock.enforced:
        raise LockError(
            f"the packages of {inputs.wish.name!r} are not as locked",
            cause=reason,
            next_step="scripts/doit lock, review and commit it; "
            "or set [lock] snapshot to an archive that keeps old versions",
        )
    debs = found if found and not reason else _resolved(settings, inputs, draft.log)
    if reason and (still_gone := _fill(settings, cache, debs.debs, draft.log)):
        raise LockError(
            f"the archive offers {still_gone[0].name}, and does not have it", next_step="scripts/doit packages"
        )
    lockfile.write_set(draft.folder / DEBS, debs)
    drift = lockfile.difference(found.debs if found else (), debs.debs) if reason else []
    draft.facts.update({"drifted": reason, "difference": drift if found else [], "packages": len(debs.debs)})
    draft.facts["epoch"] = debs.epoch


def refill(settings: Settings, packages: Output, log: Path) -> None:
    """Have a set in the cache that was there once: the cache may have been pruned since.

    Raises:
        LockError: no archive has one of them any more.
        NetworkError: a mirror does not answer.
    """
    from xwhep_packaging.debcache import DebCache

    debs = lockfile.read_set(packages.path(DEBS)).debs
    gone = _fill(settings, DebCache(settings.cache_folder), debs, log)
    if gone:
        raise LockError(
            f"{gone[0].name} {gone[0].version} is neither in the cache nor in the archive",
            cause=f"{len(gone)} packages of {packages.manifest.name!r} are gone",
            next_step="scripts/doit lock; or set [lock] snapshot to an archive that keeps old versions",
            log=log,
        )


def _fill(settings: Settings, cache: DebCache, debs: Sequence[Deb], log: Path) -> list[Deb]:
    """Fetch from the mirrors, then from the snapshot archive where one is configured; returns what none has."""
    from xwhep_packaging import archive

    if not cache.missing(debs):
        return []
    main, security = archive.mirrors(settings)
    gone = cache.fill(debs, {lockfile.MAIN: main, lockfile.SECURITY: security}, log)
    if gone and settings.lock.snapshot:
        main, security = snapshot_addresses(settings.lock.snapshot)
        gone = cache.fill(gone, {lockfile.MAIN: main, lockfile.SECURITY: security}, log)
    return gone


def snapshot_addresses(snapshot: str) -> tuple[str, str]:
    """A snapshot archive has both archives beside each other, and every version that ever was in their pools."""
    base = snapshot.rstrip("/")
    return f"{base}/debian", f"{base}/debian-security"


def _resolved(settings: Settings, inputs: Inputs, log: Path) -> DebSet:
    from xwhep_packaging.archive import Apt

    with temporary_folder("apt") as folder:
        apt = Apt(settings=settings, folder=folder, log=log)
        epoch = apt.update()
        present = lockfile.read_set(inputs.beside.path(DEBS)).debs if inputs.beside else ()
        return resolve(apt, settings, inputs.wish, (present, epoch))


def resolve(apt: Apt, settings: Settings, wish: Wish, known: tuple[Sequence[Deb], int]) -> DebSet:
    """Ask apt; `known` are the packages that the root has before, and the archive's date."""
    present, epoch = known
    debs = apt.resolve(wish.packages, wish.clauses, present)
    return DebSet(wish=wish.digest(settings), epoch=epoch, debs=debs)


def make_lock(settings: Settings, wishes: Sequence[Wish], known: Lock | None, log: Path) -> Lock:
    """Resolve every wish at one moment of the archive.

    Raises:
        NetworkError: a mirror does not answer.
        LockError: the suite cannot satisfy a wish.
    """
    from xwhep_packaging.archive import Apt

    with temporary_folder("apt") as folder:
        apt = Apt(settings=settings, folder=folder, log=log)
        epoch = apt.update()
        sets: dict[str, DebSet] = {}
        for wish in sorted(
            (wish for wish in wishes if not wish.empty), key=lambda wish: (wish.beside != "", wish.name)
        ):
            present = sets[wish.beside].debs if wish.beside else ()
            sets[wish.name] = resolve(apt, settings, wish, (present, epoch))
    return lockfile.joined(settings.suite.name, settings.suite.architecture, sets, known)
