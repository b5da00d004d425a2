"""From two builds to a verdict: what differs is found, explained, written and fails; what is equal passes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from xwhep_packaging.artefacts import Output
from xwhep_packaging.errors import LockError, VerifyError
from xwhep_packaging.store import Draft, Recipe, Store
from xwhep_packaging.verify import bisect, evidence, verdict
from xwhep_packaging.verify.causes import Known
from xwhep_packaging.verify.rebuild import Beside, Rebuild
from xwhep_packaging.verify.verdict import Plan

CONTROL = "Package: grid\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.invalid>\nDescription: d\n"
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


def papers(folder: Path, content: str) -> Output:
    """What a release derives from a build, in a folder of its own."""

    def make(draft: Draft) -> None:
        (draft.folder / "sbom").mkdir()
        (draft.folder / "sbom" / "grid.spdx.json").write_text(content)

    return Store(folder).make(Recipe(stage="papers", name="release", inputs={}), make)


def beside(folder: Path, content: str) -> Plan:
    """A plan with papers, of which the rebuild's say `second`."""
    first = papers(folder / "first", content)
    one = Beside(task="release:papers", step="papers:release", make=lambda pipeline: first, shared="verify/key")
    return replace(PLAN, beside=(one,))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Verify a first build against a second one; returns what was said."""

    def verify(first: Output, again: Output, plan: Plan = PLAN, reasons: tuple[str, ...] = ()) -> list[str]:
        @contextmanager
        def rebuilt(pipeline: object, rebuild: Rebuild) -> Iterator[dict[str, Output]]:
            yield {"debs:grid": again, **{one.step: papers(tmp_path / "again", "second") for one in rebuild.beside}}

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


def test_papers_are_compared_too(tmp_path: Path, run: Run) -> None:
    same = output(tmp_path / "a", "zone UTC"), output(tmp_path / "b", "zone UTC")
    run(*same, beside(tmp_path / "equal", "second"))
    assert record(tmp_path, "latest")["compared"] == 2
    with pytest.raises(VerifyError, match="1 of 1 rebuilds give other bytes"):
        run(*same, beside(tmp_path / "unequal", "first"))
    (found,) = record(tmp_path, "latest")["differences"]
    assert (found["file"], found["cause"]) == ("papers:release sbom/grid.spdx.json", "time zone")
    assert (tmp_path / "verify" / "timezone" / "again" / "sbom" / "grid.spdx.json").read_text() == "second"


def test_what_papers_say_of_a_build_that_differs_has_no_cause_of_its_own(tmp_path: Path, run: Run) -> None:
    with pytest.raises(VerifyError):
        run(output(tmp_path / "a", "zone UTC"), output(tmp_path / "b", "zone Etc/GMT-14"), beside(tmp_path, "first"))
    causes = [(row["file"], row["cause"]) for row in record(tmp_path, "latest")["differences"]]
    assert causes == [
        ("debs:grid grid.changes", "time zone"),
        ("papers:release sbom/grid.spdx.json", "sum of another file"),
    ]


def test_diffoscopes_page_lies_beside_both_sides(tmp_path: Path, run: Run) -> None:
    """Of a package: what differs is a line of a file in it."""
    sides = [package(tmp_path / name, zone) for name, zone in (("a", "UTC"), ("b", "Etc/GMT-14"))]
    with pytest.raises(VerifyError):
        run(*sides)
    page = (tmp_path / "verify" / "timezone" / "grid_1_all.deb.html").read_text()
    text = re.sub(r"<[^>]*>", "", page)
    assert all(part in text for part in ("first/grid_1_all.deb", "./usr/share/zone", "zone=UTC", "zone=Etc/GMT-14"))
    assert str(tmp_path) not in page


def package(folder: Path, zone: str) -> Output:
    def make(draft: Draft) -> None:
        tree = draft.folder.with_name("tree")
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr" / "share").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(CONTROL)
        (tree / "usr" / "share" / "zone").write_text(f"zone={zone}\n")
        argv = ["dpkg-deb", "--root-owner-group", "--build", tree, draft.folder / "grid_1_all.deb"]
        subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1"})
        shutil.rmtree(tree)

    return Store(folder).make(Recipe(stage="debs", name="grid", inputs={}), make)


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
