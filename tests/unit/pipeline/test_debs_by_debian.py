"""Versions and orig tarballs of trees with debian/."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs import by_debian

COMMIT = Commit(
    repository=Path("/r"), origin="local", sha="a" * 40, shipped_sha="b" * 40, epoch=1_700_000_000, content="c"
)
GIT = "~git20231114.2213+bbbbbbb"


@pytest.mark.parametrize(
    ("head", "tag", "native", "pristine", "version"),
    [
        pytest.param("1.2", "", True, False, f"1.2{GIT}", id="native"),
        pytest.param("1.2", "v1.2", True, False, "1.2", id="native, tagged"),
        pytest.param("1.2-3", "", False, False, f"1.2{GIT}-3", id="made orig is named by its commit"),
        pytest.param("1.2-3", "", False, True, f"1.2-3{GIT}", id="pristine orig keeps its name"),
        pytest.param("1.2-3", "v1.2", False, False, "1.2-3", id="tag of the upstream version"),
        pytest.param("1:1.2-3", "v1.2", False, True, "1:1.2-3", id="epoch"),
        pytest.param("1.2-3", "v1.3", False, False, "1.3-1", id="tag ahead of the changelog"),
        pytest.param("1.2-3", "v1.3", False, True, f"1.2-3{GIT}", id="tag ahead of a pristine orig"),
    ],
)
def test_versions(head: str, tag: str, native: bool, pristine: bool, version: str) -> None:
    commit = msgspec.structs.replace(COMMIT, tag=tag)
    assert by_debian.dated_version(head, commit, native=native, pristine=pristine) == version


def test_revision_is_asked_for() -> None:
    with pytest.raises(BuildError, match="has no revision"):
        by_debian.dated_version("1.2", COMMIT, native=False, pristine=False)


def tree(folder: Path) -> by_debian.Tree:
    (folder / "debian").mkdir(parents=True)
    (folder / "debian" / "control").write_text("Source: x\n")
    (folder / "inner" / "debian").mkdir(parents=True)
    (folder / "inner" / "debian" / "kept").write_text("upstream's own\n")
    (folder / "b").write_text("b\n")
    (folder / "a").write_text("a\n")
    return by_debian.Tree(folder=folder, package="x", version="1:2.0-1", native=False)


def test_made_orig_holds_all_but_debian_and_nothing_of_this_machine(tmp_path: Path) -> None:
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made = tree(tmp_path / name / "grid")
        script = by_debian.orig_script(made, COMMIT.epoch)
        subprocess.run(["sh", "-euc", script], cwd=tmp_path / name, check=True, umask=0o077 if digests else 0o022)
        digests.append((tmp_path / name / "x_2.0.orig.tar.gz").read_bytes())
    assert digests[0] == digests[1]
    with tarfile.open(tmp_path / "first" / "x_2.0.orig.tar.gz") as archive:
        names = archive.getnames()
        assert {member.mtime for member in archive} == {COMMIT.epoch}
    assert names == ["x-2.0", "x-2.0/a", "x-2.0/b", "x-2.0/inner", "x-2.0/inner/debian", "x-2.0/inner/debian/kept"]


@pytest.mark.parametrize(
    ("text", "form"), [(None, "1.0"), ("3.0 (quilt)\n", "3.0 (quilt)"), ("3.0 (native)", "3.0 (native)")]
)
def test_formats(tmp_path: Path, text: str | None, form: str) -> None:
    if text:
        (tmp_path / "debian" / "source").mkdir(parents=True)
        (tmp_path / "debian" / "source" / "format").write_text(text)
    assert by_debian.read_format(tmp_path) == form


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "debian" / "source").mkdir(parents=True)
    (tmp_path / "debian" / "source" / "format").write_text("3.0 (git)\n")
    with pytest.raises(BuildError, match=r"3\.0 \(git\)"):
        by_debian.read_format(tmp_path)
