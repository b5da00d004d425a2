"""Removing trees that were made to resist."""

import os
from pathlib import Path

from xwhep.worker.flag import Flag
from xwhep.worker.results import harvest
from xwhep.worker.trees import remove_tree

DEPTH = 3000


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    outside.chmod(0o500)
    tree = tmp_path / "tree"
    (tree / "closed/inner").mkdir(parents=True)
    (tree / "closed/link").symlink_to(outside)
    (tree / "closed").chmod(0)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o500
    remove_tree(tree)


def make_deep(folder: Path) -> None:
    """Folders nested deeper than a path or Python's recursion goes, with a file at the bottom."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("deeper", dir_fd=here)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".0").mkdir()
    (tree / ".1").touch()
    make_deep(tree)
    remove_tree(tree)
    assert not tree.exists()


def test_a_harvest_leaves_out_what_is_too_deep_and_says_so(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "kept").write_text("x")
    make_deep(tree)
    found = harvest(tree, {}, Flag())
    assert [file.path for file, _ in found.files] == ["kept"]
    assert len(found.too_long) == 1
    assert "longer than" in found.note()
    remove_tree(tree)
