"""What a build would do: as the keys and the store have it, and as a build then does."""

from __future__ import annotations

import json
import shutil

import pytest

from pretended import Pretended
from xwhep_packaging import plan
from xwhep_packaging.errors import SourceError
from xwhep_packaging.plan import OPEN, TO_MAKE, UP_TO_DATE, Plan, Planned


def states(made: Plan) -> dict[str, str]:
    return {row.step: row.state for row in made.steps}


def test_nothing_is_made_yet(grid: Pretended) -> None:
    shutil.rmtree(grid.store.root)
    made = plan.plan(grid.run())
    assert set(states(made).values()) == {TO_MAKE}
    assert {row.seconds for row in made.steps} == {None}
    assert "never made here" in plan.table(made)
    assert not (grid.store.root / "source").exists(), "a plan makes nothing"


def test_all_is_up_to_date(grid: Pretended) -> None:
    made = plan.plan(grid.run())
    assert set(states(made).values()) == {UP_TO_DATE}
    assert (made.work_s, made.elapsed_s) == (0, 0)
    assert plan.table(made).endswith(f"nothing to do: all {len(made.steps)} steps are up to date")


def test_a_plan_is_what_a_build_then_makes(grid: Pretended) -> None:
    """One changed file: what is planned is made, and nothing else is."""
    grid.repository.write("images/server/Containerfile", "FROM scratch\n# more\n")
    grid.repository.commit("image")
    planned = {row.step for row in plan.plan(grid.run()).to_make}
    assert planned == {"images:server", "network_test"}
    before = len(grid.store.history())
    pipeline = grid.run()
    for step in pipeline.steps:
        if pipeline.find(step) is None:
            pipeline.make(step)
    assert {entry.step for entry in grid.store.history()[before:]} == planned
    assert plan.plan(grid.run()).to_make == []


def test_steps_that_no_build_needs_are_no_part_of_it(grid: Pretended) -> None:
    assert not [name for name in states(plan.plan(grid.run())) if name.startswith("pedantic:")]


def test_what_apt_has_yet_to_resolve_is_said(grid: Pretended) -> None:
    """The lock has no set for the changed wish, so nobody knows the key of what stands on it."""
    grid.replace('packages = ["python3", "tini"]', 'packages = ["python3", "tini", "curl"]')
    made = plan.plan(grid.run())
    rows = {row.step: row for row in made.steps}
    assert rows["packages:rootfs"].state == TO_MAKE
    assert (rows["base:rootfs"].state, rows["base:rootfs"].depends_on) == (OPEN, ("packages:rootfs",))
    assert rows["network_test"].depends_on == ("packages:rootfs",)
    assert rows["debs:grid"].state == UP_TO_DATE
    assert "depends on packages:rootfs" in plan.table(made)


def test_usual_seconds_are_the_median_of_the_last_ones(grid: Pretended) -> None:
    for seconds in (900, 1, 2, 3, 4, 50):
        grid.store.remember_seconds("debs:grid", "k", seconds)
    rows = {row.step: row for row in plan.plan(grid.run()).steps}
    assert rows["debs:grid"].seconds == 3


def row(step: str, seconds: float | None, *needs: str) -> Planned:
    return Planned(step=step, state=TO_MAKE, needs=needs, seconds=seconds)


@pytest.mark.parametrize(
    ("at_once", "elapsed"),
    [
        pytest.param(1, 16, id="one after another"),
        pytest.param(2, 11, id="two at once"),
        pytest.param(9, 11, id="many"),
    ],
)
def test_time_with_some_at_once(at_once: int, elapsed: float) -> None:
    rows = (row("last", 1, "long", "short"), row("long", 10), row("short", 5), row("new", None))
    made = Plan(steps=rows, at_once=at_once)
    assert (made.work_s, made.elapsed_s) == (16, elapsed)


def test_machines_get_the_same(grid: Pretended) -> None:
    grid.versions["buildah"] = "2"
    told = json.loads(json.dumps(plan.as_json(plan.plan(grid.run(), places=2))))
    assert {row["step"] for row in told["steps"] if row["state"] == TO_MAKE} == {
        "base:image",
        "images:server",
        "network_test",
    }
    assert (told["to_make"], told["at_once"]) == (3, 2)
    assert all(row["expected_s"] is not None for row in told["steps"])


def test_what_stops_a_build_stops_a_plan(grid: Pretended) -> None:
    grid.replace('ships = ["src", "debian"]', 'ships = ["nothing"]')
    with pytest.raises(SourceError, match="holds none of nothing"):
        plan.plan(grid.run())


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.4, "9.4 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3600, "60 min 00 s")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert plan.in_words(seconds) == words


def test_what_is_left_within_a_run() -> None:
    """Two at once: a has 10 of its 30 s behind it, b is done, c waits for a, d for a place."""
    made = Plan(steps=(row("a", 30), row("b", 99), row("c", 5, "a"), row("d", 8, "b")), at_once=2)
    assert made.left_s({"b"}, {"a": 10}) == 25
    assert made.left_s({"b"}, {"a": 10, "d": 1}) == 25
    assert made.left_s({"a", "b", "d"}, {"c": 1}) == 4
    assert made.left_s({"a", "b", "d"}, {"c": 50}) == 0, "it takes longer than it used to"
    assert made.left_s({"a", "b", "c", "d"}, {}) == 0
