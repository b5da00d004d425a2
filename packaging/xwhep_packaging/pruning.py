"""Old outputs of the store: removed when no build that is known refers to them and none used them for a while.

steps of the pipeline as they are now, latest.json, previous.json ──> their keys stay
all other outputs ──> unused for [store] keep_days? ──> lock of the key ──> moved to tmp/ ──> removed

Images in the engine's storage stay: they have names that people use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.store import MANIFEST, Store, remove_tree

DAY_S = 86400
PREFIX = "pruned-"
MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Old:
    """An output that nothing refers to. `size` in bytes."""

    stage: str
    key: str
    name: str
    size: int
    unused_days: float


def prune(pipeline: Pipeline, say: Callable[[str], None], *, dry: bool = False) -> int:
    """Remove old outputs, or only tell which; returns how many.

    Raises:
        PipelineError: the present keys cannot be computed, so that nobody knows what is referred to.
        StoreError: the store cannot be written.
    """
    days = pipeline.settings.store.keep_days
    old = [one for one in unreferenced(pipeline) if one.unused_days >= days]
    for one in old:
        if dry:
            say(f"{one.stage}:{one.name} {one.key[:12]}  {one.size / MEGABYTE:.1f} MB, {one.unused_days:.0f} days")
        else:
            _remove(pipeline.store, one, days)
    if not dry:
        _clear(pipeline.store)
    if old:
        size = sum(one.size for one in old) / MEGABYTE
        say(f"{'would prune' if dry else 'pruned'} {len(old)} outputs, {size:.1f} MB, unused for {days:g} days")
    return len(old)


def unreferenced(pipeline: Pipeline) -> Iterator[Old]:
    """All outputs that neither the pipeline as it is now, nor the last two builds consist of."""
    kept = _referenced(pipeline)
    for path in sorted(pipeline.store.root.glob(f"*/*/{MANIFEST}")):
        folder = path.parent
        manifest = pipeline.store.manifest(folder.name)
        if (
            manifest
            and (manifest.stage, manifest.key) == (folder.parent.name, folder.name)
            and manifest.key not in kept
        ):
            yield Old(
                stage=manifest.stage,
                key=manifest.key,
                name=manifest.name,
                size=sum(record.size for record in manifest.files.values()),
                unused_days=_unused_days(pipeline.store, folder),
            )


def _referenced(pipeline: Pipeline) -> set[str]:
    reports = (pipeline.store.read_latest() or {}, pipeline.store.read_previous() or {})
    return {pipeline.recipe(name).key for name in pipeline.steps} | {
        key for report in reports for key in report.get("keys", {}).values()
    }


def _unused_days(store: Store, folder: Path) -> float:
    return max(0.0, time.time() - store.used(folder)) / DAY_S


def _remove(store: Store, old: Old, days: float) -> None:
    """By rename first: a run that is killed here leaves an output whole, or none."""
    folder, doomed = store.folder(old.stage, old.key), store.scratch("tmp") / f"{PREFIX}{old.key}"
    with store.locked(f"{old.stage}-{old.key}"):
        if folder.exists() and _unused_days(store, folder) >= days:  # else another run has found a use for it
            remove_tree(doomed)
            folder.rename(doomed)
    remove_tree(doomed)


def _clear(store: Store) -> None:
    """What killed runs were making, or had moved and not removed."""
    for folder in store.abandoned():
        remove_tree(folder)
    for folder in store.scratch("tmp").glob(f"{PREFIX}*"):
        remove_tree(folder)
