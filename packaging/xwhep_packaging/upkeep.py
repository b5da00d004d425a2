"""What is done now and then beside builds: writing the lock, and looking after the cache of packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from xwhep_packaging import lockfile
from xwhep_packaging.debcache import DebCache
from xwhep_packaging.errors import LockError, SettingsError
from xwhep_packaging.lockfile import Deb, Lock
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.stages import packages
from xwhep_packaging.store import write_durably

CACHE_VERBS = ("prune", "export", "import")
UNUSED_DAYS = 30.0  # what no lock names stays that long, for older commits


def write_lock(pipeline: Pipeline, say: Callable[[str], None]) -> None:
    """Resolve everything again, show what changes, write the lock.

    Raises:
        NetworkError: a mirror does not answer.
        LockError: the suite cannot satisfy what is asked for.
    """
    path = pipeline.settings.lock_path
    known = pipeline.supply.lock
    log = pipeline.store.log("lock", pipeline.settings.product.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    made = packages.make_lock(pipeline.settings, pipeline.wishes(), known, log)
    changes = lockfile.difference(known.debs.values() if known else (), made.debs.values())
    text = lockfile.render(made)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        say(f"{path.name} is up to date: {len(made.debs)} packages")
        return
    for line in changes or ["the same packages for other wishes"]:
        say(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, text.encode())
    say(f"wrote {path.name}; review it with git diff, and commit it")


def look_after_cache(pipeline: Pipeline, words: Sequence[str], say: Callable[[str], None]) -> None:
    """`prune`, `export FILE` or `import FILE`.

    Raises:
        SettingsError: other words.
        LockError: the lock's packages are not all there, or the file to import is damaged.
    """
    cache, verb = DebCache(pipeline.settings.cache_folder), words[0] if words else ""
    if verb not in CACHE_VERBS or len(words) != (1 if verb == "prune" else 2):
        raise SettingsError(
            "doit cache wants prune, export FILE or import FILE",
            cause=f"it got {' '.join(words) or 'nothing'}",
            next_step="scripts/doit cache prune",
        )
    if verb == "prune":
        count, size = cache.prune(frozenset(deb.sha256 for deb in _wanted(pipeline)), UNUSED_DAYS)
        say(f"removed {count} packages, {size / 1e6:.1f} MB; {len(cache.files())} stay in {cache.folder}")
    elif verb == "export":
        file = Path(words[1]).absolute()
        say(f"wrote {cache.export(_wanted(pipeline), file)} packages to {file}")
    else:
        say(f"took in {cache.take(Path(words[1]).absolute())} packages")


def _wanted(pipeline: Pipeline) -> list[Deb]:
    """The lock's packages, and those of the present build where it has drifted."""
    lock: Lock | None = pipeline.supply.lock
    found = {deb.sha256: deb for deb in (lock.debs.values() if lock else ())}
    for name in pipeline.steps:
        output = pipeline.find(name) if name.startswith("packages:") else None
        for deb in lockfile.read_set(output.path(packages.DEBS)).debs if output else ():
            found[deb.sha256] = deb
    if not found:
        raise LockError("there is neither a lock nor a build that names packages", next_step="scripts/doit lock")
    return list(found.values())
