"""What a machine gives: asked by attempts, and what is said where it gives less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from xwhep_packaging import powers, weakness
from xwhep_packaging.artefacts import Output
from xwhep_packaging.errors import WeakError
from xwhep_packaging.powers import FULL, WEAKER, Powers
from xwhep_packaging.step import Step
from xwhep_packaging.store import Draft, Recipe, Store

NOTHING = Powers(mounts=False, network=False, users=False, chroot=True)
SAID = "packages were built in a plain chroot: network not cut off, no /proc"


@pytest.fixture
def less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powers, "found", lambda: NOTHING)


def refusing(*words: str) -> tuple[list[Sequence[str]], Callable[[Sequence[str]], bool]]:
    """What was asked, and a machine that refuses whatever has one of these words."""
    asked: list[Sequence[str]] = []

    def works(argv: Sequence[str]) -> bool:
        asked.append(argv)
        return not any(word in argv for word in words)

    return asked, works


def test_a_machine_at_full_strength_is_asked_once() -> None:
    asked, works = refusing()
    assert powers.attempt(works, root=True) == FULL
    assert [argv[:3] for argv in asked] == [["unshare", "--mount", "--net"]]


def test_an_ordinary_user_asks_in_a_namespace_of_users() -> None:
    asked, works = refusing()
    assert not powers.attempt(works, root=False).chroot
    assert asked[0][:3] == ["unshare", "--user", "--map-root-user"]


@pytest.mark.parametrize(
    ("refused", "missing"),
    [
        ("--mount", ["mounts"]),
        ("--net", ["network"]),
        ("unshare", ["mounts", "network", "users"]),
    ],
)
def test_each_power_is_tried_alone_where_not_all_work(refused: str, missing: list[str]) -> None:
    _, works = refusing(refused)
    found = powers.attempt(works, root=True)
    assert found.lacking(["mounts", "network", "users", "chroot"]) == missing
    assert found.containers is not bool({"mounts", "network"} & {*missing})


def test_chroot_is_for_root_alone() -> None:
    _, works = refusing("--net")
    assert not powers.attempt(works, root=False).chroot


@pytest.mark.parametrize("stage", sorted(powers.NEEDED))
def test_each_stage_has_something_to_say_and_nothing_at_full_strength(stage: str) -> None:
    assert powers.weaker(stage, FULL) == ()
    assert len(powers.weaker(stage, NOTHING)) == 1


def test_stages_that_need_no_power_are_never_weak() -> None:
    assert {powers.weaker(stage, NOTHING) for stage in ("source", "packages", "conf")} == {()}


def test_buildah_is_told_only_where_it_may_make_no_namespaces(monkeypatch: pytest.MonkeyPatch, less: None) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert powers.storage_environment()["STORAGE_DRIVER"] == "vfs"
    monkeypatch.setattr(powers, "found", lambda: FULL)
    assert powers.storage_environment() == {}


# Keys and manifests


RECIPE = Recipe(stage="debs", name="x", inputs={"source": "1"})


def step(maker: Callable[[Draft], None] = lambda draft: None) -> Step:
    return Step(name="debs:x", doc="", needs=(), recipe=lambda: RECIPE, maker=maker)


def made(store: Store, recipe: Recipe, needs: Sequence[Output] = ()) -> Output:
    return store.make(recipe, weakness.Told(maker=step().maker, recipe=recipe, needs=lambda: needs))


def test_a_weak_output_has_a_key_of_its_own_and_says_why(tmp_path: Path, less: None) -> None:
    store = Store(tmp_path)
    recipe = weakness.keyed(store, step(), RECIPE)
    assert recipe.key != RECIPE.key
    assert recipe.inputs[WEAKER] == SAID
    assert weakness.of(made(store, recipe)) == [SAID]
    assert store.find(RECIPE) is None


def test_at_full_strength_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powers, "found", lambda: FULL)
    store = Store(tmp_path)
    assert weakness.keyed(store, step(), RECIPE) is RECIPE
    assert WEAKER not in made(store, RECIPE).manifest.facts


def test_a_strong_output_serves_a_machine_that_gives_less(tmp_path: Path, less: None) -> None:
    store = Store(tmp_path)
    made(store, RECIPE)
    assert weakness.keyed(store, step(), RECIPE) is RECIPE


def test_what_is_made_of_something_weak_says_so_too(tmp_path: Path, less: None) -> None:
    store = Store(tmp_path)
    below = made(store, weakness.keyed(store, step(), RECIPE))
    above = made(store, Recipe(stage="conf", name="y", inputs={}), [below, below])
    assert weakness.of(above) == [SAID]
    assert powers.all_weaker("images", [above]) == (SAID, powers.NEEDED["images"][1])


def test_what_only_a_strong_build_may_go_into_is_refused() -> None:
    weakness.refuse({WEAKER: []}, "released")
    with pytest.raises(WeakError, match="cannot be released") as caught:
        weakness.refuse({WEAKER: [SAID]}, "released")
    assert (caught.value.exit_code, caught.value.cause) == (28, SAID)
    assert "doit doctor" in caught.value.next_step
