"""A top layer says what changed, and nothing of the storage that it was made in."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from xwhep_packaging.layers import Below, folders_of, read_folders, untouched, write_canonical, write_folders

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


def written(tmp_path: Path, *members: tarfile.TarInfo) -> bytes:
    write_canonical(layer(tmp_path / "whole", *members), LOWER, tmp_path / "canonical")
    return (tmp_path / "canonical").read_bytes()


def link(name: str, target: str) -> tarfile.TarInfo:
    return entry(name, 0o600, type=tarfile.LNKTYPE, linkname=target)


def test_order_and_folders_of_the_storage_change_no_byte(tmp_path: Path) -> None:
    """One storage walks the tree, the other sorts paths, and lists no folder that is as before."""
    walked = [
        entry("var/"),
        entry("var/log/"),
        entry("var/n/"),
        entry("var/n/a"),
        entry("var/n-1/"),
        entry("var/n-1/b"),
    ]
    sorted_ = [entry("var/"), entry("var/n-1/"), entry("var/n-1/b"), entry("var/n/"), entry("var/n/a")]
    assert written(tmp_path, *walked) == written(tmp_path, *sorted_)
    with tarfile.open(tmp_path / "canonical") as found:
        assert found.getnames() == ["var", "var/n", "var/n-1", "var/n-1/b", "var/n/a"]


def test_which_name_of_a_file_came_first_changes_no_byte(tmp_path: Path) -> None:
    one = written(tmp_path, entry("srv/"), entry("srv/a", 0o600), link("srv/b", "srv/a"), link("srv/c", "srv/a"))
    other = written(tmp_path, entry("srv/"), entry("srv/c", 0o600), link("srv/a", "srv/c"), link("srv/b", "srv/c"))
    assert one == other
    with tarfile.open(tmp_path / "canonical") as found:
        assert [(member.name, member.linkname) for member in found][1:] == [
            ("srv/a", ""),
            ("srv/b", "srv/a"),
            ("srv/c", "srv/a"),
        ]
        content = found.extractfile("srv/a")
        assert content
        assert content.read() == b"content"


def test_all_else_stays(tmp_path: Path) -> None:
    """Owner, mode, attributes, symbolic links, devices, whiteouts, long names."""
    members = [
        entry("srv/"),
        entry("srv/.wh.gone", 0),
        entry("srv/" + "long" * 60, 0o4750, 7, uid=8, mtime=9),
        entry("srv/cap", pax_headers={"SCHILY.xattr.security.capability": "c", "atime": "5"}),
        entry("srv/link", 0o777, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("srv/null", 0o666, type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    ]
    written(tmp_path, *members)
    with tarfile.open(tmp_path / "canonical") as found:
        by_name = {member.name: member for member in found}
    assert len(by_name) == len(members)
    for member in members:
        after = by_name[member.name]
        for name in ("mode", "uid", "gid", "mtime", "type", "size", "linkname", "devmajor", "devminor"):
            assert getattr(after, name) == getattr(member, name), (member.name, name)
    assert by_name["srv/cap"].pax_headers == {"SCHILY.xattr.security.capability": "c"}


def test_what_is_below_is_known_only_on_the_base_that_was_meant() -> None:
    below = Below(layers=["a", "b"], folders=LOWER)
    assert below.under(["a", "b", "c"]) == LOWER
    assert below.under(["c"]) == {}
    assert below.under(["a", "c"]) == {}


def test_folders_of_a_root(tmp_path: Path) -> None:
    root = layer(tmp_path / "root.tar", entry("./"), entry("./etc/", 0o750, 3), entry("./etc/a"))
    folders = folders_of(root)
    assert folders["etc"] == [0o750, 0, 3]
    assert "etc/a" not in folders
    write_folders(tmp_path / "folders.json", folders)
    assert read_folders(tmp_path / "folders.json") == folders
