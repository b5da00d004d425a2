"""Which rebuilds `doit verify` makes: every pair of variations is met, and what cannot be had is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xwhep_packaging import settings
from xwhep_packaging.verify import causes, covering, variations, verdict
from xwhep_packaging.verify.causes import Known
from xwhep_packaging.verify.rebuild import USUAL, Rebuild, command_of
from xwhep_packaging.verify.variations import VARIATIONS

NAMES = [f"v{number}" for number in range(15)]


@pytest.mark.parametrize("count", range(2, 16))
def test_every_pair_is_met(count: int) -> None:
    names = NAMES[:count]
    rows = covering.pairwise(names)
    assert covering.covered(names, [frozenset(), *rows]) == covering.combinations(names)
    assert len(rows) <= 6


def test_a_row_less_meets_fewer() -> None:
    """So that the test above can fail."""
    rows = covering.pairwise(NAMES)
    for row in rows:
        fewer = [frozenset[str](), *(other for other in rows if other != row)]
        assert covering.covered(NAMES, fewer) != covering.combinations(NAMES)


def test_one_that_not_all_others_go_with_meets_those_that_do() -> None:
    others = NAMES[:7]
    rows = [frozenset[str](), *covering.pairwise(NAMES), *covering.beside("loner", others)]
    wanted = covering.combinations(["loner", *others])
    assert covering.covered(["loner", *others], rows) == wanted
    assert covering.covered(["loner", *others], rows[:-1]) != wanted
    assert all(row <= {"loner", *others} for row in rows[-2:])
    assert covering.beside("loner", []) == [frozenset({"loner"})]


def test_all_pairs_are_met_but_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "possible", lambda names: (list(names), {}))
    plan, names = verdict.plan_all(), list(VARIATIONS)
    missing = covering.combinations(names) - covering.covered(names, [frozenset(), *map(frozenset, plan.rows.values())])
    pairs = {frozenset(pair) for *pair, on_a, on_b in missing if on_a and on_b}
    assert pairs == {frozenset(pair.split(" with ")) for pair in plan.apart}
    assert all(on_a and on_b for *_, on_a, on_b in missing)
    assert len(plan.apart) == 5
    assert len([row for row in plan.rows.values() if "cache" in row]) == 2, "the slowest"


def test_one_variation_is_one_row() -> None:
    assert covering.pairwise(["a"]) == [frozenset({"a"})]
    assert covering.pairwise([]) == []


def test_halves_have_each_variation_once() -> None:
    one, two = covering.halves(NAMES)
    assert one | two == set(NAMES)
    assert not one & two
    assert covering.halves(["a"]) == [frozenset({"a"})]


def test_what_is_asked_for_is_varied() -> None:
    wanted = {"date", "timezone", "locale", "umask", "path", "user", "host", "cpus", "order", "kernel", "environment"}
    assert wanted | {"cache", "engine", "python", "unprivileged"} == set(VARIATIONS)
    assert {causes.OF_VARIATION[name] for name in VARIATIONS} <= causes.CAUSES
    assert len(causes.CAUSES) >= 15


def test_what_is_not_possible_here_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool, path="": None)
    able, impossible = variations.possible(["order", "kernel", "timezone"])
    assert able == ["timezone"]
    assert impossible["kernel"] == "setarch is not installed"
    assert impossible["order"]


def test_a_rebuild_s_pipeline_file_can_be_read(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[3]
    text = (repository / "packaging" / "pipeline.toml").read_text(encoding="utf-8")
    table = variations.rendered(variations.surroundings_of(list(VARIATIONS)))
    file = tmp_path / "packaging" / "varied.toml"
    file.parent.mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "images").symlink_to(repository / "images")
    file.write_text(f"{text}\n{table}", encoding="utf-8")
    made = settings.load(file, {}).surroundings
    assert (made.timezone, made.parallel, made.isolation) == ("Etc/GMT-14", 1, "oci")
    assert made.image_prefix.startswith("verify-")
    assert variations.has_table(table)
    assert not variations.has_table(text)


def test_words_of_a_rebuild(tmp_path: Path) -> None:
    """The mount is outermost, doit comes last and whole."""
    rebuild = Rebuild(names=("date", "kernel", "order"), log=tmp_path / "log")
    words = command_of(rebuild, tmp_path / USUAL, ["python", "-m", "doit", "debs"])
    assert words[:2] == ["unshare", "--mount"]
    assert words[-4:] == ["python", "-m", "doit", "debs"]
    assert words.index("faketime") < words.index("setarch")


def test_known_values_are_those_that_differ() -> None:
    known = variations.known_of(["host"])
    assert known == Known(on=frozenset({"host"}), values=(("host name", "build", "elsewhere"),))


def test_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "possible", lambda names: ([n for n in names if n != "order"], {"order": "no fuse"}))
    whole, bounded = verdict.plan_all(), verdict.plan_bounded()
    assert whole.impossible == {"order": "no fuse"}
    assert len(whole.rows) == 10
    assert {name for row in whole.rows.values() for name in row} == set(VARIATIONS) - {"order"}
    assert len(bounded.rows) == 2
    assert not {"cache", "python", "order", "unprivileged"} & {name for row in bounded.rows.values() for name in row}
    assert verdict.plan_one("order").rows == {} or "order" in verdict.plan_one("order").impossible
