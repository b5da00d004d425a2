"""What is removed from the store, and what never is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pretended import Pretended
from xwhep_packaging import pruning
from xwhep_packaging.errors import PipelineError
from xwhep_packaging.pruning import DAY_S, PREFIX, prune, unreferenced
from xwhep_packaging.store import FINGERPRINT, STAMP_S


def outputs(grid: Pretended) -> set[Path]:
    return {path.parent for path in grid.store.root.glob("*/*/manifest.json")}


def age(folder: Path, days: float) -> None:
    at = time.time() - days * DAY_S
    os.utime(folder / FINGERPRINT, (at, at))


@pytest.fixture
def replaced(grid: Pretended) -> set[Path]:
    """The outputs that another Containerfile has replaced, 31 days ago."""
    before = outputs(grid)
    grid.repository.write("images/server/Containerfile", "FROM scratch\n# more\n")
    grid.repository.commit("another image")
    pipeline = grid.build()
    recipes = [pipeline.recipe(step) for step in pipeline.steps]
    old = before - {grid.store.folder(recipe.stage, recipe.key) for recipe in recipes}
    for folder in outputs(grid):
        age(folder, 31)
    return old


def test_what_is_old_and_not_referred_to_goes(grid: Pretended, replaced: set[Path]) -> None:
    said: list[str] = []
    before = outputs(grid)
    assert {folder.parent.name for folder in replaced} == {"images", "network_test"}
    assert prune(grid.run(), said.append) == len(replaced) == 2
    assert outputs(grid) == before - replaced
    assert said == ["pruned 2 outputs, 0.0 MB, unused for 30 days"]
    assert all(grid.run().find(step) for step in grid.run().steps), "the build is whole"
    assert prune(grid.run(), said.append) == 0
    assert len(said) == 1


def test_a_dry_run_only_tells(grid: Pretended, replaced: set[Path]) -> None:
    said: list[str] = []
    before = outputs(grid)
    assert prune(grid.run(), said.append, dry=True) == 2
    assert outputs(grid) == before
    assert [line.split()[0] for line in said[:2]] == ["images:server", "network_test:grid"]
    assert said[2] == "would prune 2 outputs, 0.0 MB, unused for 30 days"


@pytest.mark.parametrize("place", ["latest", "previous"])
def test_what_the_last_two_builds_consist_of_stays(grid: Pretended, replaced: set[Path], place: str) -> None:
    keys = {str(number): folder.name for number, folder in enumerate(sorted(replaced))}
    grid.store.write_latest({"commit": "one", "keys": keys})
    if place == "previous":
        grid.store.write_latest({"commit": "two", "keys": {}})
    assert prune(grid.run(), print) == 0


def test_what_was_used_lately_stays(grid: Pretended, replaced: set[Path]) -> None:
    """A run of an older commit that finds an output says so, once a day."""
    (one, other) = sorted(replaced)
    manifest = grid.store.manifest(one.name)
    assert manifest
    recipe = grid.store.recorded(manifest.stage, one.name)
    assert recipe
    assert grid.store.find(recipe)
    first = grid.store.used(one)
    assert time.time() - first < STAMP_S
    grid.store.find(recipe)
    assert grid.store.used(one) == first
    prune(grid.run(), print)
    assert (one.exists(), other.exists()) == (True, False)


def test_the_setting_decides(grid: Pretended, replaced: set[Path]) -> None:
    grid.file.write_text(grid.file.read_text() + "\n[store]\nkeep_days = 32\n")
    assert prune(grid.run(), print) == 0
    grid.replace("keep_days = 32", "keep_days = 0")
    assert prune(grid.run(), print) == 2


def test_one_that_is_used_in_the_meantime_stays(
    grid: Pretended, replaced: set[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the removal another run finds it."""
    found = list(unreferenced(grid.run()))
    for folder in replaced:
        age(folder, 0)
    monkeypatch.setattr(pruning, "unreferenced", lambda pipeline: found)
    prune(grid.run(), print)
    assert all(folder.exists() for folder in replaced)


def test_what_a_killed_run_had_moved_is_removed(grid: Pretended) -> None:
    left = grid.store.scratch("tmp") / f"{PREFIX}abc"
    (left / "deep").mkdir(parents=True)
    prune(grid.run(), print)
    assert not left.exists()


def test_what_a_killed_run_was_making_is_removed_and_what_is_made_now_is_not(grid: Pretended) -> None:
    store, key = grid.store, "ab" * 32
    dead, alive = (store.scratch("tmp") / f"debs-{letter * 16}" for letter in "cd")
    for folder in (dead, alive):
        (folder / "deep").mkdir(parents=True)
        with store.locked(f"debs-{folder.name[-16:]}{key[16:]}"):
            pass
    with store.locked(f"debs-{'d' * 16}{key[16:]}"):
        prune(grid.run(), print)
        assert (dead.exists(), alive.exists()) == (False, True)
    prune(grid.run(), print)
    assert not alive.exists()


def test_nothing_goes_when_nobody_knows_what_is_referred_to(
    grid: Pretended, replaced: set[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = grid.run()

    def unknown(name: str) -> None:
        raise PipelineError("no such ref")

    monkeypatch.setattr(pipeline, "recipe", unknown)
    with pytest.raises(PipelineError):
        prune(pipeline, print)
    assert all(folder.exists() for folder in replaced)
