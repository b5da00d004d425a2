"""From two builds to a verdict: what differs is found, explained, written and fails; what is equal passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xwhep_packaging.artefacts import Output
from xwhep_packaging.errors import LockError, VerifyError
from xwhep_packaging.store import Draft, Recipe, Store
from xwhep_packaging.verify import bisect, evidence, verdict
from xwhep_packaging.verify.causes import Known
from xwhep_packaging.verify.rebuild import Rebuild
from xwhep_packaging.verify.verdict import Plan

ZONE = Known(on=frozenset({"timezone"}), values=(("time zone", "UTC", "Etc/GMT-14"),))
PLAN = Plan(rows={"timezone": ("timezone",)}, impossible={"order": "there is no /dev/fuse"})


def output(folder: Path, content: str, **facts: Any) -> Output:
    def make(draft: Draft) -> None:
        (draft.folder / "grid.changes").write_text(content)
        draft.facts.update(facts)

    return Store(folder).make(Recipe(stage="debs", name="grid", inputs={}), make)


@dataclass
class Builder:
    """A pipeline of one step, with its store."""

    store: Store
    first: Output
    reasons: list[str] = field(default_factory=list)
    steps: tuple[str, ...] = ("debs:grid",)

    def output(self, name: str) -> Output:
        return self.first

    def drifted(self, name: str) -> list[str]:
        return self.reasons


Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Verify a first build against a second one; returns what was said."""

    def verify(first: Output, again: Output, plan: Plan = PLAN, reasons: tuple[str, ...] = ()) -> list[str]:
        @contextmanager
        def rebuilt(pipeline: object, rebuild: Rebuild) -> Iterator[dict[str, Output]]:
            yield {"debs:grid": again}

        monkeypatch.setattr(verdict, "rebuilt", rebuilt)
        monkeypatch.setattr(verdict, "head_of", lambda pipeline: "c" * 40)
        said: list[str] = []
        builder = Builder(store=Store(tmp_path), first=first, reasons=list(reasons))
        verdict.verify(builder, plan, said.append)  # type: ignore[arg-type]
        return said

    return verify


def record(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "verify" / f"{name}.json").read_text())
    return loaded


def test_equal_builds_pass_and_are_written_down(tmp_path: Path, run: Run) -> None:
    said = run(output(tmp_path / "a", "zone UTC"), output(tmp_path / "b", "zone UTC"))
    assert "identical" in "\n".join(said)
    assert record(tmp_path, "timezone")["identical"] is True
    latest = record(tmp_path, "latest")
    assert (latest["identical"], latest["compared"], latest["differences"]) == (True, 1, [])
    assert latest["variations"] == ["timezone"]
    assert bisect.known_verdicts(tmp_path / "verify", "timezone") == {"c" * 40: True}


def test_what_is_not_possible_is_said(tmp_path: Path, run: Run) -> None:
    said = run(output(tmp_path / "a", "x"), output(tmp_path / "b", "x"))
    assert any("order" in line and "not possible here" in line for line in "\n".join(said).splitlines())
    assert record(tmp_path, "order")["verdict"] == "not possible here"
    assert record(tmp_path, "latest")["not_possible_here"] == {"order": "there is no /dev/fuse"}


def test_nothing_possible_is_no_success(tmp_path: Path, run: Run) -> None:
    with pytest.raises(VerifyError, match="not possible here"):
        run(output(tmp_path / "a", "x"), output(tmp_path / "b", "x"), Plan(rows={}, impossible={"order": "no fuse"}))
    assert record(tmp_path, "latest")["identical"] is False


def test_a_difference_fails_with_place_bytes_and_cause(tmp_path: Path, run: Run) -> None:
    with pytest.raises(VerifyError) as caught:
        run(output(tmp_path / "a", "zone UTC"), output(tmp_path / "b", "zone Etc/GMT-14"))
    assert caught.value.exit_code == 24
    found = record(tmp_path, "timezone")["differences"]
    assert found == [
        {
            "file": "debs:grid grid.changes",
            "member": "",
            "offset": 5,
            "first": "UTC",
            "second": "Etc/GMT-14",
            "cause": "time zone",
        }
    ]
    assert "time zone" in caught.value.cause
    kept = tmp_path / "verify" / "timezone"
    assert (kept / "first" / "grid.changes").read_text() == "zone UTC"
    assert (kept / "again" / "grid.changes").read_text() == "zone Etc/GMT-14"


def test_a_drifted_build_is_not_verified(tmp_path: Path, run: Run) -> None:
    with pytest.raises(LockError, match="drifted"):
        run(output(tmp_path / "a", "x"), output(tmp_path / "b", "x"), reasons=("the archive replaced libc6",))


def test_a_fact_that_differs_is_found(tmp_path: Path) -> None:
    sides = output(tmp_path / "a", "x", version="1.0"), output(tmp_path / "b", "x", version="1.1")
    found = list(verdict.differences(*sides, Known()))
    assert [(f.file, f.cause) for f in found] == [("debs:grid manifest version", "unpinned input")]


def test_names_of_images_may_differ(tmp_path: Path) -> None:
    sides = output(tmp_path / "a", "x", tags=["a"]), output(tmp_path / "b", "x", tags=["b"])
    assert list(verdict.differences(*sides, Known())) == []


def test_a_file_that_is_missing_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    found = evidence.of_file("debs:grid a", (tmp_path / "a", tmp_path / "none"), Known())
    assert [(f.first, f.second) for f in found] == [("there", "not there")]


def test_layers_that_differ_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def layers(digest: str, folder: Path) -> list[Path]:
        folder.mkdir()
        (folder / "1").write_text(f"zone {digest}")
        return [folder / "1"]

    monkeypatch.setattr(evidence, "_layers", layers)
    facts = {"digest": "UTC", "layers": ["sha256:1"]}, {"digest": "Etc/GMT-14", "layers": ["sha256:2"]}
    found = list(evidence.of_layers("images:server", facts, ZONE))
    assert [(f.file, f.cause) for f in found] == [("images:server layer 0", "time zone")]


def test_a_buildinfo_may_name_its_environment() -> None:
    form = 'Format: 1.0\nVersion: {}\nEnvironment:\n LC_ALL="{}"\n TZ="UTC"\nInstalled: a\n'
    sides = [
        evidence.comparable("a.buildinfo", form.format(*words).encode()) for words in (("1", "C"), ("1", "C.UTF-8"))
    ]
    assert sides[0] == sides[1]
    assert b"Installed: a" in sides[0]
    other = evidence.comparable("a.buildinfo", form.format("2", "C").encode())
    assert other != sides[0]


def test_a_changes_file_may_hold_the_sums_of_that() -> None:
    form = "Files:\n {:032x} 5 misc optional a.buildinfo\n {:032x} 6 misc optional a.deb\n"
    one, two, three = (
        evidence.comparable("a.changes", form.format(*sums).encode()) for sums in ((1, 1), (2, 1), (2, 2))
    )
    assert one == two
    assert one != three
