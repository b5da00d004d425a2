"""The drawings of the build's page: who waited for whom, the graph, and what takes the room."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from xwhep_packaging.seeing import graph, sizes
from xwhep_packaging.seeing.graph import BOX_HEIGHT, BOX_WIDTH
from xwhep_packaging.seeing.sizes import Part
from xwhep_packaging.seeing.timeline import timeline
from xwhep_packaging.store import Made

NEEDS = {"source": [], "base": [], "debs": ["source", "base"], "lint": ["debs"], "image": ["debs", "base"]}
KEYS = {name: f"key of {name}" for name in NEEDS}


def made(step: str, start: float, end: float, run: float = 100) -> Made:
    return Made(step=step, key=KEYS[step], seconds=end - start, at=int(end), end=end, run=run)


HISTORY = [
    made("base", 40, 60, run=40),
    made("source", 100, 101),
    made("debs", 101.1, 106),
    made("image", 106.2, 110),
    made("lint", 110, 130),
]


# Timeline


def test_rows_are_the_newest_runs_and_say_what_they_waited_for() -> None:
    times = timeline(HISTORY, KEYS, NEEDS)
    assert [row.step for row in times.rows] == ["source", "debs", "image", "lint"]
    assert [entry.step for entry in times.kept] == ["base"]
    assert (times.began, times.seconds) == (100, 30)
    assert {row.step: row.waited_for for row in times.rows} == {
        "source": "",
        "debs": "source",
        "image": "debs",
        "lint": "debs",
    }


def test_waiting_for_a_core_is_told_from_waiting_for_a_step() -> None:
    idle = {row.step: row.idle for row in timeline(HISTORY, KEYS, NEEDS).rows}
    assert idle["lint"] == pytest.approx(4)
    assert idle["debs"] == idle["image"] == 0, "a tenth of a second is no wait"


def test_chain_that_decided_goes_back_from_the_last() -> None:
    times = timeline(HISTORY, KEYS, NEEDS)
    assert [row.step for row in times.rows if row.critical] == ["source", "debs", "lint"]


def test_other_keys_and_lines_of_older_pipelines_place_nothing() -> None:
    other = Made(step="debs", key="another", seconds=1, at=200, end=200, run=199)
    old = Made(step="source", key=KEYS["source"], seconds=1, at=90)
    times = timeline([old, other], KEYS, NEEDS)
    assert (times.rows, times.seconds) == ((), 0)
    assert [entry.step for entry in times.kept] == ["source"]


# Graph


def test_each_box_stands_right_of_what_it_needs() -> None:
    drawing = graph.draw(NEEDS)
    places = {box.step: box for box in drawing.boxes}
    assert set(places) == set(NEEDS)
    for step, needs in NEEDS.items():
        assert all(places[need].x + BOX_WIDTH < places[step].x for need in needs)
    assert all(box.x + BOX_WIDTH <= drawing.width and box.y + BOX_HEIGHT <= drawing.height for box in drawing.boxes)


def test_boxes_do_not_overlap() -> None:
    wide = {"a": [], **{f"b{n}": ["a"] for n in range(9)}, "c": [f"b{n}" for n in range(9)]}
    boxes = graph.draw(wide).boxes
    for one in boxes:
        for other in boxes:
            assert one is other or one.x != other.x or abs(one.y - other.y) >= BOX_HEIGHT


def test_arrow_that_a_longer_way_says_too_is_left_out() -> None:
    edges = {(edge.need, edge.step) for edge in graph.draw(NEEDS).edges}
    assert ("base", "debs") in edges
    assert ("base", "image") not in edges


def test_arrow_that_passes_a_column_goes_between_its_boxes() -> None:
    needs = {"a": [], "b": ["a"], "c": ["b"], "x": [], "d": ["c", "x"]}
    drawing = graph.draw(needs)
    shape = next(edge.shape for edge in drawing.edges if edge.need == "x")
    assert shape.count("H") == 2, "one level stretch for each column passed"
    level = int(shape.partition(" H")[0].rpartition(",")[2])
    passed = [box for box in drawing.boxes if box.step == "b"]
    assert all(not box.y <= level <= box.y + BOX_HEIGHT for box in passed)


def test_nothing_needs_no_room() -> None:
    assert graph.draw({}).boxes == ()


# Sizes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system as dpkg leaves it: two packages, byte code, a hard link, and something of no package's."""
    files = {
        "./usr/bin/tool": b"t" * 700,
        "./usr/lib/python3/app.py": b"p" * 100,
        "./usr/lib/python3/__pycache__/app.cpython-313.pyc": b"c" * 150,
        "./etc/made-here": b"m" * 30,
        "./var/lib/dpkg/info/tool:amd64.list": b"/.\n/bin\n/bin/tool\n",
        "./var/lib/dpkg/info/app.list": b"/usr/lib/python3/app.py\n",
        "./var/lib/dpkg/status": b"Package: tool\nSection: utils\n\nPackage: app\nSection: python\n",
    }
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/bin/tool-again")
        link.type, link.linkname = tarfile.LNKTYPE, "./usr/bin/tool"
        archive.addfile(link)
    return tmp_path / "root.tar"


def test_bytes_go_to_the_package_that_owns_them(root: Path) -> None:
    parts = {part.name: part for part in sizes.packages_of(root)}
    assert (parts["tool"].size, parts["tool"].section) == (700, "utils")
    assert (parts["app"].size, parts["app"].section) == (250, "python"), "byte code counts with its source"
    assert set(parts) == {"tool", "app", sizes.OTHERS}


def test_largest_comes_first(root: Path) -> None:
    found = [part.size for part in sizes.packages_of(root)]
    assert found == sorted(found, reverse=True)


PARTS = [Part(name=str(n), size=size) for n, size in enumerate([500, 300, 120, 40, 25, 10, 4, 1])]


def test_treemap_gives_each_its_share_of_the_ground() -> None:
    tiles = sizes.treemap(PARTS, 2.0)
    whole = sum(part.size for part in PARTS)
    for tile in tiles:
        assert tile.width * tile.height == pytest.approx(10_000 * tile.part.size / whole)
        assert min(tile.left, tile.top) >= -1e-6
        assert max(tile.left + tile.width, tile.top + tile.height) <= 100 + 1e-6
    assert len(tiles) == len(PARTS)


def test_treemap_tiles_do_not_overlap() -> None:
    tiles = sizes.treemap(PARTS, 2.0)
    for n, one in enumerate(tiles):
        for other in tiles[n + 1 :]:
            apart = (
                one.left + one.width <= other.left + 1e-6
                or other.left + other.width <= one.left + 1e-6
                or one.top + one.height <= other.top + 1e-6
                or other.top + other.height <= one.top + 1e-6
            )
            assert apart, (one, other)


def test_empty_parts_have_no_tile() -> None:
    assert sizes.treemap([], 2.0) == sizes.treemap([Part(name="empty", size=0)], 2.0) == []


def test_small_ones_are_put_together() -> None:
    short = sizes.shortened(PARTS, 3)
    assert [part.size for part in short] == [500, 300, 120, 80]
    assert short[-1].name == "5 smaller ones"
    assert sizes.shortened(PARTS[:2], 3) == PARTS[:2]
