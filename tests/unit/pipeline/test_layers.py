"""A top layer says what changed, and nothing of the storage that it was made in."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from xwhep_packaging.layers import cut_untouched, folders_of, read_folders, untouched, write_folders

LOWER = {"etc": [0o755, 0, 0], "var": [0o755, 0, 0], "var/log": [0o755, 0, 0], "var/lib": [0o755, 0, 7]}


def entry(name: str, mode: int = 0o755, gid: int = 0, **more: object) -> tarfile.TarInfo:
    """A folder where the name ends in /, else a file."""
    made = tarfile.TarInfo(name.rstrip("/"))
    made.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
    made.mode, made.gid = mode, gid
    for key, value in more.items():
        setattr(made, key, value)
    return made


def layer(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as made:
        for member in members:
            content = b"content" if member.isfile() else b""
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("members", "cut"),
    [
        pytest.param([entry("var/"), entry("var/log/")], {"var", "var/log"}, id="nothing changed in either"),
        pytest.param([entry("./var/"), entry("./var/log/")], {"./var", "./var/log"}, id="as tar itself names them"),
        pytest.param([entry("var/"), entry("var/log/"), entry("var/log/x")], set(), id="a file is new"),
        pytest.param([entry("var/"), entry("var/log/"), entry("var/x")], {"var/log"}, id="beside a new file"),
        pytest.param([entry("var/"), entry("var/.wh.log")], set(), id="something is gone"),
        pytest.param([entry("var/"), entry("var/log/", 0o700)], set(), id="another mode"),
        pytest.param([entry("var/"), entry("var/lib/", gid=0)], set(), id="another group"),
        pytest.param([entry("srv/")], set(), id="a new folder"),
        pytest.param([entry("etc/", pax_headers={"SCHILY.xattr.user.a": "b"})], set(), id="another attribute"),
        pytest.param([entry("etc")], set(), id="a file in a folder's place"),
    ],
)
def test_folders_that_say_nothing(members: list[tarfile.TarInfo], cut: set[str]) -> None:
    assert untouched(members, LOWER) == cut


def test_what_is_left_is_byte_by_byte_as_it_would_be_without(tmp_path: Path) -> None:
    """Whatever its place in the archive: first, in the middle, last."""
    kept = [entry("srv/"), entry("srv/a"), entry("srv/b", 0o600)]
    whole = layer(
        tmp_path / "whole", entry("etc/"), kept[0], kept[1], entry("var/log/"), kept[2], entry("var/lib/", gid=7)
    )
    wanted = layer(tmp_path / "wanted", *kept)
    cut_untouched(whole, LOWER, tmp_path / "cut")
    end = (tmp_path / "cut").read_bytes()
    assert end.rstrip(b"\0") == wanted.read_bytes().rstrip(b"\0")
    with tarfile.open(tmp_path / "cut") as found:
        assert found.getnames() == ["srv", "srv/a", "srv/b"]


def test_nothing_to_cut_changes_no_byte(tmp_path: Path) -> None:
    whole = layer(tmp_path / "whole", entry("srv/"), entry("srv/a"))
    cut_untouched(whole, LOWER, tmp_path / "cut")
    assert (tmp_path / "cut").read_bytes() == whole.read_bytes()


def test_folders_of_a_root(tmp_path: Path) -> None:
    root = layer(tmp_path / "root.tar", entry("./"), entry("./etc/", 0o750, 3), entry("./etc/a"))
    folders = folders_of(root)
    assert folders["etc"] == [0o750, 0, 3]
    assert "etc/a" not in folders
    write_folders(tmp_path / "folders.json", folders)
    assert read_folders(tmp_path / "folders.json") == folders
